"""What one alert has told, and what it remembers; written to the ledger when that changes."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from sftpd_processor.ledger.alerts import Alerts, Noted

_START = ""
"""The subject of the row that says since when a kind is watched."""


class Notes:
    """Of one alert; by kind and subject."""

    def __init__(self, alert: str, clock: Callable[[], int]) -> None:
        """`clock` is the ledger's."""
        self.alert = alert
        self._clock = clock
        self._rows: dict[tuple[str, str], Noted] = {}
        self._kinds: frozenset[str] = frozenset()
        self.changed = False
        """Whether there is something that is not in the ledger yet."""
        self.loaded = False
        """Whether it is known what was told before the start."""

    def __iter__(self) -> Iterator[Noted]:
        return iter(list(self._rows.values()))

    def keep(self, kinds: Iterable[str]) -> None:
        """Only these are watched from now on; what was noted of others is no longer true when they are again."""
        self._kinds = frozenset(kinds)
        kept = {key: row for key, row in self._rows.items() if row.cause in self._kinds}
        self.changed |= len(kept) < len(self._rows)
        self._rows = kept

    def load(self, rows: Iterable[Noted]) -> None:
        """Take what was in the ledger; what is here already is newer."""
        noted = [row for row in rows if row.alert == self.alert]
        mine = [row for row in noted if row.cause in self._kinds]
        self.changed |= len(mine) < len(noted)
        self._rows = {(row.cause, row.subject): row for row in mine} | self._rows
        self.loaded = True

    def told(self, kind: str, subject: str) -> Noted | None:
        """The cause, if it was told and is not over."""
        row = self._rows.get((kind, subject))
        return row if row is not None and row.since is not None else None

    def open(self) -> list[Noted]:
        """All that were told and are not over."""
        return [row for row in self if row.since is not None]

    def watched_since(self, kind: str) -> int | None:
        """Since when it watches this kind (microseconds since 1970); None at its first look, which this call notes."""
        if (row := self._rows.get((kind, _START))) is not None:
            return row.noted_at
        self._put(kind, _START, None, 0)
        return None

    def level(self, kind: str, subject: str) -> int:
        """How many there were when it was last told, or was over, or when the watch began."""
        row = self._rows.get((kind, subject))
        return 0 if row is None else row.level

    def remember(self, kind: str, subject: str, level: int) -> None:
        """So many are no news any more."""
        row = self._rows.get((kind, subject))
        if row is not None and row.since is not None:  # written with its end; until then it makes no difference
            self._rows[kind, subject] = row._replace(level=level)
        else:
            self._put(kind, subject, None, level)

    def opened(self, kind: str, subject: str, since: int, level: int) -> None:
        """It has been told; no matter if it is no longer watched, since nobody would see its end."""
        if kind in self._kinds:
            self._put(kind, subject, since, level)

    def closed(self, kind: str, subject: str) -> None:
        """Its end has been told, or there is nobody to tell."""
        row = self._rows.pop((kind, subject), None)
        if row is None:  # dropped by a reload while that was under way
            return
        self.changed = True
        if row.level:
            self._put(kind, subject, None, row.level)

    def _put(self, kind: str, subject: str, since: int | None, level: int) -> None:
        self._rows[kind, subject] = Noted(self.alert, kind, subject, since, self._clock(), level)
        self.changed = True


def save(notes: Iterable[Notes], store: Alerts, machine: str, *, others: bool = False) -> bool:
    """Write all of them, if one has changed; `others`: or if there are any of alerts that are gone.

    Returns whether the ledger is as it should be: not until all are known. Raises `LedgerUnavailable`.
    """
    all_notes = list(notes)
    if not all(each.loaded for each in all_notes):
        return False
    gone = others and {row.alert for row in store.all(machine)} - {each.alert for each in all_notes}
    if gone or any(each.changed for each in all_notes):
        store.note(machine, [row for each in all_notes for row in each])
        for each in all_notes:
            each.changed = False
    return True
