"""Health: what is wrong is said, and what is only slow or busy is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.errors import LedgerUnavailable, SourceUnavailable
from sftpd_processor.http import readiness
from sftpd_processor.http.readiness import Health, WatchedLoop, Wrong
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline import crew
from sftpd_processor.pipeline.loop import Loop
from tests.integration.admin_items import Ahead, FakePoller
from tests.integration.delivery_items import World
from tests.ledger_samples import opened, settings, sqlite_url
from tests.support import wait_until

LATE = 120.0
EVERY = 30.0


@pytest.fixture
def ahead() -> Ahead:
    """A clock that the test puts forward."""
    return Ahead()


def _health(ahead: Ahead, poller: FakePoller | None = None, *loops: WatchedLoop, **source: Any) -> Health:
    """Of one source, polled every 30 s, and a ledger that is well."""
    made: DirectorySourceSettings = settings(**({} if "cron" in source else {"poll_seconds": EVERY}) | source)
    if poller is not None:
        poller.settings = made
    pollers = [] if poller is None else [poller]
    return Health(lambda: None, lambda: pollers, lambda: loops, late_seconds=LATE, clock=ahead)


def _why(health: Health) -> str:
    """The one thing that is wrong, of the one part."""
    (wrong,) = health.wrong()
    return wrong.why


def test_a_source_is_late_when_its_next_good_poll_is(ahead: Ahead) -> None:
    """Counted from the last good poll: `poll_seconds` and then `late_seconds` must have passed."""
    poller = FakePoller(last_good=ahead(), up=True)
    health = _health(ahead, poller)
    ahead.by = EVERY + LATE - 5
    assert health.wrong() == []
    ahead.by = EVERY + LATE + 5
    (wrong,) = health.wrong()
    assert wrong.part == "source webio"
    assert wrong.why.startswith("no good poll (the last at 2")
    poller.last_good = ahead()
    assert health.wrong() == []


def test_a_source_that_never_had_a_good_poll_counts_from_the_start(ahead: Ahead) -> None:
    """What fails from the beginning is said after the same time, with the reason, and also while it is tried again."""
    poller = FakePoller(failure=SourceUnavailable("source webio: no answer within 15 s"))
    health = _health(ahead, poller)
    ahead.by = EVERY + LATE - 5
    assert health.wrong() == []
    ahead.by = EVERY + LATE + 5
    poller.busy_since = poller.moved_at = ahead()
    why = _why(health)
    assert why.startswith("no good poll (none since the start); one was due at ")
    assert why.endswith("UTC: no answer within 15 s")


def test_a_crontab_line_says_when_a_poll_is_due(ahead: Ahead) -> None:
    """A source polled twice a year is not late in between; one polled each minute is, after that and `late_seconds`."""
    month = datetime.now(UTC).month
    seldom = f"0 0 1 {(month + 4) % 12 + 1},{(month + 6) % 12 + 1} *"
    one, other = FakePoller(last_good=ahead()), FakePoller(last_good=ahead())
    yearly, minutely = _health(ahead, one, cron=seldom), _health(ahead, other, cron="* * * * *")
    ahead.by = LATE - 5
    assert (yearly.wrong(), minutely.wrong()) == ([], [])
    ahead.by = LATE + 65
    assert yearly.wrong() == []
    assert "no good poll" in _why(minutely)


def test_a_long_drain_is_neither_late_nor_stuck(ahead: Ahead) -> None:
    """A poll that goes on with files may take hours; one that does not get on for minutes is said."""
    poller = FakePoller(last_good=ahead(), up=True, busy_since=ahead())
    health = _health(ahead, poller, poll_seconds=600.0)
    ahead.by = 3600.0
    poller.moved_at = ahead()
    assert health.wrong() == []
    ahead.by += 290
    assert health.wrong() == []
    ahead.by += 20
    assert _why(health).startswith("its poll has not got on for 310 s")


class _Hanging(Loop):
    """Its step ends when the test says."""

    def __init__(self) -> None:
        super().__init__("archive")
        self.released = threading.Event()
        self.error: BaseException | None = None

    def step(self) -> float | None:
        self.released.wait(60)
        if self.error is not None:
            raise self.error
        return None


@pytest.fixture
def loop() -> Iterator[_Hanging]:
    """A started loop that is at its step."""
    made = _Hanging()
    made.start()
    wait_until(lambda: made.busy_since is not None, what="the step")
    yield made
    made.released.set()
    made.stop()
    assert made.join(10)


def test_a_step_that_does_not_end_is_said(ahead: Ahead, loop: _Hanging) -> None:
    """A thread that hangs is seen by the time its step takes, and is well again when the step has ended."""
    health = _health(ahead, None, loop)
    ahead.by = 110
    assert health.wrong() == []
    ahead.by = 130
    (wrong,) = health.wrong()
    assert wrong.part == "archive"
    assert wrong.why.startswith("it has been at one step for 130 s")
    loop.released.set()
    wait_until(lambda: loop.busy_since is None, what="the end of the step")
    assert health.wrong() == []


def test_a_loop_that_fails_says_why(ahead: Ahead, loop: _Hanging) -> None:
    """The failure of the last step is what is wrong, without the name of the part twice."""
    loop.error = LedgerUnavailable("archive: no space left")
    loop.released.set()
    wait_until(lambda: loop.failure is not None, what="the failure")
    assert _health(ahead, None, loop).wrong() == [Wrong("archive", "no space left")]


def test_a_thread_that_has_ended_is_said(ahead: Ahead, loop: _Hanging, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loop whose thread is gone although nobody stopped it will do nothing more."""
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    loop.error = SystemExit()
    loop.released.set()
    wait_until(lambda: loop.ended, what="the end of the thread")
    assert _why(_health(ahead, None, loop)).startswith("its thread has ended")
    loop.stop()
    assert _health(ahead, None, loop).wrong() == []


