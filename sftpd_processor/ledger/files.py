"""What the ledger knows of files: sightings, looks, disposal, and which local copies are still to be written."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import Connection, delete, func, insert, select, update

from sftpd_processor.ledger.bulk import select_in, update_rows
from sftpd_processor.ledger.database import Database, within
from sftpd_processor.ledger.records import Clock, Known, LookCounts, Unarchived
from sftpd_processor.ledger.schema import UNARCHIVED, contents, files, looks
from sftpd_processor.sources.base import Entry

_KEPT_LOOKS = 1000
# A name that is used again and again has many rows: only those as old as the batch can match.
_KNOWN = """
    SELECT name, size, mtime, id, state, first_seen, look, occurrence, sha256, disposed_look, reason FROM files
    WHERE source = ? AND mtime BETWEEN ? AND ? AND name IN (*) ORDER BY occurrence"""

_RAW = Unarchived._fields.index("raw")


class Files:
    """Verbs about files."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def begin_look(self, source: str) -> int:
        """The number of a new look; greater than that of any look before."""
        with self._database.write() as connection:
            statement = insert(looks).values(source=source, started_at=self._clock())
            return int(connection.execute(statement.returning(looks.c.id)).scalar_one())

    def end_look(self, source: str, look: int, counts: LookCounts, failure: str | None = None) -> None:
        """Write what the look found. A complete one shows which waiting files are gone: they have vanished."""
        with self._database.write() as connection:
            if failure is None:
                connection.execute(
                    update(files)
                    .where(files.c.source == source, files.c.look < look, files.c.state == "waiting")
                    .values(state="vanished", reason="it was gone, or had changed, at the next look")
                )
            connection.execute(
                update(looks)
                .where(looks.c.id == look)
                .values(finished_at=self._clock(), failure=failure, **asdict(counts))
            )
            connection.execute(delete(looks).where(looks.c.source == source, looks.c.id <= look - _KEPT_LOOKS))

    def known(self, source: str, entries: Sequence[Entry]) -> dict[Entry, Known]:
        """Those of `entries` that the ledger knows at this very size and mtime."""
        with self._database.read() as connection:
            return known_in(connection, source, entries)

    def disposed(self, done: Iterable[tuple[int, str]], look: int) -> None:
        """Note what `look` did at the source with recorded files: (number, what)."""
        at = self._clock()
        rows = [(number, what, at, look) for number, what in done]
        if rows:
            with self._database.write() as connection:
                update_rows(connection, files, ("disposal", "disposed_at", "disposed_look"), rows)

    def unarchived(self, limit: int) -> list[Unarchived]:
        """Recorded files without a local copy, oldest first; no more than fit into memory."""
        columns = [
            files.c.id, files.c.source, files.c.name, files.c.mtime, files.c.size, files.c.verdict, files.c.reason,
            files.c.origin, files.c.recorded_at, files.c.sha256, files.c.former_path,
            contents.c.raw,
        ]  # fmt: skip
        statement = (
            select(*columns)
            .join(contents, contents.c.file_id == files.c.id)
            .where(UNARCHIVED)
            .order_by(files.c.id)
            .limit(limit)
        )
        with self._database.read() as connection:
            rows = connection.execution_options(stream_results=True).execute(statement)
            return [Unarchived._make(row) for row in within(rows, _RAW)]

    def archived(self, done: Iterable[tuple[int, str]]) -> None:
        """Note where local copies were written: (number, path relative to the state folder)."""
        at = self._clock()
        rows = [(number, path, at, None) for number, path in done]
        if rows:
            with self._database.write() as connection:
                update_rows(connection, files, ("archive_path", "archived_at", "former_path"), rows)

    def knows(self, source: str, name: str, sha256: str) -> bool:
        """Whether a recorded file of that name had this content."""
        statement = select(func.count()).where(files.c.source == source, files.c.name == name, files.c.sha256 == sha256)
        with self._database.read() as connection:
            return bool(connection.execute(statement).scalar())


def known_in(connection: Connection, source: str, entries: Sequence[Entry]) -> dict[Entry, Known]:
    """Those of `entries` that the ledger knows at this very size and mtime."""
    if not entries:
        return {}
    asked = {(entry.name, entry.size, entry.mtime): entry for entry in entries}
    times = [entry.mtime for entry in entries]
    found: dict[Entry, Known] = {}
    for row in select_in(connection, _KNOWN, (source, min(times), max(times)), [entry.name for entry in entries]):
        if (entry := asked.get(row[:3])) is not None:
            found[entry] = Known._make(row[3:])  # the highest occurrence comes last
    return found
