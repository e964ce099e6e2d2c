"""RECORD: the one durable step. A batch of files, with their events and deliveries, becomes true in one transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from sftpd_processor.events.identity import canonical, conversation_key
from sftpd_processor.events.parse import ParsedEvent, Rejection
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import Arrival, Batch, Clock, Recorded, Sighting
from sftpd_processor.ledger.schema import contents, counters, deliveries, events, files, repeats

Wanting = Callable[[str], Iterable[str]]
"""The names of the handlers that want events of a type."""

_INSERT_FILE = insert(files)
_INSERT_CONTENT = insert(contents)
_INSERT_REPEAT = insert(repeats)
_INSERT_DELIVERY = insert(deliveries).values(
    {name: bindparam(name) for name in ("event_id", "handler", "lane", "state", "attempts", "due_at")}
)
_DELETE_FILE = delete(files).where(files.c.id == bindparam("old"))
_RENEW = (
    update(files)
    .where(files.c.id == bindparam("old"))
    .values(state=bindparam("now_state"), reason=bindparam("now_reason"), look=bindparam("now_look"))
)
_LOOKUP = 500  # identities asked for at once


@dataclass(slots=True)
class _File:
    """One arrival on its way into the tables."""

    id: int
    arrival: Arrival
    repeats: int = 0
    conflicts: list[dict[str, Any]] | None = None


class Recorder:
    """Writes batches."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._insert_event = database.insert_or_ignore(events)

    def record(self, batch: Batch, wanting: Wanting) -> Recorded:
        """Make `batch` durable; when this returns, its files may be disposed of at the next look.

        Events whose identity is known are not recorded again: they are repeats of the first one, or conflicts
        with it when their content differs.
        """
        with self._database.write() as connection:
            return _Recording(self._database, connection, self._insert_event, batch, self._clock()).run(wanting)


