"""An SFTP server that does wrong what a test tells it to: asyncssh's SSH, and an SFTP of our own behind it.

Its files are in memory, in the folder `/in`. What goes wrong is set before a run, and ends with `lift`:

    with FaultyServer() as server:
        server.put({"a.json": b"{}"})
        server.faults[READ] = only(b"a.json", hang)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self

import asyncssh

from tests.unit.scripted_sftp import (
    FOLDER,
    HANDLE,
    LSTAT,
    MKDIR,
    NO_SUCH_FILE,
    OK,
    OPEN,
    OPENDIR,
    READ,
    READDIR,
    REMOVE,
    RENAME,
    STAT,
    ScriptedSftp,
    named,
    packet,
    status,
    string,
    taken,
    usual,
)

USER, PASSWORD = "webio", "a password for tests"
MTIME = 1_700_000_000
_IN = FOLDER.encode()

Stage = Literal["banner", "key exchange", "authentication", "channel", "subsystem", "no subsystem", "close", "garbage"]
"""Where a connection comes to its end before any SFTP is spoken."""


class Dropped(Exception):
    """The connection is to be cut now."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a fault sees it."""

    server: FaultyServer
    engine: _Engine
    kind: int
    number: int
    body: bytes

    @property
    def path(self) -> bytes:
        """The path it is about; for a READ, that of the open file."""
        first = taken(self.body)[0]
        return self.engine.open.get(first, first)

    def behave(self) -> bytes:
        """Do what was asked; the answer."""
        return self.engine.behave(self.kind, self.number, self.body)


Fault = Callable[[Request], bytes | None]
"""The packets to answer with; none at all to keep silent, None to behave. Raises `Dropped`."""


def hang(_request: Request) -> bytes:
    """Never answer."""
    return b""


def drop(_request: Request) -> bytes:
    """Cut the connection instead of doing it."""
    raise Dropped


def done_then_drop(request: Request) -> bytes:
    """Do it, and cut the connection before the answer."""
    request.behave()
    raise Dropped


def pretend(request: Request) -> bytes:
    """Say that it is done, and do nothing."""
    return status(request.number, OK)


def refuse(code: int, text: bytes = b"no way") -> Fault:
    """Answer with this status."""
    return lambda request: status(request.number, code, text)


def only(name: bytes, fault: Fault) -> Fault:
    """For the file of this name; all others are served."""
    return lambda request: fault(request) if request.path.endswith(b"/" + name) else None


def after(count: int, fault: Fault) -> Fault:
    """From the request of this kind on that comes after `count` others."""
    seen = Counter[int]()

    def counted(request: Request) -> bytes | None:
        seen[0] += 1
        return fault(request) if seen[0] > count else None

    return counted


class FaultyServer:
    """One server at a port of its own, in a thread of its own."""

    def __init__(self) -> None:
        self.files: dict[bytes, bytes] = {}
        self.mtimes: dict[bytes, int] = {}
        self.sizes: dict[bytes, int] = {}
        """Sizes that the listing claims, by name."""
        self.strange: list[bytes] = []
        """Entries that are listed besides the files; see `named`."""
        self.folders = {_IN}
        self.gone = Counter[bytes]()
        """How often each path was really moved or deleted."""
        self.touched: set[bytes] = set()
        """Every path that a file was opened at, looked at, moved or deleted."""
        self._own_key = asyncssh.generate_private_key("ssh-ed25519")
        self.lift()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.setblocking(False)
        self.port: int = self._listener.getsockname()[1]
        self._held: list[socket.socket] = []
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._serve, name=f"faulty-server-{self.port}")

    def lift(self) -> None:
        """From now on everything is right."""
        self.faults: dict[int, Fault] = {}
        self.stage: Stage | None = None
        self.key = self._own_key
        self.password = PASSWORD
        self.handles = 1 << 30
        self.read_limit = 1 << 30
        self.per_answer = 100
        self.late = 0.0
        """Seconds before each answer, one after another."""
        self.drip = 0.0
        """Seconds before each byte."""
        self.sizes.clear()
        self.strange.clear()

    def put(self, files: dict[str, bytes], mtime: int = MTIME) -> None:
        """Put files into the folder."""
        for name, data in files.items():
            path = b"%s/%s" % (_IN, name.encode())
            self.files[path], self.mtimes[path] = data, mtime

    def source(self, **changes: Any) -> dict[str, Any]:
        """The `[[sources]]` table that reads the folder, with short timeouts."""
        return {
            "name": "webio", "type": "sftp", "host": "127.0.0.1", "port": self.port,
            "username": USER, "password": PASSWORD, "host_keys": [self.key.get_fingerprint()],
            "folder": FOLDER, "settle_seconds": 0, "connect_timeout_seconds": 10, "operation_timeout_seconds": 1.5,
            **changes,
        }  # fmt: skip

    def names(self, folder: str = FOLDER) -> list[str]:
        """The names of the files in a folder, sorted."""
        before = folder.encode() + b"/"
        return sorted(path[len(before) :].decode() for path in self.files if path.startswith(before) and
                      b"/" not in path[len(before) :])  # fmt: skip

    def __enter__(self) -> Self:
        logging.getLogger("asyncssh").setLevel(logging.CRITICAL)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        self._listener.close()

    def listed(self) -> list[bytes]:
        """What READDIR tells, entry by entry."""
        own = [(path.rpartition(b"/")[2], path) for path in self.files if path.rpartition(b"/")[0] == _IN]
        shown = [
            named(name, usual(self.sizes.get(name, len(self.files[path])), mtime=self.mtimes.get(path, MTIME)))
            for name, path in own
        ]
        folders = [
            named(path.rpartition(b"/")[2], usual(4096, stat.S_IFDIR | 0o755)) for path in self.folders if path != _IN
        ]
        return [named(b".", usual(0, stat.S_IFDIR)), *shown, *self.strange, *folders]

    def _serve(self) -> None:
        self._loop.create_task(self._accept())
        self._loop.run_forever()

    async def _accept(self) -> None:
        while True:
            connection, _ = await self._loop.sock_accept(self._listener)
            self._held.append(connection)
            if self.stage == "key exchange":
                connection.send(b"SSH-2.0-Faulty\r\n")
            elif self.stage != "banner":
                self._held.remove(connection)
                self._loop.create_task(self._talk(connection))

    async def _talk(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, asyncssh.Error):
            await asyncssh.run_server(
                connection, server_host_keys=[self.key], server_factory=lambda: _Account(self), encoding=None
            )

    async def _close(self) -> None:
        for connection in list(self._connections):
            connection.abort()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for held in self._held:
            held.close()


