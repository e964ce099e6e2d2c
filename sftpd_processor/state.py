"""The state folder: made when absent, and used by one process at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from sftpd_processor.errors import PermanentError, StateInUse


class StateFolder:
    """Holds the folder for this process until `release`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None

    def make(self) -> None:
        """Make the folder, if it is not there. Raises `PermanentError`."""
        with self._explained():
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)

    def hold(self) -> None:
        """Make the folder and lock it.

        Raises `StateInUse` with the other's process id when another process holds it, and `PermanentError` when
        it cannot be written. The lock goes with the process, however that ends.
        """
        self.make()
        with self._explained():
            self._lock = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._lock, 20).decode(errors="replace").partition("\n")[0] or "unknown"
            self.release()
            raise StateInUse(
                f"another sftpd-processor (process {holder}) works on {self._folder}; stop it first, or give this one "
                "its own state.dir"
            ) from None
        with contextlib.suppress(OSError):  # on a full disk, if it is new; it only tells a second one who is here
            length = os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)
            os.ftruncate(self._lock, length)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise PermanentError(
                f"the state folder {self._folder} cannot be used: {error.strerror}; set state.dir to a folder that "
                "this user may write"
            ) from error

    def release(self) -> None:
        """Let another process have it."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
