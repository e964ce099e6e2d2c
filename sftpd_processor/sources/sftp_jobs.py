"""What the pipeline does with one file, or with one listing: each a few requests, driven by their answers."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

from sftpd_processor.sources import sftp_wire as wire
from sftpd_processor.sources.base import NO_NAME, TURNS, VANISHED, Entry, Miss, Move, Moved, Removed, changed, variant
from sftpd_processor.sources.sftp_wire import SftpStatus

if TYPE_CHECKING:
    from sftpd_processor.sources.sftp_pipeline import Pipeline

_CHUNK = 32768  # the longest READ that every server must serve
_READ_AHEAD = 16  # READDIR requests under way; OpenSSH answers each with up to 100 names
FREE_PIECES = 64
SMALLEST_PIECE = 512  # bytes


IN_PIECES = Miss("refused", f"the server hands it out in pieces of less than {SMALLEST_PIECE} bytes")


class Job(Protocol):
    """What is done with one file, in one or more requests; calls `finished` on the pipeline at its end."""

    def start(self) -> None:
        """Post the first request."""


class Fetch:
    """Read one file whole."""

    __slots__ = (
        "_alone",
        "_chunks",
        "_got",
        "_handle",
        "_path",
        "_pieces",
        "_pipeline",
        "_results",
        "_shrinks",
        "_want",
        "entry",
    )

    def __init__(
        self, pipeline: Pipeline, prefix: bytes, entry: Entry, results: list[tuple[Entry, bytes | Miss]]
    ) -> None:
        self._pipeline = pipeline
        self._path = prefix + wire.encode(entry.name)
        self.entry = entry
        self._results = results
        self._chunks: list[bytes] = []
        self._got = self._pieces = self._shrinks = 0
        self._alone = False

    def start(self) -> None:
        self._shrinks, self._alone = self._pipeline.shrinks, self._pipeline.alone
        self._pipeline.post(wire.OPEN, wire.string(self._path) + wire.READ_ONLY, self._opened)

    def _opened(self, kind: int, body: bytes) -> None:
        if kind == wire.HANDLE:
            self._handle = body
            self._ask()
            return
        said = wire.status(kind, body)
        if said.code == wire.FAILURE and not self._alone:
            self._pipeline.again(self, self._shrinks)  # it may be for want of handles
            return
        self._results.append((self.entry, _miss(said)))
        self._pipeline.finished()

    def _ask(self) -> None:
        self._want = min(self.entry.size + 1 - self._got, _CHUNK)
        tail = wire.OFFSET_AND_LENGTH.pack(self._got, self._want)
        self._pipeline.post(wire.READ, self._handle + tail, self._read)

    def _read(self, kind: int, body: bytes) -> None:
        size = self.entry.size
        if kind != wire.DATA:
            said = wire.status(kind, body)
            self._end(self._whole() if said.code == wire.EOF else _miss(said))
            return
        data = body[4:]
        asked_beyond = self._got + self._want > size
        self._chunks.append(data)
        self._got += len(data)
        self._pieces += 1
        if self._got > size or not data or (self._got == size and asked_beyond):
            self._end(self._whole())
        elif self._pieces > FREE_PIECES + self._got // SMALLEST_PIECE:
            self._end(IN_PIECES)  # each piece costs a request: thousands of them for a small file
        else:
            self._ask()

    def _whole(self) -> bytes | Miss:
        if self._got == self.entry.size:
            return b"".join(self._chunks)
        return changed(self.entry, self._got)

    def _end(self, result: bytes | Miss) -> None:
        """The next file need not wait for the answer to CLOSE: what is asked later comes later at the server, too."""
        self._results.append((self.entry, result))
        self._pipeline.post_close(self._handle)
        self._pipeline.finished()


class Remove:
    """Delete one file."""

    __slots__ = ("_entry", "_path", "_pipeline", "_results")

    def __init__(
        self, pipeline: Pipeline, prefix: bytes, entry: Entry, results: list[tuple[Entry, Removed | Miss]]
    ) -> None:
        self._pipeline = pipeline
        self._path = prefix + wire.encode(entry.name)
        self._entry = entry
        self._results = results

    def start(self) -> None:
        self._pipeline.post(wire.REMOVE, wire.string(self._path), self._removed)

    def _removed(self, kind: int, body: bytes) -> None:
        said = wire.status(kind, body)
        self._results.append((self._entry, Removed() if said.code == wire.OK else _miss(said)))
        self._pipeline.finished()


class Rename:
    """Move one file to a name that is free: looked for with LSTAT, since RENAME overwrites on some servers."""

    __slots__ = ("_chosen", "_move", "_name", "_paths", "_pipeline", "_refusal", "_results", "_turn")

    def __init__(
        self,
        pipeline: Pipeline,
        paths: tuple[bytes, bytes],
        move: Move,
        chosen: set[str],
        results: list[tuple[Entry, Moved | Miss]],
    ) -> None:
        """`paths` are what comes before names here and there; `chosen` the names that others of the batch go for."""
        self._pipeline = pipeline
        self._paths = paths
        self._move = move
        self._chosen = chosen
        self._results = results
        self._turn = -1
        self._name = move.entry.name
        self._refusal: SftpStatus | None = None

    def start(self) -> None:
        self._next_name()

    def _next_name(self) -> None:
        self._refusal = None
        self._turn += 1
        self._name = variant(self._move.entry.name, self._move.suffix, self._turn)
        if self._turn >= TURNS:
            self._end(Miss("refused", NO_NAME))
        elif self._name in self._chosen:
            self._next_name()
        else:
            self._chosen.add(self._name)
            self._pipeline.post(wire.LSTAT, wire.string(self._target()), self._looked)

    def _target(self) -> bytes:
        return self._paths[1] + wire.encode(self._name)

    def _looked(self, kind: int, body: bytes) -> None:
        if kind == wire.ATTRS:
            self._next_name()
        elif (said := wire.status(kind, body)).code != wire.NO_SUCH_FILE:
            self._end(_miss(said))
        elif self._refusal is not None:
            self._end(_miss(self._refusal))
        else:
            source = self._paths[0] + wire.encode(self._move.entry.name)
            self._pipeline.post(wire.RENAME, wire.string(source) + wire.string(self._target()), self._renamed)

    def _renamed(self, kind: int, body: bytes) -> None:
        said = wire.status(kind, body)
        if said.code == wire.OK:
            self._end(Moved(self._name))
        elif said.code == wire.FAILURE:
            self._refusal = said  # either the name was taken in between, or the server will not: look again
            self._pipeline.post(wire.LSTAT, wire.string(self._target()), self._looked)
        else:
            self._end(_miss(said))

    def _end(self, result: Moved | Miss) -> None:
        self._results.append((self._move.entry, result))
        self._pipeline.finished()


class Listing:
    """One folder, read ahead."""

    def __init__(self, pipeline: Pipeline, handle: bytes, enough: int) -> None:
        """Asks for no more while `enough` entries wait to be taken."""
        self._pipeline = pipeline
        self._handle = handle
        self._enough = enough
        self._entries: deque[Entry] = deque()
        self._under_way = 0
        self._end: SftpStatus | None = None

    def take(self, batch: int) -> list[Entry]:
        """The next `batch` entries; fewer only at the end.

        May take a second for each name that comes. Raises `SftpStatus` when the server stops early.
        """
        began = time.monotonic()
        while len(self._entries) < batch and not self.ended:
            self._ask()
            self._pipeline.allow(1.0 + len(self._entries), began)
            self._pipeline.pump()
        if self._end is not None and self._end.code != wire.EOF:
            raise self._end
        return [self._entries.popleft() for _ in range(min(batch, len(self._entries)))]

    @property
    def ended(self) -> bool:
        """Whether the server owes no more names."""
        return self._end is not None and not self._under_way

    def close(self) -> None:
        """Let the server forget it."""
        self._pipeline.post_close(self._handle)

    def _ask(self) -> None:
        while self._end is None and self._under_way < _READ_AHEAD and len(self._entries) < self._enough:
            self._under_way += 1
            self._pipeline.post(wire.READDIR, self._handle, self._answered)

    def _answered(self, kind: int, body: bytes) -> None:
        self._under_way -= 1
        if kind == wire.NAME:
            self._entries.extend(wire.entries(body))
        elif self._end is None:
            self._end = wire.status(kind, body)


def _miss(said: SftpStatus) -> Miss:
    if said.code == wire.NO_SUCH_FILE:
        return VANISHED
    return Miss("refused", f"the server said: {said}")
