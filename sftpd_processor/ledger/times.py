"""When the machine's clock is set: the times that the ledger waits for are moved along with it."""

from __future__ import annotations

from sqlalchemy import func, select, update

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import PENDING, UNTAKEN, deliveries, files, looks


class Times:
    """Verbs about waiting times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def last(self) -> int | None:
        """When the last look began or ended; None before the first."""
        newest = select(func.coalesce(looks.c.finished_at, looks.c.started_at)).order_by(looks.c.id.desc()).limit(1)
        with self._database.read() as connection:
            time: int | None = connection.execute(newest).scalar()
        return time

    def shift(self, by: int) -> None:
        """The clock was set by so many microseconds: what waits goes on waiting as long as before."""
        with self._database.write() as connection:
            connection.execute(update(deliveries).where(PENDING).values(due_at=deliveries.c.due_at + by))
            connection.execute(update(files).where(UNTAKEN).values(first_seen=files.c.first_seen + by))
