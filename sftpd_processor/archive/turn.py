"""Whose turn it is to change the archive: one process at a time compacts, removes or forgets."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sftpd_processor.errors import PermanentError, StateInUse

LOCK = "upkeep.lock"


@contextmanager
def turn(state: Path) -> Iterator[None]:
    """Hold the archive of the state folder. The lock goes with the process, however that ends.

    Raises `StateInUse` when another process holds it, and `PermanentError` when the folder cannot be written.
    """
    with if_unlocked(state, LOCK) as mine:
        if not mine:
            raise StateInUse(
                f"the upkeep of {state} runs at this moment, or an `archive forget`; try again when it has ended"
            )
        yield


@contextmanager
def if_unlocked(state: Path, name: str) -> Iterator[bool]:
    """Lock the file of that name in the state folder, unless another process has; whether that is so.

    Raises `PermanentError` when the folder cannot be written.
    """
    try:
        lock = os.open(state / name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise PermanentError(
            f"the state folder {state} cannot be used: {error.strerror}; run this as the account of the daemon"
        ) from error
    try:
        give_to_owner(lock, state)
        yield _locked(lock)
    finally:
        os.close(lock)


def give_to_owner(descriptor: int, folder: Path) -> None:
    """What root makes belongs to whom the folder belongs: the daemon's account must be able to use it later."""
    if os.geteuid() == 0:
        status = folder.stat()
        os.fchown(descriptor, status.st_uid, status.st_gid)


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
