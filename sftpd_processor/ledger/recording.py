"""RECORD: the one durable step. A batch of files, with their events and deliveries, becomes true in one transaction."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Connection, bindparam, delete, func, select, update

from sftpd_processor.events.identity import canonical, conversation_key
from sftpd_processor.events.parse import Parsed, ParsedEvent, Rejection, rejection_in
from sftpd_processor.ledger.bulk import insert_rows, portions, update_rows
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import QUARANTINED, Arrival, Batch, Clock, Recorded, Sighting, Unarchived
from sftpd_processor.ledger.schema import contents, counters, deliveries, events, files, repeats
from sftpd_processor.ledger.totals import add_to_totals, shown_type
from sftpd_processor.points import reached

Wanting = Callable[[str], Iterable[str]]
"""The names of the handlers that want events of a type."""


def nobody(_event_type: str) -> tuple[str, ...]:
    """No handler wants it."""
    return ()


_FILE = (
    "id", "source", "name", "mtime", "size", "occurrence", "state", "verdict", "reason", "origin", "look", "first_seen",
    "recorded_at", "sha256", "events", "repeats", "waited", "archive_path", "archived_at",
)  # fmt: skip
_EVENT = (
    "id", "organisation", "identity", "type", "conversation", "file_id", "position", "time_zone", "created_at",
    "recorded_at", "body",
)  # fmt: skip
_DELIVERY = ("event_id", "handler", "lane", "state", "attempts", "due_at")
# Made once: putting them together takes longer than running them, and a live post may be a batch of its own.
_NUMBERS = (
    update(counters)
    .where(counters.c.name == "rows")
    .values(value=counters.c.value + bindparam("wanted", type_=BigInteger))
    .returning(counters.c.value)
)
_SPAN = events.c.id.between(bindparam("first"), bindparam("last"))
_COUNT = select(func.count()).where(_SPAN)
_IDS = select(events.c.id).where(_SPAN)
_CONFLICT = "has the identity of an event recorded before, but other content"
_MOST_TOLD = 20  # conflicts of one file
_LAST = 1 << 63


@dataclass(slots=True)
class NewFile:
    """One arrival on its way into the tables."""

    id: int
    arrival: Arrival
    sha256: str
    repeats: int = 0
    conflicts: list[tuple[int, str]] | None = None
    """Position in the file, and the file that brought the event first."""


class NewEvent(NamedTuple):
    """One event on its way into the tables."""

    id: int
    created: float
    file: NewFile
    parsed: ParsedEvent
    conversation: str | None


class Recorder:
    """Writes batches."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def record(self, batch: Batch, wanting: Wanting, *, dry_run: bool = False) -> Recorded:
        """Make `batch` durable; when this returns, its files may be disposed of at the next look.

        Events whose identity is known are not recorded again: they are repeats of the first one, or conflicts
        with it when their content differs. With `dry_run` everything is undone, and only the result remains.
        """
        with self._database.write() as connection:
            recorded = Recording(connection, batch, self._clock()).run(wanting)
            if dry_run:
                connection.rollback()
        return recorded

    def reread(self, file: int, batch: Batch, wanting: Wanting, *, dry_run: bool) -> Recorded:
        """Take what is new in a recorded `file` that was read again, and give it the verdict that it has now.

        When that takes it out of quarantine, or changes the reason, its copy is due to be written anew.
        """
        with self._database.write() as connection:
            recorded = Recording(connection, batch, self._clock()).again(file, wanting)
            if dry_run:
                connection.rollback()
        return recorded


