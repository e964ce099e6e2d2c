"""SFTP version 3 with many requests in flight over one paramiko channel.

What makes SFTP slow is waiting for each answer before asking again. Here a window of requests is always under
way: OPEN, READ (one byte more than listed, so that growth shows without a further request), CLOSE; LSTAT and
RENAME; REMOVE; and READDIR ahead of the reader. Requests that become due together leave in one packet.

The wire format is that of draft-ietf-secsh-filexfer-02, which OpenSSH and nearly all others speak. Only the
public part of paramiko's `Channel` is used: `paramiko.SFTPClient` makes one request at a time, so this module
takes its place.
"""

from __future__ import annotations

import struct
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Entry, Miss, Move, Moved, Removed, variant

INIT, VERSION, OPEN, CLOSE, READ, LSTAT, OPENDIR, READDIR, REMOVE, MKDIR, STAT, RENAME = (
    1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 17, 18,
)  # fmt: skip
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4

_HEAD = struct.Struct(">IBI")  # length of what follows it, type, request number
_U32 = struct.Struct(">I")
_OFFSET_AND_LENGTH = struct.Struct(">QI")
_READ_ONLY = _U32.pack(1) + _U32.pack(0)  # SSH_FXF_READ, no attributes
_NO_ATTRIBUTES = _U32.pack(0)
_CHUNK = 32768  # the longest READ that every server must serve
_LONGEST_ANSWER = 1 << 20
_READ_AHEAD = 16  # READDIR requests under way; OpenSSH answers each with up to 100 names
_FIRST_WINDOW = 8
_TRIES = 8  # OPENs of one file that failed while others were open, before it counts as refused
_TURNS = 20  # names tried for a move before it is given up until the next look

Reply = Callable[[int, bytes], None]


class Channel(Protocol):
    """What is used of `paramiko.Channel`."""

    def sendall(self, data: bytes) -> None:
        """Send everything or raise."""

    def recv(self, nbytes: int) -> bytes:
        """At least one byte; none when the other side is gone."""

    def settimeout(self, timeout: float) -> None:
        """How many seconds `recv` and `sendall` may block."""


