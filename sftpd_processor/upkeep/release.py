"""Raw bytes leave the ledger when their copy is known to be on disk.

A copy is written without fsync, so a power cut may take it although the ledger says that it was written. Its bytes are
let go of only when it is there, as long as they are, and all that was written to its file system before this pass
began has been brought to the disk. So at any moment at least one of the two is whole; and a crash in between leaves
both, and the next pass begins anew.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path

from sftpd_processor.archive.copies import Copies
from sftpd_processor.errors import PermanentError, TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.upkeep import Copied

_PAUSE = 0.005  # seconds between two pieces, so that others get their turn with the ledger


class Release:
    """Lets go of raw bytes."""

    def __init__(self, state: Path, ledger: Ledger) -> None:
        """`state` is the state folder."""
        self._state = state
        self._ledger = ledger
        self._after = 0

    def everything(self, stop: Callable[[], bool]) -> tuple[int, int]:
        """Go through all that is in the ledger; how many files' bytes went, and how many copies were not found.

        `stop` is asked before each piece. Raises `TransientError` when the disk refuses.
        """
        self._after = 0
        return self.news(stop)

    def news(self, stop: Callable[[], bool]) -> tuple[int, int]:
        """The same, but for what the last pass has gone through already."""
        try:
            return self._pass(stop)
        except OSError as error:
            raise TransientError(
                f"{error.filename or self._state}: {error.strerror or error}, so nobody knows which copies are on the "
                "disk; their bytes stay in the ledger"
            ) from error

    def _pass(self, stop: Callable[[], bool]) -> tuple[int, int]:
        verbs = self._ledger.upkeep
        waiting = verbs.first_unarchived()  # before the clock is read: what is archived meanwhile is not passed over
        began = self._ledger.clock()
        disk = _Disk(self._state)
        after, gone, missing = self._after, 0, 0
        while not stop() and (page := verbs.copied(began, after)):
            after = page[-1].id
            there = [file.id for file in page if disk.holds(file)]
            missing += len(page) - len(there)
            gone += verbs.release(there, began) if there else 0
            time.sleep(_PAUSE)
        self._after = after if waiting is None else min(after, waiting - 1)
        return gone, missing


class _Disk:
    """Tells which copies are on disk, each file system being synchronised once."""

    def __init__(self, state: Path) -> None:
        self._state = state
        self._copies = Copies(state)
        self._synced: set[int] = set()

    def holds(self, file: Copied) -> bool:
        path = self._state / file.path
        try:
            status = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return self._compacted(file.path)
        if not stat.S_ISREG(status.st_mode) or status.st_size != file.bytes:
            return False
        if status.st_dev not in self._synced:
            sync(path.parent)
            self._synced.add(status.st_dev)
        return True

    def _compacted(self, path: str) -> bool:
        """Whether it is in a compacted day, which was synchronised when it was made."""
        try:
            return self._copies.where(path) is not None
        except PermanentError:
            return False  # that day cannot be read


def sync(folder: Path) -> None:
    """Wait until all that was written to the file system of `folder` is on its disk.

    Raises `OSError`, also when something could not be written (since Linux 5.8; syncfs(2)).
    """
    import ctypes  # only here: a process that has nothing to release does without it

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:  # not Linux
        os.sync()
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if syncfs(descriptor) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
