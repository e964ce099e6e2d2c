"""SFTP with many requests in flight over one paramiko channel.

What makes SFTP slow is waiting for each answer before asking again. Here a window of requests is always under
way: OPEN, READ (one byte more than listed, so that growth shows without a further request), CLOSE; LSTAT and
RENAME; REMOVE; and READDIR ahead of the reader. Requests that become due together leave in one packet.

Only the public part of paramiko's `Channel` is used: `paramiko.SFTPClient` makes one request at a time, so this
module takes its place.

Every wait has two ends: an answer must come within `timeout`, and the whole verb within a time that follows from
what it asks for. So neither silence nor single bytes that keep coming hold anybody up for long.
"""

from __future__ import annotations

import contextlib
import math
import posixpath
import stat
import struct
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol, TypeVar

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources import sftp_wire as wire
from sftpd_processor.sources.base import Entry, Miss, Move, Moved, Removed
from sftpd_processor.sources.sftp_jobs import Fetch, Job, Listing, Remove, Rename
from sftpd_processor.sources.sftp_wire import SftpStatus

_SPOKEN = 3  # the protocol's version
_FIRST_WINDOW = 32
_FAREWELL = 2.0  # seconds
_LONGEST_ANSWER = 1 << 20
_PER_FILE = 1.0  # seconds that a verb may take for each file, beyond the time for one answer
_SLOWEST = 16_384.0  # bytes a second

TOO_SLOW = Miss("refused", "the server did not hand it out in time")

Reply = Callable[[int, bytes], None]
Asked = TypeVar("Asked")
Got = TypeVar("Got")


class OutOfTime(SourceUnavailable):
    """The server keeps silent, or answers so slowly that the whole would take too long."""

    results: Sequence[tuple[Entry, bytes | Miss]] = ()
    """Of a fetch: what came before time was up."""
    hung: Sequence[Entry] = ()
    """Of a fetch: the files that held it up."""


class Channel(Protocol):
    """What is used of `paramiko.Channel`."""

    def send(self, data: bytes) -> int:
        """Send some of it, and tell how many bytes; none when the other side is gone."""

    def recv(self, nbytes: int) -> bytes:
        """At least one byte; none when the other side is gone."""

    def settimeout(self, timeout: float) -> None:
        """How many seconds `recv` and `send` may block."""


