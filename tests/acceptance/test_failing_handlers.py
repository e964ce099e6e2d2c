"""Handlers that fail in every way there is, with the real command: the delivery ends, and everything else goes on."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.support import Desk, event, local, put
from tests.support import wait_until

POISON = "poison"
MODULE = """
import asyncio, os, sys, threading, time

class Odd(BaseException):
    def __str__(self):
        raise Odd

def poisoned(event):
    return event.body == "poison"

def raises(event):
    if poisoned(event):
        raise ValueError("no such customer")

def raises_base(event):
    if poisoned(event):
        raise Odd

def exits(event):
    if poisoned(event):
        sys.exit("enough")

def interrupts(event):
    if poisoned(event):
        raise KeyboardInterrupt

def recurses(event):
    if poisoned(event):
        recurses(event)

def hogs(event):
    if poisoned(event):
        raise MemoryError

def hangs(event):
    if poisoned(event):
        threading.Event().wait()

async def never(event):
    if poisoned(event):
        await asyncio.get_running_loop().create_future()

async def stubborn(event):
    while poisoned(event):
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            pass

async def exits_late(event):
    if poisoned(event):
        asyncio.get_running_loop().call_soon(sys.exit)
        await asyncio.sleep(60)

def rubbish(event):
    return object() if poisoned(event) else iter([NotImplemented])

def kills(event):
    if poisoned(event):
        os._exit(7)
