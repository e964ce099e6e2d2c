"""Faults on this machine: its clock is set while things wait, and signals that come early."""

from __future__ import annotations

import sqlite3
import threading
import time
from pathlib import Path

import pytest

from sftpd_processor.clockwatch import ClockWatch
from sftpd_processor.config.load import load
from sftpd_processor.daemon import Daemon
from sftpd_processor.daemon import daemon as module
from tests.acceptance.support import Desk, event, local, put
from tests.support import wait_until

HOURS = 3 * 3600
RETRIED = """
def crm(event, delivery):
    if delivery.attempt < 2:
        raise ConnectionError("refused")
"""
HANDLER = {"name": "crm", "use": "retried:crm"}


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    """A configuration whose handler fails at each first attempt."""
    desk.module("retried", RETRIED)
    return desk


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder on this machine that is a source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


class Wall:
    """The clock of this machine as the ledger reads it; `ahead` is how far it was set, in seconds."""

    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return time.time_ns() // 1000 + self.ahead * 1_000_000


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> Wall:
    """A clock that the test may set, under every daemon."""
    made = Wall()
    monkeypatch.setattr(module, "ClockWatch", lambda: ClockWatch(made))
    return made


@pytest.mark.parametrize("jump", [-HOURS, HOURS])
def test_the_clock_is_set_while_things_wait(
    desk: Desk, inbox: Path, wall: Wall, caplog: pytest.LogCaptureFixture, jump: int
) -> None:
    """With the clock set by three hours under a running daemon, a broken file still settles in its two seconds and a
    retry comes after its two: neither later, when it is set back, nor does anything wait for good."""
    timing = {"backoff_seconds": 2, "timeout_seconds": 5}
    desk.configure(local(inbox, poll_seconds=3600, settle_seconds=2), handlers=[HANDLER], delivery=timing)
    put(inbox, {"a.json": event(1), "bad.json": b'{"type": '})
    daemon = Daemon(load(desk.config), desk.folder)
    ready = threading.Event()
    running = threading.Thread(target=daemon.run, args=(ready.set,))
    running.start()
    try:
        assert ready.wait(20)
        wait_until(lambda: _waiting(desk) == (1, 1), what="a retry and a file that wait")
        wall.ahead = jump
        wait_until(lambda: "the clock of this machine was set" in caplog.text, what="the watch to see it")
        wait_until(lambda: _waiting(desk) == (0, 0), 60, "both to come to their end")
        assert [state for (state,) in desk.rows("SELECT state FROM deliveries")] == ["done"]
        assert desk.rows("SELECT verdict FROM files WHERE name = 'bad.json'") == [("invalid",)]
    finally:
        daemon.stop()
        running.join(30)
    assert not running.is_alive()


def _waiting(desk: Desk) -> tuple[int, int]:
    """Deliveries that wait for a retry, and files that wait to settle."""
    if not (desk.state / "ledger.db").exists():
        return -1, -1
    try:
        (deliveries,) = desk.rows("SELECT count(*) FROM deliveries WHERE state <> 'done' AND attempts > 0")[0]
        (files,) = desk.rows("SELECT count(*) FROM files WHERE state = 'waiting'")[0]
    except sqlite3.OperationalError:
        return -1, -1  # its tables are not made yet
    return deliveries, files


def test_the_clock_was_set_back_between_two_runs(desk: Desk, inbox: Path) -> None:
    """`once` from cron, after the clock went back by three hours, says so and does what is due, as if it had not."""
    desk.configure(local(inbox, settle_seconds=1), handlers=[HANDLER], delivery={"backoff_seconds": 1})
    put(inbox, {"a.json": event(1), "bad.json": b'{"type": '})
    assert "1 to be retried" in desk.run("once").out
    assert _waiting(desk) == (1, 1)
    ledger = sqlite3.connect(desk.state / "ledger.db")
    ahead = (HOURS * 1_000_000,)
    ledger.execute("UPDATE looks SET started_at = started_at + ?1, finished_at = finished_at + ?1", ahead)
    ledger.execute("UPDATE deliveries SET due_at = due_at + ?", ahead)
    ledger.execute("UPDATE files SET first_seen = first_seen + ?", ahead)
    ledger.commit()
    ledger.close()
    said = desk.run("once").err
    assert "the clock of this machine was set back by " in said
    assert len(said.splitlines()) == 1
    begun = time.monotonic()
    wait_until(lambda: time.monotonic() > begun + 1.2, what="the waiting times to pass")
    again = desk.run("once")
    assert (again.code, again.err) == (3, "")
    assert _waiting(desk) == (0, 0)
    assert desk.rows("SELECT state FROM deliveries") == [("done",)]


def test_interrupted_before_it_began(desk: Desk, inbox: Path) -> None:
    """A signal that comes before the ledger is open ends `once` without a failure, and nothing is taken."""
    desk.configure(local(inbox), handlers=[HANDLER])
    put(inbox, {"a.json": event(1)})
    daemon = Daemon(load(desk.config), desk.folder)
    daemon.stop()
    report = daemon.once(lambda _report: None)
    assert report.interrupted
    assert report.failures == {}
    assert (inbox / "a.json").exists()
