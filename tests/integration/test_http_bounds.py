"""What senders may cost the public listener: time, connections, answers that are not read; and how it ends."""

from __future__ import annotations

import contextlib
import logging
import select
import signal
import socket
import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest

from sftpd_processor.http.server import bind, make_server, run
from tests.integration.http_items import LIMITS, PROMPT, Listener, Wire, listening, request
from tests.support import wait_until

SLOW = LIMITS.request_seconds


@pytest.fixture
def listener() -> Iterator[Listener]:
    with listening() as made:
        yield made


def hold(listener: Listener, wire: Wire, *more: bytes) -> None:
    """Have the app work on a request."""
    wire.send(request("/hold") + b"".join(more))
    assert listener.holding.acquire(timeout=5)


@pytest.mark.parametrize(
    "begun",
    [
        pytest.param(b"", id="silent"),
        pytest.param(b"GET /webho", id="half a line"),
        pytest.param(request()[:-2], id="half a head"),
        pytest.param(request("/webhooks", "Content-Length: 10", method="POST") + b"abc", id="half a body"),
        pytest.param(
            request("/webhooks", "Transfer-Encoding: chunked", method="POST") + b"5\r\nabc", id="half a chunk"
        ),
    ],
)
def test_who_does_not_finish_is_408(listener: Listener, begun: bytes) -> None:
    """A request that does not arrive whole gets 408 after the time allowed, and the app is told; so is silence."""
    began = time.monotonic()
    with listener.wire() as wire:
        answer = wire.send(begun).answer()
        assert (answer.status, wire.ended()) == (408, True)
    assert SLOW * 0.9 < time.monotonic() - began < SLOW + PROMPT
    if b"POST" in begun:
        wait_until(listener.gone.is_set)
    listener.neighbour()


@pytest.mark.parametrize("earlier", [0, 1])
def test_a_slow_sender_gets_no_more_time(listener: Listener, earlier: int) -> None:
    """One byte after another does not lengthen the time, for a first request of a connection or a later one."""
    with listener.wire() as wire:
        for _ in range(earlier):
            assert wire.send(request()).answer().status == 200
        began = time.monotonic()
        for byte in request() + bytes(1000):
            wire.send(bytes([byte]))
            if select.select([wire.socket], [], [], 0.01)[0]:
                break
        assert wire.answer().status == 408
        assert SLOW * 0.9 < time.monotonic() - began < SLOW + PROMPT


def test_a_late_start_gets_no_more_time(listener: Listener) -> None:
    """A new connection's time runs from its beginning, not from the first byte that comes."""
    with listener.wire() as wire:
        wait_until(lambda: listener.connections == 1)
        (connection,) = listener.server._connections()
        deadline = connection.deadline
        wire.send(b"G")
        wait_until(lambda: connection._receiving)
        assert connection.deadline == deadline


def test_keep_alive_ends(listener: Listener) -> None:
    """A connection without requests is closed without a word, also when empty lines go on coming."""
    for noise in (b"", b"\r\n"):
        with listener.wire() as wire:
            assert wire.send(request()).answer().status == 200
            began = time.monotonic()
            while not select.select([wire.socket], [], [], 0.02)[0]:
                wire.send(noise)
            assert wire.ended()
            assert time.monotonic() - began < LIMITS.keep_alive_seconds + PROMPT


@pytest.mark.parametrize("half", [b"", request("/webhooks", "Content-Length: 3", method="POST")])
def test_work_takes_its_time(listener: Listener, half: bytes) -> None:
    """While the app works on an answer, that is not overdue; half a request behind it may be, in its turn."""
    with listener.wire() as wire:
        hold(listener, wire, half)
        with listener.wire() as silent:  # begun later, so that its end means that the time of the first is over, too
            assert silent.answer().status == 408
        listener.release.set()
        assert wire.answer().data["path"] == "/hold"
        assert wire.send(b"" if half else request()).answer().status == (408 if half else 200)


