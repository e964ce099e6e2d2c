"""Deliveries: claimed in order, never twice, given back, settled and recovered."""

from __future__ import annotations

import json
import threading
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import pytest

from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Claim
from tests.ledger_samples import (
    SECOND,
    Clock,
    arrival,
    batch,
    event,
    opened,
    record,
    rows,
    settled,
    wanting,
)


def _fill(ledger: Ledger, *conversations: str | None) -> None:
    """An event in each of the conversations in turn; their message ids are 1, 2, 3, …"""
    files = [(f"{n:05}.json", event(str(n), conversation)) for n, conversation in enumerate(conversations, 1)]
    record(ledger, *files)


def _claim(ledger: Ledger, limit: int = 100, *, ordered: bool = True) -> list[Claim]:
    return ledger.deliveries.claim("crm", limit, ordered=ordered)


def _told(claims: list[Claim]) -> str:
    """The message ids of claims, one digit each."""
    return "".join(json.loads(claim.body)["communicationActionId"] for claim in claims)


def test_the_oldest_are_claimed_first_and_only_once(ledger: Ledger) -> None:
    """Claims come in the order recorded, as many as asked for, and what is running is not claimed again."""
    _fill(ledger, "a", "b", "c", "d")
    assert _told(_claim(ledger, 3)) == "123"
    assert _told(_claim(ledger, 3)) == "4"
    assert _claim(ledger, 3) == []


def test_an_attempt_is_counted_when_it_is_claimed(ledger: Ledger) -> None:
    """The first claim is attempt 1; after a retry that has become due it is attempt 2."""
    _fill(ledger, "a")
    (first,) = _claim(ledger)
    ledger.deliveries.settle("crm", [settled(first.id, "pending", attempts=first.attempt)])
    (second,) = _claim(ledger)
    assert (first.attempt, second.attempt, first.id) == (1, 2, second.id)


def test_an_attempt_given_back_does_not_count(ledger: Ledger) -> None:
    """A claim settled as pending with one attempt less is as it was before."""
    _fill(ledger, "a")
    (claim,) = _claim(ledger)
    ledger.deliveries.settle("crm", [settled(claim.id, "pending", attempts=claim.attempt - 1)])
    assert ledger.figures.deliveries() == {"crm": {"pending": 1}}
    assert [again.attempt for again in _claim(ledger)] == [1]


def test_one_conversation_is_claimed_together_in_its_order(ledger: Ledger) -> None:
    """Events of one lane may come in one claim, in order; a claim cut short leaves the rest blocked."""
    _fill(ledger, "a", "a", "b", "a")
    first = _claim(ledger, 2)
    assert _told(first) == "12"
    assert _told(_claim(ledger)) == "3"  # 4 follows 1 and 2, which run
    ledger.deliveries.settle("crm", [settled(claim.id) for claim in first])
    assert _told(_claim(ledger)) == "4"


def test_a_retry_that_waits_holds_back_its_own_conversation_alone(ledger: Ledger, clock: Clock) -> None:
    """What follows in the lane waits with it; other lanes, and events without a conversation, go on."""
    _fill(ledger, "a", "a", "b", None, "a")
    one = _claim(ledger, 1)[0]
    ledger.deliveries.settle("crm", [settled(one.id, "pending", due_at=clock.now + 60 * SECOND)])
    assert _told(_claim(ledger)) == "34"
    clock.advance(61)
    assert _told(_claim(ledger)) == "125"


@pytest.mark.parametrize("state", ["done", "skipped", "dead"])
def test_an_ended_delivery_lets_the_next_one_go(ledger: Ledger, state: str) -> None:
    """Done, skipped or dead: the conversation goes on."""
    _fill(ledger, "a", "a")
    (first,) = _claim(ledger, 1)
    assert _claim(ledger) == []
    ledger.deliveries.settle("crm", [settled(first.id, state)])
    assert _told(_claim(ledger)) == "2"
    assert ledger.figures.deliveries() == {"crm": {state: 1, "running": 1}}


def test_without_order_nothing_holds_back(ledger: Ledger, clock: Clock) -> None:
    """Unordered, the events of one conversation are claimed while an earlier one runs or waits."""
    _fill(ledger, "a", "a", "a")
    (one,) = _claim(ledger, 1, ordered=False)
    ledger.deliveries.settle("crm", [settled(one.id, "pending", due_at=clock.now + 60 * SECOND)])
    assert _told(_claim(ledger, 1, ordered=False)) == "2"
    assert _told(_claim(ledger, ordered=False)) == "3"


def test_handlers_have_lanes_of_their_own(ledger: Ledger) -> None:
    """What one handler is busy with does not hold back another one."""
    ledger.record(batch(arrival("1.json", event("1")), arrival("2.json", event("2"))), lambda _kind: ["crm", "log"])
    _claim(ledger, 1)
    assert _told(ledger.deliveries.claim("log", 9, ordered=True)) == "12"


