"""Whether all is well, and what is not: sentences for the person who must act, and /readyz for their monitor."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple, Protocol

from sftpd_processor.config.settings import SftpSourceSettings, SourceSettings
from sftpd_processor.errors import ProcessorError
from sftpd_processor.http.glance import Glance
from sftpd_processor.schedule import due_after

_PROBE_SECONDS = 2.0
_LONGEST_STEP = 120.0  # seconds: some statements in the ledger, or some hundred local files
_STILL_SECONDS = 300.0  # at least, that a poll may go without a file
_STILL_ANSWERS = 5  # and as many times as long as one answer of the server may take


class Wrong(NamedTuple):
    """One thing that is not as it should be."""

    part: str
    """"ledger", "source NAME", "handler NAME", "archive" or "listener"."""
    why: str


class SourceHealth(NamedTuple):
    """One source, as its poller knows it."""

    up: bool
    last_good_poll: datetime | None
    failure: str | None


class WatchedLoop(Protocol):
    """What is asked of a background loop; `str` is its name as shown."""

    @property
    def busy_since(self) -> float | None:
        """When its step began (`time.monotonic`)."""

    @property
    def failure(self) -> ProcessorError | None:
        """Why its last step failed."""

    @property
    def stopping(self) -> bool:
        """Whether it is to end."""

    @property
    def ended(self) -> bool:
        """Whether its thread runs no more."""

    def complaint(self) -> str | None:
        """What is wrong although its steps go well."""


class WatchedPoller(WatchedLoop, Protocol):
    """What is asked of a poller."""

    @property
    def source_name(self) -> str:
        """The name of its source."""

    @property
    def settings(self) -> SourceSettings:
        """The settings of its source."""

    @property
    def began(self) -> float:
        """When it was made (`time.monotonic`)."""

    @property
    def up(self) -> bool:
        """Whether its last poll ended well."""

    @property
    def last_good(self) -> float | None:
        """When its last good poll ended (`time.monotonic`)."""

    @property
    def moved_at(self) -> float:
        """When its poll last got on with files (`time.monotonic`)."""


class Health:
    """Looks at all parts; safe to use from several threads."""

    def __init__(
        self,
        probe: Callable[[], None],
        pollers: Callable[[], Sequence[WatchedPoller]] = lambda: (),
        loops: Callable[[], Sequence[WatchedLoop]] = lambda: (),
        *,
        late_seconds: float,
        listener: Callable[[], str | None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`probe` writes to the ledger; `pollers` are those of now, `loops` all others. `listener` says what is wrong
        with the public listener. What has never polled counts from now on, or from when it began."""
        self._probe = Glance(probe, _PROBE_SECONDS)
        self._pollers = pollers
        self._loops = loops
        self._late_seconds = late_seconds
        self._listener = listener
        self._clock = clock
        self._began = clock()

    def wrong(self) -> list[Wrong]:
        """All that is wrong; empty when the inbox does its work."""
        found = [*self._of_ledger()]
        for poller in self._pollers():
            found += [Wrong(str(poller), why) for why in self._of_poller(poller)]
        return [*found, *self._of_others()]

    def failing(self) -> list[Wrong]:
        """All that fails at this moment, be it only since a second; the ledger itself is not asked."""
        found = [Wrong(str(poller), _bare(poller)) for poller in self._pollers() if poller.failure is not None]
        return [*found, *self._of_others()]

    def stuck(self) -> list[Wrong]:
        """What has ended, or does not get on, though nothing fails: only a new start helps."""
        found = [Wrong(str(poller), why) for poller in self._pollers() for why in self._still_poll(poller)]
        return found + [Wrong(str(loop), why) for loop in self._loops() for why in self._still_step(loop)]

    def sources(self) -> dict[str, SourceHealth]:
        """Every source by name."""
        return {
            poller.source_name: SourceHealth(
                poller.up,
                None if poller.last_good is None else self._moment(poller.last_good),
                None if poller.failure is None else str(poller.failure),
            )
            for poller in self._pollers()
        }

    def _of_ledger(self) -> Iterator[Wrong]:
        try:
            self._probe.seen()
        except ProcessorError as error:
            yield Wrong("ledger", str(error))
        except TimeoutError:
            why = f"a write has not ended within {_PROBE_SECONDS:g} s: look at the disk or the database under it"
            yield Wrong("ledger", why)

    def _of_others(self) -> Iterator[Wrong]:
        for loop in self._loops():
            for why in self._of_loop(loop):
                yield Wrong(str(loop), why)
        if (why_not := self._listener()) is not None:
            yield Wrong("listener", why_not)

    def _of_poller(self, poller: WatchedPoller) -> Iterator[str]:
        yield from self._late(poller)
        yield from self._still_poll(poller)

    def _late(self, poller: WatchedPoller) -> Iterator[str]:
        good = max(self._began, poller.began) if poller.last_good is None else poller.last_good
        # A long drain is no reason to worry; but a source that has failed must first come to a good end.
        well = max(good, poller.moved_at) if poller.busy_since is not None and poller.failure is None else good
        due = due_after(poller.settings, self._moment(well))
        if due is not None and self._moment(self._clock()) > due + timedelta(seconds=self._late_seconds):
            yield self._late_poll(poller, due)

    def _still_poll(self, poller: WatchedPoller) -> Iterator[str]:
        yield from _ended(poller)
        if (busy_since := poller.busy_since) is not None:
            still = self._clock() - max(busy_since, poller.moved_at)
            if still > _patience(poller.settings):
                yield f"its poll has not got on for {still:.0f} s; if it stays so, restart the program"

    def _late_poll(self, poller: WatchedPoller, due: datetime) -> str:
        last = (
            "none since the start"
            if poller.last_good is None
            else f"the last at {_told(self._moment(poller.last_good))}"
        )
        why = "" if poller.failure is None else f": {_bare(poller)}"
        return f"no good poll ({last}); one was due at {_told(due)}{why}"

    def _of_loop(self, loop: WatchedLoop) -> Iterator[str]:
        if loop.failure is not None:
            yield _bare(loop)
        yield from self._still_step(loop)
        if (complaint := loop.complaint()) is not None:
            yield complaint

    def _still_step(self, loop: WatchedLoop) -> Iterator[str]:
        yield from _ended(loop)
        busy_since = loop.busy_since
        if busy_since is not None and self._clock() - busy_since > _LONGEST_STEP:
            took = self._clock() - busy_since
            yield f"it has been at one step for {took:.0f} s; if it stays so, restart the program"

    def _moment(self, at: float) -> datetime:
        """By the machine's clock as it is set now."""
        return datetime.now(UTC) - timedelta(seconds=self._clock() - at)


def _bare(loop: WatchedLoop) -> str:
    """Its failure, without its name, which is told already."""
    return str(loop.failure).removeprefix(f"{loop}: ")


def _ended(loop: WatchedLoop) -> Iterator[str]:
    if loop.ended and not loop.stopping:
        yield "its thread has ended; restart the program, and please report it"


def _patience(settings: SourceSettings) -> float:
    answer = settings.operation_timeout_seconds if isinstance(settings, SftpSourceSettings) else 0
    return max(_STILL_SECONDS, _STILL_ANSWERS * answer)


def _told(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"