class _Account(asyncssh.SSHServer):
    def __init__(self, server: FaultyServer) -> None:
        self._server = server

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._server._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._server._connections.discard(self._connection)

    async def begin_auth(self, username: str) -> bool:
        del username
        if self._server.stage == "authentication":
            await asyncio.sleep(3600)
        return True

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return (username, password) == (USER, self._server.password)

    async def session_requested(self) -> _Session:
        if self._server.stage == "channel":
            await asyncio.sleep(3600)
        return _Session(self._server, self._connection)


class _Session(asyncssh.SSHServerSession[bytes]):
    """Bytes in, answers out, one after the other."""

    def __init__(self, server: FaultyServer, connection: asyncssh.SSHServerConnection) -> None:
        self._server = server
        self._connection = connection
        self._engine = _Engine(server)
        self._answers: asyncio.Queue[bytes] = asyncio.Queue()

    def connection_made(self, chan: asyncssh.SSHServerChannel[bytes]) -> None:
        self._channel = chan

    def subsystem_requested(self, subsystem: str) -> bool:
        if self._server.stage == "subsystem":
            return None  # type: ignore[return-value]  # asyncssh then waits to be told the answer, which never comes
        return subsystem == "sftp" and self._server.stage != "no subsystem"

    def session_started(self) -> None:
        if self._server.stage == "close":
            self._channel.close()
        elif self._server.stage == "garbage":
            self._channel.write(b"Welcome! Files are handed out at the counter.\r\n")
        else:
            self._writing = asyncio.ensure_future(self._write())

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        if self._server.stage not in ("close", "garbage"):
            self._writing.cancel()

    def data_received(self, data: bytes, datatype: int | None) -> None:
        del datatype
        try:
            self._engine.send(data)
        except Dropped:
            self._connection.abort()
        for answer in self._engine.answers:
            self._answers.put_nowait(answer)
        self._engine.answers.clear()

    async def _write(self) -> None:
        while True:
            answer = await self._answers.get()
            for piece in _bytes(answer) if self._server.drip else [answer]:
                if pause := self._server.late or self._server.drip:
                    await asyncio.sleep(pause)
                self._channel.write(piece)


class _Engine(ScriptedSftp):
    """One session's handles, over the server's files."""

    def __init__(self, server: FaultyServer) -> None:
        super().__init__()
        self.files = server.files
        self._server = server
        self.rules = {
            kind: self._rule(kind) for kind in (*_BEHAVED, OPEN, READ, 4, READDIR, REMOVE, RENAME, LSTAT)
        }  # 4 is CLOSE

    def behave(self, kind: int, number: int, body: bytes) -> bytes:
        """What a good server does."""
        self.handles, self.read_limit, self.per_answer = (
            self._server.handles, self._server.read_limit, self._server.per_answer,
        )  # fmt: skip
        own: dict[int, Callable[[int, bytes], bytes]] = {
            OPENDIR: self._opendir, STAT: self._look, LSTAT: self._look, MKDIR: self._mkdir,
        }  # fmt: skip
        path = taken(body)[0]
        there = path in self.files
        answer = own[kind](number, body) if kind in own else self._behave(kind, number, body)
        if kind in (REMOVE, RENAME) and there and path not in self.files:
            self._server.gone[path] += 1
        return answer

    def _rule(self, kind: int) -> Callable[[int, bytes], bytes]:
        def ruled(number: int, body: bytes) -> bytes:
            request = Request(self._server, self, kind, number, body)
            if kind in (OPEN, LSTAT, REMOVE, RENAME):
                self._server.touched.add(request.path)
            fault = self._server.faults.get(kind)
            said = fault(request) if fault else None
            return request.behave() if said is None else said

        return ruled

    def _opendir(self, number: int, body: bytes) -> bytes:
        if taken(body)[0] not in self._server.folders:
            return status(number, NO_SUCH_FILE)
        self.listing, self._listed = self._server.listed(), 0
        return packet(HANDLE, number, string(b"folder"))

    def _look(self, number: int, body: bytes) -> bytes:
        if taken(body)[0] in self._server.folders:
            return packet(105, number, usual(4096, stat.S_IFDIR | 0o755))
        return self._stat(number, body)

    def _mkdir(self, number: int, body: bytes) -> bytes:
        self._server.folders.add(taken(body)[0])
        return status(number, OK)


_BEHAVED = (OPENDIR, STAT, MKDIR)


def _bytes(answer: bytes) -> Iterable[bytes]:
    return (bytes([byte]) for byte in answer)
