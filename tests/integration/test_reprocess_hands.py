"""Handing over in a replay: order, failures, pace, and a stop at any moment."""

from __future__ import annotations

import threading
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import DONE, Outcome
from sftpd_processor.ledger import candidates
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline import crew
from sftpd_processor.reprocess import replay
from sftpd_processor.reprocess.pace import Pace
from tests.ledger_samples import Clock
from tests.replay_items import DEAD, RETRY, SKIPPED, Office, State, Told, lite


@pytest.fixture
def office(tmp_path: Path, ledger: Ledger, url: str, clock: Clock) -> Office:
    """A ledger of each kind."""
    return Office(tmp_path, ledger, url, clock)


def to_crm(_type: str) -> tuple[str, ...]:
    return ("crm",)


@lite
def test_conversations_keep_their_order_with_many_workers(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """With 8 workers and pages of 30 no event begins before the one before it in its conversation has ended."""
    monkeypatch.setattr(candidates, "PAGE", 30)
    for number in range(1, 201):
        office.record(office.event(number, f"c{number % 7}"))
    report = office.run(workers=8)
    assert report.deliveries == {"crm": {"done": 200}}
    by_conversation = defaultdict(list)
    for what, number in office.crm.log:
        by_conversation[number % 7].append((what, number))
    for conversation, log in by_conversation.items():
        numbers = [number for number in range(1, 201) if number % 7 == conversation]
        assert log == [(what, number) for number in numbers for what in ("begin", "end")]


@pytest.mark.parametrize(("page", "batch_size"), [(3, 1), (100, 4)])
def test_what_follows_a_failure_waits_and_comes_later_in_order(
    office: Office, monkeypatch: pytest.MonkeyPatch, page: int, batch_size: int
) -> None:
    """When an event is to be tried again, the rest of its conversation is queued behind it, on later pages too; the
    others go on, and the daemon's delivery then takes what was queued in its order."""
    monkeypatch.setattr(candidates, "PAGE", page)
    office.crm.batch_size = batch_size
    for number in range(1, 13):
        office.record(office.event(number, "ab"[number % 2]))
    office.crm.answers = {3: [RETRY]}
    report = office.run()
    assert [number for number in office.crm.numbers if number % 2] == [1, 3]
    assert [number for number in office.crm.numbers if not number % 2] == [2, 4, 6, 8, 10, 12]
    assert not report.interrupted
    states = office.states()
    assert {number: states[number].state for number in states if number % 2} == {
        1: "done", 3: "pending", 5: "pending", 7: "pending", 9: "pending", 11: "pending",
    }  # fmt: skip
    told = sum(sum(each.values()) for each in report.deliveries.values()) + sum(report.skipped.values())
    assert told == 12
    assert report.deliveries["crm"]["done"] == 7
    office.crm.forget()
    office.clock.advance(3600)
    office.deliver()
    assert office.crm.numbers == [3, 5, 7, 9, 11]
    assert {state.state for state in office.states().values()} == {"done"}


def test_what_is_put_in_the_queue_is_a_delivery_like_any_other(office: Office) -> None:
    """Dead letters behind one that failed are pending again, with all their attempts; nothing is due or dead any more
    that the daemon would not deliver."""
    office.delivery["max_attempts"] = 3
    office.record(*(office.event(number, "a") for number in (1, 2)), wanting=to_crm)
    office.crm.answer = lambda _number: DEAD
    office.deliver()
    assert office.states() == {1: State("dead", 1, None), 2: State("dead", 1, None)}
    office.crm.answer = lambda _number: RETRY
    office.run()
    assert {number: state[:2] for number, state in office.states().items()} == {1: ("pending", 1), 2: ("pending", 0)}
    assert office.rows("SELECT settled_at FROM deliveries") == [(None,), (None,)]
    office.crm.answer = lambda _number: DONE
    office.crm.forget()
    office.clock.advance(3600)
    office.deliver()
    assert [(call.number, call.attempt) for call in office.crm.calls] == [(1, 2), (2, 1)]


def test_nothing_overtakes_a_delivery_that_is_not_of_the_replay(office: Office) -> None:
    """Behind an event that waits for the daemon the rest of its conversation is queued; behind one that the replay
    itself takes, it is handed over after it."""
    office.crm.answer = lambda number: RETRY if number == 1 else DEAD
    office.record(office.event(1, "a"), office.event(2, "b"), office.event(3, "b"), wanting=to_crm)
    office.deliver()
    office.record(office.event(4, "b"), wanting=to_crm)
    office.record(*(office.event(number, "ab"[number % 2]) for number in (5, 6, 7, 8)))
    office.crm.answer = lambda _number: DONE
    office.crm.forget()
    plan = office.plan()
    report = office.run(workers=4)
    by_conversation = {name: [call.number for call in office.crm.calls if call.conversation == name] for name in "ab"}
    assert by_conversation == {"a": [1, 6, 8], "b": [2, 3]}
    assert {number: office.states()[number][:2] for number in (5, 7)} == {5: ("pending", 0), 7: ("pending", 0)}
    assert report.deliveries == {"crm": {"done": 5, "failed": 2}}
    assert plan.deliveries == 7
    assert plan.skipped == report.skipped == {"waits for its first attempt already": 1}
    office.deliver()
    assert office.crm.numbers[-3:] == [4, 5, 7]


@lite
def test_order_none_lifts_it(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """With order = "none" a failure holds back nothing, on its page or a later one, nor does an open delivery."""
    monkeypatch.setattr(candidates, "PAGE", 3)
    office.delivery["order"] = "none"
    office.record(office.event(1, "a"), wanting=to_crm)
    office.record(*(office.event(number, "a") for number in range(2, 10)))
    office.crm.answers = {2: [RETRY]}
    report = office.run()
    assert sorted(office.crm.numbers) == list(range(2, 10))
    assert report.deliveries == {"crm": {"done": 7, "failed": 1}}


@lite
def test_batches_are_full_and_in_order(office: Office) -> None:
    """A handler of batches gets full ones, in the order recorded."""
    office.crm.batch_size = 4
    office.record(*(office.event(number, "a") for number in range(1, 11)))
    office.run(workers=3)
    assert office.crm.batches == [4, 4, 2]
    assert office.crm.numbers == list(range(1, 11))


def test_outcomes_are_written_as_the_daemon_writes_them(office: Office) -> None:
    """Retry, dead and skipped leave the same deliveries, attempts and totals as the daemon's own delivery does."""
    found = []
    for organisation, name in (("first", "daemon"), ("second", "replay")):
        handler = Told(name)
        office.handlers = (handler,)
        asked = Outcome("retry", "later", 7.5, asked=True)
        handler.answers = {1: [RETRY], 2: [DEAD], 3: [SKIPPED], 4: [asked]}
        events = [office.event(number, f"c{number}") for number in range(1, 6)]
        wanting = [name] if name == "daemon" else []
        office.record(*events, wanting=lambda _type: wanting, organisation=organisation, source=name)  # noqa: B023
        office.deliver(handler) if name == "daemon" else office.run(sources=(name,))
        found.append(_told(office, name))
    assert found[0] == found[1]
    assert [state for _, state, *_ in found[0][0]] == ["pending", "dead", "skipped", "pending", "done"]


def _told(office: Office, handler: str) -> tuple[list[Any], list[Any], list[Any]]:
    mine = f"FROM deliveries d JOIN events e ON e.id = event_id WHERE handler = '{handler}' ORDER BY identity"
    tried = f"FROM attempts a JOIN deliveries d ON d.id = delivery_id WHERE handler = '{handler}' ORDER BY a.detail"
    waits = office.rows(f"SELECT due_at {mine}")
    assert all(due > office.clock.now for (due,) in (waits[0], waits[3]))
    return (
        office.rows(f"SELECT identity, state, attempts, d.detail, settled_at IS NULL {mine}"),
        office.rows(f"SELECT attempt, outcome, a.detail {tried}"),
        office.rows(f"SELECT two, number FROM totals WHERE kind = 'delivery' AND one = '{handler}' ORDER BY two"),
    )


@lite
def test_an_outage_costs_each_tried_event_one_attempt_and_nothing_else(office: Office) -> None:
    """When everything fails the breaker opens: one event at a time is tried, with pauses that are told; when the
    handler has recovered the rest goes on, and none is dead."""
    office.delivery |= {"breaker_failures": 3, "backoff_seconds": 0.15, "breaker_max_seconds": 0.15, "max_attempts": 2}
    office.record(*(office.event(number) for number in range(1, 41)))
    failing = threading.Event()
    failing.set()

    def answer(number: int) -> Outcome:
        if not failing.is_set():
            return DONE
        if any("crm is failing" in told.waiting for told in office.told) and len(office.crm.calls) > 6:
            failing.clear()
        return RETRY

    office.crm.answer = answer
    report = office.run(workers=2)
    assert sorted(office.crm.numbers) == list(range(1, 41))
    failed = report.deliveries["crm"]["failed"]
    assert report.deliveries == {"crm": {"failed": failed, "done": 40 - failed}}
    assert 6 < failed < 20
    assert {state.attempts for state in office.states().values()} == {1}
    probes = office.crm.log[2 * 4 : 2 * failed]
    assert [what for what, _ in probes] == ["begin", "end"] * (len(probes) // 2)


@lite
def test_a_hanging_handler_is_given_up(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that does not come back has failed after the time-out, and the others go on."""
    monkeypatch.setattr(crew, "_GRACE", 0.0)
    office.delivery["timeout_seconds"] = 0.3
    office.record(*(office.event(number, f"c{number}") for number in range(1, 11)))
    release = threading.Event()
    office.crm.answer = lambda number: DONE if number != 2 or release.wait(60) else RETRY
    try:
        report = office.run(workers=2)
    finally:
        release.set()
    assert report.deliveries == {"crm": {"done": 9, "failed": 1}}
    assert office.states()[2] == State("pending", 1, 1)
    ((outcome, detail),) = office.rows("SELECT outcome, detail FROM attempts")
    assert outcome == "failed"
    assert "0.3" in detail


def test_pace() -> None:
    """So many a second in short bursts, over whatever spans of time it is asked; no more after a long pause."""
    now = [100.0]
    pace = Pace(50, lambda: now[0])
    given = []
    for _ in range(1000):
        if number := pace.allowance(1000):
            pace.used(number)
            given.append(number)
        wait = pace.wait()
        assert wait is not None
        now[0] += wait + 1e-6
    assert sum(given) == 1000
    assert now[0] - 100 == pytest.approx(1000 / 50, rel=0.01)
    now[0] += 3600
    assert pace.allowance(1000) == 10
    slow = Pace(0.5, lambda: now[0])
    assert slow.allowance(5) == 1
    slow.used(1)
    assert slow.allowance(5) == 0
    assert slow.wait() == pytest.approx(2)
    free = Pace(None)
    assert (free.allowance(7), free.wait()) == (7, None)


@lite
def test_a_rate_is_for_all_handlers_together(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every hand-over asks the same pace first, and never gives more than it allows."""
    asked: list[int] = []

    class Counting(Pace):
        def used(self, number: int) -> None:
            asked.append(number)
            assert number <= 25 * 20 * 0.2
            super().used(number)

    monkeypatch.setattr(replay, "Pace", Counting)
    office.handlers = (office.crm, Told("other"))
    office.record(*(office.event(number, f"c{number % 3}") for number in range(1, 21)))
    office.run(rate=25.0 * 20, workers=2)
    assert sum(asked) == 40
