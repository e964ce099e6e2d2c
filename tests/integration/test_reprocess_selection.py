"""Reprocessing by selection: what is handed over, what is left alone, and that a plan changes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.ledger import candidates
from sftpd_processor.ledger.ledger import Ledger
from tests.ledger_samples import Clock, array, arrival, batch
from tests.replay_items import DEAD, RETRY, Office, State, Told, lite, micros


@pytest.fixture
def office(tmp_path: Path, ledger: Ledger, url: str, clock: Clock) -> Office:
    """A ledger of each kind."""
    return Office(tmp_path, ledger, url, clock)


def crm(_type: str) -> tuple[str, ...]:
    return ("crm",)


def mixed(office: Office) -> None:
    """1 is done, 2 dead, 3 is to be tried again, 4 waits for its first attempt, 5 runs, 6 was never delivered."""
    crm_handler = office.crm
    crm_handler.answers = {2: [DEAD], 3: [RETRY]}
    office.record(*(office.event(number) for number in (1, 2, 3)), wanting=crm)
    office.deliver()
    office.record(office.event(5), wanting=crm)
    assert len(office.ledger.deliveries.claim("crm", 9, ordered=True)) == 1
    office.record(office.event(4), wanting=crm)
    office.record(office.event(6))
    crm_handler.forget()


GONE = "UPDATE events SET body = :empty, gone ="
BEFORE = {
    1: State("done", 1, None),
    2: State("dead", 1, None),
    3: State("pending", 1, None),
    5: State("running", 1, None),
    4: State("pending", 0, None),
}


def test_what_is_undone_is_handed_over_and_nothing_else(office: Office) -> None:
    """Missing, failed and dead deliveries run, once; what is done, running or waits for its first attempt is left
    alone, and counted."""
    mixed(office)
    assert office.states() == BEFORE
    report = office.run()
    assert [(call.number, call.attempt) for call in sorted(office.crm.calls)] == [(2, 1), (3, 2), (6, 1)]
    assert office.states() == BEFORE | {
        2: State("done", 1, 1),
        3: State("done", 2, 1),
        6: State("done", 1, 1),
    }
    assert report.deliveries == {"crm": {"done": 3}}
    assert report.skipped == {
        "done already": 1,
        "waits for its first attempt already": 1,
        "is being delivered right now": 1,
    }
    assert (report.events, report.interrupted, report.files) == (6, False, 0)


def test_a_plan_changes_nothing_and_its_numbers_are_those_of_the_run(office: Office) -> None:
    """A plan leaves every table as it is, reaches no handler, and says what the run then does."""
    mixed(office)
    office.record(office.event(7), office.event(8, type="messageSend"))
    for again in (False, True):
        before = office.dump()
        plan = office.plan(again=again)
        assert office.dump() == before
        assert office.crm.calls == []
        report = office.run(again=again)
        assert plan.events == report.events == 8
        assert plan.deliveries == sum(group.number for group in plan.groups) == len(office.crm.calls)
        assert plan.deliveries == sum(sum(states.values()) for states in report.deliveries.values())
        assert plan.skipped == report.skipped
        assert office.replay(again=again).size() == 8
        office.crm.forget()


def test_done_ones_run_once_more_with_again(office: Office) -> None:
    """With `again` a done event comes with the same idempotency key, its delivery stays as it was, and what came of it
    is noted apart; with `new_keys` it comes with another key, the same in each attempt of that replay."""
    office.record(office.event(1), wanting=crm)
    office.deliver()
    before = office.rows("SELECT * FROM deliveries")
    office.crm.answers = {1: [RETRY]}
    report = office.run(again=True)
    assert report.interrupted
    assert report.deliveries == {"crm": {"failed": 1}}
    report = office.run(again=True, resumed=1)
    assert not report.interrupted
    assert office.rows("SELECT replay, handler, state, attempts, detail FROM replayed") == [(1, "crm", "done", 1, None)]
    office.crm.answers = {1: [RETRY]}
    office.run(again=True, new_keys=True)
    office.run(again=True, new_keys=True, resumed=2)
    assert office.rows("SELECT * FROM deliveries") == before
    first, *keys = [call.key for call in office.crm.calls]
    assert keys[:2] == [first, first]
    assert keys[2] == keys[3] != first


@lite
@pytest.mark.parametrize(
    ("states", "numbers"),
    [(("dead",), [2]), (("failed",), [3]), (("missing",), [6]), (("dead", "missing"), [2, 6])],
)
def test_the_chosen_states_run_alone(office: Office, states: tuple[str, ...], numbers: list[int]) -> None:
    """Of deliveries in several states only those in the chosen ones run."""
    mixed(office)
    plan = office.plan(states=states)
    report = office.run(states=states)
    assert sorted(office.crm.numbers) == numbers
    assert plan.skipped == report.skipped
    assert plan.deliveries == len(numbers)


@lite
def test_only_done_ones(office: Office) -> None:
    """With the state `done` and `again` nothing else runs."""
    mixed(office)
    report = office.run(states=("done",), again=True)
    assert office.crm.numbers == [1]
    assert report.skipped["not among the chosen states"] == 3


def test_each_way_to_choose_events(office: Office) -> None:
    """By type, conversation, customer, source, file and time: all that is given must fit."""
    office.record(
        office.event(1, "a", customerUID="c1"),
        office.event(2, "b", customerUID="c2", type="messageSend"),
        office.event(3, "a", customerUID="c2"),
    )
    office.record(office.event(4, "A", customerUID="c1"), source="other")
    office.clock.advance(600)
    office.record(office.event(5, "c", customerUID=1))
    ago = micros(office.clock, 300)
    wanted: list[tuple[dict[str, Any], list[int]]] = [
        ({"types": ("inboundMessage",)}, [1, 3, 4, 5]),
        ({"conversations": ("a",)}, [1, 3]),
        ({"conversations": ("a", "b"), "types": ("inboundMessage",)}, [1, 3]),
        ({"customers": ("c1",)}, [1, 4]),
        ({"customers": ("c1",), "conversations": ("a",)}, [1]),
        ({"customers": ("nobody",)}, []),
        ({"sources": ("other",)}, [4]),
        ({"file": "1.json"}, [1]),
        ({"file": "?.json", "sources": ("webio",)}, [1, 2, 3, 5]),
        ({"file": "nothing*"}, []),
        ({"since": ago}, [5]),
        ({"until": ago}, [1, 2, 3, 4]),
        ({"since": ago, "until": ago}, []),
    ]
    for chosen, numbers in wanted:
        replay = office.replay(again=True, **chosen)
        assert replay.size() == len(numbers), chosen
        assert replay.plan().deliveries == len(numbers), chosen
        replay.run(office.told.append, office.stop)
        assert sorted(office.crm.numbers) == numbers, chosen
        office.crm.forget()


def test_events_are_chosen_by_the_verdict_of_their_file(office: Office) -> None:
    """The event of an accepted file and the one of a partial file are told apart."""
    office.record(office.event(1))
    partial = array(office.event(2), b'{"type": 5}')
    office.ledger.record(batch(arrival("2.json", partial, 2)), lambda _type: ())
    assert office.rows("SELECT verdict FROM files ORDER BY id") == [("accepted",), ("partial",)]
    office.run(verdicts=("partial",))
    assert office.crm.numbers == [2]
    office.run(verdicts=("accepted", "duplicate"))
    assert office.crm.numbers == [2, 1]


@lite
def test_several_handlers_each_get_what_they_lack(office: Office) -> None:
    """Each chosen handler gets what it wants and lacks; one that is not chosen gets nothing."""
    picky, other = Told("picky", wants=lambda kind: kind == "messageSend"), Told("other")
    office.handlers = (office.crm, picky, other)
    office.record(office.event(1), office.event(2, type="messageSend"), wanting=crm)
    office.deliver()
    office.crm.forget()
    report = office.run(handlers=("crm", "picky"))
    assert (office.crm.numbers, picky.numbers, other.numbers) == ([], [2], [])
    assert report.deliveries == {"picky": {"done": 1}}
    assert report.skipped == {"done already": 2}
    report = office.run()
    assert (office.crm.numbers, picky.numbers, sorted(other.numbers)) == ([], [2], [1, 2])


def test_events_without_their_contents_are_counted_and_not_handed_over(office: Office) -> None:
    """What has expired or was forgotten is skipped, for a new handler as well as with `again`."""
    office.record(*(office.event(number) for number in range(1, 4)))
    _execute(office.url, f"{GONE} 'expired' WHERE identity LIKE '%m1%'")
    _execute(office.url, f"{GONE} 'forgotten' WHERE identity LIKE '%m2%'")
    plan = office.plan()
    report = office.run()
    assert office.crm.numbers == [3]
    assert report.skipped == plan.skipped == {"its content is not kept any more": 2}
    assert sorted(office.states()) == [3]
    assert office.run(customers=("nobody",), again=True).events == 0


@lite
def test_pages_make_no_difference(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Page by page every event is met once, also where a whole page holds none of the chosen customer."""
    monkeypatch.setattr(candidates, "PAGE", 3)
    customers = ["c1", *["c2"] * 7, "c1", "c2"]
    office.record(*(office.event(n, customerUID=uid) for n, uid in enumerate(customers, 1)))
    assert office.plan(customers=("c1",)).deliveries == 2
    office.run(customers=("c1",))
    assert office.crm.numbers == [1, 9]
    report = office.run()
    assert sorted(office.crm.numbers) == list(range(1, 11))
    assert report.deliveries == {"crm": {"done": 8}}
    assert report.events == 10


@lite
def test_a_second_run_finds_nothing_to_do(office: Office) -> None:
    """What a replay has settled, also as dead after all its attempts, is as the daemon would have left it."""
    office.delivery["max_attempts"] = 1
    office.record(office.event(1), office.event(2))
    office.crm.answers = {2: [RETRY]}
    report = office.run()
    assert report.deliveries == {"crm": {"done": 1, "dead": 1}}
    (letter,) = office.ledger.retries.dead(office.replay()._job.selection)
    assert office.ledger.retries.put_back([letter["id"]]) == 1
    office.deliver()
    assert office.states() == {1: State("done", 1, 1), 2: State("done", 1, None)}
    assert office.run().skipped == {"done already": 2}


def _execute(url: str, statement: str) -> None:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            connection.execute(text(statement), {"empty": b""})
    finally:
        engine.dispose()
