"""Delivery: what the ledger says after each way an attempt can end."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.pipeline import crew
from sftpd_processor.pipeline.delivery import Deliverer
from tests.integration.delivery_items import World
from tests.support import wait_until


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """An empty ledger; calls that hang are given up soon."""
    monkeypatch.setattr(crew, "_GRACE", 0.05)
    made = World(tmp_path)
    yield made
    made.close()


@pytest.mark.parametrize(
    ("does", "state", "detail"),
    [
        ("return None", "done", None),
        ("return 'whatever'", "done", None),
        ("return Skip('a test message')", "skipped", "a test message"),
        ("raise Skip('a test message')", "skipped", "a test message"),
        ("raise Reject('no such customer')", "dead", "no such customer"),
        ("raise Retry('not yet', after=3600)", "retrying", "not yet"),
        ("raise ValueError('wrong\\x1b[31m\\nnumber')", "retrying", "ValueError: wrong [31m number"),
        ("sys.exit(3)", "retrying", "SystemExit: 3"),
        ("raise KeyboardInterrupt", "retrying", "KeyboardInterrupt"),
    ],
)
def test_each_outcome_is_written(world: World, does: str, state: str, detail: str | None) -> None:
    """Whatever a function does, `sys.exit` included, becomes a state and one printable line of detail."""
    _, (crm,) = world.module(
        f"""
        @handler(name="crm")
        def crm(event):
            {does}
        """
    )
    world.record(["crm"], ["a"])
    world.finish(world.deliverer(crm, backoff_seconds=3600.0))
    assert world.states() == {"crm": {state: 1}}
    (row,) = world.rows()
    assert (row.attempts, row.detail) == (1, detail)


def test_a_retry_comes_when_it_is_due(world: World) -> None:
    """`Retry(after=0.3)` is tried again after 0.3 s, not before, by itself, as the second attempt."""
    module, (crm,) = world.module(
        """
        at = []

        @handler(name="crm")
        def crm(event, delivery):
            at.append((delivery.attempt, time.monotonic()))
            if delivery.attempt < 3:
                raise Retry("not yet", after=0.3)
        """
    )
    world.record(["crm"], ["a"])
    world.deliverer(crm).start()
    wait_until(lambda: world.states()["crm"].get("done"), what="the third attempt")
    assert [attempt for attempt, _ in module.at] == [1, 2, 3]
    assert all(later - sooner >= 0.29 for (_, sooner), (_, later) in zip(module.at, module.at[1:], strict=False))
    assert world.rows()[0].attempts == 3


def test_the_policy_spaces_the_attempts_and_ends_them(world: World) -> None:
    """A function that always fails is tried `max_attempts` times, with growing pauses, and then is a dead letter."""
    module, (crm,) = world.module(
        """
        at = []

        @handler(name="crm")
        def crm(event):
            at.append(time.monotonic())
            raise ValueError("always")
        """
    )
    world.record(["crm"], ["a"])
    deliverer = world.deliverer(crm, max_attempts=4, backoff_seconds=0.1)
    deliverer.start()
    wait_until(lambda: world.states()["crm"].get("dead"), what="the dead letter")
    pauses = [later - sooner for sooner, later in zip(module.at, module.at[1:], strict=False)]
    assert all(pause >= shortest for pause, shortest in zip(pauses, (0.05, 0.1, 0.2), strict=True))
    assert deliverer.settled == {"pending": 3, "dead": 1}


def test_an_async_function_is_awaited_many_at_a_time(world: World) -> None:
    """Eight deliveries to an `async def` are in it at once, and all are done."""
    _, (crm,) = world.module(
        """
        inside = []
        together = asyncio.Event()

        @handler(name="crm")
        async def crm(event):
            inside.append(event)
            if len(inside) == 8:
                together.set()
            await asyncio.wait_for(together.wait(), 20)
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(8)])
    world.finish(world.deliverer(crm, workers=8))
    assert world.states() == {"crm": {"done": 8}}


