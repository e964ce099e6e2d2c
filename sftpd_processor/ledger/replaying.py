"""The transactions of one replay: what came of the last events is written, and the next ones are taken.

A delivery that is missing gets its row only when its handler has answered: nobody else can begin on it meanwhile, and
after a crash it is missing still. One that exists (dead, or waiting for another attempt) is marked as running, like
any other that a handler works on. What is done stays as it is, and gets a row beside it when it is done again.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import Connection, delete, func, select, update

from sftpd_processor.ledger.bulk import insert_rows, portions, select_in
from sftpd_processor.ledger.candidates import Candidate, bodies_of
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.deliveries import ATTEMPT
from sftpd_processor.ledger.records import Claim, Clock, Settlement
from sftpd_processor.ledger.schema import OPEN, attempts, deliveries, replayed
from sftpd_processor.ledger.totals import add_to_totals

_UNSETTLED = 2  # rounds whose results may not be written yet
_ROW = ("event_id", "handler", "lane", "state", "attempts", "due_at", "settled_at", "detail", "replay")
_AGAIN = ("replay", "handler", "event_id", "state", "attempts", "settled_at", "detail")
_FOUND = (
    "SELECT event_id, id, state, attempts, replay, settled_at FROM deliveries WHERE handler = ? AND event_id IN (*)"
)
_SETTLED = "SELECT event_id FROM replayed WHERE replay = ? AND handler = ? AND state <> 'failed' AND event_id IN (*)"
# Without what this replay has taken itself: whoever hands that over keeps it in order.
_OPEN = """
    SELECT lane, event_id FROM deliveries WHERE handler = ? AND state IN ('pending', 'running') AND
    (state = 'pending' OR replay IS NULL OR replay <> ?) AND event_id < ? AND lane IN (*)"""
DONE = "done already"
DUE = "waits for its first attempt already"
RUNNING = "is being delivered right now"
GONE = "its content is not kept any more"
OLD = "so old that it is not known whether it was delivered; --again delivers it"
SETTLED = "done already in this replay"
DIED = "became a dead letter in this replay"
UNWANTED = "not among the chosen states"


class Existing(NamedTuple):
    """The delivery that there is of an event to a handler."""

    id: int
    state: str
    attempts: int
    replay: int | None
    settled_at: int | None

    @property
    def kind(self) -> str:
        """Which of the states it is that a person chooses by; `due` of one that waits for its first attempt."""
        if self.state == "pending":
            return "failed" if self.attempts or self.replay is not None else "due"
        return "done" if self.state == "skipped" else self.state


class Work(NamedTuple):
    """One event for one handler, and what was there before."""

    claim: Claim
    """Its `id` is that of the event."""
    former: Existing | None
    again: bool
    """It was done before, so what comes of it is noted apart."""
    old_state: str | None
    """Of the delivery that a shadow run compares with."""
    behind: bool = False
    """An earlier delivery of its conversation is open, which it must not overtake."""


class Result(NamedTuple):
    """How an attempt ended; `settlement` is None when there was none, and `held` when that is so because an earlier
    event of its conversation is to be tried again."""

    handler: str
    work: Work
    settlement: Settlement | None
    held: bool = False


@dataclass(frozen=True, slots=True)
class Terms:
    """Which events go to which handlers."""

    replay: int
    handlers: Mapping[str, Callable[[str], bool]]
    """By the name of each: whether it wants a type of event."""
    states: frozenset[str]
    resumed: bool
    """Events of this very replay may be settled already."""
    ordered: bool = True
    """The events of a conversation go one after another."""
    apart: str | None = None
    """All is noted apart, whatever the deliveries of this handler (of a shadow run) are."""
    due: bool = False
    """Also deliveries that wait for their first attempt."""


@dataclass(slots=True)
class Step:
    """What one transaction took."""

    candidates: Sequence[Candidate] = ()
    work: dict[str, list[Work]] = field(default_factory=dict)
    skipped: Counter[str] = field(default_factory=Counter)


class Replaying:
    """One replay. With `dry_run` everything is undone, and only the result remains."""

    def __init__(self, database: Database, clock: Clock, terms: Terms, *, dry_run: bool = False) -> None:
        self._database = database
        self._clock = clock
        self._terms = terms
        self._dry_run = dry_run
        self._recent: dict[str, deque[frozenset[int]]] = {name: deque(maxlen=_UNSETTLED) for name in terms.handlers}

    def take(self, results: Sequence[Result], candidates: Sequence[Candidate]) -> Step:
        """Settle `results`, and take of the events those that are to be handed over."""
        step = Step(candidates)
        with self._database.write() as connection:
            _Settling(connection, self._terms.replay, self._clock()).run(results)
            for handler, wants in self._terms.handlers.items():
                wanted = [one for one in candidates if wants(one.type)]
                step.work[handler] = self._take(connection, handler, wanted, step.skipped)
            if self._dry_run:
                connection.rollback()
        if not self._dry_run:  # once it is true: what was not committed may be taken again
            for handler, works in step.work.items():
                if works:
                    self._recent[handler].append(frozenset(work.claim.id for work in works))
        return step

    def end(self, results: Sequence[Result]) -> None:
        """Settle the last results."""
        self.take(results, ())

    def _take(self, connection: Connection, handler: str, wanted: list[Candidate], skipped: Counter[str]) -> list[Work]:
        if not wanted:
            return []
        self._database.one_at_a_time(connection, f"claims of {handler}")  # or the daemon takes the same
        asked = [one.event for one in wanted if not one.fresh]
        found = existing(connection, self._terms.apart or handler, asked)
        settled = self._settled(connection, handler, asked).union(*self._recent[handler])
        open_ones = self._open(connection, handler, wanted)
        works = []
        for one in wanted:
            former = found.get(one.event)
            if why := self._refusal(one, former, settled=one.event in settled):
                skipped[why] += 1
            else:
                works.append(self._work(one, former, open_ones))
        self._mark_running(connection, works)
        return _with_bodies(connection, works)

    def _refusal(self, one: Candidate, former: Existing | None, *, settled: bool) -> str | None:
        """Why this event is not handed over; None when it is."""
        terms = self._terms
        if one.gone == "forgotten" or (one.gone is not None and not one.body):
            return GONE
        if settled:
            return SETTLED
        if terms.apart is not None:
            return None
        if former is not None and (why := _in_the_way(former, terms)):
            return why
        if former is None and one.gone is not None and "done" not in terms.states:
            return OLD
        kind = "missing" if former is None else former.kind
        if kind in terms.states or kind == "due":
            return None
        return DONE if kind == "done" else UNWANTED

    def _work(self, one: Candidate, former: Existing | None, open_ones: Mapping[str, set[int]]) -> Work:
        apart = self._terms.apart is not None
        again = apart or (former is not None and former.kind == "done")
        tried = 0 if former is None or again or former.state == "dead" else former.attempts
        claim = Claim(
            one.event, _lane(one), tried + 1, one.organisation, one.identity, one.type, one.conversation,
            one.time_zone, one.recorded_at, one.body or b"", "replay", one.source, one.file,
        )  # fmt: skip
        old_state = None if former is None else former.kind if former.state == "pending" else former.state
        ahead = open_ones.get(claim.lane or "", set())
        ahead.discard(one.event)
        behind = not again and min(ahead, default=one.event) < one.event
        return Work(claim, None if again else former, again, old_state, behind)

    def _settled(self, connection: Connection, handler: str, asked: Sequence[int]) -> frozenset[int]:
        terms = self._terms
        if not (terms.resumed or terms.apart is not None or "done" in terms.states):
            return frozenset()
        before = self._terms.replay, handler
        parts = portions(asked)
        return frozenset(row[0] for part in parts for row in select_in(connection, _SETTLED, before, part))

    def _open(self, connection: Connection, handler: str, wanted: Iterable[Candidate]) -> dict[str, set[int]]:
        """The open deliveries of each conversation: what comes after them must not overtake them."""
        last = {lane: one.event for one in wanted if (lane := _lane(one)) is not None}
        shadowed = self._terms.apart is not None
        if shadowed or not self._terms.ordered or not last or not _any_open(connection, handler):
            return {}
        found: dict[str, set[int]] = {}
        before = handler, self._terms.replay, max(last.values())
        for part in portions(sorted(last)):
            for lane, event in select_in(connection, _OPEN, before, part):
                found.setdefault(lane, set()).add(event)
        return found

    def _mark_running(self, connection: Connection, works: Iterable[Work]) -> None:
        at, owned = self._clock(), [work for work in works if work.former is not None]
        back = [work.former for work in owned if work.former is not None and work.former.state == "dead"]
        notes = [(former.id, former.attempts, "put back", at, None) for former in back]
        insert_rows(connection, attempts, ATTEMPT, notes)
        for work in owned:
            assert work.former is not None  # noqa: S101 - chosen by it
            connection.execute(
                update(deliveries)
                .where(deliveries.c.id == work.former.id)
                .values(state="running", attempts=work.claim.attempt, replay=self._terms.replay)
            )


class _Settling:
    """Writes what came of events."""

    def __init__(self, connection: Connection, replay: int, now: int) -> None:
        self._connection = connection
        self._replay = replay
        self._now = now

    def run(self, results: Sequence[Result]) -> None:
        self._write_missing([each for each in results if each.work.former is None and not each.work.again])
        self._write_owned([each for each in results if each.work.former is not None])
        self._write_again([each for each in results if each.work.again and each.settlement is not None])
        add_to_totals(self._connection, _numbers(results), self._now)

    def _write_missing(self, results: Sequence[Result]) -> None:
        """Those that were not tried stay missing; but what must not overtake another one waits for its turn."""
        written = [each for each in results if each.settlement is not None or each.held]
        rows = [self._row(each) for each in written]
        insert_rows(self._connection, deliveries, _ROW, rows, conflict="DO NOTHING")
        failed = [each for each in written if each.settlement is not None and each.settlement.failed]
        for handler in {each.handler for each in failed}:
            mine = {each.work.claim.id: each for each in failed if each.handler == handler}
            for event, there in existing(self._connection, handler, sorted(mine)).items():
                self._note_attempt(there.id, mine[event].settlement)

    def _row(self, result: Result) -> tuple[Any, ...]:
        claim, settlement = result.work.claim, result.settlement
        if settlement is None:
            return claim.id, result.handler, claim.lane, "pending", 0, self._now, None, None, self._replay
        settled_at = None if settlement.state == "pending" else self._now
        return (
            claim.id, result.handler, claim.lane, settlement.state, settlement.attempts, settlement.due_at, settled_at,
            settlement.detail, self._replay,
        )  # fmt: skip

    def _write_owned(self, results: Sequence[Result]) -> None:
        for result in results:
            former, settlement = result.work.former, result.settlement
            assert former is not None  # noqa: S101 - chosen by it
            if settlement is None:
                held = result.held and former.state == "dead"  # it goes on after the one that it waits for
                values = {
                    "state": "pending" if held else former.state, "attempts": 0 if held else former.attempts,
                    "replay": self._replay if held else former.replay,
                    "settled_at": None if held else former.settled_at,
                }  # fmt: skip
                if former.state == "dead" and not held:
                    self._forget_put_back(former.id)
            else:
                settled_at = None if settlement.state == "pending" else self._now
                values = {
                    "state": settlement.state, "attempts": settlement.attempts, "due_at": settlement.due_at,
                    "detail": settlement.detail, "settled_at": settled_at,
                }  # fmt: skip
                if settlement.failed:
                    self._note_attempt(former.id, settlement)
            self._connection.execute(update(deliveries).where(deliveries.c.id == former.id).values(values))

    def _forget_put_back(self, delivery: int) -> None:
        """It was taken, but not tried."""
        last = select(func.max(attempts.c.id)).where(
            attempts.c.delivery_id == delivery, attempts.c.outcome == "put back"
        )
        self._connection.execute(delete(attempts).where(attempts.c.id == last.scalar_subquery()))

    def _write_again(self, results: Sequence[Result]) -> None:
        for handler in {each.handler for each in results}:
            mine = [each for each in results if each.handler == handler]
            for numbers in portions([each.work.claim.id for each in mine]):
                self._connection.execute(
                    delete(replayed).where(
                        replayed.c.replay == self._replay,
                        replayed.c.handler == handler,
                        replayed.c.state == "failed",
                        replayed.c.event_id.in_(numbers),
                    )
                )
            insert_rows(self._connection, replayed, _AGAIN, [self._again(each) for each in mine])

    def _again(self, result: Result) -> tuple[Any, ...]:
        settlement = result.settlement
        assert settlement is not None  # noqa: S101 - chosen by it
        state = "failed" if settlement.state == "pending" else settlement.state
        return (
            self._replay, result.handler, result.work.claim.id, state, settlement.attempts, self._now,
            settlement.detail,
        )  # fmt: skip

    def _note_attempt(self, delivery: int, settlement: Settlement | None) -> None:
        assert settlement is not None  # noqa: S101 - only what was tried can have failed
        note = (delivery, settlement.attempts, "failed", self._now, settlement.detail)
        insert_rows(self._connection, attempts, ATTEMPT, [note])


def existing(connection: Connection, handler: str, numbers: Sequence[int]) -> dict[int, Existing]:
    """The deliveries of these events to a handler."""
    return {
        row[0]: Existing(*row[1:])
        for part in portions(numbers)
        for row in select_in(connection, _FOUND, (handler,), part)
    }


def _in_the_way(former: Existing, terms: Terms) -> str | None:
    if former.state == "running":
        return RUNNING
    if former.kind == "due" and not terms.due:
        return DUE
    return {"done": SETTLED, "dead": DIED}.get(former.kind) if former.replay == terms.replay else None


def _with_bodies(connection: Connection, works: list[Work]) -> list[Work]:
    absent = [work.claim.id for work in works if not work.claim.body]
    if not absent:
        return works
    bodies = bodies_of(connection, absent)
    return [
        work if work.claim.body else work._replace(claim=work.claim._replace(body=bodies[work.claim.id]))
        for work in works
    ]


def _numbers(results: Iterable[Result]) -> Counter[tuple[str, str, str]]:
    numbers: Counter[tuple[str, str, str]] = Counter()
    for handler, work, settlement, _ in results:
        if settlement is not None and not work.again:
            numbers["delivery", handler, "retried" if settlement.state == "pending" else settlement.state] += 1
    return numbers


def _lane(one: Candidate) -> str | None:
    return None if one.conversation is None else f"{one.organisation}/{one.conversation}"


def _any_open(connection: Connection, handler: str) -> bool:
    found = select(deliveries.c.id).where(OPEN, deliveries.c.handler == handler).limit(1)
    return connection.execute(found).first() is not None
