"""What the ledger knows of the files whose copies lie in one day's folder of the archive."""

from __future__ import annotations

from datetime import UTC, date, datetime

from sqlalchemy import select

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import Noted
from sftpd_processor.ledger.schema import files

_DAY = 86_400_000_000  # microseconds


class KeptCopies:
    """Questions about the archive's days."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def of_day(self, source: str, day: date) -> dict[str, Noted]:
        """The files in `archive/<source>/<day>` by the names of their copies.

        Where several files share one copy it is the one recorded first.
        """
        begin = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
        folder = f"archive/{source}/{day:%Y/%m/%d}/"
        statement = (
            select(
                files.c.archive_path, files.c.sha256, files.c.mtime, files.c.recorded_at, files.c.origin,
                files.c.verdict, files.c.name,
            )
            .where(files.c.source == source, files.c.recorded_at.between(begin, begin + _DAY - 1))
            .where(files.c.archive_path.startswith(folder, autoescape=True))
            .where(files.c.gone.is_(None) | (files.c.gone == "altered"))
            .order_by(files.c.id)
        )  # fmt: skip
        found: dict[str, Noted] = {}
        with self._database.read() as connection:
            for path, *noted in connection.execute(statement):
                found.setdefault(path[len(folder) :], Noted._make(noted))
        return found
