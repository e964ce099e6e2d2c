"""Copies in the order they were recorded: those of a day's folder, of its compacted form, and of both."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import NamedTuple, TypeAlias

from sftpd_processor.archive import plain
from sftpd_processor.archive.day import Day, Member, Problem, nanoseconds
from sftpd_processor.archive.notes import understood
from sftpd_processor.archive.places import ENDING, Shelf, beginning, compacted, encodable
from sftpd_processor.errors import PermanentError
from sftpd_processor.telemetry import printable

logger = logging.getLogger(__name__)

_DAY = 86_400_000_000  # microseconds
_NONE = -1
_quickly = tuple.__new__  # `_make` takes three times as long


class Copy(NamedTuple):
    """One archived file with its bytes."""

    stored: str | None
    """Where it lies below the state folder, as the ledger says it; None when it lies elsewhere."""
    source: str
    name: str
    """As it was listed, where that is known; else the name of the copy."""
    mtime: int
    """Nanoseconds."""
    recorded_at: int
    """Microseconds; of a plain copy when it was written, as far as that lies in its day."""
    origin: str | None
    """This and what follows: None where only the ledger knows it."""
    verdict: str | None
    sha256: str | None
    raw: bytes


Turn: TypeAlias = tuple[int, int, str, int, Copy]
"""When a copy has its turn: recorded_at, mtime, name, and a number that no two streams share; and the copy."""


def streams(
    shelf: Shelf, largest: int, numbers: Iterator[int], opened: ExitStack, problem: Problem
) -> Iterator[Iterator[Turn]]:
    """The sorted streams of a shelf's copies, none for nothing; what is held open for them goes with `opened`.

    A day's folder is listed before its compacted form is opened, since that is written before the folder is emptied.
    A name in both counts once, unless the bytes differ.
    """
    try:
        folder = _Folder(shelf, largest, opened)
        found = list(folder.found())
    except PermanentError as error:
        problem(error)
        return
    paths = [compacted(shelf.folder)]
    if shelf.loose:
        paths = [Path(shelf.folder, each.name) for each in found if each.name.endswith(ENDING)]
        found = [each for each in found if not each.name.endswith(ENDING)]
    days = [day for path in paths if (day := _opened(path, largest, opened, problem))]
    if not shelf.loose:
        _demand(shelf, {each.name for each in found}, days, problem)
        found = [each for each in found if not any(folder.repeats(each.name, day) for day in days)]
    if found:
        yield folder.turns(found, next(numbers), problem)
    for day in days:
        yield _Compacted(day, shelf).turns(next(numbers), problem)


def _opened(path: Path, largest: int, opened: ExitStack, problem: Problem) -> Day | None:
    try:
        return opened.enter_context(Day(path, largest))
    except FileNotFoundError:
        return None
    except PermanentError as error:
        problem(error)
        return None


def open_day(shelf: Shelf, largest: int, opened: ExitStack) -> Day | None:
    """The compacted form of a shelf's day, if there is one."""
    try:
        return opened.enter_context(Day(compacted(shelf.folder), largest))
    except FileNotFoundError:
        return None


