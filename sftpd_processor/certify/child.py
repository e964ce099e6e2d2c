"""The process that is killed: the real command, watched from outside.

Loading its modules takes longer than what it then has to do. So each process is started while the one before it still
works, loads what it needs, and waits for its turn.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_STANDBY = """
import sys
from sftpd_processor.cli.main import main
import sftpd_processor.daemon, sftpd_processor.schedule, sftpd_processor.sources.sftp
import sftpd_processor.handlers.functions, sftpd_processor.handlers.jsonl, alembic.command, sqlalchemy.dialects.sqlite
if sys.stdin.read(1):
    main()
"""
_PAUSE = 0.005  # seconds between two looks whether it has ended
_MEMORY_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended: its exit code (-9: killed), its peak memory in bytes, whether it was killed for being late."""

    code: int
    memory: int
    late: bool = False

    @property
    def killed(self) -> bool:
        """Whether SIGKILL ended it."""
        return self.code == -signal.SIGKILL


class Child:
    """One run of `sftpd-processor`, which waits for `go`; what it says is appended to `log`."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        command = [sys.executable, "-P", "-c", _STANDBY, *arguments]
        with log.open("ab") as said:
            self._process = subprocess.Popen(  # noqa: S603
                command, cwd=log.parent, env=environment, stdin=subprocess.PIPE, stdout=said, stderr=said
            )

    def go(self) -> None:
        """It is its turn."""
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):  # it has ended already, and `wait` tells how
                self._process.stdin.write(b".")
                self._process.stdin.close()

    def wait(self, seconds: float) -> Ended:
        """Wait for its end; kill it when it has not come after so many seconds."""
        deadline = time.monotonic() + seconds
        late = False
        while (ended := self._ended()) is None:
            if time.monotonic() > deadline and not late:
                self._process.send_signal(signal.SIGKILL)
                late = True
            time.sleep(_PAUSE)
        code, memory = ended
        return Ended(code, memory, late)

    def close(self) -> None:
        """Kill it, if it still runs."""
        if self._process.returncode is None:
            self._process.kill()
            self._process.wait()
        if self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def _ended(self) -> tuple[int, int] | None:
        """Exit code and peak memory; `Popen` itself does not tell the memory."""
        pid, status, usage = os.wait4(self._process.pid, os.WNOHANG)
        if not pid:
            return None
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return self._process.returncode, usage.ru_maxrss * _MEMORY_UNIT
