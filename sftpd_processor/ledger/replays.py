"""The replays: what people had handled again, and how that ended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from sqlalchemy import func, insert, select, update

from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.bringing import Bringer
from sftpd_processor.ledger.candidates import Candidates
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import Clock
from sftpd_processor.ledger.replaying import Replaying, Terms
from sftpd_processor.ledger.schema import deliveries, events, replayed, replays
from sftpd_processor.ledger.selection import Selection


class ReplayRow(NamedTuple):
    """One replay. Times are microseconds since 1970; `finished_at` is None while there is more to do."""

    id: int
    started_at: int
    finished_at: int | None
    job: str
    report: str | None


class Replays:
    """Verbs about replays."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    @contextmanager
    def alone(self) -> Iterator[bool]:
        """Keep replaying to this process; whether no other machine that shares the ledger does it."""
        with self._database.hold("replay") as mine:
            yield mine

    def begin(self, job: str) -> int:
        """The number of a new replay. `job` is JSON."""
        with self._database.write() as connection:
            statement = insert(replays).values(started_at=self._clock(), job=job).returning(replays.c.id)
            return int(connection.execute(statement).scalar_one())

    def note(self, replay: int, report: str, *, finished: bool) -> None:
        """Keep what came of it until now, as JSON."""
        at = self._clock() if finished else None
        with self._database.write() as connection:
            connection.execute(update(replays).where(replays.c.id == replay).values(report=report, finished_at=at))

    def one(self, replay: int) -> ReplayRow:
        """Raises `PermanentError` when there is none of this number."""
        with self._database.read() as connection:
            row = connection.execute(select(replays).where(replays.c.id == replay)).first()
        if row is None:
            raise PermanentError(f"there is no replay {replay}; `sftpd-processor status` shows the last ones")
        return ReplayRow._make(row)

    def last(self, limit: int) -> list[ReplayRow]:
        """The newest, the latest first."""
        statement = select(replays).order_by(replays.c.id.desc()).limit(limit)
        with self._database.read() as connection:
            return [ReplayRow._make(row) for row in connection.execute(statement)]

    def replaying(self, terms: Terms, *, dry_run: bool = False) -> Replaying:
        """The transactions of one replay."""
        return Replaying(self._database, self._clock, terms, dry_run=dry_run)

    def bringer(self, *, dry_run: bool = False) -> Bringer:
        """Brings the files of an archive."""
        return Bringer(self._database, self._clock, dry_run=dry_run)

    def candidates(self, selection: Selection, handlers: Sequence[str]) -> Candidates:
        """The events of a selection."""
        return Candidates(self._database, selection, handlers)

    def outcomes(self, replay: int) -> dict[str, Counter[str]]:
        """What became of deliveries, also in runs before an interruption: how many by handler and state."""
        found: dict[str, Counter[str]] = {}
        own = select(deliveries.c.handler, deliveries.c.state, func.count()).where(deliveries.c.replay == replay)
        apart = select(replayed.c.handler, replayed.c.state, func.count()).where(replayed.c.replay == replay)
        with self._database.read() as connection:
            for table, statement in ((deliveries, own), (replayed, apart)):
                for handler, state, number in connection.execute(statement.group_by(table.c.handler, table.c.state)):
                    name = "failed" if state in ("pending", "running") else state  # to be tried again
                    found.setdefault(handler, Counter())[name] += number
        return found

    def unsettled(self, replay: int) -> bool:
        """Whether something that was to be done again has failed, and can be tried once more."""
        found = select(replayed.c.event_id).where(replayed.c.replay == replay, replayed.c.state == "failed").limit(1)
        with self._database.read() as connection:
            return connection.execute(found).first() is not None

    def details(self, replay: int) -> list[tuple[str, str | None, int]]:
        """Of a shadow run: type of event, what was noted, how often."""
        columns = (events.c.type, replayed.c.detail)
        statement = (
            select(*columns, func.count())
            .join(events, events.c.id == replayed.c.event_id)
            .where(replayed.c.replay == replay, replayed.c.state == "done")
            .group_by(*columns)
        )
        with self._database.read() as connection:
            return [(str(kind), detail, int(number)) for kind, detail, number in connection.execute(statement)]
