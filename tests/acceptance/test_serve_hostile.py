"""The real `serve`, with its real app, against senders of every bad kind: it goes on as if they had not been."""

from __future__ import annotations

import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.sidecar import Caller, http, static
from tests.acceptance.support import Desk, Running, event, local
from tests.integration.hostile_requests import BAD_CHUNKS, NOT_HTTP, TOO_LARGE
from tests.integration.http_items import SECRET, TOKEN, Wire, request

LIMITS: dict[str, Any] = {"max_header_bytes": 8192, "max_body_bytes": 100_000, "request_timeout_seconds": 1.0}


def serving(desk: Desk, tmp_path: Path) -> tuple[Running, Caller]:
    (tmp_path / "in").mkdir()
    listener = http(token_secrets=[SECRET], failures_per_minute=100_000, **LIMITS)
    desk.configure(local(tmp_path / "in"), http=listener, values=[static(**{"7": {"balance": "12.50"}})])
    running = desk.start("serve")
    return running, Caller(running, TOKEN)


def wire(webio: Caller) -> Wire:
    host, _, port = webio.address.rpartition(":")
    return Wire(socket.create_connection((host, int(port)), 10))


def memory(running: Running) -> int:
    """KiB that it holds now."""
    lines = Path(f"/proc/{running.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def sent(webio: Caller, data: bytes) -> int:
    with wire(webio) as one:
        return one.send(data).answer().status


def test_strangers(desk: Desk, tmp_path: Path) -> None:
    """None of the bad requests is answered with success, slows a bot, leaves a line in the log or a file in the state
    folder, or makes the process grow; afterwards it ends as asked."""
    running, webio = serving(desk, tmp_path)
    assert webio.ask("balance", customer="7").json() == {"balance": "12.50"}
    log, held, files = running.log, memory(running), sorted(path.name for path in desk.state.rglob("*"))
    post = request("/webhooks", "Transfer-Encoding: chunked", method="POST")
    bad = [*NOT_HTTP.values(), *TOO_LARGE.values(), *(post + chunks for chunks in BAD_CHUNKS.values())]
    bad += [post + b"186a1\r\n" + bytes(100_001), request("/webhooks", "Content-Length: 64000000", method="POST")]
    for data in bad:
        assert sent(webio, data) in (400, 413, 431, 505)
        began = time.monotonic()
        assert webio.ask("balance", customer="7").status_code == 200
        assert time.monotonic() - began < 3.0
    assert running.log == log
    assert sorted(path.name for path in desk.state.rglob("*")) == files
    assert memory(running) < held + 30_000
    assert running.stop() == 0


@pytest.mark.parametrize("path", ["/webhooks", "/custom-values?customerUID=7&param1=balance", "/", "/%00", "/metrics"])
def test_no_token_no_difference(desk: Desk, tmp_path: Path, path: str) -> None:
    """Without a right token every path and method gets one and the same answer."""
    _, webio = serving(desk, tmp_path)
    for token in (None, "x", TOKEN[:-1]):
        for method in ("GET", "POST", "DELETE"):
            with wire(webio) as one:
                answer = one.send(request(path, token=token, method=method)).answer()
            assert (answer.status, answer.data) == (401, {"error": "unauthorized"})
            assert set(answer.headers) == {"date", "content-type", "content-length", "www-authenticate"}


def test_path_tricks(desk: Desk, tmp_path: Path) -> None:
    """With a token, paths that only look like the two that there are get 404."""
    _, webio = serving(desk, tmp_path)
    for path in ("/webhooks/", "/webhooks/../custom-values", "//webhooks", "/webhooks;x", "/webhooks%00", "/WEBHOOKS"):
        assert sent(webio, request(path, method="POST", body=b"{}")) == 404
    assert sent(webio, request("/%77ebhooks", method="POST", body=b"{}")) == 400  # the path itself, written otherwise


def test_senders_that_break_off(desk: Desk, tmp_path: Path) -> None:
    """Posts that are too slow, reset or cut in half leave nothing, neither in the ledger nor in the log."""
    running, webio = serving(desk, tmp_path)
    log = running.log
    half = request("/webhooks", "Content-Length: 100", method="POST") + b'{"type"'
    assert sent(webio, half) == 408
    for _ in range(20):
        with wire(webio) as one:
            one.send(half).socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert webio.post(event(1)).status_code == 200
    assert running.stop() == 0
    assert running.log.removeprefix(log).count("\n") == 1  # "stopped"
    assert desk.rows("select count(*) from files") == [(1,)]