def test_a_claim_fits_into_memory(ledger: Ledger) -> None:
    """Not more than some 16 MB of bodies are claimed at once, but always at least one; the rest stays pending."""
    big = "x" * (6 << 20)
    record(ledger, *[(f"{number}.json", event(str(number), str(number), body=big)) for number in range(3)])
    assert _told(_claim(ledger)) == "01"
    assert ledger.figures.deliveries() == {"crm": {"running": 2, "pending": 1}}
    assert _told(_claim(ledger)) == "2"


def test_what_was_running_runs_again_after_a_crash(url: str, clock: Clock) -> None:
    """A new process finds them pending, with the attempt counted and the same key."""
    with opened(url, clock) as before:
        _fill(before, "a", "b", "c")
        claimed = _claim(before, 2)
        before.deliveries.settle("crm", [settled(claimed[0].id)])
    with opened(url, clock) as after:
        assert after.deliveries.recover() == {"crm": 1}
        assert after.deliveries.recover() == {}
        again = _claim(after)
        assert [(claim.identity, claim.attempt) for claim in again] == [
            (claimed[1].identity, 2),
            ('["inboundMessage","3"]', 1),
        ]


def test_the_next_due_is_the_earliest_pending(ledger: Ledger, clock: Clock) -> None:
    """None without any; else when the first retry becomes due, of that handler alone."""
    assert ledger.deliveries.next_due("crm", 0) is None
    _fill(ledger, "a", "b")
    later = clock.now + 60 * SECOND
    one, two = _claim(ledger)
    assert ledger.deliveries.next_due("crm", 0) is None  # they run
    ledger.deliveries.settle(
        "crm", [settled(one.id, "pending", due_at=later + SECOND), settled(two.id, "pending", due_at=later)]
    )
    assert ledger.deliveries.next_due("crm", 0) == later
    assert ledger.deliveries.next_due("log", 0) is None
    assert _claim(ledger) == []


def test_a_retry_is_counted_as_retrying_and_the_end_is_noted(ledger: Ledger, url: str) -> None:
    """The figures tell a retry from what was never tried; the detail and the time of the end are kept."""
    _fill(ledger, "a", "b", "c")
    one, two = _claim(ledger, 2)
    dead = settled(two.id, "dead")._replace(detail="no such customer")
    ledger.deliveries.settle("crm", [settled(one.id, "pending"), dead])
    assert ledger.figures.deliveries() == {"crm": {"retrying": 1, "dead": 1, "pending": 1}}
    found = rows(url, "SELECT state, detail, settled_at IS NULL FROM deliveries ORDER BY id")
    assert found == [("pending", None, True), ("dead", "no such customer", False), ("pending", None, True)]


def test_claimers_at_once_never_share_a_delivery_nor_break_a_lane(url: str) -> None:
    """Four claimers on two ledgers of one database: each delivery is run once, and each lane in its order."""
    lanes, each = 7, 40
    done: list[Claim] = []
    running: set[str] = set()
    lock = threading.Lock()

    def work(ledger: Ledger) -> None:
        while len(done) < lanes * each:
            claims = ledger.deliveries.claim("crm", 5, ordered=True)
            with lock:
                mine = {claim.lane or "" for claim in claims}
                assert not mine & running, "a lane is worked on twice at the same time"
                running.update(mine)
                done.extend(claims)
            with lock:
                running.difference_update(mine)
            ledger.deliveries.settle("crm", [settled(claim.id) for claim in claims])

    with opened(url) as first, opened(url) as second:
        files = [arrival(f"{n:04}.json", event(str(n), str(n % lanes)), mtime=n) for n in range(lanes * each)]
        first.record(batch(*files), wanting)
        with ThreadPoolExecutor(4) as pool:
            for worker in [pool.submit(work, ledger) for ledger in (first, second) * 2]:
                worker.result(60)
    assert len({claim.id for claim in done}) == len(done) == lanes * each
    for lane in range(lanes):
        numbers = [claim.id for claim in done if claim.lane == f"default/{lane}"]
        assert all(earlier < later for earlier, later in pairwise(numbers))


def test_recorders_at_once_record_each_event_once(url: str) -> None:
    """Of two ledgers that record the same events at the same time one is first; for the other they are duplicates."""
    names = [f"{number:03}.json" for number in range(200)]

    def take(ledger: Ledger, source: str) -> int:
        new = 0
        for at in range(0, len(names), 20):
            files = [arrival(name, event(name)) for name in names[at : at + 20]]
            new += ledger.record(batch(*files, source=source), wanting).events
        return new

    with opened(url) as first, opened(url) as second, ThreadPoolExecutor(2) as pool:
        taken = [pool.submit(take, first, "north"), pool.submit(take, second, "south")]
        assert sum(task.result(60) for task in taken) == len(names)
    assert rows(url, "SELECT count(*) FROM events") == [(200,)]
    assert rows(url, "SELECT count(*) FROM repeats WHERE NOT conflict") == [(200,)]