def test_a_handler_that_hangs_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: Ahead) -> None:
    """A call of a handler that was given up and still runs is a stuck thread."""
    monkeypatch.setattr(crew, "_GRACE", 0.05)
    with closing(World(tmp_path)) as world:
        _, (crm,) = world.module(
            """
            @handler(name="crm")
            def crm(event):
                release.wait()
            """
        )
        deliverer = world.deliverer(crm, timeout_seconds=0.1, max_attempts=1)
        health = _health(ahead, None, deliverer)
        assert health.wrong() == []
        world.record(["crm"], ["a"])
        deliverer.start()
        wait_until(lambda: deliverer.settled["dead"], what="the attempt to be given up")
        (wrong,) = health.wrong()
        assert wrong.part == "handler crm"
        assert wrong.why.startswith("a call of the handler has not come back within 0.1 s")


def test_what_fails_is_told_at_once(ahead: Ahead) -> None:
    """What fails now is told by `failing` before it is late; and nothing of it is a reason to start anew."""
    poller = FakePoller(last_good=ahead(), failure=SourceUnavailable("source webio: no answer within 15 s"))
    health = _health(ahead, poller)
    assert health.wrong() == []
    assert health.failing() == [Wrong("source webio", "no answer within 15 s")]
    assert health.stuck() == []


def test_what_does_not_get_on_is_a_reason_to_start_anew(ahead: Ahead, loop: _Hanging) -> None:
    """A poll or a step that stands still, and a thread that has ended, are told by `stuck`; slow and failing ones are
    not."""
    poller = FakePoller(last_good=ahead(), busy_since=ahead(), moved_at=ahead())
    health = _health(ahead, poller, loop)
    ahead.by = 110
    assert health.stuck() == []
    ahead.by = 310
    assert [wrong.part for wrong in health.stuck()] == ["source webio", "archive"]
    poller.busy_since = None
    loop.released.set()
    wait_until(lambda: health.stuck() == [], what="the end of the step")
    poller.ended = True
    assert [wrong.part for wrong in health.stuck()] == ["source webio"]


def test_the_listener_is_one_of_the_parts() -> None:
    """What the listener's supervisor says is passed on."""
    health = Health(lambda: None, late_seconds=1, listener=lambda: "it is not running")
    assert health.wrong() == [Wrong("listener", "it is not running")]


def test_the_ledger_is_written_to(tmp_path: Path) -> None:
    """A real write shows that the ledger is well, once a second at most however often it is asked."""
    with opened(sqlite_url(tmp_path)) as ledger:
        writes = 0

        def probe() -> None:
            nonlocal writes
            writes += 1
            ledger.totals.probe()

        health = Health(probe, late_seconds=1)
        began = time.monotonic()
        for _ in range(200):
            assert health.wrong() == []
        assert writes <= 1 + time.monotonic() - began


def test_a_ledger_that_is_not_open_is_said(tmp_path: Path) -> None:
    """Before the ledger is open the program is not ready, and says what it waits for."""
    with closing(Ledger(sqlite_url(tmp_path))) as ledger:
        (wrong,) = Health(ledger.totals.probe, late_seconds=1).wrong()
    assert wrong.part == "ledger"
    assert "is not open yet" in wrong.why


def test_a_write_that_hangs_is_said_and_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another process holds the ledger's lock, the answer comes in time and says so; afterwards all is well."""
    monkeypatch.setattr(readiness, "_PROBE_SECONDS", 0.2)
    url = sqlite_url(tmp_path)
    with opened(url) as ledger:
        health = Health(ledger.totals.probe, late_seconds=1)
        assert health.wrong() == []
        monkeypatch.setattr("sftpd_processor.http.glance._FRESH", 0.0)
        engine = create_engine(url)
        with engine.connect() as other:
            other.exec_driver_sql("BEGIN IMMEDIATE")
            began = time.monotonic()
            for _ in range(20):
                (wrong,) = health.wrong()
                assert wrong.part == "ledger"
                assert wrong.why.startswith("a write has not ended within 0.2 s")
            assert time.monotonic() - began < 3.5
            other.rollback()
        engine.dispose()
        wait_until(lambda: health.wrong() == [], what="the ledger to be well again")
