"""What the other tests call the real command is the real one."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, local, put


@pytest.mark.parametrize("arguments", [["--help"], ["-c", "missing.toml", "check"], ["--bogus"]])
def test_a_forked_command_says_what_a_started_one_says(desk: Desk, arguments: list[str]) -> None:
    """The same arguments give the same output, errors and exit code, whether its process was forked or started."""
    started = desk.bare(*arguments, PYTHONHASHSEED="0")  # which only an interpreter that starts can heed
    assert desk.bare(*arguments) == started


def test_a_forked_command_is_a_process_of_its_own(desk: Desk, tmp_path: Path) -> None:
    """Its folder, environment, standard streams and parent are its own, and its end is told as that of any process."""
    code = "import os, sys\ndef tell(event): print(os.getcwd(), os.environ['MINE'], os.getppid(), file=sys.stderr)\n"
    desk.module("mine", code)
    (tmp_path / "in").mkdir()
    put(tmp_path / "in", {"a.json": event(1)})
    desk.configure(local(tmp_path / "in"), handlers=[{"name": "tell", "use": "mine:tell"}])
    ran = desk.start("once", MINE="here")
    assert ran.ended() == 0
    cwd, mine, parent = ran.log.split()
    assert (cwd, mine) == (str(desk.work), "here")
    assert int(parent) != ran.process.pid
    daemon = desk.daemon()
    daemon.signal(signal.SIGKILL)
    assert daemon.ended() == -signal.SIGKILL
    assert not Path(f"/proc/{daemon.process.pid}").exists()
