"""What a source remembers, from one look to the next, of files that a server did not deal with as it should."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable

from sftpd_processor.sources.base import Entry, Miss

LEFT_ALONE = 300.0
"""Seconds for which a file that the server did not hand out in time is not asked for again."""

TIMES_BACK = 4
"""How often a file may be there again, unchanged, after the server said that it was gone."""

STILL_THERE = Miss("refused", "the server said that it was gone, but it is still there")

_MOST = 20_000  # entries remembered of each kind


class Laggards:
    """Files that the server did not hand out in time. For a while they are left alone, and so hold up no others."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._until: dict[Entry, float] = {}

    def among(self, entries: Iterable[Entry]) -> set[Entry]:
        """Those that are to be left alone now."""
        if not self._until:
            return set()
        now = self._clock()
        self._until = {entry: until for entry, until in self._until.items() if until > now}
        return self._until.keys() & set(entries)

    def add(self, entries: Iterable[Entry]) -> None:
        """These were waited for in vain."""
        if len(self._until) < _MOST:
            self._until |= dict.fromkeys(entries, self._clock() + LEFT_ALONE)

    def forgive(self, entries: Iterable[Entry]) -> None:
        """Ask for these again as soon as they are wanted: it was the server's fault."""
        for entry in entries:
            self._until.pop(entry, None)


class Ghosts:
    """Files that the server said it had moved or deleted, and then listed again as they were.

    Without this memory each would be taken for another file like it, read, and disposed of again, without end.
    A few times that may be so: a sender can write a file of the same length once more within the same second.
    """

    def __init__(self) -> None:
        self._said: set[Entry] = set()
        self._checked: set[Entry] = set()
        self._back: Counter[Entry] = Counter()

    def gone(self, entries: Iterable[Entry]) -> None:
        """The server says that these are gone; the next look tells."""
        if len(self._said) < _MOST:
            self._said.update(entries)

    def look_begins(self) -> None:
        """What is listed from now on was there after all that was said before."""
        self._checked, self._said = self._said, set()

    def listed(self, entries: Iterable[Entry]) -> None:
        """These are there."""
        if self._checked and len(self._back) < _MOST:
            self._back.update(self._checked.intersection(entries))

    def __contains__(self, entry: Entry) -> bool:
        return self._back[entry] >= TIMES_BACK


class Refusals:
    """Files that could not be read, so that each is told to people once, and not at every look."""

    def __init__(self) -> None:
        self._told: set[Entry] = set()
        self._new: dict[Entry, str] = {}

    def note(self, results: Iterable[tuple[Entry, object]]) -> None:
        """Keep those that were refused and are not told yet."""
        for entry, result in results:
            if not isinstance(result, Miss) or result.kind != "refused" or entry in self._told:
                continue
            if len(self._new) < _MOST:
                self._new[entry] = result.reason

    def news(self) -> str | None:
        """What is to be told now."""
        new, self._new = self._new, {}
        if not new:
            return None
        if len(self._told) < _MOST:
            self._told |= new.keys()
        entry, reason = next(iter(new.items()))
        return f"{len(new)} of the files could not be read (the first, {entry.name}: {reason})"