class _Folder:
    """Plain copies."""

    def __init__(self, shelf: Shelf, largest: int, opened: ExitStack) -> None:
        self._shelf = shelf
        self._largest = largest
        self._begin = beginning(shelf.day)
        self._descriptor = _NONE
        self._since: Day | None = None
        self._opened = opened
        try:
            self._descriptor = opened.enter_context(plain.opened(shelf.folder))
        except FileNotFoundError:  # compacted
            pass
        except OSError as error:
            raise _unreadable(shelf.folder, error) from error

    def found(self) -> Iterator[plain.Found]:
        """The copies that are there, without the notes beside quarantined ones."""
        if self._descriptor == _NONE:
            return
        found = {each.name: each for each in plain.found_in(self._descriptor, self._shelf.names)}
        for name, each in found.items():
            if self._shelf.is_reason(name, found):
                continue
            if encodable(name):
                yield each
            else:
                logger.warning("%s in %s is left out: its name is not UTF-8", printable(name), self._shelf.folder)

    def turns(self, found: Iterable[plain.Found], number: int, problem: Problem) -> Iterator[Turn]:
        """In their order; each is read when it has its turn, wherever it is by then."""
        shelf = self._shelf
        for recorded_at, mtime, name in sorted((self._recorded_at(each), each.mtime, each.name) for each in found):
            try:
                raw = self._read(name)
                if raw is None and (raw := self._compacted_since(name)) is None:
                    logger.warning("%s/%s is gone since it was listed", shelf.folder, printable(name))
                    continue
            except PermanentError as error:
                problem(error)
                continue
            stored = shelf.stored and f"{shelf.stored}/{name}"
            copy = Copy(stored, shelf.source, name, mtime, recorded_at, None, None, None, raw)
            yield recorded_at, mtime, name, number, copy

    def repeats(self, name: str, day: Day) -> bool:
        """Whether the compacted day holds the very same copy; one that cannot be read does not."""
        with suppress(PermanentError):
            member = day.find(name)
            return member is not None and self._read(name) in (None, day.read(member))
        return False

    def _read(self, name: str) -> bytes | None:
        try:
            found = plain.read(self._descriptor, name, self._largest)
        except OSError as error:
            raise _unreadable(f"{self._shelf.folder}/{name}", error) from error
        return None if found is None else found.raw

    def _compacted_since(self, name: str) -> bytes | None:
        """A day that has been opened for one stays open for the others, which have gone there, too."""
        if self._shelf.loose:
            return None
        if self._since is None or (member := self._since.find(name)) is None:
            self._since = open_day(self._shelf, self._largest, self._opened)
            member = None if self._since is None else self._since.find(name)
        return None if self._since is None or member is None else self._since.read(member)

    def _recorded_at(self, found: plain.Found) -> int:
        if self._shelf.loose:
            return found.mtime // 1000
        return max(self._begin, min(found.ctime // 1000, self._begin + _DAY - 1))


class _Compacted:
    """The members of a compacted day; of a loose one (`shelf` is None) it is not known which day that is."""

    def __init__(self, day: Day, shelf: Shelf) -> None:
        self._day = day
        self._source = shelf.source
        self._below = None if shelf.stored is None else f"{shelf.stored}/"
        self._begin = None if shelf.loose else beginning(shelf.day)
        self._names = None if shelf.loose else shelf.names

    def turns(self, number: int, problem: Problem) -> Iterator[Turn]:
        """In their order, which is that of the file when it was written here."""
        day, source, below = self._day, self._source, self._below
        all_in_order = day.ordered and self._names is None
        found = day.everything(problem) if all_in_order else day.unpacked(self._sorted(problem), problem)
        for name, note, modified, raw in found:
            if (noted := understood(note)) is None:
                recorded_at, mtime = self._dated(modified)
                digest, origin, verdict, listed = None, None, None, name
            else:
                digest, mtime, recorded_at, origin, verdict, listed = noted
            stored = below and below + name
            copy = stored, source, listed, mtime, recorded_at, origin, verdict, digest, raw
            yield recorded_at, mtime, name, number, _quickly(Copy, copy)

    def _sorted(self, problem: Problem) -> list[Member]:
        members = list[Member]()
        try:
            if self._names is None:
                members.extend(self._day.members())
            else:
                members.extend(member for name in self._names if (member := self._day.find(name)))
        except PermanentError as error:  # those before it can be read
            problem(error)
        return sorted(members, key=self._age)

    def _age(self, member: Member) -> tuple[int, int, str]:
        noted = understood(member.note)
        return (*(self._dated(member.modified) if noted is None else (noted.recorded_at, noted.mtime)), member.name)

    def _dated(self, modified: int) -> tuple[int, int]:
        """What stands for the times of recording and of change where there is no note."""
        mtime = nanoseconds(modified)
        return (mtime // 1000 if self._begin is None else self._begin), mtime


def number_of(shelf: Shelf) -> int:
    """How many copies are on a shelf, by their names. Raises `PermanentError`."""
    with ExitStack() as opened:
        names = {each.name for each in _Folder(shelf, 0, opened).found()}
        if shelf.loose:
            days = [opened.enter_context(Day(Path(shelf.folder, name))) for name in names if name.endswith(ENDING)]
            return len(names) - len(days) + sum(day.count for day in days)
        if (day := open_day(shelf, 0, opened)) is None:
            return len(names)
        if shelf.names is not None:
            return len(names) + sum(1 for name in shelf.names - names if day.find(name))
        return len(names) + day.count - sum(1 for name in names if day.find(name))


def _demand(shelf: Shelf, found: AbstractSet[str], days: Iterable[Day], problem: Problem) -> None:
    """Tell of copies that were asked for by name and are nowhere."""
    for name in shelf.names or ():
        try:
            there = name in found or any(day.find(name) for day in days) or shelf.is_reason(name, found)
        except PermanentError:
            there = True  # who knows; that the day cannot be read is told of when it is
        if not there:
            problem(PermanentError(printable(f"{shelf.folder}/{name} is not there; check the name")))


def _unreadable(path: str, error: OSError) -> PermanentError:
    return PermanentError(printable(f"{path} cannot be read: {error.strerror}; mend that, or its rights"))
