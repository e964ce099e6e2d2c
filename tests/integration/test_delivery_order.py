"""Delivery: everything once, in order within a conversation, the others not held up."""

from __future__ import annotations

import itertools
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.delivery_items import World
from tests.support import wait_until

PLAIN = """
    @handler(name="crm")
    def crm(event, delivery):
        note(event, delivery)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty ledger; no thread is left in the end."""
    made = World(tmp_path)
    yield made
    made.close()


def test_every_delivery_is_done_exactly_once(world: World) -> None:
    """5,000 events, with and without a conversation, each reach the handler once, and are done in the ledger."""
    module, (crm,) = world.module(PLAIN)
    names = itertools.cycle([*(f"c{number}" for number in range(99)), None])
    for _ in range(5):
        world.record(["crm"], itertools.islice(names, 1000))
    deliverer = world.deliverer(crm)
    world.finish(deliverer, timeout=60)
    assert Counter(number for _, number, _, _ in module.calls) == Counter(range(1, 5001))
    assert world.states() == {"crm": {"done": 5000}}
    assert deliverer.settled == {"done": 5000}
    assert {row.attempts for row in world.rows()} == {1}
    assert len({key for *_, key in module.calls}) == 5000


def test_order_is_kept_in_each_conversation(world: World) -> None:
    """With 8 workers, 200 conversations and a stumble now and then, each conversation sees its events in order."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            if int(event.body) % 97 == 0 and delivery.attempt == 1:
                raise Retry("a stumble", after=0.01)
            note(event, delivery)
        """
    )
    for _ in range(10):
        world.record(["crm"], [f"c{number}" for number in range(200)])
    deliverer = world.deliverer(crm, workers=8)
    deliverer.start()
    wait_until(lambda: len(module.calls) == 2000, 60, "2,000 deliveries")
    by_conversation = defaultdict(list)
    for conversation, number, _, _ in module.calls:
        by_conversation[conversation].append(number)
    assert len(by_conversation) == 200
    assert all(numbers == sorted(numbers) and len(numbers) == 10 for numbers in by_conversation.values())


def test_new_events_queue_behind_those_that_run(world: World) -> None:
    """An event recorded while an earlier one of its conversation runs is begun only after that one has ended."""
    module, (crm,) = world.module(
        """
        running = threading.Event()

        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if event.body == "1":
                running.set()
                release.wait(60)
        """
    )
    deliverer = world.deliverer(crm)
    world.record(["crm"], ["a"])
    deliverer.start()
    assert module.running.wait(10)
    world.record(["crm"], ["a", "b"])
    deliverer.wake()
    wait_until(lambda: len(module.calls) == 2, what="the other conversation")
    assert [number for _, number, _, _ in module.calls] == [1, 3]
    module.release.set()
    wait_until(lambda: world.states()["crm"].get("done") == 3, what="all to be done")
    assert [number for _, number, _, _ in module.calls] == [1, 3, 2]


def test_order_none_lets_a_conversation_run_in_parallel(world: World) -> None:
    """With order = "none" four events of one conversation meet at a barrier."""
    _, (crm,) = world.module(
        """
        barrier = threading.Barrier(4)

        @handler(name="crm")
        def crm(event, delivery):
            barrier.wait(20)
        """
    )
    world.record(["crm"], ["a"] * 4)
    world.finish(world.deliverer(crm, workers=4, order="none"))
    assert world.states() == {"crm": {"done": 4}}


def test_events_without_a_conversation_run_in_parallel(world: World) -> None:
    """What belongs to no conversation is not held up by anything, also in the default order."""
    _, (crm,) = world.module(
        """
        barrier = threading.Barrier(4)

        @handler(name="crm")
        def crm(event, delivery):
            barrier.wait(20)
        """
    )
    world.record(["crm"], [None] * 4)
    world.finish(world.deliverer(crm, workers=4))
    assert world.states() == {"crm": {"done": 4}}


def test_a_failing_conversation_holds_back_only_itself(world: World) -> None:
    """While one event waits for its retry the rest of its conversation waits, everything else is done."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if event.body == "2":
                raise Retry("not yet", after=3600)
        """
    )
    world.record(["crm"], ["a", "b", "a", "b", "c", "b", None])
    world.finish(world.deliverer(crm))
    assert sorted(number for _, number, _, _ in module.calls) == [1, 2, 3, 5, 7]
    assert world.states() == {"crm": {"done": 4, "pending": 2, "retrying": 1}}
    assert {row.number: row.attempts for row in world.rows() if row.state == "pending"} == {2: 1, 4: 0, 6: 0}


def test_two_organisations_do_not_share_a_conversation(world: World) -> None:
    """A failing conversation of one organisation does not hold back that of another with the same id."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if event.body == "1":
                raise Retry("not yet", after=3600)
        """
    )
    world.record(["crm"], ["a", "a"], "acme")
    world.record(["crm"], ["a", "a"], "other")
    world.finish(world.deliverer(crm))
    assert sorted(number for _, number, _, _ in module.calls) == [1, 3, 4]


def test_the_conversation_goes_on_after_the_dead_letter(world: World) -> None:
    """When an event has used up its attempts it is dead, with the last reason, and what followed it is done."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if event.body == "1":
                raise ValueError(f"attempt {delivery.attempt} failed")
        """
    )
    world.record(["crm"], ["a", "a", "a"])
    deliverer = world.deliverer(crm, max_attempts=3)
    deliverer.start()
    wait_until(lambda: world.states()["crm"].get("done") == 2, what="the others of the conversation")
    first = world.rows()[0]
    assert (first.state, first.attempts, first.detail) == ("dead", 3, "ValueError: attempt 3 failed")
    assert [(number, attempt) for _, number, attempt, _ in module.calls] == [(1, 1), (1, 2), (1, 3), (2, 1), (3, 1)]


def test_waiting_for_a_retry_costs_nothing(world: World) -> None:
    """While a conversation waits for a retry the ledger is not asked again and again for what it holds back."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if delivery.attempt == 1 and event.body == "1":
                raise Retry("not yet", after=0.5)
        """
    )
    claims = Counter[str]()
    original = world.ledger.deliveries.claim

    def counted(handler: str, limit: int, *, ordered: bool) -> object:
        claims[handler] += 1
        return original(handler, limit, ordered=ordered)

    world.ledger.deliveries.claim = counted  # type: ignore[method-assign,assignment]
    world.record(["crm"], ["a", "a"])
    world.deliverer(crm).start()
    wait_until(lambda: len(module.calls) == 3, what="the retry and what it held back")
    assert claims["crm"] < 20


def test_handlers_are_independent(world: World) -> None:
    """One handler hangs from its first event on; the other one finishes all, in order, meanwhile."""
    module, (stuck, crm) = world.module(
        """
        hanging = threading.Event()

        @handler(name="stuck")
        def stuck(event):
            hanging.set()
            release.wait(60)

        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
        """
    )
    world.record(["stuck", "crm"], ["a", "b"] * 200)
    for handler in (stuck, crm):
        world.deliverer(handler, workers=2).start()
    assert module.hanging.wait(10)
    wait_until(lambda: world.states()["crm"].get("done") == 400, 30, "the other handler to be done")
    assert world.states()["stuck"].get("done") is None
    assert threading.active_count() < 20
