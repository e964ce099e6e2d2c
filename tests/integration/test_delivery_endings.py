"""Delivery: stopping, finishing, a ledger that fails, and starting again after a kill."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.pipeline.delivery import Deliverer
from tests.integration.delivery_items import World
from tests.support import wait_until

HOLDING = """
    begun = threading.Event()

    @handler(name="crm")
    def crm(event, delivery):
        note(event, delivery)
        begun.set()
        release.wait(60)
"""
PLAIN = """
    @handler(name="crm")
    def crm(event, delivery):
        note(event, delivery)
"""
RETRYING = """
    @handler(name="crm")
    def crm(event, delivery):
        note(event, delivery)
        raise Retry("later", after=3600)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty ledger; no thread is left in the end."""
    made = World(tmp_path)
    yield made
    made.close()


def test_stop_finishes_what_runs_and_gives_back_the_rest(world: World) -> None:
    """At a stop running attempts end and count; what was claimed but not begun is pending with no attempt used."""
    module, (crm,) = world.module(HOLDING)
    world.record(["crm"], ["a", "a", *(f"c{number}" for number in range(20))])
    deliverer = world.deliverer(crm, workers=2)
    deliverer.start()
    wait_until(lambda: len(module.calls) == 2, what="two running calls")
    deliverer.stop()
    assert not deliverer.join(0.2)
    module.release.set()
    assert deliverer.join(10)
    ran = {number for _, number, _, _ in module.calls}
    rows = world.rows()
    assert {row.number for row in rows if row.state == "done" and row.attempts == 1} == ran
    assert {row.number for row in rows if row.state == "pending" and row.attempts == 0} == set(range(1, 23)) - ran
    assert ran >= {1}


def test_after_a_stop_the_next_start_carries_on(world: World) -> None:
    """What a stop gave back is done after the next start, as a first attempt: each event ran once in all."""
    module, (crm,) = world.module(HOLDING)
    world.record(["crm"], [f"c{number}" for number in range(40)])
    first = world.deliverer(crm, workers=2)
    first.start()
    assert module.begun.wait(10)
    first.stop()
    module.release.set()
    assert first.join(10)
    assert world.ledger.deliveries.recover() == {}
    world.finish(world.deliverer(crm))
    assert Counter(number for _, number, _, _ in module.calls) == Counter(range(1, 41))
    assert {attempt for _, _, attempt, _ in module.calls} == {1}


def test_waiting_for_the_last_call_costs_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A deliverer that was stopped sleeps while its last call runs; it does not turn the processor into heat."""
    module, (crm,) = world.module(HOLDING)
    steps = Counter[str]()
    original = Deliverer.step

    def counted(self: Deliverer) -> float | None:
        steps["stopping" if self.stopping else "working"] += 1
        return original(self)

    monkeypatch.setattr(Deliverer, "step", counted)
    world.record(["crm"], ["a"])
    deliverer = world.deliverer(crm)
    deliverer.start()
    assert module.begun.wait(10)
    deliverer.stop()
    assert not deliverer.join(0.3)
    module.release.set()
    assert deliverer.join(10)
    assert steps["stopping"] < 20


def test_stop_while_idle(world: World) -> None:
    """A deliverer that waits for work, or for a retry, stops at once."""
    _, (crm,) = world.module(RETRYING)
    world.record(["crm"], ["a"])
    deliverer = world.deliverer(crm)
    deliverer.start()
    wait_until(lambda: world.states()["crm"].get("retrying"), what="the retry")
    deliverer.stop()
    assert deliverer.join(5)


def test_finish_ends_although_retries_wait(world: World) -> None:
    """`finish` ends when nothing is due, with a retry in an hour and what it holds back left pending."""
    module, (crm,) = world.module(RETRYING)
    world.record(["crm"], ["a", "a", "b"])
    world.finish(world.deliverer(crm), timeout=10)
    assert sorted(number for _, number, _, _ in module.calls) == [1, 3]
    assert world.states() == {"crm": {"retrying": 2, "pending": 1}}


def test_finish_while_idle_never_hangs(world: World) -> None:
    """Called on a deliverer that has nothing to do and waits, `finish` ends it."""
    _, (crm,) = world.module(PLAIN)
    for _ in range(20):
        deliverer = world.deliverer(crm)
        deliverer.start()
        deliverer.finish()
        assert deliverer.join(5)


def test_finish_right_after_the_work_never_hangs(world: World) -> None:
    """Called in the instant in which the last result was settled, `finish` ends it, and all is done."""
    module, (crm,) = world.module(PLAIN)
    for turn in range(1, 31):
        world.record(["crm"], ["a", "b"])
        deliverer = world.deliverer(crm)
        deliverer.start()
        wait_until(lambda: len(module.calls) == 2 * turn if turn % 2 else deliverer.settled.total() == 2)  # noqa: B023
        deliverer.finish()
        assert deliverer.join(5)
    assert world.states() == {"crm": {"done": 60}}


