"""Delivery when threads are short, many hang at a time, or a handler breaks its contract."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import DONE, Item, Outcome
from sftpd_processor.pipeline import loop
from tests.integration.delivery_items import World
from tests.ledger_samples import rows, sqlite_url
from tests.support import wait_until


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty ledger; no thread is left in the end."""
    made = World(tmp_path)
    yield made
    made.close()


class Batches:
    """A handler of batches that does as the test says."""

    name = "crm"
    batch_size = 10

    def __init__(self) -> None:
        self.released = threading.Event()
        self.calls: list[list[str]] = []

    def wants(self, event_type: str) -> bool:
        return True

    def open(self) -> None: ...

    def close(self) -> None: ...

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        self.calls.append([str(item.conversation) for item in items])
        return [DONE] * len(items)


class Forgetful(Batches):
    """It returns too few outcomes until its third call."""

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        done = super().handle(items)
        return done if len(self.calls) > 2 else done[1:]


class Hanging(Batches):
    """It hangs."""

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        super().handle(items)
        self.released.wait(60)
        return [DONE] * len(items)


def test_a_system_that_is_short_of_threads(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """When no thread can be started that is said once and tried again; then all is done, at the first attempt."""
    _, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event):
            return None
        """
    )
    refused: list[str] = []
    start = threading.Thread.start

    def scarce(self: threading.Thread) -> None:
        if self.name == "handler-crm" and len(refused) < 5:
            refused.append(self.name)
            raise RuntimeError("can't start new thread")
        start(self)

    deliverer = world.deliverer(crm)
    deliverer.start()
    monkeypatch.setattr(threading.Thread, "start", scarce)
    monkeypatch.setattr(loop, "_PAUSE", 0.02)
    caplog.set_level(logging.INFO)
    world.record(["crm"], [f"c{number}" for number in range(50)])
    deliverer.wake()
    wait_until(lambda: world.states() == {"crm": {"done": 50}}, what="all to be done")
    assert {row.attempts for row in world.rows()} == {1}
    said = [message for message in caplog.messages if message.startswith("handler crm: ")]
    assert said[0] == "handler crm: no thread can be started: a limit of the system is reached"
    assert re.fullmatch(r"handler crm: works again after \d+ s, \d failures?", said[1])
    assert len(said) == 2


def test_all_that_hang_are_replaced_at_once(world: World) -> None:
    """When every worker hangs, as many new ones take their place together: what follows is not done one by one."""
    module, (crm,) = world.module(
        """
        together = threading.Barrier(4)

        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            if int(event.body) <= 4:
                release.wait(60)
            else:
                together.wait(20)
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(8)])
    world.deliverer(crm, workers=4, timeout_seconds=0.5, max_attempts=1).start()
    wait_until(lambda: world.states()["crm"] == {"dead": 4, "done": 4}, what="the second four")
    assert len(module.calls) == 8


def test_a_handler_with_too_few_answers_loses_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """A handler that breaks its contract is told of as our mistake, and its deliveries are tried again."""
    world.record(["crm"], [f"c{number}" for number in range(5)])
    world.deliverer(Forgetful(), breaker_failures=0).start()
    wait_until(lambda: world.states() == {"crm": {"done": 5}}, what="all to be done")
    assert "handler crm: internal error; please report it" in caplog.messages


def test_a_batch_that_hangs_costs_each_conversation_one_attempt(world: World) -> None:
    """Of a batch that never returns, the first event of each conversation has failed; the others were not tried."""
    handler = Hanging()
    world.record(["crm"], ["a", "a", "b", "a", "b"])
    settings: dict[str, Any] = {"timeout_seconds": 0.05, "backoff_seconds": 60, "breaker_failures": 0}
    world.deliverer(handler, **settings).start()
    wait_until(lambda: world.states()["crm"].get("retrying"), what="the end of its time")
    handler.released.set()
    assert world.states() == {"crm": {"retrying": 2, "pending": 3}}
    failed = rows(sqlite_url(world.folder), "SELECT delivery_id, attempt, outcome, detail FROM attempts")
    late = "it did not return within 0.05 s"
    assert sorted(failed) == [(1, 1, "failed", late), (3, 1, "failed", late)]
