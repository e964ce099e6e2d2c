"""What upkeep does in the ledger: raw bytes, contents and rows that are not needed any more go.

Each verb is one short transaction of up to `AT_ONCE` rows, and may be called again at any time: what is done is not
done twice. A day is the number of days since 1970, UTC; times are microseconds since then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, delete, exists, func, or_, select, tuple_, update

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import QUARANTINED, Clock
from sftpd_processor.ledger.schema import (
    DEAD,
    OPEN,
    UNARCHIVED,
    contents,
    deliveries,
    events,
    files,
    repeats,
    replayed,
    totals,
)
from sftpd_processor.ledger.totals import UPKEEP, add_to_totals

AT_ONCE = 500
DAY = 86_400_000_000
"""Microseconds."""
Place = tuple[str, int]
"""A source, and a day of it."""

_MOST_BYTES = 4 << 20  # of raw bytes in one transaction
_SHRINK = 500  # pages
_LISTED = ("sftp", "directory")


class Copied(NamedTuple):
    """A recorded file whose bytes are in the ledger although its copy is written."""

    id: int
    path: str
    """Below the state folder."""
    bytes: int


class Kept(NamedTuple):
    """A recorded file in the order of these rows."""

    recorded_at: int
    id: int
    source: str


class LedgerUpkeep:
    """Verbs about what does not stay for ever."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def first_unarchived(self) -> int | None:
        """The number of the first recorded file without a local copy."""
        with self._database.read() as connection:
            first: int | None = connection.execute(select(func.min(files.c.id)).where(UNARCHIVED)).scalar()
        return first

    def copied(self, before: int, after: int) -> list[Copied]:
        """Files that were archived before a time and have their bytes here; by number, the first one after `after`."""
        statement = (
            select(files.c.id, files.c.archive_path, func.length(contents.c.raw))
            .join(contents, contents.c.file_id == files.c.id)
            .where(contents.c.file_id > after, *_archived(before))
            .order_by(contents.c.file_id)
            .limit(AT_ONCE)
        )
        with self._database.read() as connection:
            found = [Copied._make(row) for row in connection.execute(statement)]
        sums = accumulate(file.bytes for file in found)
        return [file for file, total in zip(found, sums, strict=True) if file is found[0] or total <= _MOST_BYTES]

    def release(self, numbers: Collection[int], before: int) -> int:
        """Drop the raw bytes of these files, unless one is to be archived anew since; returns how many."""
        with self._database.write() as connection:
            still = select(files.c.id).where(files.c.id.in_(numbers), *_archived(before)).with_for_update()
            gone = delete(contents).where(contents.c.file_id.in_(connection.scalars(still).all()))
            return connection.execute(gone).rowcount

    def days(self, before: int) -> Iterator[int]:
        """The days before that one on which files were recorded, oldest first; each is one look into an index."""
        day = self._first_day(0)
        while day is not None and day < before:
            yield day
            day = self._first_day(day + 1)

    def held(self, before: int) -> set[Place]:
        """Places of that age with deliveries that are still open, or with files that have no local copy yet."""
        day = files.c.recorded_at // DAY
        old = day < before  # not by the time itself: SQLite would walk through the index of all old ones
        unsent = select(files.c.source, day).where(UNARCHIVED, old).distinct()
        waiting = (
            select(files.c.source, day)
            .select_from(deliveries)
            .join(events, events.c.id == deliveries.c.event_id)
            .join(files, files.c.id == events.c.file_id)
            .where(OPEN, old)
            .distinct()
        )
        with self._database.read() as connection:
            return {(source, day) for each in (unsent, waiting) for source, day in connection.execute(each)}

    def kept(self, day: int, after: Kept | None, *, quarantined: bool) -> list[Kept]:
        """Files of that day whose copies are kept, in the archive or in quarantine; the first one after `after`."""
        where = files.c.verdict.in_(QUARANTINED)
        return self._page(day, after, is_kept(), where if quarantined else ~where)

    def gone(self, day: int, after: Kept | None) -> list[Kept]:
        """Files of that day whose copies are not kept any more; the first one after `after`."""
        return self._page(day, after, ~is_kept())

    def empty(self, numbers: Sequence[int]) -> int:
        """Drop the contents of events that these files brought, and what is settled of them; 0 when none is left.

        Dead letters stay for their own time. An event with an open delivery keeps its contents.
        """
        still = select(events.c.id).where(events.c.file_id.in_(numbers), events.c.gone.is_(None), ~_delivered(OPEN))
        with self._database.write() as connection:
            found = _locked(connection, still)
            # Asked once more: while it waited for the rows, a dead letter may have been put back.
            gone = update(events).where(events.c.id.in_(found), ~_delivered(OPEN)).values(body=b"", gone="expired")
            _drop_settled(connection, connection.scalars(gone.returning(events.c.id)).all())
        return len(found)

    def expire(self, numbers: Sequence[int]) -> int:
        """The copies of these files are removed. One whose events are not all gone stays as it is."""
        alive = exists().where(events.c.file_id == files.c.id, events.c.gone.is_(None))
        gone = update(files).where(files.c.id.in_(numbers), ~alive).values(gone="expired", archive_path=None)
        with self._database.write() as connection:
            found = connection.scalars(gone.returning(files.c.id)).all()
            connection.execute(delete(contents).where(contents.c.file_id.in_(found)))
        return len(found)

    def drop_dead(self, before: int) -> int:
        """Remove dead letters that died before a time, with their attempts; returns how many."""
        old = select(deliveries.c.id).where(DEAD, deliveries.c.settled_at < before).limit(AT_ONCE).with_for_update()
        with self._database.write() as connection:
            found = connection.scalars(old).all()
            connection.execute(delete(deliveries).where(deliveries.c.id.in_(found)))
        return len(found)

    def forget_events(self, numbers: Sequence[int], before: int) -> int:
        """Remove events of these files, and that they came again, if they are gone and so old; 0 when none is left."""
        unsettled = or_(OPEN, DEAD)
        old = select(events.c.id).where(
            events.c.file_id.in_(numbers),
            events.c.gone.is_not(None),
            events.c.recorded_at < before,
            ~_delivered(unsettled),
        )
        with self._database.write() as connection:
            found = _locked(connection, old)
            _drop_settled(connection, found)
            connection.execute(delete(repeats).where(repeats.c.event_id.in_(found)))
            connection.execute(delete(events).where(events.c.id.in_(found)))
        return len(found)

    def forget_files(self, numbers: Sequence[int]) -> int:
        """Remove those of these files that brought no event and have no copy, with all that is known of them.

        Not those that were left where they came from: they are listed at each look, and would be taken as new. Nor
        those that a person put in the place of one, since that one refers to it.
        """
        done = delete(files).where(
            files.c.id.in_(numbers),
            ~is_kept(),
            or_(files.c.disposed_look.is_not(None), files.c.origin.not_in(_LISTED)),
            files.c.origin != "replay",
            ~exists().where(events.c.file_id == files.c.id),
        )
        with self._database.write() as connection:
            return connection.execute(done).rowcount

    def shrink(self) -> int:
        """Cut some empty pages off the file; returns how many bytes, 0 when nothing is left to be cut off."""
        before = self._database.spare()
        if before is None or not before.shrinks or not before.pages:
            return 0
        self._database.shrink(_SHRINK)
        after = self._database.spare()
        return 0 if after is None else max(0, before.bytes - after.bytes)

    def wasted(self) -> int:
        """Bytes of empty pages that cannot be cut off: the file was made by a version that did not prepare for it."""
        found = self._database.spare()
        return 0 if found is None or found.shrinks else found.bytes

    def checkpoint(self) -> None:
        """Cut the write-ahead log short, unless others are at work just now."""
        if self._database.spare() is not None:
            self._database.checkpoint()

    def last(self, machine: str) -> int | None:
        """When upkeep last came to its end on that machine; None before the first time."""
        key = totals.c.kind == UPKEEP, totals.c.one == machine
        with self._database.read() as connection:
            last: int | None = connection.execute(select(totals.c.last_at).where(*key)).scalar()
        return last

    def done(self, machine: str) -> None:
        """Note that it came to its end now."""
        with self._database.write() as connection:
            add_to_totals(connection, {(UPKEEP, machine, ""): 1}, self._clock())

    def _first_day(self, day: int) -> int | None:
        first = select(func.min(files.c.recorded_at)).where(files.c.recorded_at >= day * DAY)
        with self._database.read() as connection:
            found: int | None = connection.execute(first).scalar()
        return None if found is None else found // DAY

    def _page(self, day: int, after: Kept | None, *which: ColumnElement[bool]) -> list[Kept]:
        at, number, _ = after or Kept(day * DAY, 0, "")
        place = tuple_(files.c.recorded_at, files.c.id)
        statement = (
            select(files.c.recorded_at, files.c.id, files.c.source)
            .where(files.c.recorded_at >= at, files.c.recorded_at < (day + 1) * DAY, place > (at, number), *which)
            .order_by(files.c.recorded_at, files.c.id)
            .limit(AT_ONCE)
        )
        with self._database.read() as connection:
            return [Kept._make(row) for row in connection.execute(statement)]


def is_kept() -> ColumnElement[bool]:
    """Whether a recorded file still has its local copy, if only without what was forgotten."""
    return or_(files.c.gone.is_(None), files.c.gone == "altered")


def _archived(before: int) -> tuple[ColumnElement[bool], ...]:
    return files.c.archived_at < before, files.c.archive_path.is_not(None)


def _delivered(state: Any) -> ColumnElement[bool]:
    """Whether an event has a delivery in that state."""
    return exists().where(deliveries.c.event_id == events.c.id, state)


def _locked(connection: Connection, wanted: Select[int]) -> Sequence[int]:
    """The numbers of some events, which no other transaction changes, or begins to deliver, before this one ends."""
    return connection.scalars(wanted.order_by(events.c.id).limit(AT_ONCE).with_for_update(of=events)).all()


def _drop_settled(connection: Connection, numbers: Sequence[int]) -> None:
    settled = deliveries.c.state.in_(("done", "skipped"))
    connection.execute(delete(deliveries).where(deliveries.c.event_id.in_(numbers), settled))
    connection.execute(delete(replayed).where(replayed.c.event_id.in_(numbers)))