def test_too_many_connections(listener: Listener) -> None:
    """Connections above the limit get 503 at once, far more of them just an end; and when others have gone, there is
    room again."""
    with contextlib.ExitStack() as opened:
        for _ in range(LIMITS.connections):
            assert opened.enter_context(listener.wire()).send(request()).answer().status == 200
        began = time.monotonic()
        assert listener.refused(b"") == 503
        assert time.monotonic() - began < PROMPT
        more = [opened.enter_context(listener.wire()) for _ in range(200)]
        wait_until(lambda: listener.counted("http_requests", "unread", "503") == 201)
        assert len(listener.server._protocol.turned_away) <= 64
        assert more[0].answer().status == 503
        assert more[-1].ended()
    wait_until(lambda: listener.connections == 0)
    listener.neighbour()


def test_pipelining(listener: Listener) -> None:
    """Requests sent at once are answered in their order; of hundreds the first ones, and then 503 and the end."""
    with listener.wire() as wire:
        wire.send(b"".join(request(f"/{number}") for number in range(30)))
        assert [wire.answer().data["path"] for _ in range(30)] == [f"/{number}" for number in range(30)]
    with listener.wire() as wire:
        wire.send(b"".join(request(f"/{number}") for number in range(500)))
        answers = [wire.answer()]
        while answers[-1].status == 200:
            answers.append(wire.answer())
        assert wire.ended()
    assert [answer.data["path"] for answer in answers[:-1]] == [f"/{number}" for number in range(len(answers) - 1)]
    assert (answers[-1].status, len(answers) > 30) == (503, True)
    listener.neighbour()


@pytest.mark.parametrize("bad", [b"\0", request("/x", "Content-Length: 999999", method="POST") + b"x" * 999])
def test_a_refusal_waits_for_its_turn(listener: Listener, bad: bytes) -> None:
    """What is refused behind a request under way is refused after its answer, not in its place."""
    with listener.wire() as wire:
        hold(listener, wire, request("/second"), bad)
        wait_until(lambda: listener.counted("http_requests", "unread", "400" if bad == b"\0" else "413"))
        listener.release.set()
        assert wire.answer().data["path"] == "/hold"
        assert wire.answer().data["path"] == "/second"
        assert wire.answer().status in (400, 413)
        assert wire.ended()


def test_a_body_that_grows_too_large_behind_another_request(listener: Listener) -> None:
    """A chunked body over the limit that waits for its turn never reaches the app."""
    with listener.wire() as wire:
        hold(listener, wire, request("/large", "Transfer-Encoding: chunked", method="POST") + b"186a1\r\n")
        wire.send(b"x" * 100_001)
        listener.release.set()
        assert wire.answer().data["path"] == "/hold"
        assert wire.answer().status == 413
        assert wire.ended()
    assert [seen[1] for seen in listener.seen] == ["/hold"]


def test_an_answer_that_is_not_read(listener: Listener) -> None:
    """Who does not read the answer is cut off, also when the app is done with it; the app's task ends."""
    for path in ("/big", "/webhooks"):
        with listener.wire() as wire:
            wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.send(request(path) * 30)
            wait_until(lambda: listener.connections == 1)
            listener.neighbour()
            wait_until(listener.idle, what="the reader to be cut off")


def test_a_last_answer_that_is_not_read(listener: Listener) -> None:
    """Who does not read the last of a connection is cut off, although it fits into what is held for him."""
    with socket.socket() as reader:
        reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        reader.connect(("127.0.0.1", listener.port))
        wait_until(lambda: listener.connections == 1)
        (connection,) = listener.server._connections()
        connection.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
        reader.sendall(request("/medium", "Connection: close"))
        wait_until(connection.transport.is_closing)
        assert connection.transport.get_write_buffer_size() > 0
        wait_until(lambda: listener.connections == 0, what="the reader to be cut off")


