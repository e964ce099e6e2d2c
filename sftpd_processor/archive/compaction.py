"""Compaction: a day's folder becomes one file, and the plain copies go when every byte was read back from it.

Nothing of this is in the ledger: a copy is in its day's folder, or compacted, or for a moment in both. So killed at any
instant everything is readable, and the next pass does what is left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from array import array
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import NamedTuple, NoReturn

from sftpd_processor.archive import plain
from sftpd_processor.archive.day import LARGEST, Day, Member, nanoseconds
from sftpd_processor.archive.notes import understood, written
from sftpd_processor.archive.packing import packing
from sftpd_processor.archive.places import ENDING, REMNANT, Spot, beginning, compacted, encodable, spot
from sftpd_processor.errors import PermanentError, ProcessorError, TransientError
from sftpd_processor.ledger.records import Noted
from sftpd_processor.points import reached
from sftpd_processor.telemetry import printable

logger = logging.getLogger(__name__)

Describe = Callable[[str, date], Mapping[str, Noted]]
"""What the ledger knows of the copies of a source and day, by their names."""

_FRESH = 3600 * 1_000_000_000  # nanoseconds; a copy that the ledger does not know may be half-written until then
_AT_ONCE = 1000
_SHOWN = 3


@dataclass(slots=True)
class Compacted:
    """What a pass has done."""

    days: int = 0
    files: int = 0
    """Plain copies that were compacted."""
    before: int = 0
    """Their bytes, and those of compacted days that they were added to."""
    after: int = 0
    """Bytes of the compacted days."""
    problems: list[ProcessorError] = field(default_factory=list)
    """Of days that could not be compacted: nothing of them was removed."""


class _Stopped(Exception):
    """There is to be no more work; what was begun is undone."""


class _Entry(NamedTuple):
    """One member of the new day; they are sorted by the first three."""

    recorded_at: int
    mtime: int
    name: str
    member: Member | None
    """Of the old day; None: a plain copy."""


def compact(state: Path, describe: Describe, before: date, stop: Callable[[], bool]) -> Compacted:
    """Compact the days of the archive before `before`, oldest first, until `stop` says so; whoever calls holds `turn`.

    A day that cannot be compacted does not keep the others from it: it is among the `problems`, with a
    `TransientError` or, when a compacted day is damaged, a `PermanentError`.
    """
    done = Compacted()
    _remove_remnants(state)
    for place in _places(state, before):
        if stop():
            break
        try:
            _Compaction(place, describe(place.source, place.day), stop, done).run()
        except _Stopped:
            break
        except OSError as error:
            why = f"{place.folder} cannot be compacted: {error.strerror or error}"
            done.problems.append(TransientError(f"{why}; nothing is lost. Make room, or mend the rights"))
        except (TransientError, PermanentError) as error:
            done.problems.append(error)
    return done


class _Compaction:
    """One day of one source."""

    def __init__(self, place: Spot, noted: Mapping[str, Noted], stop: Callable[[], bool], done: Compacted) -> None:
        self._place = place
        self._path = compacted(place.folder)
        self._noted = noted
        self._stop = stop
        self._done = done
        self._folder = -1
        self._old: Day | None = None
        self._safe: list[str] = []
        """The plain copies whose every byte is in the compacted day, on the disk."""
        self._marks = array("Q")
        """Two numbers for each of them, in turn."""

    def run(self) -> None:
        """Make the compacted day, or add to it, and remove what is in it then."""
        with ExitStack() as opened:
            self._folder = opened.enter_context(plain.opened(self._place.folder))
            with contextlib.suppress(FileNotFoundError):
                self._old = opened.enter_context(Day(self._path))
            entries = sorted(self._entries())
            if any(entry.member is None for entry in entries):
                self._renew(entries)
            self._remove()
            self._leave()

    def _entries(self) -> Iterator[_Entry]:
        """The members of the old day, and the plain copies that are not in it."""
        plains = {found.name: found for found in plain.found_in(self._folder) if self._is_to_go(found)}
        begin = beginning(self._place.day)
        for member in () if self._old is None else self._old.members():
            if member.name in plains:
                del plains[member.name]
                self._settle(member)
                self._between(len(plains))
            noted = self._noted.get(member.name) or understood(member.note)
            mtime = nanoseconds(member.modified) if noted is None else noted.mtime
            yield _Entry(begin if noted is None else noted.recorded_at, mtime, member.name, member)
        for name, found in plains.items():
            known = self._noted.get(name)
            if known is None:
                yield _Entry(begin, found.mtime, name, None)
            else:
                yield _Entry(known.recorded_at, known.mtime, name, None)

    def _between(self, number: int) -> None:
        if number % _AT_ONCE == 0 and self._stop():
            raise _Stopped

    def _settle(self, member: Member) -> None:
        """A plain copy with the name of a member may go when it is the same; else both are read where they are."""
        found = plain.read(self._folder, member.name, LARGEST)
        if found is not None and found.raw == self._old_bytes(member):
            self._note_safe(member.name, found.mark)

    def _note_safe(self, name: str, mark: tuple[int, int]) -> None:
        self._safe.append(name)
        self._marks.extend(mark)

    def _is_to_go(self, found: plain.Found) -> bool:
        settled = found.name in self._noted or found.ctime < time.time_ns() - _FRESH
        return settled and encodable(found.name)

    def _renew(self, entries: list[_Entry]) -> None:
        """Put the new day in place."""
        part = self._path.with_name(self._path.name + REMNANT)
        before = 0 if self._old is None else self._path.stat().st_size
        try:
            size = self._pack(part, entries)
            reached("day-written")
            self._verify(part, entries)
            reached("day-verified")
            after = part.stat().st_size
            part.replace(self._path)
        except BaseException:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)
            raise
        plain.sync(self._path.parent)
        reached("day-in-place")
        done = self._done
        done.days, done.files = done.days + 1, done.files + sum(entry.member is None for entry in entries)
        done.before, done.after = done.before + before + size, done.after + after

    def _pack(self, part: Path, entries: list[_Entry]) -> int:
        """Write the new day; returns the bytes of the plain copies in it."""
        size = 0
        with packing(part) as packer:
            for number, entry in enumerate(entries):
                self._between(number)
                raw = self._bytes(entry)[0]
                size += len(raw) if entry.member is None else 0
                packer.add(entry.name, raw, entry.mtime, self._note(entry))
        return size

    def _verify(self, part: Path, entries: list[_Entry]) -> None:
        """Compare every byte with its original."""
        with Day(part) as new:
            if new.count != len(entries):
                self._refuse("the number of copies in it")
            for number, (entry, member) in enumerate(zip(entries, new.members(), strict=True)):
                self._between(number)
                raw, mark = self._bytes(entry)
                if (member.name, member.note) != (entry.name, self._note(entry)) or new.read(member) != raw:
                    self._refuse(entry.name)
                if mark is not None:
                    self._note_safe(entry.name, mark)

    def _remove(self) -> None:
        """Remove the plain copies that are safe, and still what was compared."""
        for number, name in enumerate(self._safe):
            self._between(number)
            if plain.mark(self._folder, name) == tuple(self._marks[2 * number : 2 * number + 2]):
                os.unlink(name, dir_fd=self._folder)
                reached("original-removed")
        reached("originals-removed")

    def _leave(self) -> None:
        """Remove the folder when it is empty; tell of what stays in it."""
        with os.scandir(self._folder) as left:
            names = sorted(entry.name for entry in left)
        if not names:
            with contextlib.suppress(OSError):  # the next copy has come meanwhile
                Path(self._place.folder).rmdir()
            return
        shown = ", ".join(map(printable, names[:_SHOWN])) + (", …" if len(names) > _SHOWN else "")
        logger.warning(
            "%d in %s stayed out of the compacted day (%s): no plain copies, or new ones, or others than are in it",
            len(names), self._place.folder, shown,
        )  # fmt: skip

    def _note(self, entry: _Entry) -> bytes:
        if (noted := self._noted.get(entry.name)) is not None:
            return written(noted)
        return b"" if entry.member is None else entry.member.note

    def _bytes(self, entry: _Entry) -> tuple[bytes, tuple[int, int] | None]:
        """The original, and the mark of a plain one."""
        if entry.member is not None:
            return self._old_bytes(entry.member), None
        found = plain.read(self._folder, entry.name, LARGEST)
        if found is None:
            self._refuse(entry.name)
        return found

    def _old_bytes(self, member: Member) -> bytes:
        return b"" if self._old is None else self._old.read(member)

    def _refuse(self, what: str) -> NoReturn:
        raise TransientError(
            f"{self._place.folder} cannot be compacted: {printable(what)} is not what it was a moment ago; nothing is "
            "lost. When this comes again, look at the disk"
        )


def _places(state: Path, before: date) -> list[Spot]:
    """The day folders that are old enough, oldest first; no links."""
    found = []
    for folder in (state / "archive").glob("*/????/??/??"):
        place = spot(os.fspath(folder))
        if place is not None and place.day < before and folder.is_dir() and not folder.is_symlink():
            found.append(place)
    return sorted(found, key=lambda place: (place.day, place.source))


def _remove_remnants(state: Path) -> None:
    """What a killed process has left unfinished."""
    for part in (state / "archive").glob(f"*/????/??/??{ENDING}{REMNANT}"):
        with contextlib.suppress(OSError):
            part.unlink()
