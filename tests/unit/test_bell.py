"""The bell: another process wakes the daemon, and nobody waits for anybody."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from sftpd_processor.bell import Bell, BellListener
from tests.support import wait_until


class Rung:
    """How often it was heard."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self) -> None:
        self.times += 1


def test_another_process_rings(tmp_path: Path) -> None:
    """A ring from another process is heard."""
    rung = Rung()
    listener = BellListener(tmp_path, rung)
    listener.start()
    code = f"from pathlib import Path; from sftpd_processor.bell import Bell; Bell(Path({str(tmp_path)!r})).ring()"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=20)
    wait_until(lambda: rung.times == 1)
    listener.stop()


def test_nobody_listens(tmp_path: Path) -> None:
    """Ringing where there is no daemon, or none any more, does nothing; when one comes, the same bell is heard."""
    bell, rung = Bell(tmp_path), Rung()
    bell.ring()
    for _ in range(2):
        listener = BellListener(tmp_path, rung)
        listener.start()
        before = rung.times
        bell.ring()
        wait_until(lambda: rung.times > before)  # noqa: B023 - called at once
        listener.stop()
        bell.ring()
    bell.close()


def test_ringing_never_waits(tmp_path: Path) -> None:
    """However often it is rung while nobody heeds it, the one who rings is not held up."""
    heard, go_on = threading.Event(), threading.Event()

    def busy() -> None:
        heard.set()
        go_on.wait(20)

    listener = BellListener(tmp_path, busy)
    listener.start()
    bell = Bell(tmp_path)
    bell.ring()
    assert heard.wait(10)
    for _ in range(100_000):  # more than a pipe holds
        bell.ring()
    go_on.set()
    listener.stop()
    bell.close()


def test_something_else_has_its_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Where a file has its name the daemon goes without, says so, and the file stays as it is."""
    (tmp_path / "bell").write_text("mine")
    listener = BellListener(tmp_path, Rung())
    listener.start()
    assert "cannot be made" in caplog.text
    Bell(tmp_path).ring()
    listener.stop()
    assert (tmp_path / "bell").read_text() == "mine"


def test_no_descriptor_is_left(tmp_path: Path) -> None:
    """Starting, ringing and stopping leaves no descriptor open."""
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        listener, bell = BellListener(tmp_path, Rung()), Bell(tmp_path)
        listener.start()
        bell.ring()
        listener.stop()
        bell.close()
    assert len(os.listdir("/proc/self/fd")) == before
