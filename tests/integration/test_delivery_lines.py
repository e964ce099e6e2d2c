"""What the log says of deliveries that fail: a line for many, and fields that tell which it was for a single one."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.handlers.api import DONE, Item, Outcome
from tests.integration.delivery_items import World
from tests.support import wait_until


class Broken:
    """Breaks the contract of handlers: it raises."""

    name = "crm"
    batch_size = 1

    def wants(self, event_type: str) -> bool:
        return True

    def open(self) -> None:
        """Nothing to open."""

    def handle(self, items: list[Item]) -> list[Outcome]:
        if items[0].delivery.attempt < 3:
            raise LookupError("Qzx-secret")
        return [DONE]

    def close(self) -> None:
        """Nothing to close."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A ledger, and deliverers that are ended after the test."""
    made = World(tmp_path)
    yield made
    made.close()


def told(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """Level and sentence of each line about the handler."""
    return [(it.levelname, it.getMessage()) for it in caplog.records if it.__dict__.get("handler") == "crm"]


REJECTS = """
    @handler(name="crm")
    def crm(event):
        raise Reject("no")
"""
FAILS_TWICE = """
    @handler(name="crm")
    def crm(event, delivery):
        if delivery.attempt < 3:
            raise ValueError("no")
"""
ASKS = """
    @handler(name="crm")
    def crm(event, delivery):
        if delivery.attempt < 3:
            raise Retry("not yet", after=0.01)
"""


def test_a_thousand_dead_letters_are_two_lines(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """The first ones are told at once, the rest together: at the latest when the deliverer ends."""
    caplog.set_level(logging.INFO)
    _, (crm,) = world.module(REJECTS)
    world.record(["crm"], [f"c{number}" for number in range(1000)])
    world.finish(world.deliverer(crm))
    dead = [record.__dict__["dead"] for record in caplog.records if "dead letter" in record.getMessage()]
    assert len(dead) == 2
    assert sum(dead) == 1000
    assert {level for level, _ in told(caplog)} == {"ERROR"}


def test_a_single_dead_letter_tells_which_it_is(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Its source, file, type and idempotency key are fields."""
    _, (crm,) = world.module(REJECTS)
    world.record(["crm"], ["a"])
    world.finish(world.deliverer(crm))
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.getMessage() == "handler crm: 1 more dead letter; see `sftpd-processor status`"
    fields = record.__dict__
    assert (fields["source"], fields["file"], fields["event_type"]) == ("webio", "000001.json", "inboundMessage")
    assert len(fields["delivery"]) == 32


def test_failed_attempts_are_counted(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """Those that are made again are news but no warning, and not a line each: cron sends no mail of what heals."""
    caplog.set_level(logging.INFO)
    _, (crm,) = world.module(FAILS_TWICE)
    world.record(["crm"], [f"c{number}" for number in range(50)])
    deliverer = world.deliverer(crm, breaker_failures=0)
    deliverer.start()
    wait_until(lambda: world.states() == {"crm": {"done": 50}}, what="all to be done")
    deliverer.stop()
    assert deliverer.join(10)
    lines = told(caplog)
    assert len(lines) == 2
    assert {level for level, _ in lines} == {"INFO"}
    assert all(text.endswith(("has failed and is made again", "have failed and are made again")) for _, text in lines)
    assert sum(record.__dict__.get("failed", 0) for record in caplog.records) == 100


def test_what_a_handler_asks_for_is_no_failure(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """`Retry` is the handler's own wish, and nothing to warn of."""
    caplog.set_level(logging.INFO)
    _, (crm,) = world.module(ASKS)
    world.record(["crm"], ["a", "b"])
    world.deliverer(crm).start()
    wait_until(lambda: world.states() == {"crm": {"done": 2}}, what="all to be done")
    assert told(caplog) == []


def test_a_mistake_of_ours_is_traced_once(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """However many calls break the contract, one line has the traceback."""
    world.record(["crm"], [f"c{number}" for number in range(20)])
    world.deliverer(Broken(), breaker_failures=0).start()  # type: ignore[arg-type]
    wait_until(lambda: world.states() == {"crm": {"done": 20}}, what="all to be done")
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.getMessage() == "handler crm: internal error; please report it"
