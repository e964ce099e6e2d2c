"""The process of the public listener: it serves until it is told to stop, or the daemon that started it is gone.

It is a process of its own so that draining a burst of files does not slow the answer to a bot.
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import uvloop

from sftpd_processor.bell import Bell
from sftpd_processor.collector import spare_the_collector
from sftpd_processor.config.settings import HttpSettings, Settings
from sftpd_processor.handlers.api import HandlerContext
from sftpd_processor.handlers.registry import build_handlers
from sftpd_processor.http.gate import Gate
from sftpd_processor.http.parts import make_providers
from sftpd_processor.http.posts import Posts
from sftpd_processor.http.protocol import Limits
from sftpd_processor.http.public import public_app
from sftpd_processor.http.server import Server, bind, make_server, tls_context
from sftpd_processor.measures import Measures
from sftpd_processor.values.asking import Asker

if TYPE_CHECKING:
    from sftpd_processor.ledger.ledger import Ledger
    from sftpd_processor.ledger.recording import Wanting
    from sftpd_processor.pipeline.live import LiveIntake, Posted

logger = logging.getLogger(__name__)

GRACEFUL_SECONDS = 15.0
"""How long requests under way may take to end when the listener stops."""

_SWITCH_SECONDS = 0.0005  # so that a commit in another thread does not hold up the event loop


class Listener:
    """The public listener of one configuration, between its start and its end."""

    def __init__(self, settings: Settings, http: HttpSettings, config_folder: Path) -> None:
        """Raises `ConfigurationError` with every mistake in handlers, providers and TLS files."""
        context = HandlerContext(settings.delivery.timeout_seconds, config_folder)
        # The handlers are only asked which events they want; it is the daemon that opens and calls them.
        self._wanting = build_handlers(settings.handlers, context).wanting
        self._providers = make_providers(settings, http, config_folder)
        self._tls = tls_context(http)
        self._settings = settings
        self._http = http
        self._measures = Measures()

    def serve(self, listening: socket.socket, control: socket.socket | None) -> None:
        """Answer what comes to `listening` until SIGTERM, Ctrl-C, or the end of `control`."""
        sys.setswitchinterval(_SWITCH_SECONDS)
        spare_the_collector()
        with self._opened() as (asker, posts):
            app = Gate(public_app(self._http, asker, posts), self._http, self._measures)
            server = make_server(
                app,
                Limits.of(self._http),
                tls=self._tls,
                trusted_proxies=self._http.trusted_proxies,
                graceful_seconds=GRACEFUL_SECONDS,
                measures=self._measures,
            )
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runner.run(self._serve(server, listening, control))

    @contextmanager
    def _opened(self) -> Iterator[tuple[Asker, Posts]]:
        bell = Bell(self._settings.state.dir)
        intake = _Intake(self._settings, self._http, self._wanting, self._measures)
        posts = Posts(intake, bell.ring, self._measures)
        try:
            self._providers.open()
            yield Asker(self._providers, self._http.custom_values_deadline_seconds, self._measures), posts
        finally:
            self._providers.close()
            posts.close()
            intake.close()
            bell.close()

    async def _serve(self, server: Server, listening: socket.socket, control: socket.socket | None) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, server.stop)
        if control is None:
            await server.serve(sockets=[listening])
            return
        talk = asyncio.create_task(self._talk(server, control))
        await server.serve(sockets=[listening])
        talk.cancel()

    async def _talk(self, server: Server, control: socket.socket) -> None:
        """Tell the daemon what was noted, whenever it asks; when it is gone, so is this."""
        reader, writer = await asyncio.open_unix_connection(sock=control)
        try:
            while await reader.readline():
                writer.write(json.dumps(self._measures.snapshot()).encode() + b"\n")
                await writer.drain()
        except OSError:
            pass  # it is gone
        finally:
            server.stop()
            writer.close()


class _Intake:
    """Live posts into the ledger, which is loaded with the first of them.

    It takes 15 MB and a third of a second, and a listener that is only asked for values never needs it.
    """

    def __init__(self, settings: Settings, http: HttpSettings, wanting: Wanting, measures: Measures) -> None:
        self._state = settings.state
        self._http = http
        self._wanting = wanting
        self._measures = measures
        self._ledger: Ledger | None = None
        self._intake: LiveIntake | None = None

    def record(self, posts: Sequence[bytes]) -> list[Posted]:
        """See `LiveIntake`; called in the one thread that records."""
        if self._intake is None:
            from sftpd_processor.ledger.ledger import Ledger
            from sftpd_processor.pipeline.live import LiveIntake

            self._ledger = Ledger(self._state.ledger_url())
            self._intake = LiveIntake(self._http, self._ledger, self._wanting, measures=self._measures)
            spare_the_collector()
        return self._intake.record(posts)

    def close(self) -> None:
        """Let go of the ledger."""
        if self._ledger is not None:
            self._ledger.close()


def listening_socket(http: HttpSettings, inherited: int | None) -> socket.socket:
    """The socket that the daemon handed down, or a new one."""
    return bind(http.listen) if inherited is None else socket.socket(fileno=inherited)
