"""What a stranger may ask of a connection: uvicorn's protocol with a bound on everything that comes from outside.

uvicorn with httptools bounds neither the size of a head, nor the time in which a request arrives, nor a connection
that never sends anything. What is refused here never reaches the app.
"""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.measures import Measures

PIPELINED = 32
"""How many requests of one connection may wait for the answers to those before them."""
UNREAD = "unread"
"""The route, in measures, of requests that reached none."""

_PASSED_OVER = 65_536  # bytes of a body that nobody asked for, and that are read all the same
_TURNED_AWAY = 64  # connections above the limit that get an answer; those beyond are just closed
_LINGER_SECONDS = 1.0  # in which a peer may read why it was refused, and what it still sends is thrown away
_LAST_CALL_SECONDS = 0.25  # in which a request already on its way is still taken when the server ends
_CHUNK_OVERHEAD = 8  # a body of chunks of one byte each is six times as long on the wire
_LINE_OVERHEAD = 4  # the colon, the space and the end of the line
_FOREVER = math.inf

_WHY = {
    400: "this is not a proper HTTP request",
    408: "the request did not arrive in time",
    413: "the body is too large",
    431: "the headers are too large",
    503: "too many connections or requests at once",
    505: "only HTTP/1.0 and HTTP/1.1 are spoken here",
}


@dataclass(frozen=True, slots=True)
class Limits:
    """What one connection may cost, and how many there may be.

    `request_seconds` is from a request's first byte (of a new connection: from its beginning) to its last one, and as
    long as a peer may leave an answer unread.
    """

    header_bytes: int
    body_bytes: int
    request_seconds: float
    connections: int
    keep_alive_seconds: float

    @classmethod
    def of(cls, settings: HttpSettings) -> Limits:
        """Those of the settings."""
        return cls(
            settings.max_header_bytes,
            settings.max_body_bytes,
            settings.request_timeout_seconds,
            settings.max_connections,
            settings.keep_alive_seconds,
        )


class _Refused(Exception):
    """A request that is answered here, with `status`, and the end of its connection."""

    def __init__(self, status: int) -> None:
        super().__init__(_WHY[status])
        self.status = status


