"""What the tests of the public listener share: a server with a small app, in a thread, and bytes sent to it by hand."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import threading
import time
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Any, Self

import pytest

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.http.gate import ROUTE, Gate
from sftpd_processor.http.protocol import Limits
from sftpd_processor.http.server import bind, make_server, run
from sftpd_processor.http.token import mint
from sftpd_processor.measures import Measures
from tests.support import wait_until

SECRET = "a-secret-of-more-than-thirty-two-bytes"
TOKEN = mint("42", "an-api-key", SECRET)
LIMITS = Limits(header_bytes=8192, body_bytes=100_000, request_seconds=0.4, connections=20, keep_alive_seconds=0.5)
PROMPT = 3.0
"""Seconds in which a neighbour is answered in any case; it takes milliseconds, but CI is slow at times."""


def settings(**changes: Any) -> HttpSettings:
    """Settings of a listener that takes TOKEN."""
    return HttpSettings(
        **{"listen": "127.0.0.1:0", "token_secrets": [SECRET], "failures_per_minute": 100_000} | changes
    )


def request(
    path: str = "/webhooks", *headers: str, method: str = "GET", token: str | None = TOKEN, body: bytes = b""
) -> bytes:
    """The bytes of a proper request; a body has its length, unless `headers` say how long it is."""
    lines = [f"{method} {path} HTTP/1.1", "Host: here", *headers]
    lines += [f"x-webio-token: {token}"] if token else []
    if body and not any(line.lower().startswith(("content-length", "transfer-encoding")) for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer of the server."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def data(self) -> Any:
        return json.loads(self.body)


class Wire:
    """A connection, whose bytes are the test's own."""

    def __init__(self, connection: socket.socket) -> None:
        self.socket = connection
        self._read = b""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> Self:
        """Send as much as the server takes; it may have closed already."""
        with suppress(OSError):
            self.socket.sendall(data)
        return self

    def answer(self) -> Answer:
        """The next answer; fails when the connection ends, or nothing comes."""
        while (end := self._read.find(b"\r\n\r\n")) < 0:
            self._more()
        head, start = self._read[:end].decode("latin-1").split("\r\n"), end + 4
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        length = int(headers.get("content-length", 0))
        while len(self._read) < start + length:
            self._more()
        body, self._read = self._read[start : start + length], self._read[start + length :]
        return Answer(int(head[0].split()[1]), headers, body)

    def _more(self) -> None:
        data = self.socket.recv(65_536)
        if not data:
            pytest.fail(f"the server has closed the connection after {self._read!r}")
        self._read += data

    def ended(self) -> bool:
        """Whether the server closes the connection without another word."""
        try:
            return not self._read and not self.socket.recv(1)
        except ConnectionError:
            return True


class Listener:
    """A running server, with the real gate and an app that tells what it was asked.

    `/hold` answers when `release` is set; `/early` answers without reading; `/big` answers with 16 MiB, `/medium`
    with less than what makes writing pause.
    """

    def __init__(self, limits: Limits, settings: HttpSettings, tls: ssl.SSLContext | None, graceful: float) -> None:
        self.measures = Measures()
        self.seen: list[tuple[str, str, int]] = []
        self.headers: list[tuple[bytes, bytes]] = []
        self.holding = threading.Semaphore(0)
        self.release = threading.Event()
        self.gone = threading.Event()
        listener = bind(settings.listen)
        self.port = int(listener.getsockname()[1])
        gate = Gate(self._app, settings, self.measures)
        self.server = make_server(
            gate, limits, tls=tls, trusted_proxies=settings.trusted_proxies, graceful_seconds=graceful,
            measures=self.measures,
        )  # fmt: skip
        self._tls = tls is not None
        self._thread = threading.Thread(target=run, args=(self.server, [listener]))
        self._thread.start()

    def wire(self, timeout: float = 5.0) -> Wire:
        """A new connection."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout)
        return Wire(client_context().wrap_socket(connection) if self._tls else connection)

    def ask(self, data: bytes) -> Answer:
        """The first answer to these bytes."""
        with self.wire() as wire:
            return wire.send(data).answer()

    def refused(self, data: bytes) -> int:
        """The status these bytes get, after which the connection ends."""
        with self.wire() as wire:
            answer = wire.send(data).answer()
            assert wire.ended()
            assert set(answer.data) == {"error"}
            assert answer.headers["connection"] == "close"
            return answer.status

    def neighbour(self) -> None:
        """Another sender is answered at once."""
        began = time.monotonic()
        assert self.ask(request()).status == 200
        assert time.monotonic() - began < PROMPT

    def stop(self) -> None:
        """End it as the daemon does."""
        self.server.stop()

    def ended(self) -> bool:
        self._thread.join(0.01)
        return not self._thread.is_alive()

    @property
    def connections(self) -> int:
        return len(self.server.server_state.connections)

    def idle(self) -> bool:
        """Whether nothing is left of anybody."""
        state = self.server.server_state
        return not state.connections and not state.tasks and not self.server._protocol.turned_away

    def counted(self, name: str, *labels: str) -> int:
        """A counter's value."""
        found = [
            each["count"] for each in self.measures.snapshot() if (each["name"], each["labels"]) == (name, [*labels])
        ]
        return int(sum(found))

    async def _app(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        path = scope["path"]
        scope[ROUTE] = "webhooks" if path == "/webhooks" else "other"
        self.headers = scope["headers"]
        size, more = 0, path != "/early"
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                self.gone.set()
                return
            size += len(message["body"])
            more = message["more_body"]
        if path == "/hold":
            self.holding.release()
            while not self.release.is_set():
                await asyncio.sleep(0.005)
        self.seen.append((scope["method"], path, size))
        body = {"/big": bytes(16 * 2**20), "/medium": bytes(50_000)}.get(
            path, json.dumps({"path": path, "size": size}).encode()
        )
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
        for start in range(0, len(body), 65_536):
            piece = body[start : start + 65_536]
            await send({"type": "http.response.body", "body": piece, "more_body": start + 65_536 < len(body)})


@contextmanager
def listening(
    *, tls: ssl.SSLContext | None = None, graceful: float = 5.0, limits: dict[str, Any] | None = None, **changes: Any
) -> Iterator[Listener]:
    """A listener; at the end it has nobody left and stops."""
    made = Listener(replace(LIMITS, **(limits or {})), settings(**changes), tls, graceful)
    try:
        wait_until(lambda: made.server.started)
        yield made
        made.release.set()
        wait_until(lambda: made.ended() or made.idle(), what="everybody to be gone")
    finally:
        made.release.set()
        made.stop()
        wait_until(made.ended, what="the server to end")


def client_context() -> ssl.SSLContext:
    """A client that takes any certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