class Recording:
    """One transaction: `new` are the events that it inserts, `repeated` those that were there."""

    def __init__(self, connection: Connection, batch: Batch, now: int) -> None:
        self._connection = connection
        self._batch = batch
        self._now = now
        self.new: list[NewEvent] = []
        self.repeated: list[NewEvent] = []

    def run(self, wanting: Wanting) -> Recorded:
        """Write everything."""
        arrivals, sightings = self._batch.arrivals, self._batch.sightings
        self._forget_sightings()
        found = [(arrival, parsed) for arrival in arrivals for parsed in _events_of(arrival)]
        first = self._numbers(len(arrivals) + len(sightings) + len(found))
        taken = [NewFile(n, arrival, _digest(arrival)) for n, arrival in enumerate(arrivals, first)]
        # Rows of events refer to rows of files, so files go in first, and the verdicts of those with repeats follow.
        self._write_files(taken)
        self._write_sightings(first + len(taken))
        new = self._write_events(taken, first + len(taken) + len(sightings))
        self._correct_verdicts(taken)
        self._release(taken)
        handlers = self._write_deliveries(new, wanting)
        copies = [self._unarchived(file) for file in taken if file.arrival.kept is None]
        self._note_correction(first)
        verdicts = Counter(map(verdict_of, taken))
        self._add_to_totals(verdicts, new)
        reached("committing")
        return Recorded(dict(verdicts), len(new), handlers, copies, self._lags(new))

    def again(self, number: int, wanting: Wanting) -> Recorded:
        """The events that this very file brought before are neither new nor repeats."""
        (arrival,) = self._batch.arrivals
        self._connection.execute(
            select(files.c.id).where(files.c.id == number).with_for_update()
        )  # one `retry` at once
        self._connection.execute(delete(repeats).where(repeats.c.file_id == number))
        found = _events_of(arrival)
        brought = select(events.c.position, events.c.identity).where(events.c.file_id == number)
        own = {tuple(row) for row in self._connection.execute(brought)}
        others = 0
        if isinstance(arrival.result, Parsed):
            fresh = _not_among(arrival.result.events, own)
            arrival = arrival._replace(result=arrival.result._replace(events=fresh))
            others = len(fresh)
        file = NewFile(number, arrival, _digest(arrival))
        new = self._write_events([file], self._numbers(others))
        verdict = verdict_of(file)
        if own and verdict == "duplicate":
            verdict = "accepted"
        self._write_verdict(file, verdict, len(found))
        handlers = self._write_deliveries(new, wanting)
        self._add_to_totals({}, new)  # the file was counted when it was recorded
        return Recorded({verdict: 1}, len(new), handlers, lags=self._lags(new))

    def _write_verdict(self, file: NewFile, verdict: str, count: int) -> None:
        mine, reason = files.c.id == file.id, _reason(file)
        before = self._connection.execute(select(files.c.verdict, files.c.reason).where(mine)).one()
        now: dict[str, Any] = {
            "verdict": verdict, "reason": reason, "events": count, "repeats": file.repeats, "reread_at": self._now,
        }  # fmt: skip
        if tuple(before) != (verdict, reason):  # the copy belongs elsewhere, or beside another reason
            now |= {"former_path": files.c.archive_path, "archive_path": None, "archived_at": None}
            raw = [(file.id, file.arrival.raw)]
            insert_rows(self._connection, contents, ("file_id", "raw"), raw, conflict="DO NOTHING")
        self._connection.execute(update(files).where(mine).values(now))

    def _note_correction(self, number: int) -> None:
        if self._batch.corrects is not None:
            self._connection.execute(
                update(files).where(files.c.id == self._batch.corrects).values(corrected_by=number)
            )

    def _numbers(self, count: int) -> int:
        """The first of `count` numbers. The row is locked until the commit: numbers follow the order of commits."""
        last = self._connection.execute(_NUMBERS, {"wanted": count}).scalar_one()
        return int(last) - count + 1

    def _forget_sightings(self) -> None:
        old = [a.known.id for a in self._batch.arrivals if a.known is not None and a.known.state != "recorded"]
        if old:
            self._connection.execute(delete(files).where(files.c.id.in_(old)))

    def _write_files(self, taken: list[NewFile]) -> None:
        insert_rows(self._connection, files, _FILE, [self._file(file) for file in taken])
        rows = [(file.id, file.arrival.raw) for file in taken if file.arrival.kept is None]
        insert_rows(self._connection, contents, ("file_id", "raw"), rows)

    def _file(self, file: NewFile) -> tuple[Any, ...]:
        batch, known, kept = self._batch, file.arrival.known, file.arrival.kept
        name, size, mtime, _ = file.arrival.entry
        again = known is not None and known.state == "recorded"
        return (
            file.id, batch.source, name, mtime, size,
            0 if known is None else known.occurrence + again,
            "recorded",
            verdict_of(file),
            _reason(file),
            batch.origin, batch.look,
            self._now if known is None or again else known.first_seen,
            self._recorded_at(file),
            file.sha256,
            len(_events_of(file.arrival)),
            0,
            known.reason if known is not None and known.state == "waiting" else None,
            None if kept is None else kept.path,
            None if kept is None else self._now,
        )  # fmt: skip

    def _recorded_at(self, file: NewFile) -> int:
        return self._now if file.arrival.kept is None else file.arrival.kept.recorded_at

    def _unarchived(self, file: NewFile) -> Unarchived:
        name, size, mtime, _ = file.arrival.entry
        return Unarchived(
            file.id, self._batch.source, name, mtime, size, verdict_of(file), _reason(file), self._batch.origin,
            self._now, file.sha256, None, file.arrival.raw,
        )  # fmt: skip

    def _write_sightings(self, first: int) -> None:
        fresh, seen = [], []
        for number, sighting in enumerate(self._batch.sightings, first):
            known = sighting.known
            if known is None or known.state == "recorded":
                fresh.append(self._sighting(number, sighting))
            else:
                seen.append((known.id, sighting.state, sighting.reason, self._batch.look))
        insert_rows(self._connection, files, _FILE, fresh)
        update_rows(self._connection, files, ("state", "reason", "look"), seen)

    def _sighting(self, number: int, sighting: Sighting) -> tuple[Any, ...]:
        batch, (name, size, mtime, _), known = self._batch, sighting.entry, sighting.known
        return (
            number, batch.source, name, mtime, size, 0 if known is None else known.occurrence + 1, sighting.state, None,
            sighting.reason, batch.origin, batch.look, self._now, None, None, 0, 0, None, None, None,
        )  # fmt: skip

    def _write_events(self, taken: list[NewFile], first: int) -> list[NewEvent]:
        """Insert the events; those that the ledger holds already become repeats. Returns the new ones."""
        found = [(_created(file, parsed), file, parsed) for file in taken for parsed in _events_of(file.arrival)]
        found.sort(key=_order)
        numbered = [NewEvent(n, *each, conversation_key(each[2].event)) for n, each in enumerate(found, first)]
        rows = [self._event(event) for event in numbered]
        insert_rows(self._connection, events, _EVENT, rows, conflict="DO NOTHING")
        new = self._inserted(first, len(rows))
        self.new = [event for event in numbered if event.id in new]
        self.repeated = [event for event in numbered if event.id not in new]
        self._write_repeats(self.repeated)
        return self.new

    def _inserted(self, first: int, count: int) -> set[int] | range:
        span = {"first": first, "last": first + count - 1}
        if self._connection.scalar(_COUNT, span) == count:
            return range(first, first + count)
        return set(self._connection.scalars(_IDS, span))

    def _event(self, event: NewEvent) -> tuple[Any, ...]:
        batch, parsed = self._batch, event.parsed
        return (
            event.id, batch.organisation, parsed.identity, parsed.event.type, event.conversation,
            event.file.id, parsed.position, batch.time_zone,
            None if parsed.event.date_created is None else int(event.created * 1_000_000),
            self._recorded_at(event.file), parsed.body,
        )  # fmt: skip

    def _write_repeats(self, again: list[NewEvent]) -> None:
        first = self._recorded_before({event.parsed.identity for event in again})
        rows = []
        for event in again:
            file, parsed = event.file, event.parsed
            number, body, gone, name, source = first[parsed.identity]
            # With what is not kept any more nothing can be compared: it came again, that is all.
            conflict = gone is None and body != parsed.body and canonical(body) != canonical(parsed.body)
            file.repeats += 1
            if conflict:
                file.conflicts = [*(file.conflicts or ()), (parsed.position, f"{source}/{name}")]
            rows.append((file.id, parsed.position, number, conflict))
        insert_rows(self._connection, repeats, ("file_id", "position", "event_id", "conflict"), rows)

    def _recorded_before(self, identities: set[str]) -> dict[str, tuple[int, bytes, str | None, str, str]]:
        asked = sorted(identities)
        found: dict[str, tuple[int, bytes, str | None, str, str]] = {}
        for part in portions(asked):
            statement = (
                select(events.c.identity, events.c.id, events.c.body, events.c.gone, files.c.name, files.c.source)
                .join(files, files.c.id == events.c.file_id)
                .where(events.c.organisation == self._batch.organisation)
                .where(events.c.identity.in_(part))
            )
            for identity, *first in self._connection.execute(statement):
                found[identity] = tuple(first)
        return found

    def _correct_verdicts(self, taken: list[NewFile]) -> None:
        rows = [(file.id, verdict_of(file), file.repeats, _reason(file)) for file in taken if file.repeats]
        update_rows(self._connection, files, ("verdict", "repeats", "reason"), rows)

    def _release(self, taken: list[NewFile]) -> None:
        """Files that lie in quarantine, and belong into the archive now: their copies are due to be written there."""
        released = [
            (file, kept.path)
            for file in taken
            if (kept := file.arrival.kept) is not None
            and kept.path.startswith("quarantine/")
            and verdict_of(file) not in QUARANTINED
        ]
        raw = [(file.id, file.arrival.raw) for file, _ in released]
        insert_rows(self._connection, contents, ("file_id", "raw"), raw)
        rows = [(file.id, None, None, path) for file, path in released]
        update_rows(self._connection, files, ("archive_path", "archived_at", "former_path"), rows)

    def _write_deliveries(self, new: list[NewEvent], wanting: Wanting) -> frozenset[str]:
        rows = [
            (event.id, handler, self._lane(event.conversation), "pending", 0, self._now)
            for event in new
            for handler in wanting(event.parsed.event.type)
        ]
        insert_rows(self._connection, deliveries, _DELIVERY, rows)
        return frozenset(row[1] for row in rows)

    def _add_to_totals(self, verdicts: Mapping[str, int], new: Iterable[NewEvent]) -> None:
        """Last of all, so that others who count the same wait for no more than the commit."""
        source, origin = self._batch.source, self._batch.origin
        numbers = Counter({("file", source, verdict): number for verdict, number in verdicts.items()})
        for kind, number in Counter([event.parsed.event.type for event in new]).items():
            numbers["event", shown_type(kind), origin] += number
        add_to_totals(self._connection, numbers, self._now)

    def _lags(self, new: Iterable[NewEvent]) -> list[float]:
        now = self._now / 1_000_000
        lags = [now - event.created for event in new if event.parsed.event.date_created is not None]
        return lags if min(lags, default=0.0) >= 0 else [max(0.0, lag) for lag in lags]  # clocks differ

    def _lane(self, conversation: str | None) -> str | None:
        return None if conversation is None else f"{self._batch.organisation}/{conversation}"