"""
LATE, TIMED_OUT = "it did not return within 0.6 s", "timed out after 0.6 s"
FAILING = {
    "raises": "ValueError: no such customer",
    "raises_base": "Odd: (its message could not be read)",
    "exits": "SystemExit: enough",
    "interrupts": "KeyboardInterrupt",
    "recurses": "RecursionError: maximum recursion depth exceeded",
    "hogs": "MemoryError",
    "hangs": LATE,
    "never": TIMED_OUT,
    "stubborn": LATE,
    "exits_late": TIMED_OUT,
}
QUICK = {"max_attempts": 2, "backoff_seconds": 0.1, "timeout_seconds": 0.6, "workers": 2}
EVENTS = {
    "0.json": event(0, "a", body=POISON),
    **{f"{number}.json": event(number, "a") for number in (1, 2)},
    **{f"{number}.json": event(number, f"c{number}") for number in range(3, 20)},
}


@pytest.fixture
def inbox(desk: Desk) -> Path:
    """A local source with one event that is poison, two of its conversation after it, and 17 others."""
    folder = desk.folder / "in"
    folder.mkdir()
    desk.module("failing", MODULE)
    put(folder, EVENTS)
    return folder


def _handlers(*names: str) -> list[dict[str, Any]]:
    return [{"name": name, "use": f"failing:{name}"} for name in names]


def _states(desk: Desk) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for handler, state, number in desk.rows("SELECT handler, state, count(*) FROM deliveries GROUP BY 1, 2"):
        found.setdefault(handler, {})[state] = number
    return found


def test_whatever_a_handler_does_its_delivery_ends(desk: Desk, inbox: Path) -> None:
    """Ten ways to fail, in one daemon: each costs the poisoned event its attempts and then makes it a dead letter
    with its last error; its conversation goes on after that, and no other handler or conversation waits for it."""
    journal = {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}}
    desk.configure(local(inbox), handlers=[*_handlers(*FAILING, "rubbish"), journal], delivery=QUICK)
    daemon = desk.daemon()
    wait_until(lambda: len(desk.keys()) == 20, 20, "the healthy handler")
    wait_until(lambda: set(_states(desk)["hangs"].items()) == {("dead", 1), ("done", 19)}, 40, "the hanging one")
    settled = {name: {"dead": 1, "done": 19} for name in FAILING} | {"rubbish": {"done": 20}, "journal": {"done": 20}}
    wait_until(lambda: _states(desk) == settled, 40, "all to be settled")
    dead = desk.rows("SELECT handler, attempts, detail FROM deliveries WHERE state = 'dead'")
    assert {name: detail.startswith(FAILING[name]) for name, _, detail in dead} == dict.fromkeys(FAILING, True), dead
    assert {attempts for _, attempts, _ in dead} == {2}
    told = "SELECT handler, attempt, outcome, a.detail FROM attempts a JOIN deliveries d ON d.id = a.delivery_id"
    history = sorted((name, attempt, outcome) for name, attempt, outcome, _ in desk.rows(told))
    assert history == sorted((name, attempt, "failed") for name in FAILING for attempt in (1, 2))
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    assert "no such customer" not in daemon.log


def test_one_that_kills_the_process(desk: Desk, inbox: Path) -> None:
    """An event that takes the process down each time is a dead letter after `max_attempts`, and the rest is done."""
    desk.configure(local(inbox), handlers=_handlers("kills", "raises"), delivery=QUICK | {"max_attempts": 3})
    codes: list[int] = []
    while not codes or (codes[-1] == 7 and len(codes) < 12):
        codes.append(desk.run("once").code)
    assert 4 <= len(codes) <= 8, codes
    wait_until(lambda: desk.run("once").code == 0, 30, "the retry of the other handler")
    assert _states(desk)["kills"] == {"dead": 1, "done": 19}
    (found,) = desk.rows("SELECT attempts, detail, id FROM deliveries WHERE state = 'dead' AND handler = 'kills'")
    assert found[:2] == (3, "the process ended during its last attempt")
    cut_off = desk.rows(f"SELECT attempt FROM attempts WHERE outcome = 'cut off' AND delivery_id = {found[2]}")
    assert {1, 2, 3} <= {attempt for (attempt,) in cut_off}


def test_a_memory_hog_in_a_command(desk: Desk, inbox: Path) -> None:
    """A program that eats memory is stopped by its limit: its event dies alone, the daemon and the others live."""
    script = f"if grep -q poison; then {sys.executable} -c 'len(bytes(1 << 32))'; fi"
    hog = {"name": "hog", "use": "command", "options": {"argv": ["sh", "-c", script], "max_memory_mb": 256}}
    desk.configure(local(inbox), handlers=[hog], delivery=QUICK | {"timeout_seconds": 20})
    daemon = desk.daemon()
    wait_until(lambda: _states(desk).get("hog") == {"dead": 1, "done": 19}, 40, "all to be settled")
    assert daemon.stop() == 0
    ((detail,),) = desk.rows("SELECT detail FROM deliveries WHERE state = 'dead'")
    assert "MemoryError" in detail


class _Down(BaseHTTPRequestHandler):
    """An endpoint that answers 503 until `up` is set."""

    asked = 0
    up = threading.Event()

    def do_POST(self) -> None:
        type(self).asked += 1
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200 if self.up.is_set() else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None: ...


@pytest.fixture
def endpoint() -> Iterator[str]:
    """The URL of an endpoint that is down."""
    _Down.asked = 0
    _Down.up.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), _Down) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


def test_once_and_an_endpoint_that_is_down(desk: Desk, endpoint: str) -> None:
    """From cron, a downed endpoint costs the first run some 20 requests and each later run one; the output says how
    many were not tried. When it is back one run delivers everything that is due."""
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, {f"{number}.json": event(number, f"c{number}") for number in range(500)})
    crm = {"name": "crm", "use": "http", "options": {"url": endpoint}}
    desk.configure(local(inbox), handlers=[crm], delivery={"backoff_seconds": 3})
    begun = time.monotonic()
    first = desk.run("once")
    assert time.monotonic() - begun < 30
    tried = _Down.asked
    assert 10 <= tried <= 18
    assert first.code == 0
    waits = "all that was tried last failed, so the others wait"
    assert f"handler crm: {tried} to be retried, {500 - tried} not tried; {waits}\n" in first.out
    assert "handler crm: 10 deliveries in a row failed; from now on one at a time is tried" in first.err
    again = desk.run("once", "--json")
    assert _Down.asked == tried + 1
    told = again.data["handlers"]["crm"]
    assert (told["to be retried"], told["not tried"], told["breaker_open"]) == (1, 499 - tried, True)
    _Down.up.set()
    back = desk.run("once")
    assert "not tried" not in back.out
    wait_until(lambda: desk.run("once") and _states(desk) == {"crm": {"done": 500}}, 30, "the retries")
    assert desk.rows("SELECT * FROM breakers") == []
