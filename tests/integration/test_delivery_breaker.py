"""Delivery to a handler that is out of order: few attempts while it is, everything once when it is back."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import Handler
from sftpd_processor.pipeline.delivery import Deliverer
from tests.handler_items import built
from tests.integration.delivery_items import World
from tests.ledger_samples import rows, sqlite_url
from tests.support import wait_until

QUICK: dict[str, Any] = {"backoff_seconds": 0.2, "breaker_max_seconds": 0.8, "breaker_failures": 10, "workers": 8}
SWITCHED = """
    down = threading.Event()
    down.set()

    @handler(name="crm")
    def crm(event, delivery):
        note(event, delivery)
        if down.is_set():
            raise ConnectionError("refused")
"""


class Crm(ThreadingHTTPServer):
    """A real endpoint that is down (503) until it is `up`; it counts what it is asked, and what it took."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Requests)
        self.up = threading.Event()
        self.asked: list[float] = []
        self.taken: Counter[str] = Counter()
        self.url = f"http://127.0.0.1:{self.server_address[1]}/"
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True, name="crm").start()


class _Requests(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Crm

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.asked.append(time.monotonic())
        up = self.server.up.is_set()
        if up:
            self.server.taken[self.headers["idempotency-key"]] += 1
        self.send_response(200 if up else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty ledger; no thread is left in the end."""
    made = World(tmp_path)
    yield made
    made.close()


@pytest.fixture
def endpoint(world: World) -> Iterator[Crm]:
    """An endpoint that is down."""
    with Crm() as server:
        yield server
        server.shutdown()


def _built(world: World, use: str, **options: Any) -> Handler:
    made = built(use, world.folder, options=options)
    world._built.append(made)
    return made


def _again(world: World, handler: Handler, **settings: Any) -> Deliverer:
    """A deliverer as the next start of the daemon makes it."""
    made = world.deliverer(handler, **settings)
    for opened_at, _ in world.ledger.figures.breakers().values():
        made.resume_breaker(opened_at)
    return made


def _breakers(world: World) -> list[tuple[Any, ...]]:
    return rows(sqlite_url(world.folder), "SELECT handler, opened_at, probe_at FROM breakers")


def test_a_downed_endpoint_costs_one_request_per_pause(world: World, endpoint: Crm) -> None:
    """Of 2,000 due deliveries some 20 are tried, then one per pause, doubling; later all arrive, each once."""
    world.record(["crm"], [f"c{number}" for number in range(2000)])
    deliverer = world.deliverer(_built(world, "http", url=endpoint.url), **QUICK)
    deliverer.start()
    wait_until(lambda: deliverer.breaker_open, what="the breaker")
    wait_until(lambda: not deliverer.unfinished(), what="what was under way")
    first = len(endpoint.asked)
    assert 10 <= first <= 10 + 8
    wait_until(lambda: len(endpoint.asked) >= first + 5, what="five probes")
    # Not the pause before the first probe: it began when the breaker opened, and others were still on their way then.
    pauses = [later - earlier for earlier, later in pairwise(endpoint.asked[first : first + 5])]
    assert all(took > least for took, least in zip(pauses, (0.39, 0.79, 0.79, 0.79), strict=True)), pauses
    assert world.states()["crm"]["retrying"] <= first + 6
    assert sum(world.states()["crm"].values()) == 2000
    endpoint.up.set()
    wait_until(lambda: world.states() == {"crm": {"done": 2000}}, 20, "all to arrive")
    assert len(endpoint.taken) == 2000
    assert set(endpoint.taken.values()) == {1}
    assert _breakers(world) == []


def test_a_long_outage_makes_no_dead_letters(world: World) -> None:
    """Each probe is a delivery not tried before: with two attempts for each, 30 probes in an outage kill none."""
    module, (crm,) = world.module(SWITCHED)
    world.record(["crm"], [f"c{number}" for number in range(60)])
    settings = {**QUICK, "workers": 1, "max_attempts": 2, "breaker_max_seconds": 0.01}
    world.deliverer(crm, **settings).start()
    wait_until(lambda: len(module.calls) >= 40, what="30 probes")
    module.down.clear()
    wait_until(lambda: world.states() == {"crm": {"done": 60}}, 20, "all to be done")


def test_probing_keeps_the_order_of_a_conversation(world: World) -> None:
    """No later event of a conversation is the probe while an earlier one waits, and in the end all came in order."""
    module, (crm,) = world.module(SWITCHED)
    world.record(["crm"], [f"c{number % 5}" for number in range(50)])
    settings = {**QUICK, "breaker_failures": 3, "breaker_max_seconds": 0.01, "backoff_max_seconds": 0.2}
    settings |= {"max_attempts": 50}
    world.deliverer(crm, **settings).start()
    wait_until(lambda: len(module.calls) >= 30, what="a good many probes")
    module.down.clear()
    assert {number for _, number, _, _ in module.calls} == {1, 2, 3, 4, 5}
    wait_until(lambda: world.states() == {"crm": {"done": 50}}, 20, "all to be done")
    for lane in {conversation for conversation, *_ in module.calls}:
        numbers = [number for conversation, number, *_ in module.calls if conversation == lane]
        assert numbers == sorted(numbers)


def test_poison_does_not_open_it(world: World) -> None:
    """Nine events that always fail, among 200 good ones, become dead letters; the handler is never only probed."""
    _, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event):
            if int(event.body) % 20 == 1 and int(event.body) < 180:
                raise ValueError("poison")
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(200)])
    deliverer = world.deliverer(crm, max_attempts=5)
    opened: list[bool] = []
    deliverer.start()
    wait_until(
        lambda: opened.append(deliverer.breaker_open) or world.states()["crm"] == {"dead": 9, "done": 191},  # type: ignore[func-returns-value]
        20,
        "all to be settled",
    )
    assert not any(opened)
    poisoned = rows(
        sqlite_url(world.folder), "SELECT delivery_id, attempt, outcome, detail FROM attempts ORDER BY 1, 2"
    )
    first = [row[1:] for row in poisoned if row[0] == poisoned[0][0]]
    assert first == [(number, "failed", "ValueError: poison") for number in range(1, 6)]
    assert len(poisoned) == 9 * 5


def test_a_function_that_asks_for_time_does_not_open_it(world: World) -> None:
    """`Retry(after=…)` from 300 deliveries in a row leaves the breaker closed: all were asked, and all wait."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            raise Retry("not before noon", after=3600)
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(300)])
    deliverer = world.deliverer(crm)
    world.finish(deliverer)
    assert len(module.calls) == 300
    assert not deliverer.breaker_open
    assert world.states() == {"crm": {"retrying": 300}}


