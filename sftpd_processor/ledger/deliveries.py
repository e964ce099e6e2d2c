"""Deliveries in the ledger: claimed before an attempt, settled after it, both in batches."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, delete, exists, false, func, insert, literal, or_, select, text, update

from sftpd_processor.ledger.bulk import insert_rows
from sftpd_processor.ledger.database import Database, within
from sftpd_processor.ledger.records import Claim, Clock, Settlement
from sftpd_processor.ledger.schema import PENDING, RUNNING, attempts, breakers, deliveries, events, files
from sftpd_processor.ledger.totals import add_to_totals

_EARLIER = deliveries.alias("earlier")
_EARLIER_OPEN = text("earlier.state IN ('pending', 'running')")

_BODY = Claim._fields.index("body")
ATTEMPT = ("delivery_id", "attempt", "outcome", "ended_at", "detail")


class Deliveries:
    """Verbs about deliveries."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def recover(self, *, beside_replay: bool = False) -> dict[str, int]:
        """Make deliveries that were running when the process ended pending again; returns how many by handler.

        A handler that takes the process down with it must not do so for ever: when a single one was running, its
        attempt counts. When it was one of several, none of them is to blame for sure, and none loses its attempt.
        `beside_replay`: a replay runs at this moment, and what it works on is left alone.
        """
        mine = [RUNNING, deliveries.c.replay.is_(None)] if beside_replay else [RUNNING]
        return self._recover(mine)

    def recover_orphans(self) -> dict[str, int]:
        """The same for what a replay left behind that runs no more. Only while none can run."""
        theirs: list[Any] = [RUNNING, deliveries.c.replay.is_not(None)]
        with self._database.read() as connection:
            if connection.execute(select(deliveries.c.id).where(*theirs).limit(1)).first() is None:
                return {}
        return self._recover(theirs)

    def _recover(self, which: Sequence[Any]) -> dict[str, int]:
        running = select(deliveries.c.handler, func.count()).where(*which).group_by(deliveries.c.handler)
        with self._database.write() as connection:
            found = {handler: int(number) for handler, number in connection.execute(running)}
            self._note_cut_off(connection, which)  # written in any case: that it can be is found out here
            for handler, number in found.items():
                connection.execute(
                    update(deliveries)
                    .where(*which, deliveries.c.handler == handler)
                    .values(state="pending", attempts=deliveries.c.attempts - int(number > 1))
                )
        return found

    def _note_cut_off(self, connection: Connection, which: Sequence[Any]) -> None:
        columns = "delivery_id", "attempt", "outcome", "ended_at"
        cut_off = select(deliveries.c.id, deliveries.c.attempts, literal("cut off"), literal(self._clock()))
        connection.execute(insert(attempts).from_select(columns, cut_off.where(*which)))

    def claim(self, handler: str, limit: int, *, ordered: bool, untried: bool = False) -> list[Claim]:
        """Take up to `limit` due deliveries of `handler`, oldest first, and count an attempt for each.

        With `ordered`, one that follows an unfinished delivery of its lane is left alone, unless that one is
        taken by this very claim: the events of a conversation never overtake each other. With `untried`, only those
        that have not been tried yet.
        """
        with self._database.write() as connection:
            self._database.one_at_a_time(connection, f"claims of {handler}")
            due = connection.execute(self._due(handler, ordered=ordered, untried=untried).limit(limit))
            rows = within(due, _BODY)
            taken = deliveries.c.id.in_([row[0] for row in rows])
            connection.execute(
                update(deliveries).where(taken).values(state="running", attempts=deliveries.c.attempts + 1, replay=None)
            )
        return [Claim._make(row) for row in rows]

    def settle(self, handler: str, settlements: Iterable[Settlement]) -> None:
        """Write how attempts of `handler` ended; those that ended alike in one statement."""
        at = self._clock()
        alike: dict[tuple[Any, ...], list[int]] = {}
        numbers: Counter[tuple[str, str, str]] = Counter()
        failed: list[tuple[Any, ...]] = []
        for settled in settlements:
            alike.setdefault(settled[1:5], []).append(settled.id)
            if settled.failed:
                failed.append((settled.id, settled.attempts, "failed", at, settled.detail))
            if settled.failed or settled.state != "pending":
                numbers["delivery", handler, "retried" if settled.state == "pending" else settled.state] += 1
        with self._database.write() as connection:
            insert_rows(connection, attempts, ATTEMPT, failed)
            for (state, number, due_at, detail), ids in alike.items():
                statement = update(deliveries).where(deliveries.c.id.in_(ids))
                settled_at = None if state == "pending" else at
                connection.execute(
                    statement.values(state=state, attempts=number, due_at=due_at, detail=detail, settled_at=settled_at)
                )
            add_to_totals(connection, numbers, at)

    def next_due(self, handler: str, after: int) -> int | None:
        """When the next delivery of `handler` becomes due, later than `after` (microseconds); None without any."""
        statement = select(func.min(deliveries.c.due_at)).where(
            deliveries.c.handler == handler, PENDING, deliveries.c.due_at > after
        )
        with self._database.read() as connection:
            due: int | None = connection.execute(statement).scalar()
        return due

    def note_breaker(self, handler: str, opened_at: int | None, probe_at: int) -> None:
        """Write that the breaker of `handler` is open since `opened_at`, or closed (None)."""
        with self._database.write() as connection:
            connection.execute(delete(breakers).where(breakers.c.handler == handler))
            if opened_at is not None:
                connection.execute(insert(breakers).values(handler=handler, opened_at=opened_at, probe_at=probe_at))

    def _due(self, handler: str, *, ordered: bool, untried: bool) -> Select[Any]:
        now = self._clock()
        statement = (
            select(
                deliveries.c.id, deliveries.c.lane, deliveries.c.attempts + 1, events.c.organisation,
                events.c.identity, events.c.type, events.c.conversation, events.c.time_zone, events.c.recorded_at,
                events.c.body, files.c.origin, files.c.source, files.c.name,
            )
            .join(events, events.c.id == deliveries.c.event_id)
            .join(files, files.c.id == events.c.file_id)
            .where(deliveries.c.handler == handler, PENDING, deliveries.c.due_at <= now, events.c.gone.is_(None))
            .order_by(deliveries.c.id)
        )  # fmt: skip
        if untried:
            statement = statement.where(deliveries.c.attempts == 0)
        return statement.where(~_blocked(now, untried=untried)) if ordered else statement


def _blocked(now: int, *, untried: bool) -> Any:
    """An earlier delivery of the same lane is running, or is not taken by the same claim."""
    earlier = _EARLIER.c
    return exists().where(
        earlier.handler == deliveries.c.handler,
        earlier.lane == deliveries.c.lane,
        earlier.id < deliveries.c.id,
        _EARLIER_OPEN,
        or_(earlier.state == "running", earlier.due_at > now, earlier.attempts > 0 if untried else false()),
    )
