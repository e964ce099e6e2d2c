"""A source in memory, for tests: as fast as a dictionary, and every fault of a server can be put into it.

    source = MemorySource("webio")
    source.put("1.json", b'{"type": "payment"}')
    source.fail("fetch", SourceUnavailable("the line is cut"))   # once
    source.miss("remove", "1.json", Miss("refused", "no right to delete"), times=2)

It behaves as the protocol `sources.base.Source` says: a file that has another size than listed has changed, one
that is not there has vanished, and a move never overwrites.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from typing import Literal, NamedTuple, TypeAlias

from sftpd_processor.sources.base import Entry, Miss, Move, Moved, Removed, variant

Verb: TypeAlias = Literal["look", "fetch", "remove", "move"]

_SECOND = 1_000_000_000
_BEGINNING = 1_790_000_000  # seconds since 1970, when the first file was written


class MemoryFile(NamedTuple):
    """One file: its bytes, and its time in nanoseconds since 1970."""

    data: bytes
    mtime: int


class MemorySource:
    """See `Source`. `files` are those in the folder by name, `moved` those in the folder they are moved to."""

    def __init__(self, name: str = "memory", *, batch: int = 1000) -> None:
        """`batch`: how many entries a look lists at once."""
        self.name = name
        self.files: dict[str, MemoryFile] = {}
        self.moved: dict[str, MemoryFile] = {}
        self.also: list[Entry] = []
        """Listed after the files, whatever they are: folders, names that are not safe, files listed twice."""
        self.before: dict[Verb, Callable[[], None]] = {}
        """Called before the verb does anything: what happens on the server just then."""
        self.calls: list[tuple[Verb, list[str]]] = []
        """Every call of a verb but `look`, with the names it was given."""
        self.closed = 0
        self.moved_at = 0.0
        self._batch = batch
        self._seconds = count(_BEGINNING)
        self._failures: defaultdict[Verb, deque[tuple[int, Exception]]] = defaultdict(deque)
        self._misses: defaultdict[tuple[Verb, str], deque[Miss]] = defaultdict(deque)

    def put(self, name: str, data: bytes, *, mtime: int | None = None) -> Entry:
        """Write a file, over an older one of that name; without `mtime` it is a second newer than the last.

        Returns the entry under which it is listed.
        """
        self.files[name] = MemoryFile(data, next(self._seconds) * _SECOND if mtime is None else mtime)
        return self.entry(name)

    def entry(self, name: str) -> Entry:
        """The file as it is listed now."""
        file = self.files[name]
        return Entry(name, len(file.data), file.mtime, regular=True)

    def fail(self, verb: Verb, error: Exception, *, after: int = 0) -> None:
        """Raise `error`, once, at the next call of `verb`; of a look, `after` that many batches."""
        self._failures[verb].append((after, error))

    def miss(self, verb: Verb, name: str, miss: Miss, *, times: int = 1) -> None:
        """Answer with `miss` where `verb` meets the file, so many times."""
        self._misses[verb, name].extend([miss] * times)

    def look(self) -> Iterator[list[Entry]]:
        """List the files, in the order they were put, then `also`."""
        self._begin("look")
        after, error = self._failures["look"].popleft() if self._failures["look"] else (0, None)
        listing = [self.entry(name) for name in self.files] + self.also
        for number, at in enumerate(range(0, len(listing), self._batch)):
            if error is not None and number == after:
                raise error
            yield listing[at : at + self._batch]
        if error is not None:
            raise error

    def fetch(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read whole files."""
        self._called("fetch", entries)
        return [(entry, self._missed("fetch", entry) or self._read(entry)) for entry in entries]

    def remove(self, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete files."""
        self._called("remove", entries)
        return [(entry, self._missed("remove", entry) or self._remove(entry)) for entry in entries]

    def move(self, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move files into `moved`."""
        self._called("move", [move.entry for move in moves])
        return [(move.entry, self._missed("move", move.entry) or self._move(move)) for move in moves]

    def close(self) -> None:
        """Counted in `closed`."""
        self.closed += 1

    def _begin(self, verb: Verb) -> None:
        if verb in self.before:
            self.before[verb]()

    def _called(self, verb: Verb, entries: Sequence[Entry]) -> None:
        self._begin(verb)
        self.calls.append((verb, [entry.name for entry in entries]))
        if self._failures[verb]:
            raise self._failures[verb].popleft()[1]

    def _missed(self, verb: Verb, entry: Entry) -> Miss | None:
        planned = self._misses.get((verb, entry.name))
        if planned:
            return planned.popleft()
        return None if entry.name in self.files else Miss("vanished", "it was gone when its turn came")

    def _read(self, entry: Entry) -> bytes | Miss:
        data = self.files[entry.name].data
        if len(data) == entry.size:
            return data
        return Miss("changed", f"it has {len(data)} bytes; it was listed with {entry.size}")

    def _remove(self, entry: Entry) -> Removed:
        del self.files[entry.name]
        return Removed()

    def _move(self, move: Move) -> Moved:
        names = (variant(move.entry.name, move.suffix, turn) for turn in count())
        name = next(name for name in names if name not in self.moved)
        self.moved[name] = self.files.pop(move.entry.name)
        return Moved(f"moved/{name}")