class Pipeline:
    """One SFTP session. Used by one thread at a time; of no more use once it raised `SourceUnavailable`."""

    def __init__(
        self, channel: Channel, *, in_flight: int, timeout: float, answered: Callable[[], None] = lambda: None
    ) -> None:
        """`in_flight`: the most files under way at once; `timeout`: seconds to wait for an answer; `answered` is
        called whenever some came."""
        self._channel = channel
        self._answered = answered
        self._timeout = timeout
        self._limit = math.inf
        self._window: float = min(_FIRST_WINDOW, in_flight)
        self._ceiling = in_flight
        self._shrinks = 0
        self._number = 0
        self._replies: dict[int, Reply] = {}
        self._outgoing: list[bytes] = []
        self._incoming = b""
        self._todo: deque[Job] = deque()
        self._active = 0
        self._closing = 0
        self._listing: Listing | None = None
        self._greet()

    def entries(self, folder: str, batch: int) -> Iterator[list[Entry]]:
        """The entries of `folder`, `batch` at a time, read ahead by about two batches.

        Raises `SftpStatus` when the folder cannot be opened or read.
        """
        handle = self.call(wire.OPENDIR, wire.string(wire.encode(folder)), wire.HANDLE)
        listing = self._listing = Listing(self, handle, 2 * batch)
        try:
            while entries := listing.take(batch):
                yield entries
        finally:
            self._listing = None
            listing.close()
        with contextlib.suppress(SourceUnavailable):  # the listing is complete; the next verb meets the loss
            self._flush(self._deadline())

    def fetch(self, folder: str, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read each file of `folder` whole; one that is not as long as it was listed has `changed`.

        Raises `OutOfTime`, with the results that there are until then and the files to blame.
        """
        results: list[tuple[Entry, bytes | Miss]] = []
        before = wire.prefix(folder)
        costs = [_PER_FILE + entry.size / _SLOWEST for entry in entries]
        try:
            self._run((Fetch(self, before, entry, results) for entry in entries), costs)
        except OutOfTime as late:
            late.results, late.hung = results, self._hung()
            raise
        return results

    def remove(self, folder: str, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete each file of `folder`."""
        results: list[tuple[Entry, Removed | Miss]] = []
        before = wire.prefix(folder)
        with self._unsure("deleted"):
            self._run((Remove(self, before, entry, results) for entry in entries), [_PER_FILE] * len(entries))
        return results

    def move(self, folder: str, target: str, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move each file of `folder` into the folder `target`, under a name that is free there.

        Servers differ in whether RENAME overwrites, so each is preceded by a look (LSTAT) at its target.
        """
        results: list[tuple[Entry, Moved | Miss]] = []
        paths, chosen = (wire.prefix(folder), wire.prefix(target)), set[str]()
        with self._unsure("moved"):
            self._run((Rename(self, paths, move, chosen, results) for move in moves), [_PER_FILE] * len(moves))
        return results

    def make_folder(self, folder: str) -> None:
        """Make `folder`, with those above it, unless it is there.

        Raises `SftpStatus` when the server refuses, or has something else of that name.
        """
        path = wire.string(wire.encode(folder))
        try:
            _, mode, _, _ = wire.attributes(self.call(wire.STAT, path, wire.ATTRS))
        except SftpStatus as refusal:
            if refusal.code != wire.NO_SUCH_FILE:
                raise
            if above := posixpath.dirname(folder.rstrip("/")).rstrip("/"):
                self.make_folder(above)
            self.call(wire.MKDIR, path + wire.NO_ATTRIBUTES)
        else:
            if mode and not stat.S_ISDIR(mode):
                raise SftpStatus(wire.FAILURE, "something else of that name is there")

    def call(self, kind: int, body: bytes, expected: int = wire.STATUS) -> bytes:
        """Make one request and wait for its answer; raises `SftpStatus` unless it is of the `expected` type."""
        answers: list[tuple[int, bytes]] = []
        self.allow(_PER_FILE)
        self.post(kind, body, lambda kind, body: answers.append((kind, body)))
        while not answers:
            self.pump()
        got, answer = answers[0]
        if got == wire.STATUS and (said := wire.status(got, answer)).code != wire.OK:
            raise said
        if got != expected:
            raise wire.garbage(f"an answer of type {got} where {expected} belongs")
        return answer

    def post(self, kind: int, body: bytes, then: Reply) -> None:
        """Queue a request; `then` gets its answer (type, body) while `pump` runs."""
        number = self._number = (self._number + 1) & 0xFFFFFFFF
        self._replies[number] = then
        self._outgoing.append(wire.HEAD.pack(len(body) + 5, kind, number) + body)

    def post_close(self, handle: bytes) -> None:
        """Queue a CLOSE; its answer is only waited for by `close`."""
        self._closing += 1
        self.post(wire.CLOSE, handle, self._closed)

    def allow(self, seconds: float, since: float | None = None) -> None:
        """What is under way must be done within the time for one answer and so many seconds more."""
        self._limit = (time.monotonic() if since is None else since) + self._timeout + seconds

    def pump(self) -> None:
        """Send what is queued, then hand out answers: waits until there is at least one. Raises `OutOfTime`."""
        deadline = self._deadline()
        try:
            self._flush(deadline)
            while not self._dispatch():
                self._receive(deadline)
        except struct.error:
            raise wire.garbage("a message shorter than it says") from None
        self._answered()

    def close(self) -> None:
        """Wait a moment until the server has closed every file; hanging up earlier would leave that to it."""
        self._timeout = min(self._timeout, _FAREWELL)
        self.allow(0)
        while self._closing:
            self.pump()

    def finished(self) -> None:
        """A job ended; the window may grow: fast until the server first refuses, then by one for each window."""
        self._active -= 1
        self._window = min(self._ceiling, self._window + (1 / self._window if self._shrinks else 1))

    def again(self, job: Job, shrinks: int) -> None:
        """Put a job back that failed for want of handles, with half the window (once for each round of failures).

        `shrinks` is what it was when the job started.
        """
        self._active -= 1
        self._todo.append(job)
        if shrinks == self._shrinks:
            self._shrinks += 1
            self._window = max(1, self._window / 2)

    @property
    def alone(self) -> bool:
        """Only one job is under way; when that is so as it starts, its failure cannot be for want of handles."""
        return self._active == 1

    @property
    def listing(self) -> bool:
        """Whether the server still owes names of a listing that is being read."""
        return self._listing is not None and not self._listing.ended

    @property
    def shrinks(self) -> int:
        """How often the window was halved."""
        return self._shrinks

    def _run(self, jobs: Iterable[Job], costs: Sequence[float]) -> None:
        """Do all jobs, as many at a time as the window allows.

        `costs` are the seconds that each may take. Time is up when they are used up, and earlier when no job ends
        although those under way would have had the time: so the last one, if it hangs, is not waited for long.
        """
        self.allow(0)
        self._todo, before = deque(jobs), 0
        end, most = time.monotonic() + self._timeout + sum(costs), max(costs, default=0.0)
        while left := len(self._todo) + self._active:
            while self._todo and self._active < int(self._window):
                self._active += 1
                self._todo.popleft().start()
            if left != before:
                before = left
                self.allow(self._active * most)
                self._limit = min(self._limit, end)
            if self._active:
                self.pump()
        self._flush(self._deadline())

    @contextlib.contextmanager
    def _unsure(self, done: str) -> Iterator[None]:
        """A request whose answer is lost may have been carried out: nobody is to think otherwise."""
        try:
            yield
        except SourceUnavailable as error:
            raise SourceUnavailable(
                f"{error}; it is not known whether the last {self._active} files were {done}: the next look tells"
            ) from error

    def _closed(self, _kind: int, _body: bytes) -> None:
        self._closing -= 1

    def _greet(self) -> None:
        self._outgoing.append(wire.HEAD.pack(5, wire.INIT, _SPOKEN))
        deadline = time.monotonic() + self._timeout
        self._flush(deadline)
        while len(self._incoming) < 4 or len(self._incoming) < 4 + self._length(0):
            self._receive(deadline)
        _, kind, version = wire.HEAD.unpack_from(self._incoming)
        if kind != wire.VERSION:
            raise wire.garbage("no SFTP version in its greeting (is the account limited to something else than SFTP?)")
        if version != _SPOKEN:
            raise wire.garbage(f"it speaks version {version}; this program speaks version {_SPOKEN}")
        self._incoming = self._incoming[4 + self._length(0) :]

    def _hung(self) -> list[Entry]:
        """The files being read whose requests were overtaken by later ones.

        When none was overtaken, the server works in order, and what waits longest holds up all behind it.
        """
        answered = self._number
        while answered in self._replies:
            answered -= 1
        waiting = [(number, getattr(then, "__self__", None)) for number, then in self._replies.items()]
        reading = [(number, job.entry) for number, job in waiting if isinstance(job, Fetch)]
        return [entry for number, entry in reading if number < answered] or [entry for _, entry in reading[:1]]

    def _deadline(self) -> float:
        return min(time.monotonic() + self._timeout, self._limit)

    def _flush(self, deadline: float) -> None:
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        while data:
            sent = self._within(deadline, self._channel.send, data)
            if not sent:
                raise _hung_up()
            data = data[sent:]

    def _receive(self, deadline: float) -> None:
        data = self._within(deadline, self._channel.recv, 1 << 18)
        if not data:
            raise _hung_up()
        self._incoming += data

    def _within(self, deadline: float, act: Callable[[Asked], Got], what: Asked) -> Got:
        """What the channel gives; it may block until `deadline`."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise self._late()
        self._channel.settimeout(left)
        try:
            return act(what)
        except TimeoutError:
            raise self._late() from None
        except (OSError, EOFError) as error:
            raise SourceUnavailable(f"the connection was lost: {error or 'closed'}") from error

    def _late(self) -> OutOfTime:
        if time.monotonic() >= self._limit:
            return OutOfTime("the server answers too slowly")
        return OutOfTime(f"the server did not answer within {self._timeout:g} s")

    def _length(self, at: int) -> int:
        length: int = wire.U32.unpack_from(self._incoming, at)[0]
        if not 5 <= length <= _LONGEST_ANSWER:
            raise wire.garbage(f"a message of {length} bytes")
        return length

    def _dispatch(self) -> bool:
        """Hand each complete answer to whoever asked; False when there was none."""
        data, at, replies = self._incoming, 0, self._replies
        size = len(data)
        while size - at >= 9:
            length, kind, number = wire.HEAD.unpack_from(data, at)
            end = at + 4 + length
            if end > size:
                self._length(at)
                break
            if (then := replies.pop(number, None)) is None or length < 5:
                raise wire.garbage("an answer to something that was not asked")
            then(kind, data[at + 9 : end])
            at = end
        self._incoming = data[at:]
        return at > 0


def _hung_up() -> SourceUnavailable:
    return SourceUnavailable("the server closed the connection")
