"""Files of an archive come into the ledger, where it does not know them, and all their events come out of it.

So a ledger that was lost is rebuilt by going through its archive, and one that is whole stays as it is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from sqlalchemy import Connection, select

from sftpd_processor.events.parse import Rejection
from sftpd_processor.ledger.bulk import portions, select_in
from sftpd_processor.ledger.candidates import Candidate
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.files import known_in
from sftpd_processor.ledger.recording import NewEvent, Recording, nobody, verdict_of
from sftpd_processor.ledger.records import Arrival, Batch, Clock, Known
from sftpd_processor.ledger.schema import events
from sftpd_processor.sources.base import Entry

_EVENTS = """
    SELECT e.id, e.organisation, e.identity, e.type, e.conversation, e.time_zone, e.recorded_at, e.body, e.gone,
        f.source, f.name, f.verdict, e.file_id, coalesce(f.archive_path, f.sha256)
    FROM events e JOIN files f ON f.id = e.file_id WHERE e.organisation = ? AND e.identity IN (*)"""
_REPEATED = """
    SELECT coalesce(f.archive_path, f.sha256)
    FROM repeats r JOIN files f ON f.id = r.file_id WHERE r.event_id IN (*)"""


@dataclass(slots=True)
class Brought:
    """What some files have brought."""

    files: int = 0
    recorded: int = 0
    """Of these, new to the ledger."""
    invalid: int = 0
    """Of these, not readable."""
    candidates: list[Candidate] = field(default_factory=list)
    """Each event once, in the order recorded."""


class Bringer:
    """Brings files. With `dry_run` everything is undone, and only the result remains."""

    def __init__(self, database: Database, clock: Clock, *, dry_run: bool = False) -> None:
        self._database = database
        self._clock = clock
        self._dry_run = dry_run
        self._blank = _is_blank(database)  # then it knows only what comes from here
        self._planned: set[int] = set()

    def bring(self, batches: Sequence[Batch]) -> Brought:
        """Record the files that are not known, in one transaction. No delivery is made."""
        brought = Brought()
        now = self._clock()
        with self._database.write() as connection:
            found = [
                one for batch in batches for one in _Bringing(connection, batch, brought, now, blank=self._blank).run()
            ]
            if self._dry_run:
                connection.rollback()
                found = self._unplanned(found)
        unique = {one.event: one for one in found}  # a file may repeat what another one of them brought
        brought.candidates = sorted(unique.values(), key=lambda one: (one.recorded_at, one.event))
        return brought

    def _unplanned(self, found: Iterable[Candidate]) -> list[Candidate]:
        """Without what an earlier piece has brought, which the ledger has let go of again."""
        left = []
        for one in found:
            mark = hash((one.organisation, one.identity))
            if mark not in self._planned:
                self._planned.add(mark)
                left.append(one)
        return left


class _Bringing:
    """The files of one batch: recorded where they are not known, and all their events."""

    def __init__(self, connection: Connection, batch: Batch, brought: Brought, now: int, *, blank: bool) -> None:
        self._connection = connection
        self._batch = batch
        self._brought = brought
        self._now = now
        self._blank = blank

    def run(self) -> Iterator[Candidate]:
        fresh, known = self._sorted()
        self._brought.files += len(self._batch.arrivals)
        self._brought.invalid += sum(isinstance(arrival.result, Rejection) for arrival in self._batch.arrivals)
        self._brought.recorded += len(fresh)
        again = {parsed.identity: parsed.body for arrival in known for parsed in _events_of(arrival)}
        if fresh:
            # Not the batch itself: a transaction that fails is made again with all of it.
            recording = Recording(self._connection, replace(self._batch, arrivals=fresh), self._now)
            recording.run(nobody)
            for event in recording.new:
                yield self._fresh(event)
            again.update((event.parsed.identity, event.parsed.body) for event in recording.repeated)
        yield from self._recorded(again)

    def _sorted(self) -> tuple[list[Arrival], list[Arrival]]:
        """Files that the ledger does not know, and those that it has recorded."""
        arrivals = self._batch.arrivals
        rows = known_in(self._connection, self._batch.source, [arrival.entry for arrival in arrivals])
        fresh, known = [], []
        met: Counter[Entry] = Counter()  # a file that came back after it was disposed of has several copies
        for arrival in arrivals:
            row = rows.get(arrival.entry)
            if row is not None and row.state == "recorded":
                known.append(arrival)
                continue
            if occurrence := met[arrival.entry]:
                row = Known(0, "recorded", self._now, 0, occurrence - 1, None, None, None)
            met[arrival.entry] += 1
            fresh.append(arrival._replace(known=row))
        if self._blank or not fresh:
            return fresh, known
        return self._by_content(fresh, known)

    def _by_content(self, fresh: list[Arrival], known: list[Arrival]) -> tuple[list[Arrival], list[Arrival]]:
        """A copy whose time is not that of the file is known by its place, to which its events lead; by its content
        while the ledger does not know yet where the copy is."""
        known_by = self._known_by({parsed.identity for arrival in fresh for parsed in _events_of(arrival)})
        strange: list[Arrival] = []
        for arrival in fresh:
            is_strange = arrival.kept is None or known_by.isdisjoint(arrival.kept[:2])
            (strange if is_strange else known).append(arrival)
        return strange, known

    def _known_by(self, identities: set[str]) -> set[str]:
        rows = self._rows(identities)
        found = {row[-1] for row in rows}
        for part in portions([row[0] for row in rows]):
            found.update(row[0] for row in select_in(self._connection, _REPEATED, (), part))
        return found

    def _fresh(self, event: NewEvent) -> Candidate:
        batch, parsed, arrival = self._batch, event.parsed, event.file.arrival
        recorded_at = self._now if arrival.kept is None else arrival.kept.recorded_at
        return Candidate(
            event.id, batch.organisation, parsed.identity, parsed.event.type, event.conversation, batch.time_zone,
            recorded_at, parsed.body, None, batch.source, arrival.entry.name, verdict_of(event.file), True,  # noqa: FBT003
        )  # fmt: skip

    def _recorded(self, bodies: Mapping[str, bytes]) -> Iterator[Candidate]:
        """Events that were recorded before; those whose body has expired get it from the file."""
        for row in self._rows(bodies):
            body = bytes(row[7]) or (bodies[row[2]] if row[8] == "expired" else None)
            yield Candidate._make((*row[:7], body, *row[8:12], False))

    def _rows(self, identities: Iterable[str]) -> list[Any]:
        asked = sorted(identities)
        organisation = (self._batch.organisation,)
        return [row for part in portions(asked) for row in select_in(self._connection, _EVENTS, organisation, part)]


def _events_of(arrival: Arrival) -> Sequence[Any]:
    return () if isinstance(arrival.result, Rejection) else arrival.result.events


def _is_blank(database: Database) -> bool:
    with database.read() as connection:
        return connection.execute(select(events.c.id).limit(1)).first() is None
