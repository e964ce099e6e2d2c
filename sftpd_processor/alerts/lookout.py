"""All that is looked at, in one place: what is wrong now by the settings of an alert."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from sftpd_processor.alerts.causes import Cause, Check, Key
from sftpd_processor.alerts.disk import Disk
from sftpd_processor.alerts.expiry import Expiry
from sftpd_processor.alerts.failures import Breakers, LedgerAway, WatchedDeliverer
from sftpd_processor.alerts.growth import Growth
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.alerts.silence import Silence, Usual
from sftpd_processor.alerts.sources import Sources, WatchedPoller
from sftpd_processor.config.alerts import CAUSES, AlertSettings
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import LedgerUnavailable, ProcessorError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.totals import Total

_BY_LEDGER = frozenset({"quarantine", "dead_letters", "breaker", "silence"})


class Found(NamedTuple):
    """What one look found for one alert."""

    causes: list[Cause]
    unsure: set[str]
    """Kinds of which nothing can be told now: what was told of them is not over."""


class Lookout:
    """Everything watched; what several alerts need is read once in a look."""

    def __init__(
        self,
        ledger: Ledger,
        pollers: Callable[[], Sequence[WatchedPoller]],
        deliverers: Callable[[], Sequence[WatchedDeliverer]],
        state_dir: Path,
        clock: Callable[[], float],
    ) -> None:
        """`pollers` and `deliverers` are those of the moment; `clock` counts seconds."""
        now = ledger.clock
        self._ledger = ledger
        self._now = now
        self._totals: list[Total] | None = None
        self._sources = Sources(pollers, now, clock)
        self._breakers = Breakers(ledger.figures, deliverers, clock)
        self._ledger_away = LedgerAway(lambda: (*pollers(), *deliverers()), now, clock)
        self._silence = Silence(Usual(ledger.rhythm, now), self._counted, now)
        growth = Growth(ledger.alerts, self._counted, now)
        self._checks: dict[str, Check] = {
            "source": self._sources.unreachable,
            "host_key": self._sources.host_keys,
            "quarantine": growth.quarantine,
            "dead_letters": growth.dead_letters,
            "breaker": self._breakers.check,
            "silence": self._silence.check,
            "disk": Disk(state_dir, now).check,
            "ledger": self._ledger_away.check,
        }
        self.configure(None)

    def configure(self, http: HttpSettings | None) -> None:
        """The public listener goes by these settings from now on, and by what the files in them hold now."""
        self._expiry = Expiry(http, self._now)
        self._checks["expiry"] = self._expiry.check

    def look(self, trouble: ProcessorError | None) -> None:
        """Look at what all alerts share. `trouble`: what the ledger said when it was last asked.

        A ledger that fails may take half a minute to do so: it is asked nothing more at this look.
        """
        self._sources.look()
        self._silence.may_begin = self._sources.all_up
        try:
            self._totals = self._ledger.totals.all() if trouble is None else None
        except ProcessorError as error:
            self._totals, trouble = None, error
        self._ledger_away.look(trouble)

    def found(self, settings: AlertSettings, notes: Notes) -> Found:
        """What is wrong now. Until it is known what was told before the start, only the ledger itself can be told."""
        causes: list[Cause] = []
        unsure: set[str] = set()
        for kind in CAUSES:
            if kind not in settings.on:
                continue
            if (not notes.loaded and kind != "ledger") or (self._totals is None and kind in _BY_LEDGER):
                unsure.add(kind)
                continue
            try:
                causes += [it for it in self._checks[kind](settings, notes) if self.watches(it.key, settings)]
            except ProcessorError:
                unsure.add(kind)
        return Found(causes, unsure)

    def watches(self, key: Key, settings: AlertSettings) -> bool:
        """Whether it is still in the configuration."""
        match key.kind:
            case "source" | "host_key" | "quarantine":
                return key.subject in self._sources.names
            case "breaker" | "dead_letters":
                return key.subject in self._breakers.names
            case "silence":
                return key.subject in settings.silence
            case "expiry":
                return key.subject in self._expiry.names
        return True

    def _counted(self) -> list[Total]:
        if self._totals is None:
            raise LedgerUnavailable("the ledger could not be read at this look")
        return self._totals
