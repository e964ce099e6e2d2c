"""What the sidecar's answers are measured against: the same server without us, in a process of its own.

python benchmarks/bare.py asgi|starlette PORT
"""

from __future__ import annotations

import sys
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

_BODY = b'{"balance":"12.50"}'
_HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(_BODY))]


async def asgi(_scope: Any, _receive: Any, send: Any) -> None:
    """The least that answers."""
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": _BODY})


async def _values(_request: Request) -> JSONResponse:
    return JSONResponse({"balance": "12.50"})


APPS: dict[str, Any] = {"asgi": asgi, "starlette": Starlette(routes=[Route("/custom-values", _values)])}


def main(kind: str, port: str) -> None:
    """Serve until the end."""
    uvicorn.run(
        APPS[kind], host="127.0.0.1", port=int(port), http="httptools", loop="uvloop", ws="none", lifespan="off",
        interface="asgi3", access_log=False, server_header=False, log_level="warning",
    )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