class _Recording:
    def __init__(self, database: Database, connection: Connection, insert_event: Any, batch: Batch, now: int) -> None:
        self._database = database
        self._connection = connection
        self._insert_event = insert_event
        self._batch = batch
        self._now = now

    def run(self, wanting: Wanting) -> Recorded:
        self._forget_sightings()
        count = sum(0 if isinstance(a.result, Rejection) else len(a.result.events) for a in self._batch.arrivals)
        first = self._numbers(len(self._batch.arrivals) + len(self._batch.sightings) + count)
        taken = [_File(first + index, arrival) for index, arrival in enumerate(self._batch.arrivals)]
        seen = first + len(taken)
        # Rows of events refer to rows of files, so files go in first, and the verdicts of those with repeats follow.
        self._write_files(taken)
        self._write_sightings(seen)
        new = self._write_events(taken, seen + len(self._batch.sightings))
        self._correct_verdicts(taken)
        handlers = self._write_deliveries(new, wanting)
        return Recorded(dict(Counter(_verdict(file) for file in taken)), len(new), handlers)

    def _numbers(self, count: int) -> int:
        """The first of `count` numbers. The row is locked until the commit: numbers follow the order of commits."""
        statement = update(counters).where(counters.c.name == "rows").values(value=counters.c.value + count)
        last = self._connection.execute(statement.returning(counters.c.value)).scalar()
        if last is None:
            self._connection.execute(insert(counters).values(name="rows", value=count))
            last = count
        return int(last) - count + 1

    def _forget_sightings(self) -> None:
        old = [
            {"old": arrival.known.id}
            for arrival in self._batch.arrivals
            if arrival.known is not None and arrival.known.state != "recorded"
        ]
        self._database.bulk(self._connection, _DELETE_FILE, old)

    def _write_files(self, taken: list[_File]) -> None:
        self._database.bulk(self._connection, _INSERT_FILE, [self._row(file) for file in taken])
        raws = [{"file_id": file.id, "raw": file.arrival.raw} for file in taken]
        self._database.bulk(self._connection, _INSERT_CONTENT, raws)

    def _row(self, file: _File) -> dict[str, Any]:
        arrival, known = file.arrival, file.arrival.known
        rejected = isinstance(arrival.result, Rejection)
        return _FILE | {
            "id": file.id,
            "source": self._batch.source,
            "name": arrival.entry.name,
            "mtime": arrival.entry.mtime,
            "size": arrival.entry.size,
            "occurrence": 0 if known is None else known.occurrence + (known.state == "recorded"),
            "state": "recorded",
            "verdict": "invalid" if rejected else "accepted",
            "reason": _faults(arrival.result) if isinstance(arrival.result, Rejection) else None,
            "origin": self._batch.origin,
            "look": self._batch.look,
            "first_seen": known.first_seen if known is not None and known.state != "recorded" else self._now,
            "recorded_at": self._now,
            "sha256": sha256(arrival.raw).hexdigest(),
            "events": 0 if isinstance(arrival.result, Rejection) else len(arrival.result.events),
        }

    def _write_sightings(self, first: int) -> None:
        fresh = [
            self._sighting(first + index, sighting)
            for index, sighting in enumerate(self._batch.sightings)
            if sighting.known is None or sighting.known.state == "recorded"
        ]
        seen = [
            {
                "old": sighting.known.id,
                "now_state": sighting.state,
                "now_reason": sighting.reason,
                "now_look": self._batch.look,
            }
            for sighting in self._batch.sightings
            if sighting.known is not None and sighting.known.state != "recorded"
        ]
        self._database.bulk(self._connection, _INSERT_FILE, fresh)
        self._database.bulk(self._connection, _RENEW, seen)

    def _sighting(self, number: int, sighting: Sighting) -> dict[str, Any]:
        entry, known = sighting.entry, sighting.known
        return _FILE | {
            "id": number,
            "source": self._batch.source,
            "name": entry.name,
            "mtime": entry.mtime,
            "size": entry.size,
            "occurrence": 0 if known is None else known.occurrence + 1,
            "state": sighting.state,
            "reason": sighting.reason,
            "origin": self._batch.origin,
            "look": self._batch.look,
            "first_seen": self._now,
        }

    def _write_events(self, taken: list[_File], first: int) -> list[tuple[int, ParsedEvent]]:
        """Insert the events; those that the ledger holds already become repeats. Returns the new ones."""
        found = [
            (file, parsed)
            for file in taken
            if not isinstance(file.arrival.result, Rejection)
            for parsed in file.arrival.result.events
        ]
        found.sort(key=_order)
        numbered = list(enumerate(found, first))
        rows = [self._event(number, file, parsed) for number, (file, parsed) in numbered]
        self._database.bulk(self._connection, self._insert_event, rows)
        span = events.c.id.between(first, first + len(rows) - 1)
        new = set(self._connection.scalars(select(events.c.id).where(span))) if rows else set()
        self._write_repeats([(file, parsed) for number, (file, parsed) in numbered if number not in new])
        return [(number, parsed) for number, (_, parsed) in numbered if number in new]

    def _event(self, number: int, file: _File, parsed: ParsedEvent) -> dict[str, Any]:
        created = parsed.event.date_created
        return {
            "id": number,
            "organisation": self._batch.organisation,
            "identity": parsed.identity,
            "type": parsed.event.type,
            "conversation": conversation_key(parsed.event),
            "file_id": file.id,
            "position": parsed.position,
            "time_zone": self._batch.time_zone,
            "created_at": None if created is None else int(created.timestamp() * 1_000_000),
            "recorded_at": self._now,
            "body": parsed.body,
        }

    def _write_repeats(self, again: list[tuple[_File, ParsedEvent]]) -> None:
        first = self._recorded_before({parsed.identity for _, parsed in again})
        rows = []
        for file, parsed in again:
            event_id, body, name, source = first[parsed.identity]
            conflict = body != parsed.body and canonical(body) != canonical(parsed.body)
            file.repeats += 1
            if conflict:
                file.conflicts = file.conflicts or []
                file.conflicts.append({"position": parsed.position, "recorded_from": f"{source}/{name}"})
            rows.append({"file_id": file.id, "position": parsed.position, "event_id": event_id, "conflict": conflict})
        self._database.bulk(self._connection, _INSERT_REPEAT, rows)

    def _recorded_before(self, identities: set[str]) -> dict[str, tuple[int, bytes, str, str]]:
        asked = sorted(identities)
        found: dict[str, tuple[int, bytes, str, str]] = {}
        for at in range(0, len(asked), _LOOKUP):
            statement = (
                select(events.c.identity, events.c.id, events.c.body, files.c.name, files.c.source)
                .join(files, files.c.id == events.c.file_id)
                .where(events.c.organisation == self._batch.organisation)
                .where(events.c.identity.in_(asked[at : at + _LOOKUP]))
            )
            for identity, number, body, name, source in self._connection.execute(statement):
                found[identity] = (number, body, name, source)
        return found

    def _correct_verdicts(self, taken: list[_File]) -> None:
        statement = (
            update(files)
            .where(files.c.id == bindparam("file"))
            .values(
                verdict=bindparam("now_verdict"),
                repeats=bindparam("now_repeats"),
                reason=bindparam("now_reason"),
            )
        )
        rows = [
            {
                "file": file.id,
                "now_verdict": _verdict(file),
                "now_repeats": file.repeats,
                "now_reason": _conflicts(file.conflicts) if file.conflicts else None,
            }
            for file in taken
            if file.repeats
        ]
        if rows:
            self._connection.execute(statement, rows)

    def _write_deliveries(self, new: list[tuple[int, ParsedEvent]], wanting: Wanting) -> frozenset[str]:
        rows = [
            {
                "event_id": number,
                "handler": handler,
                "lane": self._lane(parsed),
                "state": "pending",
                "attempts": 0,
                "due_at": self._now,
            }
            for number, parsed in new
            for handler in wanting(parsed.event.type)
        ]
        self._database.bulk(self._connection, _INSERT_DELIVERY, rows)
        return frozenset(str(row["handler"]) for row in rows)

    def _lane(self, parsed: ParsedEvent) -> str | None:
        conversation = conversation_key(parsed.event)
        return None if conversation is None else f"{self._batch.organisation}/{conversation}"


