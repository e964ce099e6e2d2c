"""A bell in the state folder: another process of this program rings it, and the daemon looks for work at once.

It is a FIFO, so ringing costs one system call and needs nobody who listens. Without it (a file system that has none,
a ledger shared by several machines) the daemon still looks every few seconds.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path

logger = logging.getLogger(__name__)

_NAME = "bell"


class Bell:
    """Rings; safe to use from several threads."""

    def __init__(self, folder: Path) -> None:
        """`folder` is the state folder."""
        self._path = folder / _NAME
        self._descriptor: int | None = None

    def ring(self) -> None:
        """Wake the daemon, if there is one."""
        try:
            if self._descriptor is None:
                self._descriptor = _open(self._path, os.O_WRONLY)
            os.write(self._descriptor, b".")
        except BlockingIOError:
            pass  # it is ringing already
        except OSError:
            self.close()  # nobody listens now

    def close(self) -> None:
        """Let go of it."""
        if self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            os.close(descriptor)


class BellListener:
    """Calls a function, in a thread of its own, whenever the bell has been rung."""

    def __init__(self, folder: Path, rung: Callable[[], None]) -> None:
        self._path = folder / _NAME
        self._rung = rung
        self._descriptor: int | None = None
        self._stopped = False
        self._thread = threading.Thread(target=self._listen, name="bell", daemon=True)

    def start(self) -> None:
        """Hang the bell up and listen; where that cannot be done, say so once and go without."""
        try:
            self._descriptor = self._open()
        except OSError as error:
            logger.warning("%s cannot be made (%s); live posts wait a few seconds longer", self._path, error.strerror)
            return
        self._thread.start()

    def stop(self) -> None:
        """Listen no more."""
        if self._descriptor is None:
            return
        self._stopped = True
        os.set_blocking(self._descriptor, False)
        with contextlib.suppress(BlockingIOError):  # full, so it is heard anyway
            os.write(self._descriptor, b".")
        self._thread.join()
        os.close(self._descriptor)
        self._descriptor = None

    def _open(self) -> int:
        with contextlib.suppress(FileExistsError):
            os.mkfifo(self._path, 0o660)
        descriptor = _open(self._path, os.O_RDWR)  # also for writing: so reading never comes to an end
        os.set_blocking(descriptor, True)
        return descriptor

    def _listen(self) -> None:
        assert self._descriptor is not None, "start() comes first"  # noqa: S101
        while os.read(self._descriptor, 65_536) and not self._stopped:
            self._rung()


def _open(path: Path, how: int) -> int:
    descriptor = os.open(path, how | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    if stat.S_ISFIFO(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise FileExistsError(errno.EEXIST, "another file has its name")