def test_an_async_function_is_cancelled_in_time(world: World) -> None:
    """An `async def` that does not come back is cancelled, told as timed out and retried; no thread is lost."""
    module, (crm,) = world.module(
        """
        cancelled = []

        @handler(name="crm")
        async def crm(event, delivery):
            try:
                if delivery.attempt == 1:
                    await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancelled.append(event.body)
                raise
        """,
        timeout=0.1,
    )
    world.record(["crm"], ["a", "b"])
    world.deliverer(crm, timeout_seconds=20.0, backoff_seconds=0.2).start()
    wait_until(lambda: world.states()["crm"].get("retrying") == 2, what="the time-out")
    assert {row.detail for row in world.rows()} == {"timed out after 0.1 s"}
    wait_until(lambda: world.states()["crm"].get("done") == 2, what="the second attempts")
    assert sorted(module.cancelled) == ["1", "2"]


def test_a_function_that_hangs_dies_and_the_others_flow(world: World) -> None:
    """With one worker and one event that hangs for ever, it becomes a dead letter and 100 others are done."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if event.body == "1":
                release.wait(60)
        """
    )
    world.record(["crm"], ["a", "a", *(f"c{number}" for number in range(99))])
    deliverer = world.deliverer(crm, workers=1, timeout_seconds=0.1, max_attempts=3)
    deliverer.start()
    wait_until(lambda: world.states()["crm"] == {"dead": 1, "done": 100}, 20, "all to be settled")
    first = world.rows()[0]
    assert (first.state, first.attempts, first.detail) == ("dead", 3, "it did not return within 0.1 s")
    assert [attempt for _, number, attempt, _ in module.calls if number == 1] == [1, 2, 3]


def test_a_lonely_call_that_hangs_is_noticed(world: World) -> None:
    """A single delivery that hangs is given up in time although nothing else wakes the deliverer."""
    _, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event):
            release.wait(60)
        """
    )
    for turn in range(1, 6):
        world.record(["crm"], ["a"])
        deliverer = world.deliverer(crm, timeout_seconds=0.05, max_attempts=1)
        deliverer.start()
        wait_until(lambda: world.states()["crm"].get("dead") == turn, what="the dead letter")  # noqa: B023


def test_a_late_return_changes_nothing(world: World) -> None:
    """A call that returns after it was given up does not make its dead letter done."""
    module, (crm,) = world.module(
        """
        returned = threading.Event()

        @handler(name="crm")
        def crm(event):
            release.wait(60)
            returned.set()
        """
    )
    world.record(["crm"], ["a", "b"])
    deliverer = world.deliverer(crm, timeout_seconds=0.1, max_attempts=1)
    deliverer.start()
    wait_until(lambda: world.states()["crm"].get("dead") == 2, what="the dead letters")
    module.release.set()
    assert module.returned.wait(10)
    deliverer.finish()
    assert deliverer.join(10)
    assert world.states() == {"crm": {"dead": 2}}
    assert deliverer.settled == {"dead": 2}


def test_when_all_hangs_no_more_is_claimed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """With every thread lost the rest is left pending with no attempt used, and nothing spins on the ledger."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            release.wait(60)
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(50)])
    steps: list[float] = []
    original = Deliverer.step

    def noted(self: Deliverer) -> float | None:
        steps.append(time.monotonic())
        return original(self)

    monkeypatch.setattr(Deliverer, "step", noted)
    deliverer = world.deliverer(crm, workers=1, timeout_seconds=0.05, max_attempts=9, backoff_seconds=0.3)
    deliverer.start()
    wait_until(lambda: len(module.calls) == 4, what="four lost threads")
    lost = time.monotonic()
    wait_until(lambda: len(steps) > 200 or time.monotonic() - lost > 1, what="a second to pass")
    assert len(steps) < 50
    assert len(module.calls) == 4
    module.release.set()
    deliverer.wake()
    wait_until(lambda: world.states()["crm"].get("done") == 50, what="all to be done once the threads are back")


def test_the_key_stays_the_same(world: World) -> None:
    """One event has one idempotency key at one handler, over attempts; another event, handler or organisation has
    another."""
    module, (crm, log) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if delivery.attempt < 3:
                raise Retry("again", after=0.01)

        @handler(name="log")
        def log(event, delivery):
            note(event, delivery)
        """
    )
    world.record(["crm", "log"], ["a"])
    for handler in (crm, log):
        world.deliverer(handler).start()
    wait_until(lambda: len(module.calls) == 4, what="all attempts")
    keys = [key for *_, key in module.calls]
    assert sorted(map(keys.count, set(keys))) == [1, 3]
    assert all(len(key) == 32 and key.isalnum() for key in keys)
