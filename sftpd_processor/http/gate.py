"""The gate of the public listener: who has no right token gets no further, on any path, and learns nothing from it.

Pure ASGI, since every request passes through here.
"""

from __future__ import annotations

import ipaddress
import logging
import math
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.http.token import HEADER, Verifier
from sftpd_processor.measures import Measures

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

ROUTE = "sftpd_route"
"""Where in the scope the app notes a request's route: "webhooks", "custom-values" or "other"."""
OTHER = "other"
UNANSWERED = "none"
"""The status, in measures, of a request whose sender went away before its answer, or whose answering failed."""

_TOKEN = HEADER.encode()
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}
_MOST_PEERS = 4096
_MOST_LINES = 60  # a minute, of all networks together
_MINUTE = 60.0
_IPV6_NETWORK = 64  # bits; what one customer of a provider has to himself


def _answer(status: int, body: bytes, *more: tuple[bytes, bytes]) -> tuple[Message, Message]:
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body)), *more]
    start = {"type": "http.response.start", "status": status, "headers": headers}
    return start, {"type": "http.response.body", "body": body}


_UNAUTHORIZED = _answer(401, b'{"error": "unauthorized"}', (b"www-authenticate", _TOKEN))


class Gate:
    """Lets requests with a right token through to the app, and measures them all."""

    def __init__(self, app: App, settings: HttpSettings, measures: Measures) -> None:
        self._app = app
        self._measures = measures
        self._verifier = Verifier(settings) if settings.auth == "token" else None
        self._failures = Failures(settings.failures_per_minute)
        self._access_log = settings.access_log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        began = time.perf_counter()
        status = UNANSWERED

        def noting(message: Message) -> Awaitable[None]:  # plain: a coroutine around each message would cost more
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            return send(message)

        try:
            why = self._why_not(scope)
            if why is None:
                await self._app(scope, receive, noting)
            else:
                await self._refuse(scope, noting, why)
        finally:
            self._note(scope, status, time.perf_counter() - began)

    def _why_not(self, scope: Scope) -> str | None:
        """None for a right token, else what is to be counted."""
        if self._verifier is None:
            return None
        tokens = [value for name, value in scope["headers"] if name == _TOKEN]
        if not tokens:
            return "missing"
        return None if len(tokens) == 1 and self._verifier.accepts(tokens[0]) else "wrong"

    async def _refuse(self, scope: Scope, send: Send, why: str) -> None:
        wait = self._failures.note(_network(scope), time.monotonic())
        self._measures.count("http_refused_tokens", "limited" if wait else why)
        start, body = _UNAUTHORIZED
        if wait:
            more = ((b"retry-after", b"%d" % wait), (b"connection", b"close"))
            start, body = _answer(429, b'{"error": "too many requests without a right token"}', *more)
        await send(start)
        await send(body)

    def _note(self, scope: Scope, status: str, seconds: float) -> None:
        route = scope.get(ROUTE, OTHER)
        self._measures.count("http_requests", route, status)
        self._measures.observe("http_request_seconds", route, seconds=seconds)
        if self._access_log:
            method = scope["method"] if scope["method"] in _METHODS else OTHER
            logger.info("http: %s %s %s in %.1f ms from %s", method, route, status, seconds * 1000, _address(scope))


class Failures:
    """How many requests without a right token came from each network within a minute.

    Of no more than `_MOST_PEERS` networks; then the one that has failed least recently is forgotten.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()
        self._lines = (0.0, 0)

    def note(self, network: str, now: float) -> int:
        """Count one more; after how many seconds to come again, 0 when there were not too many.

        The first of a network is logged; as long as it goes on, so is each minute's number when the next one begins.
        """
        since, count = self._seen.get(network, (now, 0))
        if now - since >= _MINUTE:
            self._log(network, count, now)
            since, count = now, 0
        elif not count:
            self._log(network, 1, now)
        self._seen[network] = (since, count + 1)
        self._seen.move_to_end(network)
        if len(self._seen) > _MOST_PEERS:
            self._seen.popitem(last=False)
        return max(1, math.ceil(since + _MINUTE - now)) if count >= self._per_minute else 0

    def _log(self, network: str, count: int, now: float) -> None:
        since, lines = self._lines
        if now - since >= _MINUTE:
            since, lines = now, 0
        self._lines = (since, lines + 1)
        if lines < _MOST_LINES:
            requests = "request" if count == 1 else "requests"
            logger.warning("http: %d %s without a right token from %s within a minute", count, requests, network)


def _parsed(scope: Scope) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    client = scope.get("client")
    try:
        found = ipaddress.ip_address(client[0].partition("%")[0]) if client else None  # a zone may be any text
    except ValueError:  # a proxy that is trusted handed on something else
        return None
    return getattr(found, "ipv4_mapped", None) or found


def _address(scope: Scope) -> str:
    return str(_parsed(scope) or "an unknown address")


def _network(scope: Scope) -> str:
    found = _parsed(scope)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, _IPV6_NETWORK), strict=False))
    return str(found or "an unknown address")
