"""A place that is examined: the few verbs the steps need, and a local folder that has them."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Protocol

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.doctor.findings import OpenFiles, SshFacts
from sftpd_processor.errors import SourceRefused
from sftpd_processor.sources.base import Entry
from sftpd_processor.sources.directory import DirectorySource


class Refused(Exception):
    """The place said no to one request, in its own words; the others are not affected."""


class Place(Protocol):
    """Paths are strings with `/`. Each verb raises `Refused`, or `SourceUnavailable` when the place is lost."""

    finest: int
    """Nanoseconds: the smallest step of a file's time that can be asked for."""
    slowest: float | None
    """Seconds: the longest that an answer took; None where nobody answers."""

    def open(self) -> None:
        """Enter, also again after a loss. Raises `SourceUnavailable` or `SourceRefused`."""

    def close(self) -> None:
        """Leave; never raises."""

    def ssh(self) -> SshFacts | None:
        """What was agreed on at the entry."""

    def entries(self) -> Generator[list[Entry]]:
        """The source's folder, in batches."""

    def names_per_answer(self) -> int | None:
        """How many names the first answer to a listing holds."""

    def mode(self, path: str) -> int | None:
        """Kind and rights of what is there, links followed (0 where the server does not say); None for nothing."""

    def mtime(self, path: str) -> int:
        """Nanoseconds since 1970, by the clock of the place."""

    def set_mtime(self, path: str, mtime: int) -> None:
        """Change it."""

    def make_folder(self, path: str) -> None:
        """One folder; the one above must be there."""

    def write(self, path: str, data: bytes, *, new: bool = True) -> None:
        """Write a whole file: a new one (whose name must be free), or one of ours again."""

    def read(self, path: str) -> bytes:
        """A small file, whole."""

    def rename(self, old: str, new: str) -> None:
        """As the source moves files."""

    def posix_rename(self, old: str, new: str) -> None:
        """As POSIX has it: what has the new name is replaced."""

    def remove(self, path: str) -> None:
        """Delete a file."""

    def remove_folder(self, path: str) -> None:
        """Delete an empty folder."""

    def hold_open(self, path: str, most: int) -> OpenFiles | None:
        """Open a file again and again, and close all; None where it does not matter."""


class LocalPlace:
    """See `Place`."""

    finest = 1
    slowest: float | None = None

    def __init__(self, settings: DirectorySourceSettings) -> None:
        self._source = DirectorySource(settings)

    def open(self) -> None:
        """Nothing to enter."""

    def close(self) -> None:
        """Nothing to leave."""

    def ssh(self) -> SshFacts | None:
        """There is no server."""
        return None

    def entries(self) -> Generator[list[Entry]]:
        """As the source lists them."""
        try:
            yield from self._source.look()
        except SourceRefused as error:
            cause = error.__cause__
            raise Refused(_said(cause) if isinstance(cause, OSError) else str(error)) from error

    def names_per_answer(self) -> int | None:
        """There are no answers."""
        return None

    def mode(self, path: str) -> int | None:
        """See `Place`."""
        with _asked():
            try:
                return Path(path).stat().st_mode
            except FileNotFoundError:
                return None

    def mtime(self, path: str) -> int:
        """See `Place`."""
        with _asked():
            return Path(path).stat().st_mtime_ns

    def set_mtime(self, path: str, mtime: int) -> None:
        """See `Place`."""
        with _asked():
            os.utime(path, ns=(mtime, mtime))

    def make_folder(self, path: str) -> None:
        """See `Place`."""
        with _asked():
            Path(path).mkdir(mode=0o750)

    def write(self, path: str, data: bytes, *, new: bool = True) -> None:
        """See `Place`."""
        with _asked(), Path(path).open("xb" if new else "wb") as file:
            file.write(data)

    def read(self, path: str) -> bytes:
        """See `Place`."""
        with _asked():
            return Path(path).read_bytes()

    def rename(self, old: str, new: str) -> None:
        """By a link, which never overwrites, as the source does it."""
        with _asked():
            os.link(old, new, follow_symlinks=False)
            Path(old).unlink()

    def posix_rename(self, old: str, new: str) -> None:
        """See `Place`."""
        with _asked():
            Path(old).replace(new)

    def remove(self, path: str) -> None:
        """See `Place`."""
        with _asked():
            Path(path).unlink()

    def remove_folder(self, path: str) -> None:
        """See `Place`."""
        with _asked():
            Path(path).rmdir()

    def hold_open(self, path: str, most: int) -> OpenFiles | None:  # noqa: ARG002
        """Of no interest: the source reads one file at a time."""
        return None


@contextlib.contextmanager
def _asked() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise Refused(_said(error)) from error


def _said(error: OSError) -> str:
    return error.strerror or str(error)
