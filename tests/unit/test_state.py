"""The state folder: one process at a time, and the lock goes with the process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sftpd_processor.errors import PermanentError, StateInUse
from sftpd_processor.state import StateFolder

_HOLD = """
import sys
from pathlib import Path
from sftpd_processor.state import StateFolder
StateFolder(Path(sys.argv[1])).hold()
print("held", flush=True)
sys.stdin.read()
"""


def _holder(folder: Path) -> subprocess.Popen[str]:
    """A process that holds the folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_the_folder_is_made(tmp_path: Path) -> None:
    """It is made with its parents, closed to others."""
    folder = tmp_path / "var" / "lib"
    before = os.umask(0o027)
    try:
        state = StateFolder(folder)
        state.hold()
        state.release()
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o7777 == 0o750
    assert (folder / "lock").stat().st_mode & 0o7777 == 0o640


def test_a_second_process_is_refused_with_the_firsts_number(tmp_path: Path) -> None:
    """Two processes never work on one folder; the message says which process it is, and what to do."""
    with _holder(tmp_path) as first:
        with pytest.raises(StateInUse, match=rf"process {first.pid}\).*stop it first"):
            StateFolder(tmp_path).hold()
        with pytest.raises(StateInUse, match=str(first.pid)):  # asking did not change the number
            StateFolder(tmp_path).hold()
        first.kill()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_lock_goes_with_the_process(tmp_path: Path, number: signal.Signals) -> None:
    """However the process ends, the next one can start at once: no stale lock file is in its way."""
    with _holder(tmp_path) as first:
        first.send_signal(number)
        first.wait(10)
    state = StateFolder(tmp_path)
    state.hold()
    assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"
    state.release()


def test_a_released_folder_can_be_held_again(tmp_path: Path) -> None:
    """In the same process too; releasing twice does no harm."""
    first, second = StateFolder(tmp_path), StateFolder(tmp_path)
    first.hold()
    with pytest.raises(StateInUse):
        second.hold()
    first.release()
    first.release()
    second.hold()
    second.release()


def test_children_do_not_keep_the_lock(tmp_path: Path) -> None:
    """A command that a handler left running does not hold the folder after the daemon's end."""
    state = StateFolder(tmp_path)
    state.hold()
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        state.release()
        again = StateFolder(tmp_path)
        again.hold()
        again.release()
        child.kill()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    """A path that leads through a file names the folder, the cause and the setting."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match=r"file/state cannot be used: .*state\.dir"):
        StateFolder(tmp_path / "file" / "state").hold()
