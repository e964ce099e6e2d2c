"""A person's data leaves the ledger. What tells that an event was handled stays, so that it is not handled again."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, insert, select, update

from sftpd_processor.events.identity import keyed
from sftpd_processor.ledger.database import Database, within
from sftpd_processor.ledger.records import Clock
from sftpd_processor.ledger.schema import attempts, contents, deliveries, events, files, forgettings, replayed, replays

_AT_ONCE, _KEYS = 2000, 500
_OF_CONTENTS = 100
_ZEROS = 1 << 20  # bytes written at once
_FORGOTTEN = "(forgotten)"
"""In place of an id; nothing goes by it."""

Fits = Callable[[bytes], bool]


class Found(NamedTuple):
    """An event of theirs: its number, and of the file that brought it first source and time of recording."""

    id: int
    source: str
    recorded_at: int


class LedgerForgetting:
    """Verbs that remove. Each can be done again; together they leave one row in `forgettings`."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._number: int | None = None

    def bodies(self) -> int:
        """How many events have a body to look into."""
        with self._database.read() as connection:
            return int(connection.scalar(select(func.count()).where(events.c.gone.is_(None))) or 0)

    def events(self, fits: Fits) -> Iterator[tuple[int, list[Found]]]:
        """Events whose JSON fits, page by page, each with the number of events looked at for it."""
        statement = (
            select(events.c.id, events.c.body, files.c.source, files.c.recorded_at)
            .join(files, files.c.id == events.c.file_id)
            .where(events.c.gone.is_(None))
            .order_by(events.c.id)
            .limit(_AT_ONCE)
        )
        after = 0
        while page := self._page(statement.where(events.c.id > after), 1):
            yield len(page), [Found(number, *place) for number, body, *place in page if fits(body)]
            after = page[-1][0]

    def expired(self, conversations: Collection[str]) -> list[Found]:
        """Events of these conversations whose contents have expired: their conversation is known nevertheless."""
        keys, found = sorted(map(keyed, conversations)), list[Found]()
        for at in range(0, len(keys), _KEYS):
            statement = (
                select(events.c.id, files.c.source, files.c.recorded_at)
                .join(files, files.c.id == events.c.file_id)
                .where(events.c.gone == "expired", events.c.conversation.in_(keys[at : at + _KEYS]))
            )
            with self._database.read() as connection:
                found += [Found._make(row) for row in connection.execute(statement)]
        return found

    def blank(self, ids: Sequence[int]) -> list[int]:
        """Remove these events but for their identities; returns those left alone, since a handler has them now.

        Deliveries of theirs that were still to be made, and dead letters, become `skipped`: nobody gets them later.
        """
        with self._secure() as connection:
            self._hold_claims(connection, ids)
            running = select(deliveries.c.event_id).where(
                deliveries.c.event_id.in_(ids), deliveries.c.state == "running"
            )
            held = set(connection.scalars(running))
            gone = [number for number in ids if number not in held]
            self._skip(connection, ids)
            self._remove_bodies(connection, gone)
        return sorted(held)

    def contents(self, fits: Fits, *, unarchived: bool) -> list[int]:
        """The files whose bytes in the ledger fit: of those without a copy yet, or of those with one."""
        statement = (
            select(contents.c.file_id, contents.c.raw)
            .join(files, files.c.id == contents.c.file_id)
            .where(files.c.archived_at.is_(None) if unarchived else files.c.archived_at.is_not(None))
            .order_by(contents.c.file_id)
            .limit(_OF_CONTENTS)
        )
        after, found = 0, list[int]()
        while page := self._page(statement.where(contents.c.file_id > after), 1):
            found += [number for number, raw in page if fits(raw)]
            after = page[-1][0]
        return found

    def unarchived(self, ids: Sequence[int]) -> int:
        """How many of these files have no copy yet."""
        with self._database.read() as connection:
            waits = select(func.count()).where(files.c.id.in_(ids), files.c.archived_at.is_(None))
            return int(connection.scalar(waits) or 0)

    def release(self, ids: Sequence[int]) -> None:
        """Remove the bytes of these files; what is kept of them is in the archive."""
        for at in range(0, len(ids), _AT_ONCE):
            with self._secure() as connection:
                connection.execute(delete(contents).where(contents.c.file_id.in_(ids[at : at + _AT_ONCE])))

    def note(self, copies: dict[int, str | None]) -> None:
        """Of each file the SHA-256 of what is kept of its copy from now on; None: nothing."""
        with self._secure() as connection:
            for number, digest in copies.items():
                mine = update(files).where(files.c.id == number)
                if digest is None:
                    connection.execute(mine.values(gone="forgotten", reason=None))
                else:
                    connection.execute(mine.values(gone="altered", sha256=digest))
            self._count(connection, files=len(copies))

    def clear_replays(self, ids: Collection[str]) -> int:
        """Take these ids out of what replays were asked for, and of their reports; returns how many held one."""
        changed = 0
        with self._secure() as connection:
            for number, *texts in connection.execute(select(replays.c.id, replays.c.job, replays.c.report)).all():
                cleared = [text and _cleared(text, ids) for text in texts]
                if cleared != texts:
                    values = dict(zip(("job", "report"), cleared, strict=True))
                    connection.execute(update(replays).where(replays.c.id == number).values(values))
                    changed += 1
        return changed

    def scrub(self) -> bool:
        """Overwrite what is free in the database's file and cut short the log beside it, where it is SQLite's.

        Returns False when others read at the moment, so that the log could not be cut short.
        """
        if (spare := self._database.spare()) is None:
            return True
        self._fill(spare.bytes)
        with self._database.read() as connection:
            busy, *_ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        return not busy

    def _fill(self, free: int) -> None:
        """Take every free page, so that zeros are written over it, and give them back; a little at a time."""
        with self._secure() as connection:
            connection.exec_driver_sql("DROP TABLE IF EXISTS scrubbing")  # of a run that was cut off
            connection.exec_driver_sql("CREATE TABLE scrubbing (zeros BLOB)")
        for at in range(0, free, _ZEROS):
            with self._secure() as connection:
                zeros = min(free - at, _ZEROS)
                connection.exec_driver_sql("INSERT INTO scrubbing VALUES (zeroblob(?))", (zeros,))
        with self._secure() as connection:
            connection.exec_driver_sql("DROP TABLE scrubbing")

    def _hold_claims(self, connection: Connection, ids: Sequence[int]) -> None:
        """Until the end of the transaction nobody claims what is pending of these."""
        mine = deliveries.c.event_id.in_(ids), deliveries.c.state == "pending"
        for handler in sorted(connection.scalars(select(deliveries.c.handler).where(*mine).distinct())):
            self._database.one_at_a_time(connection, f"claims of {handler}")

    def _skip(self, connection: Connection, ids: Sequence[int]) -> None:
        mine = deliveries.c.event_id.in_(ids), deliveries.c.state.in_(("pending", "dead"))
        settled = {"state": "skipped", "settled_at": self._clock(), "detail": "forgotten"}
        connection.execute(update(deliveries).where(*mine).values(settled))

    def _remove_bodies(self, connection: Connection, ids: Sequence[int]) -> None:
        mine = deliveries.c.event_id.in_(ids)
        theirs = select(deliveries.c.id).where(mine)
        connection.execute(update(attempts).where(attempts.c.delivery_id.in_(theirs)).values(detail=None))
        connection.execute(update(replayed).where(replayed.c.event_id.in_(ids)).values(detail=None))
        said = deliveries.c.detail != "forgotten"
        connection.execute(update(deliveries).where(mine, said).values(detail=None))
        connection.execute(update(deliveries).where(mine).values(lane=None))
        gone = {"body": b"", "gone": "forgotten", "conversation": None}
        connection.execute(update(events).where(events.c.id.in_(ids)).values(gone))
        self._count(connection, events=len(ids))

    def _count(self, connection: Connection, *, events: int = 0, files: int = 0) -> None:
        """Add to the trace of this forgetting, in the transaction of what it counts."""
        if not events and not files:
            return
        if self._number is None:
            begun = insert(forgettings).values(done_at=self._clock(), events=0, files=0)
            self._number = int(connection.execute(begun.returning(forgettings.c.id)).scalar_one())
        more = {"events": forgettings.c.events + events, "files": forgettings.c.files + files}
        connection.execute(update(forgettings).where(forgettings.c.id == self._number).values(more))

    def _page(self, statement: Any, column: int) -> list[Any]:
        with self._database.read() as connection:
            return within(connection.execution_options(stream_results=True).execute(statement), column)

    @contextmanager
    def _secure(self) -> Iterator[Connection]:
        """A transaction that writes zeros over what it removes, where the database can do so."""
        with self._database.write() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("PRAGMA secure_delete = ON")
            yield connection


def _cleared(text: str, ids: Collection[str]) -> str:
    """The JSON with another word in place of each text that is one of `ids`; as it is when none is."""
    found = False

    def clear(value: Any) -> Any:
        nonlocal found
        if isinstance(value, dict):
            return {key: clear(each) for key, each in value.items()}
        if isinstance(value, list):
            return [clear(each) for each in value]
        if not isinstance(value, str) or value not in ids:
            return value
        found = True
        return _FORGOTTEN

    cleared = clear(json.loads(text))
    return json.dumps(cleared) if found else text
