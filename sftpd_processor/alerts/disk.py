"""How full the file system under the state folder is."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import TransientError

_EASED = 2
"""Percent points below the limit at which it is over: one that is just at it is one cause."""
_GIB = 1 << 30


class Fullness(NamedTuple):
    """Of one file system; percents of what this account may use, as `df` shows them."""

    bytes: float
    files: float
    """Of the files that it has room for."""
    left: int
    """Bytes."""


def fullness(folder: Path) -> Fullness:
    """Raises OSError."""
    seen = os.statvfs(folder)
    used, files = seen.f_blocks - seen.f_bfree, seen.f_files - seen.f_ffree
    return Fullness(
        _percent(used, seen.f_bavail),
        _percent(files, seen.f_favail if seen.f_files else 0),
        seen.f_bavail * seen.f_frsize,
    )


class Disk:
    """Watches one file system."""

    def __init__(self, folder: Path, now: Callable[[], int], look: Callable[[Path], Fullness] = fullness) -> None:
        """`now` is the ledger's clock."""
        self._folder = folder
        self._now = now
        self._look = look

    def check(self, settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """Whether it is fuller than the settings allow. Raises `TransientError`."""
        try:
            seen = self._look(self._folder)
        except OSError as error:
            raise TransientError(f"the file system of {self._folder} cannot be looked at: {error.strerror}") from error
        told = notes.told("disk", "")
        limit = settings.disk_percent - (_EASED if told else 0)
        if seen.bytes >= limit:
            why = f"the file system of {self._folder} is {seen.bytes:.0f} % full, {seen.left / _GIB:.1f} GiB are left"
        elif seen.files >= limit:
            why = f"the file system of {self._folder} has room for few more files: {seen.files:.0f} % are there"
        else:
            return
        yield Cause(Key("disk", ""), self._now(), why)


def _percent(used: int, left: int) -> float:
    return 100 * used / (used + left) if used + left > 0 and left >= 0 else 0.0
