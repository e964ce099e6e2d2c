"""What the ledger knows of one file or one event: everything that `why` tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Table, func, select

from sftpd_processor.events.identity import idempotency_key, message_identity
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import OPEN, attempts, deliveries, events, files, repeats, replayed
from sftpd_processor.ledger.selection import named

Row = dict[str, Any]
_EVENT = (
    events.c.id, events.c.type, events.c.identity, events.c.organisation, events.c.position, events.c.created_at,
    events.c.recorded_at, events.c.file_id, events.c.gone,
)  # fmt: skip
_MESSAGES = ("inboundMessage", "messageSend")
_UPDATE = "messageStatusUpdate"


class Stories:
    """Questions about one thing."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def files(self, name: str, source: str | None, limit: int) -> tuple[list[Row], int]:
        """The last `limit` files of that name (`*` and `?` stand for others), oldest first; and how many there are."""
        fit = [named(files.c.name, name), *([] if source is None else [files.c.source == source])]
        found = self._database.rows(select(files).where(*fit).order_by(files.c.id.desc()).limit(limit))
        return found[::-1], len(found) if len(found) < limit else self._count(files, *fit)

    def file(self, number: int) -> Row:
        """One file."""
        return self._database.rows(select(files).where(files.c.id == number))[0]

    def events_of(self, file: int, limit: int) -> tuple[list[Row], int]:
        """The first `limit` events that `file` brought first, and how many these are."""
        mine = events.c.file_id == file
        found = self._database.rows(select(*_EVENT).where(mine).order_by(events.c.position).limit(limit))
        return found, len(found) if len(found) < limit else self._count(events, mine)

    def repeats_of(self, file: int, limit: int) -> list[Row]:
        """The events in `file` that had come before, and in which file."""
        statement = (
            select(repeats, events.c.type, files.c.source, files.c.name)
            .join(events, events.c.id == repeats.c.event_id)
            .join(files, files.c.id == events.c.file_id)
            .where(repeats.c.file_id == file)
            .order_by(repeats.c.position)
            .limit(limit)
        )
        return self._database.rows(statement)

    def repeated(self, event: int, limit: int) -> tuple[list[Row], int]:
        """The first `limit` files in which `event` came again, and how often it did."""
        mine = repeats.c.event_id == event
        statement = (
            select(repeats.c.conflict, files.c.source, files.c.name, files.c.recorded_at)
            .join(files, files.c.id == repeats.c.file_id)
            .where(mine)
            .order_by(files.c.id)
            .limit(limit)
        )
        found = self._database.rows(statement)
        return found, len(found) if len(found) < limit else self._count(repeats, mine)

    def event(self, number: int) -> Row | None:
        """The event with that number in the ledger."""
        return next(iter(self._database.rows(select(*_EVENT).where(events.c.id == number))), None)

    def messages(self, action: str) -> list[int]:
        """The numbers of the messages, and status updates of messages, with that `communicationActionId`."""
        exact = [message_identity(kind, action) for kind in _MESSAGES]
        updates = message_identity(_UPDATE, action).removesuffix("]") + ","
        # Not LIKE, nor a range: the one ignores case on SQLite, the other goes by the language on PostgreSQL.
        alike = func.substr(events.c.identity, 1, len(updates)) == updates
        found: list[int] = []
        with self._database.read() as connection:
            for organisation in connection.scalars(select(events.c.organisation).distinct()).all():
                mine = select(events.c.id).where(events.c.organisation == organisation)
                found += connection.scalars(mine.where(events.c.identity.in_(exact)))
                found += connection.scalars(mine.where(alike))
        return sorted(found)

    def keyed(self, key: str) -> int | None:
        """The number of the event that handlers get under that idempotency key; computes the keys of all events."""
        with self._database.read() as connection:
            handlers = connection.scalars(select(deliveries.c.handler).distinct()).all()
            identities = select(events.c.organisation, events.c.identity)
            with connection.execution_options(stream_results=True).execute(identities) as all_of_them:
                found = next((each for each in all_of_them if _has_key(each, handlers, key)), None)
            if found is None:
                return None
            mine = events.c.organisation == found.organisation, events.c.identity == found.identity
            return int(connection.execute(select(events.c.id).where(*mine)).scalar_one())

    def deliveries_of(self, event: int, limit: int) -> list[Row]:
        """The deliveries of `event`.

        Each with the last `limit` of its attempts that did not end well under `history`, how many these are under
        `history_in_all`, under `again` the replays that made it once more, and under `behind` the event of its
        conversation that it waits for.
        """
        found = self._database.rows(select(deliveries).where(deliveries.c.event_id == event).order_by(deliveries.c.id))
        for row in found:
            mine = attempts.c.delivery_id == row["id"]
            history = select(attempts.c.attempt, attempts.c.outcome, attempts.c.ended_at, attempts.c.detail)
            row["history"] = self._database.rows(history.where(mine).order_by(attempts.c.id.desc()).limit(limit))[::-1]
            row["history_in_all"] = self._count(attempts, mine)
            row["again"] = self._again(event, row["handler"])
            row["behind"] = self._behind(row) if row["state"] == "pending" and row["lane"] else None
        return found

    def _again(self, event: int, handler: str) -> list[Row]:
        columns = replayed.c.replay, replayed.c.state, replayed.c.settled_at, replayed.c.detail
        mine = replayed.c.event_id == event, replayed.c.handler == handler
        return self._database.rows(select(*columns).where(*mine).order_by(replayed.c.replay))

    def _behind(self, row: Row) -> int | None:
        earlier = select(deliveries.c.event_id).where(
            deliveries.c.handler == row["handler"], deliveries.c.lane == row["lane"], deliveries.c.id < row["id"], OPEN
        )
        found = self._database.rows(earlier.order_by(deliveries.c.id).limit(1))
        return int(found[0]["event_id"]) if found else None

    def _count(self, table: Table, *fit: ColumnElement[bool]) -> int:
        counted = select(func.count().label("number")).select_from(table).where(*fit)
        return int(self._database.rows(counted)[0]["number"])


def _has_key(event: Any, handlers: Sequence[str], key: str) -> bool:
    return any(idempotency_key(event.organisation, event.identity, handler) == key for handler in handlers)
