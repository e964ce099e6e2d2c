"""Copies: archived files, wherever they lie now: in the folder of their day, or compacted."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from hashlib import sha256
from heapq import merge
from itertools import chain, count
from pathlib import Path
from typing import NoReturn

from sftpd_processor.archive import plain
from sftpd_processor.archive.day import LARGEST, Day
from sftpd_processor.archive.places import ENDING, ROOMS, Gathering, compacted
from sftpd_processor.archive.shelves import Copy, number_of, streams
from sftpd_processor.errors import PermanentError
from sftpd_processor.telemetry import printable

__all__ = ["Copies", "Copy"]

_STORED = re.compile(rf"((?:{'|'.join(ROOMS)})/[^/\0]+/\d{{4}}/\d\d/\d\d)/([^/\0]+)", re.ASCII | re.DOTALL).fullmatch


class Copies:
    """Reads copies. Safe to use from several threads."""

    def __init__(self, state: Path, largest: int = LARGEST) -> None:
        """`state` is the state folder; `largest`: bytes of the largest copy that is read."""
        self._state = state
        self._largest = largest
        self._reading = threading.Lock()
        self._last: tuple[tuple[Path, int, int], Day] | None = None

    def read(self, stored: str, digest: str | None = None) -> bytes:
        """The exact bytes of the copy whose place the ledger calls `stored`; with `digest` they have that SHA-256.

        Raises `PermanentError` when it is missing, unreadable, or altered.
        """
        wrong = "is missing"
        for raw in self._read(stored):
            if digest is None or sha256(raw).hexdigest() == digest:
                return raw
            wrong = "is not what was recorded: its SHA-256 is another"
        raise PermanentError(f"the copy {printable(stored)} in {self._state} {wrong}; put it back from a backup")

    def where(self, stored: str) -> str | None:
        """Where the copy lies now, for people; None when it is nowhere. Raises `PermanentError`."""
        folder, name = self._parted(stored)
        if os.path.lexists(folder / name):
            return stored
        with self._reading:
            day = self._day(folder)
            if day is None or day.find(name) is None:
                return None
        return f"{stored.removesuffix('/' + name)}{ENDING} (member {name})"

    def compacted(self, stored: str) -> bytes | None:
        """The bytes of the copy in the compacted day; None when it is not there. Raises `PermanentError`."""
        folder, name = self._parted(stored)
        with self._reading:
            day = self._day(folder)
            member = None if day is None else day.find(name)
            return None if day is None or member is None else day.read(member)

    def let_go(self) -> None:
        """Of the compacted day that was read last: it is held open, with its table of contents in memory."""
        with self._reading:
            self._last = None

    def walk(
        self,
        paths: Sequence[Path],
        default_source: str | None = None,
        problem: Callable[[PermanentError], None] | None = None,
    ) -> Iterator[Copy]:
        """The copies at `paths`: files, folders and compacted days; each once, in the order they were recorded.

        What lies in no archive folder (`<source>/YYYY/MM/DD`) is of `default_source`, and counts as recorded when it
        was changed last. Raises `PermanentError` for what cannot be read, or whose source is not known; with `problem`
        that is told of a copy or a day that cannot be read, and the others go on. Holds no more than the names of one
        day, and one copy of each source.
        """
        gathering = Gathering(self._state)
        gathering.take(paths)
        for shelves in gathering.days(default_source):
            with ExitStack() as opened:
                numbers = count()
                found = [
                    stream
                    for shelf in shelves
                    for stream in streams(shelf, self._largest, numbers, opened, problem or _refuse)
                ]
                for turn in merge(*found) if len(found) > 1 else chain(*found):
                    yield turn[-1]

    def count(self, paths: Sequence[Path]) -> int:
        """How many copies `walk` reads; looks at names only, so of two that differ under one name it counts one.

        A day that cannot be read counts as none: `walk` tells of it.
        """
        gathering = Gathering(self._state)
        gathering.take(paths)
        total = 0
        for shelf in chain.from_iterable(gathering.days("any")):
            with suppress(PermanentError):
                total += number_of(shelf)
        return total

    def _read(self, stored: str) -> Iterator[bytes]:
        folder, name = self._parted(stored)
        try:
            found = plain.read(None, os.fspath(folder / name), self._largest)
        except OSError as error:
            raise PermanentError(printable(f"{folder / name} cannot be read: {error.strerror}")) from error
        if found is not None:
            yield found.raw
        if (raw := self.compacted(stored)) is not None:
            yield raw

    def _day(self, folder: Path) -> Day | None:
        """The compacted form of the folder; the last one stays open, since many of its copies may be asked for."""
        path = compacted(folder)
        try:
            status = path.stat()
            mark = path, status.st_ino, status.st_mtime_ns
            if self._last is None or self._last[0] != mark:
                self._last = mark, Day(path, self._largest)
        except FileNotFoundError:
            return None
        return self._last[1]

    def _parted(self, stored: str) -> tuple[Path, str]:
        parts = _STORED(stored)
        if parts is None or ".." in stored.split("/"):
            raise PermanentError(f"{printable(stored)!r} is no place in the archive: archive/SOURCE/YYYY/MM/DD/NAME")
        return self._state / parts[1], parts[2]


def _refuse(error: PermanentError) -> NoReturn:
    raise error
