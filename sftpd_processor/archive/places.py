"""Where copies lie: which source and day a path stands for."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Container, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple, NoReturn

from sftpd_processor.errors import PermanentError
from sftpd_processor.telemetry import printable

ENDING = ".zip"
"""What the name of a compacted day ends with."""
ROOMS = ("archive", "quarantine")
REMNANT = ".part"
"""What the name of a file ends with that is not finished."""
REASON = ".reason.json"
"""What the name of the note beside a quarantined copy ends with."""
_DAY = re.compile(
    r"(?P<folder>(?:.*/)?(?P<source>[^/]+)/(?P<day>\d{4}/\d\d/\d\d))(?:/(?P<name>[^/]+)|\.zip)?", re.ASCII | re.DOTALL
).fullmatch
_NOWHERE = "{} lies in no archive folder (SOURCE/YYYY/MM/DD), so nothing tells whose files these are; give --as SOURCE"


class Spot(NamedTuple):
    """A path of the archive, taken apart."""

    folder: str
    """The day's folder; its compacted form lies beside it."""
    source: str
    day: date
    name: str | None
    """Of one copy; None: the path stands for the whole day."""


@dataclass(slots=True)
class Shelf:
    """Copies of one source that are to be read: those of a day, or loose ones in some folder."""

    folder: str
    source: str
    day: date
    stored: str | None = None
    """Where the folder lies below the state folder."""
    names: set[str] | None = field(default_factory=set)
    """None: all."""
    loose: bool = False

    def is_reason(self, name: str, others: Container[str]) -> bool:
        """Whether it is the note beside a quarantined copy that is one of `others`."""
        return name.endswith(REASON) and name.removesuffix(REASON) in others and "/quarantine/" in self.folder


def spot(path: str) -> Spot | None:
    """What a path without links stands for; None when it lies in no archive folder."""
    if (found := _DAY(path)) is None:
        return None
    try:
        day = datetime.strptime(found["day"], "%Y/%m/%d").replace(tzinfo=UTC).date()
    except ValueError:
        return None
    return Spot(found["folder"], found["source"], day, found["name"])


def beginning(day: date) -> int:
    """Midnight (UTC), in the ledger's microseconds."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000


def encodable(name: str) -> bool:
    """Whether the name is UTF-8; Python reads other bytes as surrogates."""
    try:
        return name.isascii() or bool(name.encode())
    except UnicodeEncodeError:
        return False


def compacted(folder: str | Path) -> Path:
    """The compacted form of a day's folder."""
    return Path(f"{folder}{ENDING}")


class Gathering:
    """The shelves that some paths stand for, by day; reads no copy."""

    def __init__(self, state: Path) -> None:
        """`state` is the state folder."""
        self.shelves: dict[str, Shelf] = {}
        """By their folders; loose ones by folder and day."""
        self._rooms = [(os.path.realpath(state / room) + "/", room) for room in ROOMS]
        self._real: dict[str, str] = {}

    def take(self, paths: Sequence[Path]) -> None:
        """Look where `paths` lead to. Raises `PermanentError`."""
        for path in paths:
            try:
                self._take(os.fspath(path))
            except OSError as error:
                _refuse(f"{path} cannot be read: {error.strerror}", error)

    def days(self, default_source: str | None) -> list[list[Shelf]]:
        """The shelves of each day, oldest first; loose ones are of the `default_source`. Raises `PermanentError`."""
        by_day: dict[date, list[Shelf]] = {}
        for shelf in self.shelves.values():
            if shelf.loose:
                shelf.source = default_source or _refuse(_NOWHERE.format(shelf.folder))
            by_day.setdefault(shelf.day, []).append(shelf)
        return [by_day[day] for day in sorted(by_day)]

    def _take(self, path: str) -> None:
        try:
            status = Path(path).stat()
        except FileNotFoundError:
            return self._take_absent(path)
        if stat.S_ISDIR(status.st_mode):
            return self._take_folder(os.path.realpath(path))
        whole = self._whole(path)
        if stat.S_ISLNK(Path(whole).lstat().st_mode) or not stat.S_ISREG(status.st_mode):
            _refuse(f"{path} is no regular file; name the file itself")
        self._take_file(whole, status.st_mtime)
        return None

    def _take_absent(self, path: str) -> None:
        """Of a copy that is not there its day may be, compacted; also of a day's folder."""
        place = spot(self._whole(path))
        if place is None or not compacted(place.folder).exists():
            _refuse(f"{path} is not there; check the name, and whether this user may look there")
        self._put(place)

    def _take_folder(self, folder: str) -> None:
        if (place := spot(folder)) is not None and place.name is None:
            return self._put(place)
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    self._take_folder(entry.path)
                elif entry.is_file(follow_symlinks=False) and not self._is_stray(entry.path):
                    self._take_file(entry.path, entry.stat(follow_symlinks=False).st_mtime)
        return None

    def _is_stray(self, path: str) -> bool:
        """Whether it lies in the archive, but where no copy does: what is being written, or was put there by hand."""
        return self._stored(path) is not None and spot(path) is None

    def _take_file(self, path: str, mtime: float) -> None:
        if (place := spot(path)) is not None:
            return self._put(place)
        folder, _, name = path.rpartition("/")
        day = datetime.fromtimestamp(mtime, UTC).date()
        shelf = self.shelves.setdefault(f"{folder}\0{day}", Shelf(folder, "", day, loose=True))
        if shelf.names is not None:
            shelf.names.add(name)
        return None

    def _put(self, place: Spot) -> None:
        if (shelf := self.shelves.get(place.folder)) is None:
            stored = self._stored(place.folder)
            shelf = self.shelves[place.folder] = Shelf(place.folder, place.source, place.day, stored)
        if place.name is None:
            shelf.names = None
        elif shelf.names is not None:
            shelf.names.add(place.name)

    def _stored(self, folder: str) -> str | None:
        below = [room + "/" + folder[len(real) :] for real, room in self._rooms if folder.startswith(real)]
        return below[0] if below else None

    def _whole(self, path: str) -> str:
        """The path with the links of its folders followed, but not its own."""
        folder, name = os.path.split(path)
        if (real := self._real.get(folder)) is None:
            real = self._real[folder] = os.path.realpath(folder)
        return f"{real.rstrip('/')}/{name}"


def _refuse(text: str, cause: Exception | None = None) -> NoReturn:
    raise PermanentError(printable(text)) from cause