_FILE: dict[str, Any] = {
    "verdict": None,
    "reason": None,
    "recorded_at": None,
    "sha256": None,
    "events": 0,
    "repeats": 0,
    "archive_path": None,
    "archived_at": None,
    "disposal": None,
    "disposed_at": None,
}


def _verdict(file: _File) -> str:
    if isinstance(file.arrival.result, Rejection):
        return "invalid"
    if file.conflicts:
        return "conflict"
    return "duplicate" if file.repeats == len(file.arrival.result.events) else "accepted"


def _order(found: tuple[_File, ParsedEvent]) -> tuple[float, int, str, int]:
    """The order in which one batch is recorded: dateCreated (else mtime), mtime, name, position."""
    entry, parsed = found[0].arrival.entry, found[1]
    created = parsed.event.date_created
    return (
        entry.mtime / 1e9 if created is None else created.timestamp(),
        entry.mtime,
        entry.name,
        parsed.position,
    )


def _faults(rejection: Rejection) -> str:
    faults = [{"where": fault.where, "why": fault.why} for fault in rejection.faults]
    return json.dumps({"faults": faults, "total": rejection.total})


def _conflicts(found: list[dict[str, Any]]) -> str:
    faults = [
        {
            "where": f"event {conflict['position'] + 1}",
            "why": "has the identity of an event recorded before, but other content",
            "recorded_from": conflict["recorded_from"],
        }
        for conflict in found[:20]
    ]
    return json.dumps({"faults": faults, "total": len(found)})
