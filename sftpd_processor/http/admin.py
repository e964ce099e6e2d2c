"""The admin listener: /healthz, /readyz, /metrics, /version and a status page, for operators and their monitors.

It answers from a thread of the daemon. What may be slow is asked in other threads, and never for longer than some
seconds; /healthz waits for nothing, so it is answered as long as the process lives.
"""

from __future__ import annotations

import logging
import platform
import socket
import threading
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

import sftpd_processor
from sftpd_processor.config.http import AdminSettings
from sftpd_processor.http.page import page
from sftpd_processor.http.protocol import Limits
from sftpd_processor.http.readiness import Health
from sftpd_processor.http.server import Server, address_of, bind, make_server, run
from sftpd_processor.ledger.schema import REVISION

logger = logging.getLogger(__name__)

_LIMITS = Limits(header_bytes=16_384, body_bytes=0, request_seconds=5, connections=64, keep_alive_seconds=60)
_GRACEFUL_SECONDS = 2.0
_NO_STORE = {"Cache-Control": "no-store"}
_PAGE = _NO_STORE | {"Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'"}

Render = Callable[[str], tuple[bytes, str]]
"""The metrics in the format that a header `Accept` asks for, and their content type."""


class AdminListener:
    """Answers operators between `start` and `stop`."""

    def __init__(self, settings: AdminSettings, health: Health, metrics: Render) -> None:
        self._settings = settings
        self._server: Server = make_server(admin_app(health, metrics), _LIMITS, graceful_seconds=_GRACEFUL_SECONDS)
        self._socket: socket.socket | None = None
        self._thread = threading.Thread(target=self._serve, name="admin", daemon=True)

    @property
    def address(self) -> str:
        """Where it listens, with the port that was found if none was set."""
        if self._socket is None:
            return self._settings.listen
        return address_of(self._socket)

    def start(self) -> None:
        """Bind and begin. Raises `PermanentError` when the address cannot be had."""
        self._socket = bind(self._settings.listen)
        logger.info("admin listener: %s", self.address)
        self._thread.start()

    def stop(self) -> None:
        """End what is under way, within seconds."""
        if self._socket is not None:
            self._server.stop()
            self._thread.join(2 * _GRACEFUL_SECONDS)
            self._socket.close()

    def _serve(self) -> None:
        assert self._socket is not None, "start() comes first"  # noqa: S101
        try:
            run(self._server, [self._socket])
        except Exception:
            logger.exception("the admin listener has ended; please report it")


def admin_app(health: Health, metrics: Render) -> ASGIApp:
    """The application behind it."""
    answers = _Answers(health, metrics)
    routes = [
        Route("/", answers.status, methods=["GET"]),
        Route("/healthz", answers.alive, methods=["GET"]),
        Route("/readyz", answers.ready, methods=["GET"]),
        Route("/metrics", answers.metrics, methods=["GET"]),
        Route("/version", answers.version, methods=["GET"]),
    ]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _broken})
    app.router.redirect_slashes = False
    return _telling(app)


def _telling(app: ASGIApp) -> ASGIApp:
    """Starlette answers 500 and raises on; the connection has nothing to do with it."""

    async def call(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await app(scope, receive, send)
        except Exception:
            logger.exception("the admin listener: internal error; please report it")

    return call


class _Answers:
    """Those that are not `async` run in a thread each."""

    def __init__(self, health: Health, metrics: Render) -> None:
        self._health = health
        self._metrics = metrics

    async def alive(self, _request: Request) -> Response:
        return _json({"status": "alive"})

    def ready(self, _request: Request) -> Response:
        wrong = self._health.wrong()
        told = {
            "ready": not wrong,
            "wrong": [each._asdict() for each in wrong],
            "sources": {
                name: each._asdict()
                | {"last_good_poll": each.last_good_poll and each.last_good_poll.isoformat(timespec="seconds")}
                for name, each in self._health.sources().items()
            },
        }
        return _json(told, HTTPStatus.SERVICE_UNAVAILABLE if wrong else HTTPStatus.OK)

    def metrics(self, request: Request) -> Response:
        body, content_type = self._metrics(request.headers.get("accept", ""))
        return Response(body, headers=_NO_STORE | {"Content-Type": content_type})

    async def version(self, _request: Request) -> Response:
        return _json(
            {
                "version": sftpd_processor.__version__,
                "python": platform.python_version(),
                "ledger_revision": REVISION,
            }
        )

    def status(self, _request: Request) -> Response:
        return HTMLResponse(page(self._health.wrong(), self._health.sources()), headers=_PAGE)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for it only"  # noqa: S101
    return _json({"error": error.detail.lower()}, error.status_code, error.headers)


async def _broken(_request: Request, _error: Exception) -> Response:
    return _json({"error": "internal error"}, HTTPStatus.INTERNAL_SERVER_ERROR)


def _json(body: dict[str, Any], status: int = HTTPStatus.OK, headers: Any = None) -> Response:
    return JSONResponse(body, status, headers=_NO_STORE | dict(headers or {}))
