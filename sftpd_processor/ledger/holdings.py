"""Which local copies there are to be, by what the ledger knows: for looking into the archive, and for verifying it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, func, select

from sftpd_processor.events.identity import keyed
from sftpd_processor.ledger.bulk import portions
from sftpd_processor.ledger.candidates import of_customers
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import contents, events, files
from sftpd_processor.ledger.selection import Selection, between, named

DAY = 86_400_000_000  # microseconds
_AT_ONCE = 500


class Holding(NamedTuple):
    """A recorded file, and its copy. Times are the ledger's."""

    id: int
    source: str
    name: str
    size: int
    recorded_at: int
    verdict: str
    events: int
    sha256: str | None
    """Of the copy as it is kept."""
    stored: str | None
    """Where the copy lies, below the state folder; None: it is still to be written."""
    gone: str | None
    """Why the copy is not kept (`expired`, `forgotten`), or not as it came (`altered`)."""
    raw: bool
    """Whether the ledger has its bytes."""

    @property
    def kept(self) -> bool:
        """Whether there is to be a copy."""
        return self.gone in (None, "altered")


_COLUMNS = (
    files.c.id, files.c.source, files.c.name, files.c.size, files.c.recorded_at, files.c.verdict, files.c.events,
    files.c.sha256, files.c.archive_path, files.c.gone, contents.c.file_id.is_not(None),
)  # fmt: skip
_HOLDINGS = (
    select(*_COLUMNS)
    .select_from(files.outerjoin(contents, contents.c.file_id == files.c.id))
    .where(files.c.state == "recorded")
)


class Holdings:
    """Questions about copies."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def chosen(self, selection: Selection) -> Iterator[Holding]:
        """The recorded files that fit, in the order recorded; never holds more than some hundred.

        Of `selection` that counts which tells of files: source, name, verdict and time; and the types, conversations
        and customers of the events that a file brought first.
        """
        after, fit, about = 0, _fitting(selection), of_customers(selection.customers)
        while found := self._found(files.c.id > after, *fit, limit=_AT_ONCE):
            yield from self._with(found, about) if selection.customers else found
            after = found[-1].id

    def days(self) -> list[tuple[str, int]]:
        """Of which sources and days (days since 1970) files were recorded, oldest first."""
        day = (files.c.recorded_at // DAY).label("day")
        statement = select(files.c.source, day).where(files.c.state == "recorded").distinct()
        with self._database.read() as connection:
            return sorted(
                ((source, int(day)) for source, day in connection.execute(statement)), key=lambda unit: unit[::-1]
            )

    def number(self) -> int:
        """How many files were recorded."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.count()).where(files.c.state == "recorded")) or 0)

    def of_day(self, source: str, day: int) -> list[Holding]:
        """The files that `source` brought on that day."""
        on_it = between(files.c.recorded_at, day * DAY, (day + 1) * DAY)
        return self._found(files.c.source == source, *on_it)

    def again(self, ids: Sequence[int]) -> list[Holding]:
        """The files of these numbers, as they are now."""
        return [one for part in portions(ids) for one in self._found(files.c.id.in_(part))]

    def at(self, stored: Sequence[str]) -> list[Holding]:
        """The files whose copies lie there; looks through all files."""
        return [one for part in portions(stored) for one in self._found(files.c.archive_path.in_(part))]

    def _with(self, found: list[Holding], about: Callable[[bytes], bool]) -> list[Holding]:
        bodies = select(events.c.file_id, events.c.body).where(
            events.c.file_id.in_([one.id for one in found]), events.c.body != b""
        )
        with self._database.read() as connection:
            rows = connection.execute(bodies)
            theirs = {file for file, body in rows if about(body)}
        return [one for one in found if one.id in theirs]

    def _found(self, *fit: ColumnElement[bool], limit: int | None = None) -> list[Holding]:
        statement = _HOLDINGS.where(*fit).order_by(files.c.id).limit(limit)
        with self._database.read() as connection:
            return [Holding._make(row) for row in connection.execute(statement)]


def _fitting(selection: Selection) -> list[ColumnElement[bool]]:
    brought = select(events.c.id).where(events.c.file_id == files.c.id)
    return [
        *([files.c.source.in_(selection.sources)] if selection.sources else []),
        *([] if selection.file is None else [named(files.c.name, selection.file)]),
        *([files.c.verdict.in_(selection.verdicts)] if selection.verdicts else []),
        *between(files.c.recorded_at, selection.since, selection.until),
        *([brought.where(events.c.type.in_(selection.types)).exists()] if selection.types else []),
        *(
            [brought.where(events.c.conversation.in_(map(keyed, selection.conversations))).exists()]
            if selection.conversations
            else []
        ),
    ]