def test_the_watch_goes_on(listener: Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """A failure of ours with one connection ends that connection, and the others are watched as before."""

    def failing(now: float) -> None:
        raise RuntimeError

    with listener.wire() as broken:
        wait_until(lambda: listener.connections == 1)
        monkeypatch.setattr(listener.server._connections()[0], "watch", failing)
        assert broken.ended()
        assert listener.refused(b"") == 408


def test_half_a_close(listener: Listener) -> None:
    """Who says that nothing more will come still gets its answers; with half a request there is none."""
    with listener.wire() as wire:
        hold(listener, wire, request("/second"))
        wire.socket.shutdown(socket.SHUT_WR)
        listener.release.set()
        assert [wire.answer().data["path"] for _ in range(2)] == ["/hold", "/second"]
        assert wire.ended()
    with listener.wire() as wire:
        wire.send(request()[:-2]).socket.shutdown(socket.SHUT_WR)
        assert wire.ended()


def test_gone_before_the_answer(listener: Listener) -> None:
    """A peer that has gone away while the app works leaves no connection and no task; what it pipelined is not run."""
    with listener.wire() as wire:
        hold(listener, wire, request("/second"))
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(lambda: listener.connections == 0)
    listener.release.set()
    wait_until(listener.idle)
    assert [seen[1] for seen in listener.seen] == ["/hold"]


def test_strangers_do_not_fill_the_log(listener: Listener, caplog: pytest.LogCaptureFixture) -> None:
    """What is refused is counted, and no line of the log is spent on it."""
    caplog.set_level(logging.INFO)
    for data in (b"\0", request("/x", "x: " + "a" * 10_000), b"GET / HTTP/2.0\r\n\r\n"):
        listener.refused(data)
    assert [listener.counted("http_requests", "unread", status) for status in ("400", "431", "505")] == [1, 1, 1]
    assert caplog.messages == []


def closed(listener: Listener) -> bool:
    """Whether nothing new is accepted."""
    with contextlib.suppress(ConnectionError), listener.wire():
        return False
    return True


def test_a_graceful_end() -> None:
    """At its end the server answers what it is working on and what is on its way, says that the connection closes,
    takes no new connection, and is gone soon after the last answer."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(listening(limits={"request_seconds": 30}))
        busy, half, idle = (opened.enter_context(listener.wire()) for _ in range(3))
        hold(listener, busy)
        half.send(request()[:-2])
        assert idle.send(request()).answer().status == 200
        listener.stop()
        assert idle.ended()
        with pytest.raises(ConnectionError):
            listener.wire()
        assert half.send(b"\r\n").answer().headers["connection"] == "close"
        assert not listener.ended()
        listener.release.set()
        assert busy.answer().headers["connection"] == "close"
        wait_until(listener.ended, 15)


def test_a_request_on_its_way_at_the_end() -> None:
    """A connection that was just made, or is just idle, still gets its request answered when the server ends."""
    with listening() as listener, listener.wire() as fresh, listener.wire() as used:
        assert used.send(request()).answer().status == 200
        wait_until(lambda: listener.connections == 2)
        listener.stop()
        wait_until(lambda: closed(listener))
        for wire in (fresh, used):
            assert wire.send(request()).answer().headers["connection"] == "close"
            assert wire.ended()


def test_the_end_does_not_wait_for_ever() -> None:
    """After the time agreed, the server ends although the app still works, and although somebody is still sending."""
    limits = {"request_seconds": 60}
    with listening(graceful=0.5, limits=limits) as listener, listener.wire() as busy, listener.wire() as slow:
        hold(listener, busy)
        slow.send(request()[:-2])
        began = time.monotonic()
        listener.stop()
        wait_until(listener.ended)
        assert 0.4 < time.monotonic() - began < 0.5 + PROMPT


def test_the_server_leaves_signals_alone() -> None:
    """The server installs no handler for a signal: whoever runs it decides."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with bind("127.0.0.1:0") as listener:
        server = make_server(_nothing, LIMITS)
        server.stop()
        run(server, [listener])
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


async def _nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError


def test_a_body_that_nobody_asked_for_is_passed_over(listener: Listener) -> None:
    """A request that is answered before its short body has come costs the peer nothing: its next one is answered on
    the same connection."""
    with listener.wire() as wire:
        for _ in range(3):
            head = request("/early", "Content-Length: 5", method="POST")
            assert wire.send(head).answer().status == 200
            wire.send(b"12345")
        assert wire.send(request()).answer().status == 200


def test_a_body_that_nobody_asked_for_and_that_does_not_come(listener: Listener) -> None:
    """After the time for a request the connection ends, without another answer to the one that was answered."""
    with listener.wire() as wire:
        assert wire.send(request("/early", "Content-Length: 5", method="POST") + b"123").answer().status == 200
        assert wire.ended()
    listener.neighbour()