class SftpStatus(Exception):
    """The server answered a request with a status other than OK."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Pipeline:
    """One SFTP session. Used by one thread at a time; of no more use once it raised `SourceUnavailable`."""

    def __init__(self, channel: Channel, *, in_flight: int, timeout: float) -> None:
        """`in_flight`: the most files under way at once; `timeout`: seconds to wait for an answer."""
        self._channel = channel
        self._timeout = timeout
        self._window = min(_FIRST_WINDOW, in_flight)
        self._ceiling = in_flight
        self._shrinks = 0
        self._number = 0
        self._replies: dict[int, Reply] = {}
        self._outgoing: list[bytes] = []
        self._incoming = b""
        self._todo: deque[_Job] = deque()
        self._active = 0
        self._greet()

    def entries(self, folder: str, batch: int) -> Iterator[list[Entry]]:
        """The entries of `folder`, `batch` at a time, read ahead by about two batches.

        Raises `SftpStatus` when the folder cannot be opened or read.
        """
        listing = _Listing(self, self.call(OPENDIR, _string(_encode(folder)), HANDLE), 2 * batch)
        try:
            while entries := listing.take(batch):
                yield entries
        finally:
            listing.close()

    def fetch(self, folder: str, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read each file of `folder` whole; one that is not as long as it was listed has `changed`."""
        results: list[tuple[Entry, bytes | Miss]] = []
        prefix = _prefix(folder)
        self._run(_Fetch(self, prefix, entry, results) for entry in entries)
        return results

    def remove(self, folder: str, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete each file of `folder`."""
        results: list[tuple[Entry, Removed | Miss]] = []
        prefix = _prefix(folder)
        self._run(_Remove(self, prefix, entry, results) for entry in entries)
        return results

    def move(self, folder: str, target: str, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move each file of `folder` into the folder `target`, under a name that is free there.

        Servers differ in whether RENAME overwrites, so each is preceded by a look (LSTAT) at its target.
        """
        results: list[tuple[Entry, Moved | Miss]] = []
        paths = _prefix(folder), _prefix(target)
        self._run(_Rename(self, paths, move, results) for move in moves)
        return results

    def make_folder(self, folder: str) -> None:
        """Make `folder` unless something of that name is there; raises `SftpStatus` when refused."""
        path = _string(_encode(folder))
        try:
            self.call(STAT, path, ATTRS)
        except SftpStatus as status:
            if status.code != NO_SUCH_FILE:
                raise
            self.call(MKDIR, path + _NO_ATTRIBUTES)

    def call(self, kind: int, body: bytes, expected: int = STATUS) -> bytes:
        """Make one request and wait for its answer; raises `SftpStatus` unless it is of the `expected` type."""
        answers: list[tuple[int, bytes]] = []
        self.post(kind, body, lambda kind, body: answers.append((kind, body)))
        while not answers:
            self.pump()
        got, answer = answers[0]
        if got == STATUS and (status := _status(answer)).code != OK:
            raise status
        if got != expected:
            raise _garbage(f"an answer of type {got} where {expected} belongs")
        return answer

    def post(self, kind: int, body: bytes, then: Reply) -> None:
        """Queue a request; `then` gets its answer (type, body) while `pump` runs."""
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        self._replies[number] = then
        self._outgoing.append(_HEAD.pack(len(body) + 5, kind, number) + body)

    def pump(self) -> None:
        """Send what is queued, then hand out answers: waits until there is at least one."""
        try:
            if self._outgoing:
                self._send(b"".join(self._outgoing))
            deadline = time.monotonic() + self._timeout
            while not self._dispatch():
                self._receive(deadline)
        except struct.error:
            raise _garbage("a message shorter than it says") from None

    def finished(self) -> None:
        """A job ended; the window may grow."""
        self._active -= 1
        if self._window < self._ceiling:
            self._window += 1

    def again(self, job: _Job, shrinks: int) -> int:
        """Put a job back that failed for want of handles, with half the window (once for each round of failures)."""
        self._active -= 1
        self._todo.append(job)
        if shrinks == self._shrinks:
            self._shrinks += 1
            self._window = max(1, self._window // 2)
        return self._shrinks

    @property
    def alone(self) -> bool:
        """Only one job is under way, so that its failure cannot be for want of handles."""
        return self._active == 1

    @property
    def shrinks(self) -> int:
        """How often the window was halved."""
        return self._shrinks

    def _run(self, jobs: Iterator[_Job]) -> None:
        self._todo = deque(jobs)
        while self._todo or self._active:
            while self._todo and self._active < self._window:
                self._active += 1
                self._todo.popleft().start()
            self.pump()

    def _greet(self) -> None:
        self._send(struct.pack(">IBI", 5, INIT, 3))
        deadline = time.monotonic() + self._timeout
        while len(self._incoming) < 4 or len(self._incoming) < 4 + self._length(0):
            self._receive(deadline)
        if self._incoming[4] != VERSION:
            raise _garbage("no SFTP version in its greeting (is the account limited to something else than SFTP?)")
        self._incoming = self._incoming[4 + self._length(0) :]

    def _send(self, data: bytes) -> None:
        self._outgoing.clear()
        self._channel.settimeout(self._timeout)
        try:
            self._channel.sendall(data)
        except (OSError, EOFError) as error:
            raise self._lost(error) from error

    def _receive(self, deadline: float) -> None:
        self._channel.settimeout(max(0.001, deadline - time.monotonic()))
        try:
            data = self._channel.recv(1 << 18)
        except (OSError, EOFError) as error:
            raise self._lost(error) from error
        if not data:
            raise SourceUnavailable("the server closed the connection")
        self._incoming += data

    def _lost(self, error: Exception) -> SourceUnavailable:
        if isinstance(error, TimeoutError):
            return SourceUnavailable(f"the server did not answer within {self._timeout:g} s")
        return SourceUnavailable(f"the connection was lost: {error or 'closed'}")

    def _length(self, at: int) -> int:
        length: int = _U32.unpack_from(self._incoming, at)[0]
        if not 5 <= length <= _LONGEST_ANSWER:
            raise _garbage(f"a message of {length} bytes")
        return length

    def _dispatch(self) -> bool:
        """Hand each complete answer to whoever asked; False when there was none."""
        data, at, replies = self._incoming, 0, self._replies
        size = len(data)
        while size - at >= 9:
            length, kind, number = _HEAD.unpack_from(data, at)
            end = at + 4 + length
            if end > size:
                self._length(at)
                break
            if (then := replies.pop(number, None)) is None or length < 5:
                raise _garbage("an answer to something that was not asked")
            then(kind, data[at + 9 : end])
            at = end
        self._incoming = data[at:]
        return at > 0


class _Job(Protocol):
    """What is done with one file, in one or more requests; calls `finished` on the pipeline at its end."""

    def start(self) -> None:
        """Post the first request."""


class _Fetch:
    __slots__ = (
        "_chunks",
        "_entry",
        "_got",
        "_handle",
        "_path",
        "_pipeline",
        "_results",
        "_shrinks",
        "_tries",
        "_want",
    )

    def __init__(
        self, pipeline: Pipeline, prefix: bytes, entry: Entry, results: list[tuple[Entry, bytes | Miss]]
    ) -> None:
        self._pipeline = pipeline
        self._path = prefix + _encode(entry.name)
        self._entry = entry
        self._results = results
        self._chunks: list[bytes] = []
        self._got = self._tries = self._shrinks = 0

    def start(self) -> None:
        self._shrinks = self._pipeline.shrinks
        self._pipeline.post(OPEN, _string(self._path) + _READ_ONLY, self._opened)

    def _opened(self, kind: int, body: bytes) -> None:
        if kind == HANDLE:
            self._handle = body
            self._ask()
            return
        status = _status(body)
        if status.code == FAILURE and not self._pipeline.alone and self._tries < _TRIES:
            self._tries += 1
            self._pipeline.again(self, self._shrinks)
            return
        self._results.append((self._entry, _miss(status)))
        self._pipeline.finished()

    def _ask(self) -> None:
        self._want = min(self._entry.size + 1 - self._got, _CHUNK)
        tail = _OFFSET_AND_LENGTH.pack(self._got, self._want)
        self._pipeline.post(READ, self._handle + tail, self._read)

    def _read(self, kind: int, body: bytes) -> None:
        size = self._entry.size
        if kind != DATA:
            status = _status(body)
            self._end(self._whole() if status.code == EOF else _miss(status))
            return
        data = body[4:]
        asked_beyond = self._got + self._want > size
        self._chunks.append(data)
        self._got += len(data)
        if self._got > size or not data or (self._got == size and asked_beyond):
            self._end(self._whole())
        else:
            self._ask()

    def _whole(self) -> bytes | Miss:
        if self._got == self._entry.size:
            return b"".join(self._chunks)
        grew = "grew" if self._got > self._entry.size else "shrank"
        return Miss("changed", f"it {grew} while it was read; it was listed with {self._entry.size} bytes")

    def _end(self, result: bytes | Miss) -> None:
        """Nobody waits for the answer to CLOSE: what is asked after it comes after it at the server, too."""
        self._results.append((self._entry, result))
        self._pipeline.post(CLOSE, self._handle, _unheard)
        self._pipeline.finished()


class _Remove:
    __slots__ = ("_entry", "_path", "_pipeline", "_results")

    def __init__(
        self, pipeline: Pipeline, prefix: bytes, entry: Entry, results: list[tuple[Entry, Removed | Miss]]
    ) -> None:
        self._pipeline = pipeline
        self._path = prefix + _encode(entry.name)
        self._entry = entry
        self._results = results

    def start(self) -> None:
        self._pipeline.post(REMOVE, _string(self._path), self._removed)

    def _removed(self, _kind: int, body: bytes) -> None:
        status = _status(body)
        self._results.append((self._entry, Removed() if status.code == OK else _miss(status)))
        self._pipeline.finished()


class _Rename:
    __slots__ = ("_move", "_name", "_paths", "_pipeline", "_refusal", "_results", "_turn")

    def __init__(
        self,
        pipeline: Pipeline,
        paths: tuple[bytes, bytes],
        move: Move,
        results: list[tuple[Entry, Moved | Miss]],
    ) -> None:
        self._pipeline = pipeline
        self._paths = paths
        self._move = move
        self._results = results
        self._turn = 0
        self._name = move.entry.name
        self._refusal: SftpStatus | None = None

    def start(self) -> None:
        self._look()

    def _look(self) -> None:
        self._name = variant(self._move.entry.name, self._move.suffix, self._turn)
        self._pipeline.post(LSTAT, _string(self._target()), self._looked)

    def _target(self) -> bytes:
        return self._paths[1] + _encode(self._name)

    def _looked(self, kind: int, body: bytes) -> None:
        if kind == ATTRS and self._turn < _TURNS:
            self._turn += 1
            self._refusal = None
            self._look()
        elif kind == ATTRS:
            self._end(Miss("refused", f"{_TURNS} names like it are taken in the folder it is moved to"))
        elif (status := _status(body)).code != NO_SUCH_FILE:
            self._end(_miss(status))
        elif self._refusal is not None:
            self._end(_miss(self._refusal))
        else:
            source = self._paths[0] + _encode(self._move.entry.name)
            self._pipeline.post(RENAME, _string(source) + _string(self._target()), self._renamed)

    def _renamed(self, _kind: int, body: bytes) -> None:
        status = _status(body)
        if status.code == OK:
            self._end(Moved(self._name))
        elif status.code == FAILURE:
            self._refusal = status  # either the name was taken in between, or the server will not: look again
            self._pipeline.post(LSTAT, _string(self._target()), self._looked)
        else:
            self._end(_miss(status))

    def _end(self, result: Moved | Miss) -> None:
        self._results.append((self._move.entry, result))
        self._pipeline.finished()


class _Listing:
    def __init__(self, pipeline: Pipeline, handle: bytes, enough: int) -> None:
        self._pipeline = pipeline
        self._handle = handle
        self._enough = enough
        self._entries: deque[Entry] = deque()
        self._under_way = 0
        self._end: SftpStatus | None = None

    def take(self, batch: int) -> list[Entry]:
        while len(self._entries) < batch and (self._end is None or self._under_way):
            self._ask()
            self._pipeline.pump()
        if self._end is not None and self._end.code != EOF:
            raise self._end
        return [self._entries.popleft() for _ in range(min(batch, len(self._entries)))]

    def close(self) -> None:
        self._pipeline.post(CLOSE, self._handle, _unheard)

    def _ask(self) -> None:
        while self._end is None and self._under_way < _READ_AHEAD and len(self._entries) < self._enough:
            self._under_way += 1
            self._pipeline.post(READDIR, self._handle, self._answered)

    def _answered(self, kind: int, body: bytes) -> None:
        self._under_way -= 1
        if kind == NAME:
            self._entries.extend(_entries(body))
        elif self._end is None:
            self._end = _status(body)


def _entries(body: bytes) -> Iterator[Entry]:
    """The entries of one NAME answer, without `.` and `..`."""
    at = 4
    for _ in range(_U32.unpack_from(body)[0]):
        name, at = _take_string(body, at)
        kind = body[at + 4 : at + 5]  # the first letter of what `ls -l` would print
        at += 4 + _U32.unpack_from(body, at)[0]
        size, mode, mtime, at = _attributes(body, at)
        if name not in (b".", b".."):
            regular = mode & 0o170000 == 0o100000 if mode else kind == b"-"
            yield Entry(name.decode(errors="surrogateescape"), size, mtime * 1_000_000_000, regular)


def _attributes(body: bytes, at: int) -> tuple[int, int, int, int]:
    """Size, mode, mtime (0 where the server left one out), and where the attributes end."""
    flags = _U32.unpack_from(body, at)[0]
    if flags == 0xF:  # what OpenSSH sends
        size, _, _, mode, _, mtime = _USUAL.unpack_from(body, at + 4)
        return size, mode, mtime, at + 32
    at += 4
    size = mode = mtime = 0
    if flags & 1:
        size, at = struct.unpack_from(">Q", body, at)[0], at + 8
    if flags & 2:
        at += 8
    if flags & 4:
        mode, at = _U32.unpack_from(body, at)[0], at + 4
    if flags & 8:
        mtime, at = _U32.unpack_from(body, at + 4)[0], at + 8
    if flags & 0x80000000:
        count, at = _U32.unpack_from(body, at)[0], at + 4
        for _ in range(2 * count):
            at += 4 + _U32.unpack_from(body, at)[0]
    return size, mode, mtime, at


_USUAL = struct.Struct(">QIIIII")  # size, uid, gid, mode, atime, mtime


def _take_string(body: bytes, at: int) -> tuple[bytes, int]:
    start = at + 4
    end = start + _U32.unpack_from(body, at)[0]
    return body[start:end], end


def _unheard(_kind: int, _body: bytes) -> None:
    """An answer that nobody waits for."""


def _status(body: bytes) -> SftpStatus:
    if body[:4] == _OK:
        return _DONE
    text, _ = _take_string(body, 4) if len(body) > 8 else (b"", 0)
    said = "".join(c if c.isprintable() else "?" for c in text[:200].decode(errors="replace"))
    return SftpStatus(_U32.unpack_from(body)[0], said or "no reason given")


_OK = _U32.pack(OK)
_DONE = SftpStatus(OK, "done")


def _miss(status: SftpStatus) -> Miss:
    if status.code == NO_SUCH_FILE:
        return Miss("vanished", "it was gone when its turn came")
    return Miss("refused", f"the server said: {status}")


def _garbage(what: str) -> SourceUnavailable:
    return SourceUnavailable(f"the server broke the SFTP protocol: {what}")


def _string(data: bytes) -> bytes:
    return _U32.pack(len(data)) + data


def _encode(text: str) -> bytes:
    return text.encode(errors="surrogateescape")


def _prefix(folder: str) -> bytes:
    return _encode(folder).rstrip(b"/") + b"/"
