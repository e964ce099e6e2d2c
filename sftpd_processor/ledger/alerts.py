"""What people were told is wrong, kept so that a restart does not tell it again; and what that is decided by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import delete, exists, insert, select

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import DEAD, IN_QUARANTINE, alerts, deliveries, files
from sftpd_processor.ledger.upkeep import is_kept


class Noted(NamedTuple):
    """One row: a cause that was told and is not over, or something to remember."""

    alert: str
    """The alert's name in the configuration."""
    cause: str
    """Its kind."""
    subject: str
    """The source, the handler, the type of event; empty: the moment from which on the alert watches this kind."""
    since: int | None
    """When it began (microseconds since 1970); None when it is not told, or over."""
    noted_at: int
    """Microseconds since 1970."""
    level: int = 0
    """Of what grows: how many there were when it was told, or was over, or the alert began to watch."""


class Alerts:
    """Verbs about alerts. A `machine` is one of several that share a ledger: each tells what it sees."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self, machine: str | None = None) -> list[Noted]:
        """Everything noted, of one machine or of all. Raises `LedgerUnavailable` before the ledger is open, too."""
        self._database.demand_opened()
        return self.open(machine, only_told=False)

    def open(self, machine: str | None = None, *, only_told: bool = True) -> list[Noted]:
        """What was told and is not over, the oldest first."""
        statement = select(*(alerts.c[name] for name in Noted._fields)).order_by(alerts.c.since, alerts.c.subject)
        if machine is not None:
            statement = statement.where(alerts.c.machine == machine)
        if only_told:
            statement = statement.where(alerts.c.since.is_not(None))
        with self._database.read() as connection:
            return [Noted._make(row) for row in connection.execute(statement)]

    def note(self, machine: str, rows: Sequence[Noted]) -> None:
        """Put `rows` in the place of all that this machine noted before."""
        with self._database.write() as connection:
            connection.execute(delete(alerts).where(alerts.c.machine == machine))
            if rows:
                connection.execute(insert(alerts), [{"machine": machine, **row._asdict()} for row in rows])

    def in_quarantine(self, source: str) -> bool:
        """Whether a file of that source is in quarantine, and nobody has corrected it."""
        return self._any(exists().where(IN_QUARANTINE, is_kept(), files.c.source == source))

    def dead(self, handler: str) -> bool:
        """Whether that handler has a dead letter."""
        return self._any(exists().where(DEAD, deliveries.c.handler == handler))

    def _any(self, there: exists) -> bool:  # type: ignore[valid-type]
        with self._database.read() as connection:
            return bool(connection.execute(select(there)).scalar())
