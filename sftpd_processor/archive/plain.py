"""Plain copies: regular files, read by way of their folder, which is held open."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterable, Iterator
from typing import NamedTuple

_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Found(NamedTuple):
    """A regular file in a folder. Times in nanoseconds."""

    name: str
    mtime: int
    ctime: int


class Plain(NamedTuple):
    """A plain copy that was read."""

    raw: bytes
    mark: tuple[int, int]
    """Its inode and ctime: while they are the same, so are its bytes."""


class TooLarge(OSError):
    """The file has more bytes than are read."""


@contextlib.contextmanager
def opened(folder: str | os.PathLike[str]) -> Iterator[int]:
    """A descriptor of the folder."""
    descriptor = os.open(folder, _FOLDER)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def sync(folder: str | os.PathLike[str]) -> None:
    """Names that are gone from a folder, or new in it, are so on the disk."""
    with opened(folder) as descriptor:
        os.fsync(descriptor)


def found_in(folder: int, names: Iterable[str] | None = None) -> Iterator[Found]:
    """The regular files of a folder, or those of `names` that are; in no order."""
    if names is None:
        with os.scandir(folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # gone since it was listed
                    if entry.is_file(follow_symlinks=False):
                        status = entry.stat(follow_symlinks=False)
                        yield Found(entry.name, status.st_mtime_ns, status.st_ctime_ns)
        return
    for name in names:
        with contextlib.suppress(FileNotFoundError):
            status = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(status.st_mode):
                yield Found(name, status.st_mtime_ns, status.st_ctime_ns)


def read(folder: int | None, name: str, largest: int) -> Plain | None:
    """A regular file, whole; None when it is gone, or is something else.

    `folder` is open; None: `name` is a path. Raises `OSError`, also `TooLarge`.
    """
    try:
        descriptor = os.open(name, _SAFELY, dir_fd=folder)
    except FileNotFoundError:
        return None
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            return None
        if status.st_size > largest:
            raise TooLarge(0, f"it is larger than is read ({largest:,} bytes)")
        raw = os.read(descriptor, status.st_size)
        while len(raw) < status.st_size and (more := os.read(descriptor, status.st_size - len(raw))):
            raw += more
    finally:
        os.close(descriptor)
    return Plain(raw, (status.st_ino, status.st_ctime_ns))


def mark(folder: int, name: str) -> tuple[int, int] | None:
    """The mark of what goes by that name now; None when it is gone."""
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    return status.st_ino, status.st_ctime_ns
