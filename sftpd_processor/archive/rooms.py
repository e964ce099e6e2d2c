"""The archive and the quarantine as a whole: every source and day in them, or the part that a person has chosen."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from sftpd_processor.archive.places import ENDING, ROOMS, beginning, spot
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.holdings import DAY
from sftpd_processor.ledger.records import moment

_ABOVE_DAYS = 3  # source, year, month


class Place(NamedTuple):
    """The copies of one source and day, in the archive or in quarantine."""

    room: str
    source: str
    day: int
    """Days since 1970."""

    @property
    def date(self) -> str:
        """YYYY/MM/DD."""
        return f"{moment(self.day * DAY):%Y/%m/%d}"

    @property
    def stored(self) -> str:
        """Its folder, below the state folder."""
        return f"{self.room}/{self.source}/{self.date}"

    @property
    def zip(self) -> str:
        """Its compacted form, below the state folder."""
        return f"{self.stored}{ENDING}"


def on_disk(state: Path) -> tuple[list[Place], list[str]]:
    """All places that are there, oldest first; and files that lie where none belongs."""
    places, strays = set[Place](), list[str]()
    for room in ROOMS:
        for stored in _below(state, room):
            if (found := spot(stored)) is None or found.name is not None:
                strays.append(stored)
            else:
                places.add(Place(room, found.source, beginning(found.day) // DAY))
    return sorted(places, key=lambda place: (place.day, place)), sorted(strays)


def _below(state: Path, room: str) -> Iterator[str]:
    """Day folders and compacted days, and every other file above them; no link is followed."""
    waiting = [(room, 0)]
    while waiting:
        folder, depth = waiting.pop()
        for name, is_folder in _listed(state / folder):
            inner = f"{folder}/{name}"
            if is_folder and depth < _ABOVE_DAYS:
                waiting.append((inner, depth + 1))
            else:
                yield inner


def _listed(folder: Path) -> list[tuple[str, bool]]:
    try:
        with os.scandir(folder) as found:
            return [(each.name, each.is_dir(follow_symlinks=False)) for each in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


class Chosen:
    """What a person has named of them; without anything it is all."""

    def __init__(self, state: Path, paths: Sequence[Path]) -> None:
        """Raises `PermanentError` for a path that does not lie in the state folder."""
        root = state.resolve()
        self._stored = []
        for path in paths:
            try:
                stored = path.resolve().relative_to(root).as_posix()
            except ValueError:
                raise PermanentError(f"{path} does not lie in the state folder {state}") from None
            self._stored.append("" if stored == "." else stored)

    def __bool__(self) -> bool:
        return bool(self._stored)

    def covers(self, place: Place) -> bool:
        """Whether something in `place` was chosen."""
        return not self._stored or any(
            _within(place.stored, one.removesuffix(ENDING)) or _within(one, place.stored) for one in self._stored
        )

    def includes(self, stored: str) -> bool:
        """Whether the copy was chosen: by its name, a folder that it lies in, or its compacted day."""
        return not self._stored or any(
            stored == one or _within(stored, one.removesuffix(ENDING)) for one in self._stored
        )


def _within(stored: str, folder: str) -> bool:
    return not folder or stored == folder or stored.startswith(f"{folder}/")
