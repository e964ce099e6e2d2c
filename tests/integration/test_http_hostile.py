"""What strangers may send to the public listener: all of it is refused, in a bounded time, and hurts nobody else."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from tests.integration.hostile_requests import BAD_CHUNKS, NOT_HTTP, TOO_LARGE
from tests.integration.http_items import LIMITS, TOKEN, Listener, Wire, listening, request
from tests.support import wait_until


@pytest.fixture(scope="module")
def shared() -> Iterator[Listener]:
    """One server for all of them: what one test does must not be felt by the next."""
    with listening() as listener:
        yield listener


@pytest.fixture
def listener(shared: Listener) -> Iterator[Listener]:
    """Afterwards a neighbour is answered at once."""
    yield shared
    shared.neighbour()


@pytest.mark.parametrize("data", NOT_HTTP.values(), ids=NOT_HTTP.keys())
def test_what_is_not_proper_http_is_400(listener: Listener, data: bytes) -> None:
    """What can be read in two ways, or in none, gets 400 and the end of the connection; the app never hears of it."""
    before = len(listener.seen)
    assert listener.refused(data) == 400
    assert len(listener.seen) == before


@pytest.mark.parametrize("chunks", BAD_CHUNKS.values(), ids=BAD_CHUNKS.keys())
def test_bad_chunks_are_400(listener: Listener, chunks: bytes) -> None:
    """Chunks that are wrong get 400, whether or not the app reads the body already, which then ends."""
    before = len(listener.seen)
    assert listener.refused(request("/webhooks", "Transfer-Encoding: chunked", method="POST", body=chunks)) == 400
    with listener.wire() as wire:
        wire.send(request("/webhooks", "Transfer-Encoding: chunked", method="POST"))
        wire.send(chunks)
        assert wire.answer().status == 400
        assert wire.ended()
    assert len(listener.seen) == before


@pytest.mark.parametrize("version", ["HTTP/0.9", "HTTP/2.0"])
def test_other_versions_are_505(listener: Listener, version: str) -> None:
    """Versions other than 1.0 and 1.1 get 505, also 0.9 with or without its name."""
    assert listener.refused(f"GET / {version}\r\nHost: a\r\n\r\n".encode()) == 505
    assert listener.refused(b"GET /\r\n\r\n") == 505


def test_an_old_client(listener: Listener) -> None:
    """HTTP/1.0 without a host is answered, and the connection closed."""
    with listener.wire() as wire:
        answer = wire.send(b"GET /webhooks HTTP/1.0\r\nx-webio-token: %s\r\n\r\n" % TOKEN.encode()).answer()
        assert answer.status == 200
        assert wire.ended()


@pytest.mark.parametrize("data", TOO_LARGE.values(), ids=TOO_LARGE.keys())
def test_too_large_a_head_is_431(listener: Listener, data: bytes) -> None:
    """A head over the limit gets 431, however it is made up, and in one piece or in small ones."""
    assert listener.refused(data) == 431
    with listener.wire() as wire:
        for start in range(0, 3 * LIMITS.header_bytes, 1000):
            wire.send(data[start : start + 1000])
        assert wire.answer().status == 431


def test_the_answer_can_be_read(listener: Listener) -> None:
    """Who is refused while it still sends can send for a moment, and so comes to read why."""
    for head in ("Content-Length: 5000000", "Transfer-Encoding: chunked"):
        with listener.wire() as wire:
            wire.socket.sendall(request("/webhooks", head, method="POST") + b"4c4b40\r\n" + bytes(5_000_000))
            assert wire.answer().status == 413


def in_pieces(listener: Listener, wire: Wire, data: bytes) -> None:
    """Send so that the server reads each piece by itself."""
    wait_until(lambda: listener.connections == 1)
    (connection,) = listener.server._connections()
    before = connection._fed
    for end in range(1000, len(data), 1000):
        wire.send(data[end - 1000 : end])
        wait_until(lambda end=end: connection._fed >= before + end)  # type: ignore[misc]
    wire.send(data[end:])


def test_a_head_within_the_limit(listener: Listener) -> None:
    """A head just below the limit is taken, in one piece or in small ones, also the second one of a connection."""
    data = request("/webhooks", "x: " + "a" * (LIMITS.header_bytes - 500))
    with listener.wire() as wire:
        for _ in range(2):
            assert wire.send(data).answer().status == 200
        for _ in range(2):
            in_pieces(listener, wire, data)
            assert wire.answer().status == 200


def chunked(size: int, piece: int) -> bytes:
    return b"".join([b"%x\r\n%s\r\n" % (piece, b"x" * piece)] * (size // piece)) + b"0\r\n\r\n"


def test_too_large_a_body_is_413(listener: Listener) -> None:
    """64 MB, announced or in chunks, get 413; what was announced reaches no app at all."""
    before = len(listener.seen)
    announced = request("/webhooks", f"Content-Length: {64 * 10**6}", method="POST")
    assert listener.refused(announced + bytes(64 * 10**6)) == 413
    assert listener.refused(announced) == 413
    head = request("/webhooks", "Transfer-Encoding: chunked", method="POST")
    assert listener.refused(head + chunked(64 * 10**6, 64_000)) == 413
    assert listener.refused(head + b"1;" + b"a" * 2_000_000) == 413
    assert listener.refused(head + b"1\r\nx\r\n0\r\n" + b"a: b\r\n" * 300_000) == 413
    assert len(listener.seen) == before


@pytest.mark.parametrize("piece", [1, 7, 50_000])
def test_a_body_within_the_limit(listener: Listener, piece: int) -> None:
    """A body of exactly the limit is taken, whatever the size of its chunks; so is one with its length."""
    size = LIMITS.body_bytes // 7 * 7 if piece == 7 else LIMITS.body_bytes
    data = request("/webhooks", "Transfer-Encoding: chunked", method="POST", body=chunked(size, piece))
    assert listener.ask(data).data["size"] == size
    assert listener.ask(request(method="POST", body=bytes(size))).data["size"] == size


def test_expect(listener: Listener) -> None:
    """Who asks before sending is told to go on; but not when the body is too large, or the token is wrong."""
    expect = "Expect: 100-continue"
    with listener.wire() as wire:
        wire.send(request("/webhooks", expect, "Content-Length: 3", method="POST"))
        assert wire.answer().status == 100
        assert wire.send(b"abc").answer().data["size"] == 3
    assert listener.refused(request("/webhooks", expect, "Content-Length: 100001", method="POST")) == 413
    with listener.wire() as wire:
        wire.send(request("/webhooks", expect, "Content-Length: 3", method="POST", token=None))
        assert wire.answer().status == 401
        assert wire.ended()


def test_what_follows_a_body_is_no_header(listener: Listener) -> None:
    """A header after a chunked body never gets among those that are looked at for the token."""
    late = request(
        "/webhooks", "Transfer-Encoding: chunked", method="POST", token=None,
        body=b"1\r\nx\r\n0\r\nx-webio-token: %s\r\n\r\n" % TOKEN.encode(),
    )  # fmt: skip
    assert listener.ask(late).status == 401
    with_both = late.replace(b"Host: here", b"Host: here\r\nx-webio-token: %s" % TOKEN.encode())
    with listener.wire() as wire:
        assert wire.send(with_both).answer().status == 200
        assert [name for name, _ in listener.headers].count(b"x-webio-token") == 1
        assert wire.send(request(token=None)).answer().status == 401


@pytest.mark.parametrize(
    "path",
    ["/webhooks/../x", "//webhooks", "/%2e%2e/webhooks", "/webhooks;x", "/webhooks%00", "/WEBHOOKS", "/%ff", "*"],
)
def test_path_tricks(listener: Listener, path: str) -> None:
    """A path is compared as it is: none of these is /webhooks, and none gets by the gate."""
    before = [seen for seen in listener.seen if seen[1] == "/webhooks"]
    assert listener.ask(request(path, token=None)).status == 401
    assert listener.ask(request(path)).data["path"] != "/webhooks"
    assert [seen for seen in listener.seen if seen[1] == "/webhooks"] == before


def test_the_whole_address_in_the_request_line(listener: Listener) -> None:
    """As HTTP demands, the address in full is taken, by its path, whatever host it names."""
    assert listener.ask(request("http://elsewhere/webhooks?a=b")).data["path"] == "/webhooks"
    assert listener.ask(request("http://elsewhere/webhooks", token=None)).status == 401


@pytest.mark.parametrize("offer", ["h2c", "websocket"])
def test_another_protocol_is_passed_over(listener: Listener, offer: str) -> None:
    """Who offers HTTP/2 or websockets is answered in HTTP/1.1; with a body, which the parser would take for another
    request, it is 400."""
    offered = ("Connection: Upgrade", f"Upgrade: {offer}")
    with listener.wire() as wire:
        wire.send(request("/webhooks", *offered) + request("/next"))
        assert wire.answer().data["path"] == "/webhooks"
        assert wire.answer().data["path"] == "/next"
    for length in ("Content-Length: 99", "Transfer-Encoding: chunked"):
        assert listener.refused(request("/webhooks", *offered, length, method="POST", body=request("/smuggled"))) == 400
    assert "/smuggled" not in [seen[1] for seen in listener.seen]


def test_a_reset_in_the_middle(listener: Listener) -> None:
    """A sender that resets the connection in its body, or before its answer, leaves nothing behind."""
    for data in (request("/webhooks", "Content-Length: 50", method="POST"), request("/big")):
        with listener.wire() as wire:
            wire.send(data)
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
