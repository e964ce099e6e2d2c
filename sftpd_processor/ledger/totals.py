"""How many files, events and deliveries there ever were: exact over restarts and processes, and quick to read.

Each number is raised by the very transaction that makes it so. What a person undoes later (a dead letter put back, a
file in quarantine read again) stays counted: these are for rates, and `figures` for what is true now.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, select

from sftpd_processor.events.models import EVENT_TYPES
from sftpd_processor.ledger.bulk import insert_rows
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import Clock
from sftpd_processor.ledger.schema import totals

Key = tuple[str, str, str]
"""("file", source, verdict), ("event", type, origin) or ("delivery", handler, done | skipped | dead | retried)."""

OTHER = "other"
"""The type of all events whose type has no class of its own: whoever sends events chooses how many those are."""

_RAISED = "(kind, one, two) DO UPDATE SET number = totals.number + excluded.number, last_at = excluded.last_at"
_PROBE: Key = ("probe", "", "")
UPKEEP = "upkeep"
"""The kind of a row that is no total: how often upkeep came to its end on a machine (`one`), and when last."""


class Total(NamedTuple):
    """One number, and when it was last raised (microseconds since 1970)."""

    kind: str
    one: str
    two: str
    number: int
    last_at: int


class Totals:
    """Questions about the totals, and the smallest write that there is."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> list[Total]:
        """Every number of files, events and deliveries. Raises `LedgerUnavailable` before the ledger is open, too."""
        self._database.demand_opened()
        with self._database.read() as connection:
            rows = connection.execute(select(totals).where(totals.c.kind.not_in((_PROBE[0], UPKEEP))))
            return [Total._make(row) for row in rows]

    def probe(self) -> None:
        """Write one row, durably. Raises `LedgerUnavailable` before the ledger is open, too."""
        self._database.demand_opened()
        with self._database.write() as connection:
            add_to_totals(connection, {_PROBE: 1}, self._clock())


def shown_type(kind: str) -> str:
    """A type of event, under the name by which it is counted."""
    return kind if kind in EVENT_TYPES else OTHER


def add_to_totals(connection: Connection, numbers: Mapping[Key, int], at: int) -> None:
    """Raise totals; in the order of their keys, so that no two transactions wait for each other."""
    rows = [(*key, number, at) for key, number in sorted(numbers.items())]
    insert_rows(connection, totals, Total._fields, rows, conflict=_RAISED)
