"""The loop that looks for causes, and tells people of those that are new and of those that are over."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.courier import Courier
from sftpd_processor.alerts.failures import WatchedDeliverer
from sftpd_processor.alerts.lookout import Lookout
from sftpd_processor.alerts.message import Message, Sender, over, wrong
from sftpd_processor.alerts.mistakes import check_types
from sftpd_processor.alerts.notes import Notes, save
from sftpd_processor.alerts.sources import WatchedPoller
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import LedgerUnavailable, ProcessorError
from sftpd_processor.ledger.alerts import Noted
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.loop import Loop

logger = logging.getLogger(__name__)

_PAUSE = 15.0  # seconds between two looks
_PARTS = 20.0  # and as many of them in the shortest time that an alert waits for, in minutes thereof


@dataclass(slots=True)
class _Alert:
    """One alert at work."""

    settings: AlertSettings
    courier: Courier
    notes: Notes
    telling: list[Sequence[Cause] | Sequence[Noted]] = field(default_factory=list)
    """What the messages under way are about: new causes, or told ones that have ended."""


class Alerter(Loop):
    """Looks every few seconds. What was told is in the ledger; what could not be told is found again."""

    def __init__(
        self,
        settings: Sequence[AlertSettings],
        ledger: Ledger,
        *,
        pollers: Callable[[], Sequence[WatchedPoller]],
        deliverers: Callable[[], Sequence[WatchedDeliverer]],
        http: HttpSettings | None,
        state_dir: Path,
        shared: bool,
        measures: Measures | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`pollers` and `deliverers` are those of the moment; `shared`: other machines may use the ledger, too.

        `clock` counts seconds. Raises `ConfigurationError`.
        """
        super().__init__("alerts")
        self._ledger = ledger
        self._state_dir = state_dir
        self._machine = f"{socket.gethostname()}:{state_dir}" if shared else ""
        self._measures = measures or Measures()
        self._clock = clock
        self._lookout = Lookout(ledger, pollers, deliverers, state_dir, clock)
        self._alerts: dict[str, _Alert] = {}
        self._next = self._wanted = (tuple(settings), http)
        self._others = True
        """Whether the ledger may hold notes of alerts that are gone: put back, they begin anew."""
        check_types(settings)

    def configure(self, settings: Sequence[AlertSettings], http: HttpSettings | None) -> None:
        """Go over to other settings, at the next look; the same ones count as others, since files may have changed.

        Raises `ConfigurationError`.
        """
        check_types(settings)
        self._next = (tuple(settings), http)
        self.wake()

    def open(self) -> dict[tuple[str, ...], int]:
        """How many causes were told and are not over, by alert and kind; safe to use from several threads."""
        alerts = list(self._alerts.values())
        numbers: dict[tuple[str, ...], int] = {(it.settings.name, kind): 0 for it in alerts for kind in it.settings.on}
        for alert in alerts:
            for row in alert.notes.open():
                numbers[alert.settings.name, row.cause] = numbers.get((alert.settings.name, row.cause), 0) + 1
        return numbers

    def unfinished(self) -> bool:
        """Whether something is being sent: else it would be sent again after the next start."""
        return any(alert.courier.busy for alert in self._alerts.values())

    def step(self) -> float | None:
        """Look once, and tell."""
        self._take_results()
        self._reconfigure()
        if self._alerts and not self.stopping:
            self._lookout.look(self._trouble())
            for alert in self._alerts.values():
                self._tell(alert)
        self._save()
        return self._wait()

    def _reconfigure(self) -> None:
        if self._alerts and self._next is self._wanted:
            return
        self._wanted = settings, http = self._next
        self._lookout.configure(http)
        before, self._alerts = self._alerts, {each.name: self._alert(each) for each in settings}
        self._others |= not before.keys() <= self._alerts.keys()

    def _alert(self, settings: AlertSettings) -> _Alert:
        """As it was before, where there is nothing new about it."""
        before = self._alerts.get(settings.name)
        notes = before.notes if before else Notes(settings.name, self._ledger.clock)
        notes.keep(settings.on)
        if before is not None and before.settings.urls == settings.urls:
            return _Alert(settings, before.courier, notes, before.telling)
        courier = Courier(settings, self.wake, measures=self._measures, clock=self._clock)
        return _Alert(settings, courier, notes)

    def _trouble(self) -> ProcessorError | None:
        """Read what was told before the start, unless that is done; what the ledger says to it."""
        new = [alert.notes for alert in self._alerts.values() if not alert.notes.loaded]
        try:
            rows = self._ledger.alerts.all(self._machine) if new else []
        except ProcessorError as error:
            return error
        for notes in new:
            notes.load(rows)
        return None

    def _take_results(self) -> None:
        for alert in self._alerts.values():
            arrived = alert.courier.taken()
            if arrived is None:
                continue
            for about in [about for about, came in zip(alert.telling, arrived, strict=True) if came]:
                for each in about:
                    if isinstance(each, Cause):
                        alert.notes.opened(each.key.kind, each.key.subject, each.since, each.level)
                    else:
                        alert.notes.closed(each.cause, each.subject)

    def _tell(self, alert: _Alert) -> None:
        """Send what is new; while something is under way it waits."""
        found = self._lookout.found(alert.settings, alert.notes)
        if not alert.courier.may_send():
            return
        told = {Key(row.cause, row.subject): row for row in alert.notes.open()}
        wrong_now = {cause.key for cause in found.causes}
        causes = [cause for cause in found.causes if cause.key not in told]
        ended = [row for key, row in told.items() if key not in wrong_now and key.kind not in found.unsure]
        for row in [row for row in ended if not self._lookout.watches(Key(row.cause, row.subject), alert.settings)]:
            alert.notes.closed(row.cause, row.subject)  # it was taken out of the configuration: nothing to be told
            ended.remove(row)
        alert.telling = [about for about in (causes, ended) if about]
        alert.courier.send(self._messages(alert.settings.name, causes, ended))

    def _messages(self, alert: str, causes: Sequence[Cause], ended: Sequence[Noted]) -> list[Message]:
        sender = Sender(alert, self._state_dir)
        messages = []
        if causes:
            logger.info("alert %s: telling of %s", alert, _named(cause.key for cause in causes))
            messages.append(wrong(sender, causes))
        if ended:
            logger.info("alert %s: telling the end of %s", alert, _named(Key(it.cause, it.subject) for it in ended))
            messages.append(over(sender, ended, self._ledger.clock()))
        return messages

    def _save(self) -> None:
        try:
            notes = [alert.notes for alert in self._alerts.values()]
            if save(notes, self._ledger.alerts, self._machine, others=self._others):
                self._others = False
        except LedgerUnavailable:
            logger.debug("alerts: what was told is noted when the ledger works again")

    def _wait(self) -> float | None:
        if not self._alerts and not self._others:
            return None
        waits = [alert.settings.source_minutes * _PARTS for alert in self._alerts.values()]
        tries = [alert.courier.next_try() for alert in self._alerts.values()]
        return max(0.2, min([_PAUSE, *waits, *(wait for wait in tries if wait is not None)]))


def _named(keys: Iterable[Key]) -> str:
    return ", ".join(f"{key.kind} {key.subject}".strip() for key in keys)
