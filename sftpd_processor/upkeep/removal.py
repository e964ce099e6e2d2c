"""Whole days leave the archive or the quarantine: only what has the shape of our own paths, never through a link."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Callable
from pathlib import Path

from sftpd_processor.archive.places import ENDING
from sftpd_processor.archive.rooms import Place

_AT_ONCE = 500
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NOT_OURS = (errno.ENOTDIR, errno.ELOOP)  # a link, or a file, in the place of a folder


def remove(state: Path, place: Place, between: Callable[[], None]) -> bool:
    """Remove the copies of one source and day, plain and compacted, and the folders above that become empty.

    Returns whether nothing of the day is left: folders within it, and links, are not ours and stay. `between` is called
    after each piece, and may raise to end it: the next call goes on. Raises `OSError`.
    """
    *above, name = place.stored.split("/")
    with contextlib.ExitStack() as opened:
        folders = [os.open(state / above[0], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)]
        opened.callback(os.close, folders[0])
        for part in above[1:]:
            if (inner := _open(part, folders[-1])) is None:
                return False
            opened.callback(os.close, inner)
            folders.append(inner)
        _remove_file(f"{name}{ENDING}", folders[-1])
        _empty(name, folders[-1], between)
        if not _remove_folder(name, folders[-1]):
            return False
        month, year = folders[-2], folders[-3]
        if _remove_folder(above[3], month):
            _remove_folder(above[2], year)
        return True


def _empty(name: str, above: int, between: Callable[[], None]) -> None:
    """Remove the files in the folder `name` within another one, opened."""
    if (folder := _open(name, above)) is None:
        return
    try:
        with os.scandir(folder) as found:
            for number, each in enumerate(found, 1):
                if not each.is_dir(follow_symlinks=False):
                    _remove_file(each.name, folder)
                if number % _AT_ONCE == 0:
                    between()
    finally:
        os.close(folder)


def _open(name: str, above: int) -> int | None:
    try:
        return os.open(name, _FOLDER, dir_fd=above)
    except FileNotFoundError:
        return None
    except OSError as error:
        if error.errno in _NOT_OURS:
            return None
        raise


def _remove_file(name: str, folder: int) -> None:
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=folder)


def _remove_folder(name: str, above: int) -> bool:
    """Remove an empty folder; whether it is gone."""
    try:
        os.rmdir(name, dir_fd=above)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST, *_NOT_OURS):
            return False
        raise
    return True
