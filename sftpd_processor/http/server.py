"""The server: uvicorn's, run by us, with our limits, on a socket that was bound before.

It stops when `should_exit` is set, from any thread: nothing new is accepted, and what is under way is finished.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import time
from collections.abc import Generator, Sequence
from typing import Any

import uvicorn
import uvloop

from sftpd_processor.config.kinds import split_address
from sftpd_processor.errors import PermanentError
from sftpd_processor.http.protocol import BoundedProtocol, Limits, bounded
from sftpd_processor.http.tls import Door, tls_context
from sftpd_processor.measures import Measures

__all__ = ["Server", "address_of", "bind", "make_server", "run", "tls_context"]

logger = logging.getLogger(__name__)

BACKLOG = 1024
_WATCH_SECONDS = 0.1
_IDLE_SECONDS = 1.0  # the same, while nobody is connected; ten times as many cost a fifth of a percent of a core
_TAKEN_SECONDS = 5.0  # in which the listener of a daemon that was killed should have ended
_RETRY_SECONDS = 0.1


class Server(uvicorn.Server):
    """uvicorn's server, which leaves signals alone and watches the deadlines of its connections."""

    def __init__(self, config: uvicorn.Config, protocol: type[BoundedProtocol]) -> None:
        super().__init__(config)
        self._protocol = protocol
        self._watcher: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """None: whoever runs the server says when it stops."""
        yield

    def stop(self) -> None:
        """Take nothing new, and end when what is under way is finished; from any thread."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._ending.set)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and begin to watch."""
        self._loop = asyncio.get_running_loop()
        if self.config.ssl is None:
            await super().startup(sockets)
        else:
            self.servers = [self._door(each, self.config.ssl) for each in sockets or []]
            self.started = True
        self._watcher = self._loop.create_task(self._watch())

    async def main_loop(self) -> None:
        """Wait for the end, as uvicorn's does, which looks for it ten times a second. `on_tick` also sets the date."""
        while not await self.on_tick(0):
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _IDLE_SECONDS)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what is under way, for as long as was agreed."""
        await super().shutdown(sockets)
        if self._watcher is not None:
            self._watcher.cancel()
        for connection in self._connections():
            connection.transport.abort()

    def _door(self, listener: socket.socket, context: ssl.SSLContext) -> Any:
        limits = self._protocol.limits

        def protocol() -> BoundedProtocol:
            return self._protocol(config=self.config, server_state=self.server_state, app_state={})

        def room() -> int:
            return max(1, limits.connections - len(self.server_state.connections))

        return Door(listener, context, protocol, room=room, seconds=limits.request_seconds)

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            now, connections = loop.time(), self._connections()
            for connection in connections:
                try:
                    connection.watch(now)
                except Exception:  # one of them must not end the watch over the others
                    logger.exception("http: a connection could not be watched, and is ended")
                    connection.transport.abort()
            await asyncio.sleep(_WATCH_SECONDS if connections else _IDLE_SECONDS)

    def _connections(self) -> list[BoundedProtocol]:
        made: Any = self.server_state.connections
        return [*made, *self._protocol.turned_away]


def make_server(
    app: Any,
    limits: Limits,
    *,
    tls: ssl.SSLContext | None = None,
    trusted_proxies: Sequence[str] = (),
    graceful_seconds: float = 10.0,
    measures: Measures | None = None,
) -> Server:
    """A server of `app`; what `trusted_proxies` say of a request's sender is believed."""
    protocol = bounded(limits, measures)
    config = uvicorn.Config(
        app,
        http=protocol,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.WARNING,
        access_log=False,
        server_header=False,
        proxy_headers=bool(trusted_proxies),
        forwarded_allow_ips=list(trusted_proxies),
        backlog=BACKLOG,
        workers=1,
        timeout_graceful_shutdown=graceful_seconds,  # type: ignore[arg-type] # handed on to asyncio as it is
        ssl_context_factory=(lambda _config, _default: tls) if tls else None,
    )
    return Server(config, protocol)


def run(server: Server, sockets: Sequence[socket.socket]) -> None:
    """Serve until `server.should_exit`, in this thread, in an event loop of its own."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(server.serve(list(sockets)))


def bind(address: str) -> socket.socket:
    """A listening socket on `HOST:PORT`, not blocking.

    Raises:
        PermanentError: the address is taken, not one of this machine, or not for us.
    """
    family, where = _resolved(address)
    deadline = time.monotonic() + _TAKEN_SECONDS
    while True:
        try:
            return _listening(family, where)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise PermanentError(f"cannot listen on {address}: {_told(error)}") from error
        time.sleep(_RETRY_SECONDS)


def address_of(listening: socket.socket) -> str:
    """Where a socket listens, with the port that was found if none was asked for."""
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _resolved(address: str) -> tuple[socket.AddressFamily, Any]:
    host, port = split_address(address)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise PermanentError(f"cannot listen on {address}: {host} is no known name of an address: {error}") from error
    family, _, _, _, where = found[0]
    return family, where


def _listening(family: socket.AddressFamily, where: Any) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        made.bind(where)
        made.listen(BACKLOG)
        made.setblocking(False)  # noqa: FBT003 - the parameter has no name
    except OSError:
        made.close()
        raise
    return made


def _told(error: OSError) -> str:
    match error.errno:
        case errno.EADDRINUSE:
            return (
                "the address is in use by another program (maybe by another run of this one); stop that, or choose"
                " another port in `listen`"
            )
        case errno.EADDRNOTAVAIL:
            return "this machine has no such address; see `ip address` for those it has"
        case errno.EACCES | errno.EPERM:
            return (
                "this account may not use that port; choose one above 1023, or give the service the capability"
                " CAP_NET_BIND_SERVICE"
            )
        case _:
            return error.strerror or type(error).__name__
