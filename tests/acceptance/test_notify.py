"""What systemd hears from the real daemon, from its start to its end."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.config.load import load
from sftpd_processor.daemon import Daemon
from sftpd_processor.http import readiness
from sftpd_processor.notify import Notifier
from sftpd_processor.sources.base import Entry
from sftpd_processor.sources.directory import DirectorySource
from tests.acceptance.sidecar import http, static
from tests.acceptance.support import Desk, event, local, put
from tests.support import wait_until


class Manager:
    """Listens as systemd does."""

    def __init__(self, folder: Path) -> None:
        self.environment = {"NOTIFY_SOCKET": str(folder / "notify"), "WATCHDOG_USEC": "400000"}
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.environment["NOTIFY_SOCKET"])
        self.socket.setblocking(False)
        self._heard: list[str] = []

    @property
    def heard(self) -> list[str]:
        """The names and values of all that came; of a reload and a time-out, and of signs of life, the name only."""
        try:
            while True:
                self._heard.append(self.socket.recv(10_000).decode().partition("\n")[0])
        except BlockingIOError:
            return self._heard

    def status(self) -> str:
        """The last status."""
        return next((each for each in reversed(self.heard) if each.startswith("STATUS=")), "")


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.socket.close()


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder on this machine that is a source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_from_start_to_end(desk: Desk, inbox: Path, manager: Manager) -> None:
    """READY comes once the listener answers; then a status that follows the work, signs of life, RELOADING and READY
    around a reload, the refusal of a bad one in the status, and STOPPING."""
    desk.configure(local(inbox, poll_seconds=0.2), http=http(), values=[static(**{"1": {"balance": "10"}})])
    daemon = desk.daemon(**manager.environment)
    assert "public listener: " in daemon.log
    assert "READY=1" in manager.heard
    wait_until(lambda: manager.status().startswith("STATUS=All well. Last good poll "))
    wait_until(lambda: manager.heard.count("WATCHDOG=1") > 1)
    desk.config.write_text("nonsense")
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: manager.heard.count("READY=1") == 2)
    assert [each for each in manager.heard if each in ("READY=1", "RELOADING=1")] == [
        "READY=1",
        "RELOADING=1",
        "READY=1",
    ]
    wait_until(lambda: "is refused, the one before goes on; see the log." in manager.status())
    desk.configure(local(inbox, poll_seconds=0.2), http=http(), values=[static(**{"1": {"balance": "10"}})])
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: manager.heard.count("READY=1") == 3)
    wait_until(lambda: manager.status().startswith("STATUS=All well. Last good poll "))
    assert daemon.stop() == 0
    assert "STOPPING=1" in manager.heard
    assert manager.status() == "STATUS=stopping: what is under way may end"


def test_a_source_that_is_down_is_no_reason_not_to_be_ready(desk: Desk, inbox: Path, manager: Manager) -> None:
    """READY comes although the server cannot be reached, and the status says what is wrong."""
    down = {"name": "webio", "type": "sftp", "host": "127.0.0.1", "port": 1, "username": "acme", "password": "x"}
    desk.configure({**down, "host_keys": ["SHA256:" + "A" * 43], "folder": "/webhooks"})
    desk.daemon(**manager.environment)
    assert "READY=1" in manager.heard
    wait_until(lambda: manager.status().startswith("STATUS=Wrong: source webio: "))
    assert "refused" in manager.status()


def test_a_part_that_hangs_is_missed(
    desk: Desk, inbox: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a poll stands still the signs of life stop, though the main loop goes on; when it moves, they come back."""
    hanging, go_on = threading.Event(), threading.Event()
    look = DirectorySource.look

    def stands_still(self: DirectorySource) -> Iterator[list[Entry]]:
        hanging.set()
        go_on.wait(60)
        return look(self)

    monkeypatch.setattr(DirectorySource, "look", stands_still)
    monkeypatch.setattr(readiness, "_STILL_SECONDS", 0.5)
    desk.configure(local(inbox, poll_seconds=3600))
    put(inbox, {"1.json": event(1)})
    daemon = Daemon(load(desk.config), desk.folder, None, Notifier(manager.environment))
    running = threading.Thread(target=daemon.run, args=(lambda: None,))
    running.start()
    try:
        assert hanging.wait(20)
        quiet_since = time.monotonic()
        wait_until(lambda: time.monotonic() > quiet_since + 2)
        before = manager.heard.count("WATCHDOG=1")
        wait_until(lambda: time.monotonic() > quiet_since + 5)
        assert manager.heard.count("WATCHDOG=1") == before
        go_on.set()
        wait_until(lambda: manager.heard.count("WATCHDOG=1") > before)
    finally:
        go_on.set()
        daemon.stop()
        running.join(30)
    assert not running.is_alive()