def test_other_handlers_do_not_notice(world: World) -> None:
    """While one handler's breaker is open, another one gets every event at once."""
    module, (crm, log) = world.module(
        """
        @handler(name="crm")
        def crm(event):
            raise ConnectionError("refused")

        @handler(name="log")
        def log(event, delivery):
            note(event, delivery)
        """
    )
    broken = world.deliverer(crm, **QUICK)
    healthy = world.deliverer(log)
    healthy.start()
    broken.start()
    world.record(["crm", "log"], [f"c{number}" for number in range(100)])
    broken.wake()
    healthy.wake()
    wait_until(lambda: broken.breaker_open, what="the breaker")
    world.record(["crm", "log"], [f"d{number}" for number in range(100)])
    healthy.wake()
    wait_until(lambda: len(module.calls) == 200, what="the other handler")
    assert broken.breaker_open
    assert world.states()["crm"].get("dead", 0) == 0


def test_it_survives_a_restart(world: World) -> None:
    """Open at the end of a run, it costs each further run one attempt, until one succeeds; then it is forgotten."""
    module, (crm,) = world.module(SWITCHED)
    world.record(["crm"], [f"c{number}" for number in range(300)])
    settings = {**QUICK, "backoff_seconds": 60, "breaker_max_seconds": 60}
    world.finish(world.deliverer(crm, **settings))
    first = len(module.calls)
    assert first <= 10 + 8
    (row,) = _breakers(world)
    assert row[0] == "crm"
    assert 50_000_000 < row[2] - row[1] < 70_000_000
    for turn in range(1, 4):
        world.finish(_again(world, crm, **settings))
        assert len(module.calls) == first + turn
        assert [now[:2] for now in _breakers(world)] == [row[:2]], "it forgot since when"
    module.down.clear()
    world.finish(_again(world, crm, **settings))
    assert _breakers(world) == []
    assert world.states() == {"crm": {"done": 300 - first - 3, "retrying": first + 3}}


def test_finishing_ends_with_an_open_breaker(world: World) -> None:
    """`finish` does not wait for probes: it ends within a second, and what was given back counts as no attempt."""
    _, (crm,) = world.module(SWITCHED)
    world.record(["crm"], [f"c{number}" for number in range(1000)])
    deliverer = world.deliverer(crm, **{**QUICK, "backoff_seconds": 30})
    began = time.monotonic()
    world.finish(deliverer)
    assert time.monotonic() - began < 5
    assert deliverer.breaker_open
    tried = world.states()["crm"]["retrying"]
    assert tried <= 18
    assert deliverer.settled == {"pending": tried}
    assert world.states()["crm"]["pending"] == 1000 - tried


def test_a_database_that_is_down(world: World) -> None:
    """A handler of batches loses one batch per worker to it, then one row per pause; each row is there once after."""
    path = world.folder / "away" / "crm.db"
    options = {"url": f"sqlite:///{path}", "table": "messages", "columns": {"said": "body"}}
    handler = _built(world, "sql", **options)
    world.record(["crm"], [f"c{number}" for number in range(3000)])
    deliverer = world.deliverer(handler, **{**QUICK, "workers": 1})
    deliverer.start()
    wait_until(lambda: deliverer.breaker_open, what="the breaker")
    wait_until(lambda: world.states()["crm"].get("retrying", 0) >= 503, what="some probes")
    assert world.states()["crm"]["retrying"] <= 510
    path.parent.mkdir()
    url = f"sqlite:///{path}"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE messages (idempotency_key TEXT NOT NULL UNIQUE, said TEXT)")
    connection.commit()
    connection.close()
    wait_until(lambda: world.states() == {"crm": {"done": 3000}}, 20, "all to be done")
    assert rows(url, "SELECT count(*), count(DISTINCT said) FROM messages") == [(3000, 3000)]


def test_a_handler_that_hangs_for_everything(world: World) -> None:
    """Threads that are lost open the breaker too; few hang for it, and when they return everything is done."""
    module, (crm,) = world.module(
        """
        @handler(name="crm")
        def crm(event, delivery):
            note(event, delivery)
            release.wait(60)
        """
    )
    world.record(["crm"], [f"c{number}" for number in range(100)])
    settings = {**QUICK, "workers": 2, "timeout_seconds": 0.1, "breaker_failures": 3}
    deliverer = world.deliverer(crm, **settings)
    deliverer.start()
    wait_until(lambda: deliverer.breaker_open, 20, "the breaker")
    assert len(module.calls) <= 2 * 4
    module.release.set()
    wait_until(lambda: world.states()["crm"].get("done") == 100, 20, "all to be done")
    assert not deliverer.breaker_open
