"""What systemd is told, as a real socket gets it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.notify import Notifier


class Manager:
    """Listens as systemd does."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address.replace("@", "\0", 1))
        self.socket.setblocking(False)

    def heard(self) -> list[str]:
        """What has come since the last question."""
        messages = []
        try:
            while True:
                messages.append(self.socket.recv(10_000).decode())
        except BlockingIOError:
            return messages


@pytest.fixture(params=["file", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Manager]:
    """Both kinds of address that systemd uses."""
    made = Manager(str(tmp_path / "notify") if request.param == "file" else f"@sftpd-processor-{os.getpid()}")
    yield made
    made.socket.close()


def test_all_that_can_be_told(manager: Manager) -> None:
    """Each message is the assignment that sd_notify(3) names, in a datagram of its own."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.ready()
    notifier.more_time(2.5)
    notifier.stopping()
    assert manager.heard() == ["READY=1", "EXTEND_TIMEOUT_USEC=2500000", "STOPPING=1"]
    notifier.reloading()
    (said,) = manager.heard()
    assert said.startswith("RELOADING=1\nMONOTONIC_USEC=")


def test_a_status_is_one_line_told_once(manager: Manager) -> None:
    """A line break cannot end it and begin another assignment; the same text again is not sent again."""
    notifier = Notifier({"NOTIFY_SOCKET": manager.address})
    notifier.status("all well\nREADY=1")
    notifier.status("all well READY=1")
    notifier.status("x" * 5000)
    assert manager.heard() == ["STATUS=all well READY=1", f"STATUS={'x' * 1000}"]


def test_signs_of_life_only_where_one_is_waited_for(manager: Manager) -> None:
    """Without WatchdogSec=, or when another process is meant, none is sent; else a few in its time, not one a call."""
    for environment in ({}, {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}):
        Notifier({"NOTIFY_SOCKET": manager.address} | environment).alive()
    assert manager.heard() == []
    watched = {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    notifier = Notifier({"NOTIFY_SOCKET": manager.address} | watched)
    for _ in range(100):
        notifier.alive()
    assert manager.heard() == ["WATCHDOG=1"]


def test_children_do_not_inherit_it(manager: Manager) -> None:
    """What systemd set for the service is taken out of the environment, so that no child can speak in its name."""
    environment = {"NOTIFY_SOCKET": manager.address, "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1", "HOME": "/"}
    Notifier(environment)
    assert environment == {"HOME": "/"}


def test_nobody_listens(tmp_path: Path) -> None:
    """Without systemd, or when its socket is gone or full, nothing is raised."""
    Notifier({}).ready()
    Notifier({"NOTIFY_SOCKET": str(tmp_path / "gone")}).ready()
    Notifier({"NOTIFY_SOCKET": "/" + "x" * 500}).ready()
