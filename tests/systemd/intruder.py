"""What somebody tries who has taken over a process of the service; run within it by a `command` handler.

Writes a JSON object to the file of the first argument: what was tried → "done", or the name of the error.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

RESULT, CONFIG = Path(sys.argv[-1]), Path("/etc/sftpd-processor")
STATE = RESULT.parent
NEWUSER, X86_UNAME26, RT = 0x10000000, 0x0020000, os.SCHED_FIFO
_libc = ctypes.CDLL(None, use_errno=True)


def called(name: str, *arguments: int | bytes) -> None:
    """A function of libc that returns -1 for an error."""
    if getattr(_libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def ran(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    path.chmod(0o755)
    subprocess.run([path], check=True)


def seen_processes() -> None:
    """Fails unless a process of another account is seen."""
    others = [entry for entry in Path("/proc").glob("[0-9]*") if entry.stat().st_uid != os.getuid()]
    os.readlink(others[0] / "exe") if others else called_off(errno.ENOENT)


def called_off(number: int) -> None:
    raise OSError(number, os.strerror(number))


def exists(path: str) -> None:
    os.stat(path)


def memory_limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (1 << 33, 1 << 33))


ALLOWED: dict[str, Callable[[], object]] = {
    "write into the state folder": lambda: (STATE / "note").write_text("x"),
    "write a temporary file": lambda: Path("/tmp/note").write_text("x"),
    "read the configuration": lambda: next(CONFIG.glob("*.toml")).read_text(),
    "limit its memory": memory_limited,
    "use shared memory": lambda: Path("/dev/shm/note").write_text("x"),
    "speak IP": lambda: socket.socket(socket.AF_INET6).close(),
    "start programs": lambda: subprocess.run(["/bin/true"], check=True),
    "make a callback of C": lambda: ctypes.CFUNCTYPE(ctypes.c_int)(lambda: 0)(),
}
REFUSED: dict[str, Callable[[], object]] = {
    "change the configuration": lambda: next(CONFIG.glob("*.toml")).write_text("x"),
    "write into /etc": lambda: Path("/etc/note").write_text("x"),
    "change the program": lambda: Path("/opt/sftpd-processor/note").write_text("x"),
    "list home folders": lambda: os.listdir("/root"),
    "see the temporary files of others": lambda: exists("/tmp/bait"),
    "see the shared memory of others": lambda: exists("/dev/shm/bait"),
    "run a program from the state folder": lambda: ran(STATE / "program", b"#!/bin/true\n"),
    "run a program from /tmp": lambda: ran(Path("/tmp/program"), b"#!/bin/true\n"),
    "make a set-uid file": lambda: (STATE / "note").chmod(0o4755),
    "see processes of others": seen_processes,
    "read about the kernel": lambda: Path("/proc/cmdline").read_text(),
    "set a kernel parameter": lambda: Path("/proc/sys/kernel/hostname").write_text("x"),
    "read the kernel's log": lambda: called("klogctl", 3, bytes(16), 16),
    "see devices": lambda: exists("/dev/bait"),
    "speak to the kernel by netlink": lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW).close(),
    "send raw packets": lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1).close(),
    "make a namespace": lambda: called("unshare", NEWUSER),
    "mount": lambda: called("mount", b"x", b"/tmp", b"tmpfs", 0, 0),
    "become another account": lambda: os.setuid(0),
    "set the clock": lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()),
    "set the host's name": lambda: socket.sethostname("x"),
    "take the processor for itself": lambda: os.sched_setscheduler(0, RT, os.sched_param(1)),
    "raise its priority": lambda: os.nice(-5),
    "change its personality": lambda: called("personality", X86_UNAME26),
    "make memory that can be written and run": lambda: mmap.mmap(-1, 4096, prot=mmap.PROT_WRITE | mmap.PROT_EXEC),
    "trace a process": lambda: called("ptrace", 16, os.getppid(), 0, 0),
    "use io_uring": lambda: called("syscall", 425, 1, bytes(120)),
    "end a process of another account": lambda: os.kill(1, signal.SIGTERM),
    "use the keys that the kernel keeps": lambda: called("syscall", 250, 11, -4, bytes(16), 16),
}


def tried(attempt: Callable[[], object]) -> str:
    """How it ended."""
    try:
        attempt()
    except subprocess.CalledProcessError as error:
        return f"exit code {error.returncode}"
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    return "done"


if __name__ == "__main__":
    with contextlib.suppress(OSError):
        sys.stdin.read()
    RESULT.write_text(json.dumps({name: tried(attempt) for name, attempt in (ALLOWED | REFUSED).items()}))