def test_finish_delivers_what_is_recorded_just_before(world: World) -> None:
    """Events recorded before `finish`, without a wake, are delivered before it ends."""
    module, (crm,) = world.module(PLAIN)
    for _ in range(20):
        deliverer = world.deliverer(crm)
        deliverer.start()
        world.record(["crm"], ["a"] * 3)
        deliverer.finish()
        assert deliverer.join(5)
    assert len(module.calls) == 60


@pytest.fixture
def shaky(world: World, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The verbs of the ledger that shall fail next, each once; failures are followed by a short pause."""
    failing: list[str] = []
    monkeypatch.setattr(Deliverer, "pause", lambda _self, _error: 0.01)
    for verb in ("settle", "claim", "next_due"):
        original: Any = getattr(world.ledger.deliveries, verb)

        def shaken(*given: Any, _verb: str = verb, _original: Any = original, **named: Any) -> Any:
            if _verb in failing:
                failing.remove(_verb)
                raise LedgerUnavailable("the disk is full")
            return _original(*given, **named)

        monkeypatch.setattr(world.ledger.deliveries, verb, shaken)
    return failing


def test_a_ledger_that_fails_loses_no_result(world: World, shaky: list[str], caplog: pytest.LogCaptureFixture) -> None:
    """When results, claims or times cannot be written or read for a while, every call still counts, once."""
    module, (crm,) = world.module(PLAIN)
    world.record(["crm"], [f"c{number % 7}" for number in range(200)])
    shaky += ["settle"] * 3 + ["claim"] * 2 + ["next_due"] * 2
    deliverer = world.deliverer(crm)
    deliverer.start()
    wait_until(lambda: world.states()["crm"] == {"done": 200} and not shaky, 20, "all to be done")
    assert Counter(number for _, number, _, _ in module.calls) == Counter(range(1, 201))
    assert deliverer.settled == {"done": 200}
    assert "handler crm: the disk is full" in caplog.text
    wait_until(lambda: deliverer.failure is None, what="its recovery")


def test_a_stop_waits_until_results_are_written(world: World, shaky: list[str]) -> None:
    """Stopped while the ledger refuses results, it ends only when they are written."""
    module, (crm,) = world.module(HOLDING)
    world.record(["crm"], ["a"])
    deliverer = world.deliverer(crm)
    deliverer.start()
    assert module.begun.wait(10)
    shaky += ["settle"] * 5
    deliverer.stop()
    module.release.set()
    assert deliverer.join(10)
    assert not shaky
    assert world.states() == {"crm": {"done": 1}}


def test_after_a_kill_what_was_running_runs_again(world: World) -> None:
    """Claims that a dead process held are pending after `recover`; of several, none is blamed for its end."""
    module, (crm,) = world.module(PLAIN)
    world.record(["crm"], ["a", "a", "b"])
    taken = world.ledger.deliveries.claim("crm", 2, ordered=True)
    assert [claim.attempt for claim in taken] == [1, 1]
    world.ledger.close()
    again = world.opened_ledger()
    assert again.deliveries.recover() == {"crm": 2}
    assert again.deliveries.recover() == {}
    world.finish(world.deliverer(crm, again))
    assert {number: attempt for _, number, attempt, _ in module.calls} == {1: 1, 2: 1, 3: 1}
    assert [number for conversation, number, _, _ in module.calls if conversation == "a"] == [1, 2]
    again.close()


def test_the_key_is_the_same_after_a_restart(world: World) -> None:
    """The attempt before a kill and the one after the restart carry one idempotency key."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if delivery.attempt == 1:
                raise Retry("later", after=0.001)
        """
    )
    world.record(["crm"], ["a"])
    world.finish(world.deliverer(crm))
    again = world.opened_ledger()
    deliverer = world.deliverer(crm, again)
    deliverer.start()
    wait_until(lambda: again.figures.deliveries()["crm"].get("done"), what="the second attempt")
    assert len(module.calls) == 2
    assert len({key for *_, key in module.calls}) == 1
    deliverer.stop()
    assert deliverer.join(5)
    again.close()


def test_a_delivery_that_kills_the_process_does_not_run_for_ever(world: World) -> None:
    """Attempts cut off by the end of the process count: after the last one it is not handed over again."""
    module, (crm,) = world.module(PLAIN)
    world.record(["crm"], ["a", "b"])
    for _ in range(3):
        taken = world.ledger.deliveries.claim("crm", 1, ordered=True)
        assert [claim.conversation for claim in taken] == ["a"]
        assert world.ledger.deliveries.recover() == {"crm": 1}
    world.finish(world.deliverer(crm, max_attempts=3))
    assert [number for _, number, _, _ in module.calls] == [2]
    assert world.states() == {"crm": {"dead": 1, "done": 1}}


def test_a_start_that_is_late_takes_what_waited(world: World) -> None:
    """A retry that became due while nothing ran is tried at the next start at once."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if delivery.attempt == 1:
                raise Retry("later", after=0.05)
        """
    )
    world.record(["crm"], ["a"])
    world.finish(world.deliverer(crm))
    wait_until(lambda: world.rows()[0].due_at < time.time_ns() // 1000, what="the retry to be due")
    world.finish(world.deliverer(crm))
    assert [attempt for _, _, attempt, _ in module.calls] == [1, 2]
