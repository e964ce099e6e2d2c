"""Handlers whose breaker is open, and a ledger that cannot be used."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import LedgerUnavailable, LedgerUnusable, ProcessorError
from sftpd_processor.ledger.figures import Figures

_STEADY = 300.0
"""Seconds that a breaker must stay closed: one that opens and closes all the time is one cause."""
_PATIENCE = 60.0
"""Seconds that the ledger may be away: a lock, or a database that is started again."""


class WatchedDeliverer(Protocol):
    """What is asked of a deliverer."""

    @property
    def name(self) -> str:
        """The handler's name."""

    @property
    def failure(self) -> ProcessorError | None:
        """Why its last step failed."""


class WatchedLoop(Protocol):
    """What is asked of whatever uses the ledger."""

    @property
    def failure(self) -> ProcessorError | None:
        """Why its last step failed."""


class Breakers:
    """Watches breakers as the ledger knows them: also those that were open when the last process ended."""

    def __init__(
        self,
        figures: Figures,
        deliverers: Callable[[], Sequence[WatchedDeliverer]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`deliverers` are those of the moment; `clock` counts seconds."""
        self._figures = figures
        self._deliverers = deliverers
        self._clock = clock
        self._seen: dict[str, float] = {}

    @property
    def names(self) -> set[str]:
        """The handlers of the moment."""
        return {deliverer.name for deliverer in self._deliverers()}

    def check(self, _settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """By handler. Raises `LedgerUnavailable`."""
        opened, now = self._figures.breakers(), self._clock()
        for name in sorted(self.names):
            told = notes.told("breaker", name)
            if name in opened:
                self._seen[name] = now
                yield Cause(Key("breaker", name), opened[name][0], "so many deliveries in a row failed")
            elif told is not None and now - self._seen.setdefault(name, now) < _STEADY:
                yield Cause(Key("breaker", name), told.since or told.noted_at, "it has just begun to work again")


class LedgerAway:
    """Watches all that uses the ledger; `look` first, then the check."""

    def __init__(
        self,
        loops: Callable[[], Sequence[WatchedLoop]],
        now: Callable[[], int],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`loops` are those of the moment; `now` is the ledger's clock, `clock` counts seconds."""
        self._loops = loops
        self._now = now
        self._clock = clock
        self._since: float | None = None
        self._why = ""

    def look(self, mine: ProcessorError | None) -> None:
        """Note whether it fails; `mine` is what it said to the alerts themselves."""
        failures = [mine, *(loop.failure for loop in self._loops())]
        wrong = [str(failure) for failure in failures if isinstance(failure, LedgerUnavailable | LedgerUnusable)]
        if not wrong:
            self._since = None
        elif self._since is None:
            self._since = self._clock()
        self._why = wrong[0] if wrong else ""

    def check(self, _settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """Whether it has been away for a minute."""
        if self._since is None:
            return
        seconds = self._clock() - self._since
        if seconds >= _PATIENCE or notes.told("ledger", ""):
            yield Cause(Key("ledger", ""), self._now() - int(seconds * 1_000_000), self._why)
