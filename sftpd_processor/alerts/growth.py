"""Files in quarantine and dead letters: how many there are is no news, but that there are more."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.ledger.alerts import Alerts
from sftpd_processor.ledger.records import QUARANTINED
from sftpd_processor.ledger.totals import Total

_MINUTE = 60_000_000  # microseconds


class Growth:
    """Compares the numbers in the ledger with those that were told. It is over when nothing came for a while, or
    when people have done away with all of them."""

    def __init__(self, store: Alerts, totals: Callable[[], Iterable[Total]], now: Callable[[], int]) -> None:
        """`totals` are the ledger's numbers of now."""
        self._store = store
        self._totals = totals
        self._now = now

    def quarantine(self, settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """By source."""
        numbers = _sums(total for total in self._totals() if total.kind == "file" and total.two in QUARANTINED)
        return self._grown("quarantine", numbers, self._store.in_quarantine, settings, notes)

    def dead_letters(self, settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """By handler."""
        numbers = _sums(total for total in self._totals() if total.kind == "delivery" and total.two == "dead")
        return self._grown("dead_letters", numbers, self._store.dead, settings, notes)

    def _grown(
        self,
        kind: str,
        numbers: dict[str, tuple[int, int]],
        left: Callable[[str], bool],
        settings: AlertSettings,
        notes: Notes,
    ) -> Iterator[Cause]:
        first = notes.watched_since(kind) is None
        calm = int(settings.calm_minutes * _MINUTE)
        for subject, (number, last_at) in numbers.items():
            more = number - notes.level(kind, subject)
            if (told := notes.told(kind, subject)) is not None:
                if self._now() - max(last_at, told.noted_at) <= calm and left(subject):
                    yield _cause(kind, subject, more, number, last_at)
                else:
                    notes.remember(kind, subject, number)
            elif first or (0 < more < settings.grown_by and self._now() - last_at > calm):
                notes.remember(kind, subject, number)
            elif more >= settings.grown_by:
                yield _cause(kind, subject, more, number, last_at)


def _cause(kind: str, subject: str, more: int, number: int, last_at: int) -> Cause:
    one, many = ("file", "files") if kind == "quarantine" else ("dead letter", "dead letters")
    return Cause(Key(kind, subject), last_at, f"{more:,} more {one if more == 1 else many}", number)


def _sums(totals: Iterable[Total]) -> dict[str, tuple[int, int]]:
    """By name: how many there ever were, and when the last one came."""
    found: dict[str, tuple[int, int]] = {}
    for total in totals:
        number, last_at = found.get(total.one, (0, 0))
        found[total.one] = number + total.number, max(last_at, total.last_at)
    return found
