"""Upkeep in a daemon that runs."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sftpd_processor.config.load import load
from sftpd_processor.daemon import Daemon
from tests.acceptance.support import Desk, event, local, put
from tests.support import wait_until


@contextmanager
def running(daemon: Daemon) -> Iterator[None]:
    """The daemon in a thread; stopped in the end, and that must not take long."""
    ready = threading.Event()
    thread = threading.Thread(target=daemon.run, args=(ready.set,))
    thread.start()
    try:
        assert ready.wait(20)
        yield
    finally:
        daemon.stop()
        thread.join(30)
    assert not thread.is_alive()


def test_a_missed_night_is_made_up_for_at_the_start(
    desk: Desk, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A daemon that was down when upkeep was due does it at its start; `once` leaves it alone; a reload reaches it."""
    inbox = tmp_path / "inbox"
    inbox.mkdir()
    desk.configure(local(inbox, poll_seconds=3600))
    put(inbox, {"a.json": event(1)})
    Daemon(load(desk.config), desk.folder).once(lambda _report: None)
    assert desk.rows("SELECT count(*) FROM contents") == [(1,)]
    caplog.set_level(logging.INFO)
    with running(Daemon(load(desk.config), desk.folder)):
        wait_until(lambda: desk.rows("SELECT count(*) FROM contents") == [(0,)], what="the bytes to leave the ledger")
    assert "upkeep: " not in caplog.text
    with closing(sqlite3.connect(desk.state / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE totals SET last_at = last_at - 2 * 86400000000 WHERE kind = 'upkeep'")
    daemon = Daemon(load(desk.config), desk.folder)
    with running(daemon):
        wait_until(lambda: "upkeep: nothing to do" in caplog.text, what="the upkeep")
        desk.configure(local(inbox, poll_seconds=3600), archive={"keep_days": 30})
        adopted = threading.Event()
        daemon.reload(lambda: load(desk.config), lambda _settings: adopted.set())
        assert adopted.wait(20)
        assert "[archive] has changed" in caplog.text
        assert daemon._nightly is not None
        assert daemon._nightly._upkeep.settings.keep_days == 30
