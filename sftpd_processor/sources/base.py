"""What a source is: a place files come from, seen through four verbs that all work on batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, Protocol

BATCH = 1000
"""Entries handed out at a time: the size of a transaction, and the most bodies held."""
TURNS = 20
"""Names tried for a move before it is given up until the next look."""
NO_NAME = f"{TURNS} names like it are taken in the folder it is moved to"

_LONGEST_ENDING = 32  # bytes; a longer one is not a kind of file but part of the name


class Entry(NamedTuple):
    """One entry of a listing. A *file* is one name at one size and mtime: change either and it is another file."""

    name: str
    """As the server gives it; bytes that are not UTF-8 are surrogate-escaped (and never admitted)."""
    size: int
    """Bytes."""
    mtime: int
    """Nanoseconds since 1970, by the server's clock (SFTP knows whole seconds only)."""
    regular: bool
    """False for folders, links, devices and whatever the server gives no type for."""


class Miss(NamedTuple):
    """Why a file could not be read, moved or removed; the others of its batch are not affected."""

    kind: Literal["vanished", "changed", "refused"]
    reason: str


VANISHED = Miss("vanished", "it was gone when its turn came")


def changed(entry: Entry, size: int) -> Miss:
    """For a file that turned out to be `size` bytes long as it was read."""
    grew = "grew" if size > entry.size else "shrank"
    return Miss("changed", f"it {grew} while it was read; it was listed with {entry.size} bytes")


class Moved(NamedTuple):
    """Where a file was moved to, relative to the source's folder or absolute, as configured."""

    path: str


class Removed(NamedTuple):
    """The server says that the file is gone."""


class Move(NamedTuple):
    """A wish to move a file; `suffix` tells it from another file of the same name in the target folder."""

    entry: Entry
    suffix: str


class Source(Protocol):
    """Where files come from.

    Every verb raises `SourceUnavailable` when the place does not answer (then nothing is known about the requests
    that were under way: the next look tells) and `SourceRefused` when a person must act. What concerns one file
    only comes back as a `Miss` beside it. A source is used by one thread at a time.
    """

    @property
    def name(self) -> str:
        """The name given in the configuration."""

    @property
    def moved_at(self) -> float:
        """When a verb last got on, be it with part of a file (`time.monotonic`); any thread may ask. 0.0: never."""

    def look(self) -> Iterator[list[Entry]]:
        """List the folder afresh, in batches, without `.` and `..`; never holds the whole folder."""

    def fetch(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read whole files, each exactly as long as it was listed (else it has `changed`); in any order."""

    def remove(self, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete files."""

    def move(self, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move files into the source's `move_to` folder, which is made when absent; never overwrites."""

    def close(self) -> None:
        """Let go of connections; the next verb opens them again."""


def variant(name: str, suffix: str, turn: int, longest: int = 255) -> str:
    """Another name for `name`: `event.json` becomes `event.<suffix>.json`, then `event.<suffix>-2.json`, …

    Turn 0 is the name itself. What comes before the suffix is shortened, on a character boundary, so that the
    result takes at most `longest` bytes: file systems allow 255.
    """
    if turn == 0 and 4 * len(name) <= longest:
        return name
    stem, dot, ending = name.rpartition(".")
    if not stem or len(ending.encode()) > _LONGEST_ENDING:
        stem, dot, ending = name, "", ""
    mark = ("", f".{suffix}")[turn > 0] + (f"-{turn}" if turn > 1 else "")
    tail = f"{mark}{dot}{ending}"
    return stem.encode()[: longest - len(tail.encode())].decode(errors="ignore") + tail
