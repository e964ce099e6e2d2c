"""The other end of an SFTP channel, in memory: it can be told to be slow, wrong, short of handles or rude."""

from __future__ import annotations

import struct
from collections.abc import Callable

from sftpd_processor.sources.base import Entry
from sftpd_processor.sources.sftp_pipeline import Pipeline

INIT, VERSION, OPEN, CLOSE, READ, LSTAT, OPENDIR, READDIR, REMOVE, MKDIR, STAT, RENAME = (
    1, 2, 3, 4, 5, 7, 11, 12, 13, 14, 17, 18,
)  # fmt: skip
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4

FOLDER = "/in"
GREETING = struct.pack(">IBI", 5, VERSION, 3)
REGULAR = 0o100644

Rule = Callable[[int, bytes], bytes | None]
"""Request number and body → the packets to answer with; None leaves it to the server's own behaviour."""


def string(data: bytes) -> bytes:
    """A string as SFTP writes it."""
    return struct.pack(">I", len(data)) + data


def packet(kind: int, number: int, body: bytes) -> bytes:
    """A whole message."""
    return struct.pack(">IBI", len(body) + 5, kind, number) + body


def status(number: int, code: int, text: bytes = b"said the server") -> bytes:
    """A STATUS answer."""
    return packet(STATUS, number, struct.pack(">I", code) + string(text) + string(b"en"))


def named(name: bytes, attributes: bytes, long_name: bytes = b"") -> bytes:
    """One entry of a NAME answer."""
    return string(name) + string(long_name) + attributes


def usual(size: int, mode: int = REGULAR, mtime: int = 1_700_000_000) -> bytes:
    """Attributes as OpenSSH sends them."""
    return struct.pack(">IQIIIII", 0xF, size, 1000, 1000, mode, 1_600_000_000, mtime)


def taken(body: bytes, at: int = 0) -> tuple[bytes, int]:
    """The string of `body` at `at`, and where it ends."""
    end = at + 4 + int(struct.unpack_from(">I", body, at)[0])
    return body[at + 4 : end], end


class ScriptedSftp:
    """Implements the channel that a `Pipeline` uses, and an SFTP server over `files` behind it.

    `piece`: most bytes per `recv`. `turn`: what becomes of the order of answers that wait to be received.
    `rules`: answers given in place of the server's own, by the kind of request. `handles`: most files open.
    When nothing is left to receive, `recv` times out, as it does with a server that is silent.
    """

    def __init__(
        self, files: dict[str, bytes] | None = None, *, handles: int = 1 << 30, read_limit: int = 1 << 30
    ) -> None:
        self.files = {f"{FOLDER}/{name}".encode(): data for name, data in (files or {}).items()}
        self.handles = handles
        self.read_limit = read_limit
        self.piece = 1 << 30
        self.turn: Callable[[list[bytes]], list[bytes]] = list
        self.rules: dict[int, Rule] = {}
        self.asked: list[int] = []
        self.most_open = 0
        self.listing: list[bytes] = []
        self.per_answer = 100
        self.open: dict[bytes, bytes] = {}
        self.answers: list[bytes] = []
        self.timeouts: list[float] = []
        self.greeting = GREETING
        self._stream = b""
        self._requests = b""
        self._handles = 0
        self._listed = 0

    def pipeline(self, in_flight: int = 64) -> Pipeline:
        """A session with this server."""
        return Pipeline(self, in_flight=in_flight, timeout=5.0)

    def count(self, kind: int) -> int:
        """How many requests of `kind` came."""
        return self.asked.count(kind)

    def settimeout(self, timeout: float) -> None:
        """As `paramiko.Channel` has it."""
        self.timeouts.append(timeout)

    def send(self, data: bytes) -> int:
        """As `paramiko.Channel` has it."""
        self._requests += data
        while len(self._requests) >= 4:
            end = 4 + int(struct.unpack_from(">I", self._requests)[0])
            if len(self._requests) < end:
                break
            request, self._requests = self._requests[4:end], self._requests[end:]
            self._take(request)
        return len(data)

    def recv(self, nbytes: int) -> bytes:
        """As `paramiko.Channel` has it."""
        if not self._stream:
            self._stream = b"".join(self.turn(self.answers))
            self.answers.clear()
        if not self._stream:
            raise TimeoutError
        length = min(nbytes, self.piece)
        data, self._stream = self._stream[:length], self._stream[length:]
        return data

    def _take(self, request: bytes) -> None:
        kind = request[0]
        self.asked.append(kind)
        if kind == INIT:
            self.answers.append(self.greeting)
            return
        number, body = int(struct.unpack_from(">I", request, 1)[0]), request[5:]
        rule = self.rules.get(kind)
        said = rule(number, body) if rule else None
        self.answers.append(self._behave(kind, number, body) if said is None else said)

    def _behave(self, kind: int, number: int, body: bytes) -> bytes:
        usual_answers: dict[int, Callable[[int, bytes], bytes]] = {
            OPEN: self._open,
            READ: self._read,
            CLOSE: self._close,
            OPENDIR: lambda number, _: packet(HANDLE, number, string(b"folder")),
            READDIR: self._readdir,
            LSTAT: self._stat,
            STAT: self._stat,
            MKDIR: lambda number, _: status(number, OK),
            REMOVE: self._remove,
            RENAME: self._rename,
        }
        return usual_answers[kind](number, body)

    def _open(self, number: int, body: bytes) -> bytes:
        path, _ = taken(body)
        if path not in self.files:
            return status(number, NO_SUCH_FILE)
        if len(self.open) >= self.handles:
            return status(number, FAILURE, b"too many open files")
        self._handles += 1
        handle = b"h%d" % self._handles
        self.open[handle] = path
        self.most_open = max(self.most_open, len(self.open))
        return packet(HANDLE, number, string(handle))

    def _read(self, number: int, body: bytes) -> bytes:
        handle, at = taken(body)
        offset, length = struct.unpack_from(">QI", body, at)
        data = self.files[self.open[handle]][offset : offset + min(length, self.read_limit)]
        return packet(DATA, number, string(data)) if data else status(number, EOF)

    def _close(self, number: int, body: bytes) -> bytes:
        self.open.pop(taken(body)[0], None)
        return status(number, OK)

    def _readdir(self, number: int, _body: bytes) -> bytes:
        names = self.listing[self._listed : self._listed + self.per_answer]
        self._listed += len(names)
        return packet(NAME, number, struct.pack(">I", len(names)) + b"".join(names)) if names else status(number, EOF)

    def _stat(self, number: int, body: bytes) -> bytes:
        path, _ = taken(body)
        if path not in self.files:
            return status(number, NO_SUCH_FILE)
        return packet(ATTRS, number, usual(len(self.files[path])))

    def _remove(self, number: int, body: bytes) -> bytes:
        return status(number, OK if self.files.pop(taken(body)[0], None) is not None else NO_SUCH_FILE)

    def _rename(self, number: int, body: bytes) -> bytes:
        old, at = taken(body)
        new, _ = taken(body, at)
        if old not in self.files:
            return status(number, NO_SUCH_FILE)
        if new in self.files:
            return status(number, FAILURE, b"the name is taken")
        self.files[new] = self.files.pop(old)
        return status(number, OK)


def entries(files: dict[str, bytes]) -> list[Entry]:
    """The files as a listing gives them."""
    return [Entry(name, len(data), 1_700_000_000 * 1_000_000_000, regular=True) for name, data in files.items()]