def _digest(arrival: Arrival) -> str:
    return sha256(arrival.raw).hexdigest() if arrival.kept is None else arrival.kept.sha256


def _not_among(found: Sequence[ParsedEvent], own: Collection[tuple[int, str]]) -> tuple[ParsedEvent, ...]:
    """What the file did not bring before. Where another event before it was forgotten, one has another position now."""
    there = {(each.position, each.identity) for each in found}
    moved = {identity for position, identity in own if (position, identity) not in there}
    fresh = []
    for each in found:
        if each.identity in moved:
            moved.remove(each.identity)
        elif (each.position, each.identity) not in own:
            fresh.append(each)
    return tuple(fresh)


def _events_of(arrival: Arrival) -> tuple[ParsedEvent, ...]:
    return () if isinstance(arrival.result, Rejection) else arrival.result.events


def verdict_of(file: NewFile) -> str:
    """What the file is, as far as its repeats are known."""
    if isinstance(file.arrival.result, Rejection):
        return "invalid"
    if file.arrival.result.rejected is not None:
        return "partial"
    if file.conflicts:
        return "conflict"
    return "duplicate" if file.repeats == len(file.arrival.result.events) else "accepted"


def _created(file: NewFile, parsed: ParsedEvent) -> float:
    """When the event came to be, as far as is known; seconds since 1970."""
    created = parsed.event.date_created
    return file.arrival.entry.mtime / 1e9 if created is None else created.timestamp()


def _order(found: tuple[float, NewFile, ParsedEvent]) -> tuple[int, float, int, str, int]:
    """The order in which one batch is recorded: dateCreated (else mtime), mtime, name, position; of files that were
    recorded before, as their archive shows, that order goes first."""
    created, file, parsed = found
    arrival = file.arrival
    recorded_at = _LAST if arrival.kept is None else arrival.kept.recorded_at
    return recorded_at, created, arrival.entry.mtime, arrival.entry.name, parsed.position


def _reason(file: NewFile) -> str | None:
    """Why the file belongs into quarantine, as JSON; None when it does not."""
    result = file.arrival.result
    if file.conflicts is None and isinstance(result, Parsed) and result.rejected is None:
        return None
    rejection = rejection_in(result)
    found = file.conflicts or []
    if rejection is None and not found:
        return None
    faults = [] if rejection is None else [{"where": fault.where, "why": fault.why} for fault in rejection.faults]
    for at, first in found[:_MOST_TOLD]:
        faults.append({"where": f"event {at + 1}", "why": _CONFLICT, "recorded_from": first})
    return json.dumps({"faults": faults, "total": (rejection.total if rejection else 0) + len(found)})
