"""The real command, forked from a process that has loaded what it loads, which takes ten times as long as most tests.

It is a process of its own all the same, with its own arguments, environment, folder, streams, signals and end: `MODULE`
is run as `python -m` runs it. What a start with nothing loaded means is proved where that is the point (test_help,
test_lean_imports, test_readme, test_demo, tests/systemd).

There is one such process for each process of the tests. It has no threads, so that forking it is safe.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import pkgutil
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from sftpd_processor import cli

MODULE = "sftpd_processor.cli.main"
_LARGEST = 1 << 20  # bytes of one order
# What a command may load; not `MODULE`, which each runs anew.
_LOADED = (
    "alembic.command", "jwt", "paramiko", "psycopg", "rich.traceback", "sqlalchemy.dialects.postgresql.psycopg",
    "sqlalchemy.dialects.sqlite", "sqlite3", "structlog", "typer._adapters", "watchdog.observers",
    "sftpd_processor.daemon", "sftpd_processor.handlers.functions", "sftpd_processor.handlers.jsonl",
    "sftpd_processor.schedule", "sftpd_processor.sources.directory", "sftpd_processor.sources.sftp",
    "sftpd_processor.values", "sftpd_processor.alerts", "sftpd_processor.http.listener",
)  # fmt: skip


class Forked:
    """A command that was started here; what `subprocess.Popen` offers of the same name does the same."""

    def __init__(self, report: int) -> None:
        self._report = open(report, "rb", buffering=0)  # noqa: SIM115 - open until its end
        self.pid = int(self._report.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end, and say how it was; `subprocess.TimeoutExpired` when it has not come in time."""
        ended = self._ended(timeout)
        if ended is None:
            raise subprocess.TimeoutExpired(MODULE, timeout or 0)
        return ended

    def send_signal(self, number: int) -> None:
        """Send it, unless it has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):  # it has ended just now
                os.kill(self.pid, number)

    def kill(self) -> None:
        """End it, whatever it does."""
        self.send_signal(signal.SIGKILL)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._report], [], [], timeout)[0]:
            self.returncode = int(self._report.readline())
            self._report.close()
        return self.returncode


def fork(arguments: Sequence[str], cwd: Path, env: Mapping[str, str], stdout: IO[bytes], stderr: IO[bytes]) -> Forked:
    """Start `sftpd-processor ARGUMENTS` with nothing on its standard input."""
    mine, theirs = os.pipe()
    order = json.dumps([list(arguments), str(cwd), dict(env)]).encode()
    with open(os.devnull, "rb") as nothing:
        files = [nothing.fileno(), stdout.fileno(), stderr.fileno(), theirs]
        socket.send_fds(_nursery(), [order], files)
    os.close(theirs)
    return Forked(mine)


@functools.cache
def _nursery() -> socket.socket:
    """Where orders go: to a process that ends with this one."""
    mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    mine.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
    command = [sys.executable, "-m", __name__, str(theirs.fileno())]
    root = Path(__file__).parents[2]
    with theirs:
        process = subprocess.Popen(command, cwd=root, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)
    atexit.register(_end, mine, process)
    return mine


def _end(orders: socket.socket, process: subprocess.Popen[bytes]) -> None:
    orders.close()
    process.wait()


def _load() -> None:
    verbs = [verb.name for verb in pkgutil.iter_modules(cli.__path__, f"{cli.__name__}.")]
    for name in (*_LOADED, *verbs):
        if name != MODULE:
            importlib.import_module(name)
    gc.freeze()


def _serve(orders: socket.socket) -> bytes:
    """Start a command for each order; returns the order in the process that is to be the command, b"" when all is over.

    Between here and the command stands a process that tells which one it is, waits for it and tells how it ended.
    """
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody has to wait for those in between
    while True:
        order, files, _, _ = socket.recv_fds(orders, _LARGEST, 4)
        if not order:
            return b""
        if os.fork() == 0:
            orders.close()
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            return _under_watch(order, files)
        for each in files:
            os.close(each)


def _under_watch(order: bytes, files: Sequence[int]) -> bytes:
    *streams, report = files
    if pid := os.fork():
        for each in streams:
            os.close(each)
        os.write(report, b"%d\n" % pid)
        os.write(report, b"%d\n" % os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
        os._exit(0)
    os.close(report)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    return order


def _become(order: bytes) -> None:
    """Be the command."""
    arguments, cwd, env = json.loads(order)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(cwd)
    time.tzset()
    tempfile.tempdir = None
    sys.path[0] = cwd
    sys.argv = [MODULE, *arguments]
    runpy.run_module(MODULE, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    _load()
    if given := _serve(socket.socket(fileno=int(sys.argv[1]))):
        _become(given)
