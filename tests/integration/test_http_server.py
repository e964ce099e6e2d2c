"""The server's socket, and whom it believes about where requests come from."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sftpd_processor.errors import PermanentError
from sftpd_processor.http import server as room
from sftpd_processor.http.server import bind
from tests.integration.http_items import PROMPT, listening, request
from tests.support import wait_until


@contextmanager
def taken() -> Iterator[tuple[socket.socket, str]]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        yield other, f"127.0.0.1:{other.getsockname()[1]}"


@pytest.mark.parametrize("address", ["127.0.0.1:0", "[::1]:0", "localhost:0", "0.0.0.0:0", "[::]:0"])
def test_bind(address: str) -> None:
    """A socket that listens and does not block comes of each way to write an address; [::] is for IPv4 as well."""
    with bind(address) as listener:
        port = listener.getsockname()[1]
        assert not listener.getblocking()
        with socket.create_connection(("::1" if "[" in address else "127.0.0.1", port), 5):
            pass
        if address == "[::]:0":
            with socket.create_connection(("127.0.0.1", port), 5):
                pass


def test_a_port_that_becomes_free() -> None:
    """A port that another listener is about to leave is waited for."""
    with taken() as (other, address):
        threading.Timer(0.3, other.close).start()
        bind(address).close()


def test_a_port_that_stays_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port that stays taken is told, after a while, with what to do."""
    monkeypatch.setattr(room, "_TAKEN_SECONDS", 0.3)
    began = time.monotonic()
    with (
        taken() as (_, address),
        pytest.raises(PermanentError, match=f"cannot listen on {address}: the address is in use"),
    ):
        bind(address)
    assert 0.3 <= time.monotonic() - began < 0.3 + PROMPT


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("192.0.2.1:0", "this machine has no such address"),
        ("no-such-host.invalid:80", "no-such-host.invalid is no known name of an address"),
    ],
)
def test_an_address_that_is_not_ours(address: str, told: str) -> None:
    """An address of another machine, or of none, is told at once."""
    began = time.monotonic()
    with pytest.raises(PermanentError, match=told):
        bind(address)
    assert time.monotonic() - began < room._TAKEN_SECONDS


@pytest.mark.parametrize(("listen", "trusted"), [("127.0.0.1:0", "127.0.0.1"), ("[::]:0", "127.0.0.0/8")])
def test_a_trusted_proxy_is_believed(listen: str, trusted: str) -> None:
    """Behind a trusted proxy failures are counted by caller, as the proxy itself saw it; also at an IPv6 socket."""
    with listening(listen=listen, trusted_proxies=[trusted], failures_per_minute=1) as listener:
        for said, status in (("10.0.0.1", 401), ("10.0.0.2", 401), ("10.0.0.1", 429), ("10.9.9.9, 10.0.0.1", 429)):
            assert listener.ask(request("/x", f"X-Forwarded-For: {said}", token=None)).status == status
        assert listener.ask(request("/x", "X-Forwarded-For: 10.0.0.1")).status == 200


@pytest.mark.parametrize("trusted", [[], ["10.0.0.0/8"]])
def test_others_are_not_believed(trusted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is no trusted proxy cannot pass for somebody else; nor does a variable of the environment change that."""
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "*")
    with listening(trusted_proxies=trusted, failures_per_minute=1) as listener:
        answers = [listener.ask(request("/x", f"X-Forwarded-For: 10.0.0.{n}", token=None)).status for n in range(3)]
        assert answers == [401, 429, 429]


def test_an_app_that_fails() -> None:
    """A failing app is answered with 500; the server goes on."""

    async def failing(scope: object, receive: object, send: object) -> None:
        raise RuntimeError("a private text")

    with listening() as listener:
        listener.server.config.loaded_app._app = failing
        for number in range(1, 3):
            assert listener.ask(request()).status == 500
            assert listener.counted("http_requests", "other", "none") == number


def test_a_storm() -> None:
    """Hundreds of connections at once, whole, silent, broken off and reset, leave nothing behind."""
    with listening(limits={"connections": 50}) as listener:
        threads = [threading.Thread(target=_storm, args=(listener.port, number)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_until(listener.idle)
        listener.neighbour()


def _storm(port: int, seed: int) -> None:
    pieces = [b"", request(), request()[:-5], b"\0", request("/big"), request(token=None) * 40]
    pieces.append(request(method="POST", body=bytes(90_000)))
    for number in range(40):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as connection:
            connection.sendall(pieces[(number + seed) % len(pieces)])
            if not number % 4:
                connection.recv(100)