class BoundedProtocol(HttpToolsProtocol):
    """One connection.

    It receives a request while `_receiving`, and answers one while `_answering`. `deadline` is when what it waits for
    is overdue, and `write_deadline` when the peer should have read; the server looks at both now and then (`watch`),
    which costs less than timers for each request.
    """

    limits: ClassVar[Limits]
    measures: ClassVar[Measures]
    turned_away: ClassVar[set[BoundedProtocol]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.deadline = _FOREVER
        self.write_deadline = _FOREVER
        self._current: RequestResponseCycle | None = None
        self._refused: int | None = None
        self._ending = False
        self._lingering = False
        self._receiving = False
        self._in_head = True
        self._chunked = False
        self._turns = 0
        self._fed = self._head_bytes = self._body_bytes = self._length = self._hosts = 0

    @property
    def _answering(self) -> bool:
        return self._current is not None and not self._current.response_complete

    # The connection

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client and self.client[0].startswith("::ffff:"):  # IPv4 at an IPv6 socket: one peer, one address
            self.client = (self.client[0].removeprefix("::ffff:"), self.client[1])
        self.deadline = self.loop.time() + self.limits.request_seconds
        if len(self.connections) > self.limits.connections:
            self._turn_away()

    def connection_lost(self, exc: Exception | None) -> None:
        self.turned_away.discard(self)
        if self._current is not None:  # uvicorn tells only the last of several requests
            self._current.disconnected = True
            self._current.message_event.set()
        super().connection_lost(exc)

    def eof_received(self) -> bool | None:  # type: ignore[override]
        """A peer that has said all it wants to may still read its answers (but not in TLS, which knows no half)."""
        if not self._answering or self._receiving or self._lingering or self.scheme == "https":
            return None
        self.cycle.keep_alive = False
        return True

    def shutdown(self) -> None:
        """Finish what is under way, and take what is on its way already; then close."""
        self._ending = True
        if self._answering:
            self.cycle.keep_alive = False
        elif not self._receiving:
            self.deadline = min(self.deadline, self.loop.time() + _LAST_CALL_SECONDS)

    def pause_writing(self) -> None:
        super().pause_writing()
        self.write_deadline = self.loop.time() + self.limits.request_seconds

    def resume_writing(self) -> None:
        super().resume_writing()
        if not self._lingering:
            self.write_deadline = _FOREVER

    def watch(self, now: float) -> None:
        """End what is overdue; to be called several times a second."""
        if self.write_deadline <= now:
            self.transport.abort()
        elif self.transport.is_closing():
            if self.write_deadline == _FOREVER:  # it waits for the peer to read the rest
                self.write_deadline = now + self.limits.request_seconds
        elif self.deadline <= now:
            self._overdue(now)

    def _overdue(self, now: float) -> None:
        if self.flow.read_paused:  # what is missing waits for us, not we for it
            self.deadline = now + self.limits.request_seconds
        elif not self._receiving and (self._turns or self._ending):
            self.transport.close()
        else:
            self._refuse(408)

    # What comes in

    def data_received(self, data: bytes) -> None:
        if self._refused or self._lingering:
            return
        turns = self._turns
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._refuse(cause.status if isinstance(cause, _Refused) else 400)
            return
        if self._turns != turns:
            self._fed = 0
            return
        self._fed += len(data)  # also counts what the parser keeps to itself: half a header, a chunk's extension
        if self._in_head and self._fed > self.limits.header_bytes:
            self._refuse(431)
        elif self._fed > self.limits.header_bytes + _CHUNK_OVERHEAD * self.limits.body_bytes:
            self._refuse(413)

    def _feed(self, data: bytes) -> None:
        while data:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:  # as a server may, we pass over `Upgrade`, and go on
                data = data[upgrade.args[0] :]
            else:
                return

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._head_bytes = self._body_bytes = self._length = self._hosts = 0
        self._chunked = False
        self._receiving = True
        if self._turns:
            self.deadline = self.loop.time() + self.limits.request_seconds

    def on_url(self, url: bytes) -> None:
        self._head_bytes += len(url)
        if self._head_bytes > self.limits.header_bytes:
            raise _Refused(431)
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._in_head:
            return  # after the body; uvicorn would put it among the headers that the app sees
        self._head_bytes += len(name) + len(value) + _LINE_OVERHEAD
        if self._head_bytes > self.limits.header_bytes:
            raise _Refused(431)
        name = name.lower()
        if name == b"content-length":
            self._length = int(value)
        elif name == b"host":
            self._hosts += 1
        elif name == b"expect":
            self.expect_100_continue = value.lower() == b"100-continue"
        elif name == b"transfer-encoding":
            self._chunked = True
            if value.lower() != b"chunked":
                raise _Refused(400)
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        version = self.parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise _Refused(505)
        if self._hosts != 1 and (self._hosts or version == "1.1"):
            raise _Refused(400)
        if self._length > self.limits.body_bytes:
            raise _Refused(413)
        if (self._length or self._chunked) and self.parser.should_upgrade():
            raise _Refused(400)  # httptools would take its body for the next request
        if len(self.pipeline) >= PIPELINED:
            raise _Refused(503)
        super().on_headers_complete()
        self._in_head = False
        self._turns += 1
        if self._ending:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._body_bytes += len(body)
        if self._body_bytes > self.limits.body_bytes:
            raise _Refused(413)
        super().on_body(body)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._receiving = False
        self._turns += 1
        self._rest()

    # What goes out

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._current = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._refused:
            self._say_refused()
        elif self._receiving and not self._nearly_received():
            self._linger()  # its body need not be looked at; after `Expect`, nobody can tell whether it comes at all
        else:
            self._rest()
        if not self.pipeline:
            self.flow.resume_reading()

    def _nearly_received(self) -> bool:
        """Whether so little is to come that the connection is kept: the peer may send its next request already."""
        left = self._length - self._body_bytes
        return not self._chunked and not self.expect_100_continue and left <= _PASSED_OVER

    def _rest(self) -> None:
        """Nothing is overdue while the app works; then the next request is, in a while."""
        if self._answering:
            self.deadline = _FOREVER
        elif not self._receiving:
            self.deadline = self.loop.time() + self.limits.keep_alive_seconds

    # Refusing

    def _turn_away(self) -> None:
        self.connections.discard(self)
        if len(self.turned_away) >= _TURNED_AWAY:
            self.measures.count("http_requests", UNREAD, "503")
            self.transport.abort()
            return
        self.turned_away.add(self)
        self._refuse(503)

    def _refuse(self, status: int) -> None:
        """Answer with `status` in its turn, after the requests before, and close."""
        self._refused = status
        self.deadline = _FOREVER
        self.measures.count("http_requests", UNREAD, str(status))
        if self._receiving and not self._in_head:
            self._forget()
        if not self._answering:
            self._say_refused()
        self.flow.resume_reading()

    def _forget(self) -> None:
        """The request whose body is refused: it waits for its turn, or the app is at it already."""
        if self.pipeline:
            self.pipeline.popleft()
        elif self._current is not None and self._current.response_started:
            self._linger()
        elif self._current is not None:
            self._current.disconnected = self._current.response_complete = True
            self._current.message_event.set()

    def _say_refused(self) -> None:
        if self._refused is not None and not self._lingering:
            self.transport.write(self._refusal(self._refused))
            self._linger()

    def _linger(self) -> None:
        """Close, but read on for a moment: else what still comes would make the peer forget the answer unread."""
        self._lingering = True
        self.deadline = _FOREVER
        self.write_deadline = self.loop.time() + _LINGER_SECONDS
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _refusal(self, status: int) -> bytes:
        body = json.dumps({"error": _WHY[status]}).encode()
        lines = [
            b"HTTP/1.1 %d %s" % (status, HTTPStatus(status).phrase.encode()),
            *(name + b": " + value for name, value in self.server_state.default_headers),
            b"content-type: application/json",
            b"content-length: %d" % len(body),
            b"connection: close",
        ]
        return b"\r\n".join([*lines, b"", body])


def bounded(limits: Limits, measures: Measures | None = None) -> type[BoundedProtocol]:
    """The protocol of one server, with its limits; what is refused is counted in `measures`."""
    inside = {"limits": limits, "measures": measures or Measures(), "turned_away": set()}
    return type("Bounded", (BoundedProtocol,), inside)
