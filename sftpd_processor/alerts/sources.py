"""Sources that cannot be polled, and those whose server shows another host key."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import HostKeyRefused, LedgerUnavailable, LedgerUnusable, ProcessorError

_SAME_STORY = 0.5
"""When one source is told, so are those that fail for at least this part of the time: it is one outage."""


class WatchedPoller(Protocol):
    """What is asked of a poller."""

    @property
    def source_name(self) -> str:
        """The name of its source."""

    @property
    def up(self) -> bool:
        """Whether its last poll ended well."""

    @property
    def failure(self) -> ProcessorError | None:
        """Why its last step failed."""


class Sources:
    """Watches pollers; `look` first, then the checks."""

    def __init__(
        self,
        pollers: Callable[[], Sequence[WatchedPoller]],
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pollers` are those of the moment; `now` is the ledger's clock, `clock` counts seconds."""
        self._pollers = pollers
        self._now = now
        self._clock = clock
        self._failing: dict[str, float] = {}

    def look(self) -> None:
        """Note which fail."""
        now = self._clock()
        failing = [poller.source_name for poller in self._pollers() if _fails(poller)]
        self._failing = {name: self._failing.get(name, now) for name in failing}

    @property
    def names(self) -> set[str]:
        """Those of the moment."""
        return {poller.source_name for poller in self._pollers()}

    @property
    def all_up(self) -> bool:
        """Whether the last poll of each ended well."""
        return all(poller.up for poller in self._pollers())

    def unreachable(self, settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """Those that have failed for so long; a host key is told by its own cause, if that is wanted."""
        limit = settings.source_minutes * 60
        keys = {cause.key.subject for cause in self.host_keys(settings, notes)} if "host_key" in settings.on else ()
        late = [poller for poller in self._pollers() if _fails(poller) and poller.source_name not in keys]
        if not any(self._seconds(poller) >= limit for poller in late):
            limit, late = 0, []
        for poller in self._pollers():
            due = poller in late and self._seconds(poller) >= limit * _SAME_STORY
            if due or (notes.told("source", poller.source_name) and not poller.up):
                yield self._cause("source", poller)

    def host_keys(self, _settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """Those whose host key was refused; until a poll ends well."""
        for poller in self._pollers():
            if _shows_other_key(poller) or (notes.told("host_key", poller.source_name) and not poller.up):
                yield self._cause("host_key", poller)

    def _cause(self, kind: str, poller: WatchedPoller) -> Cause:
        why = "not polled yet" if poller.failure is None else str(poller.failure)
        since = self._now() - int(self._seconds(poller) * 1_000_000)
        return Cause(Key(kind, poller.source_name), since, why.removeprefix(f"source {poller.source_name}: "))

    def _seconds(self, poller: WatchedPoller) -> float:
        now = self._clock()
        return now - self._failing.get(poller.source_name, now)


def _fails(poller: WatchedPoller) -> bool:
    """By itself: what the ledger does to all of them is told by its own cause."""
    return poller.failure is not None and not isinstance(poller.failure, LedgerUnavailable | LedgerUnusable)


def _shows_other_key(poller: WatchedPoller) -> bool:
    return isinstance(poller.failure, HostKeyRefused)
