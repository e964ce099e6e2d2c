"""The relay delays, and does nothing else."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sftpd_processor.testing.relay import relay_process
from sftpd_processor.testing.servers import free_port


@contextmanager
def echo_server() -> Iterator[int]:
    """Sends back whatever comes in, and closes when the client has closed its side."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(connection: socket.socket) -> None:
            with connection:
                while data := connection.recv(1 << 18):
                    connection.sendall(data)

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=20)


def round_trip(connection: socket.socket) -> float:
    began = time.perf_counter()
    connection.sendall(b"x")
    assert connection.recv(1) == b"x"
    return time.perf_counter() - began


def receive_all(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(1 << 20), b""))


def test_a_round_trip_takes_twice_the_delay() -> None:
    """With 25 ms each way the quickest of several round trips takes 50 ms, and little more."""
    with echo_server() as echo, relay_process("127.0.0.1", echo, 25) as port, connect(port) as connection:
        quickest = min(round_trip(connection) for _ in range(8))
    assert 0.050 <= quickest < 0.075


def test_bytes_in_flight_do_not_wait_for_each_other() -> None:
    """Many small pieces sent apart arrive in order and together take one delay, not one each."""
    pieces = [b"%05d" % number for number in range(300)]
    with echo_server() as echo, relay_process("127.0.0.1", echo, 50) as port, connect(port) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        began = time.perf_counter()
        for piece in pieces:
            connection.sendall(piece)
        connection.shutdown(socket.SHUT_WR)
        assert receive_all(connection) == b"".join(pieces)
        assert time.perf_counter() - began < 2


def test_throughput_is_not_limited() -> None:
    """More than 100 MB/s go through, although every byte is 10 ms late (the best of three tries)."""
    size = 64 << 20
    with sender(size) as source, relay_process("127.0.0.1", source, 10) as port:
        speeds = []
        for _ in range(3):
            began = time.perf_counter()
            with connect(port) as connection:
                received = sum(map(len, iter(lambda: connection.recv(1 << 20), b"")))
            assert received == size
            speeds.append(size / (time.perf_counter() - began))
    assert max(speeds) > 100e6


@contextmanager
def sender(size: int) -> Iterator[int]:
    """Sends `size` bytes to whoever connects."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    connection.sendall(bytes(size))

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_many_connections_at_once() -> None:
    """Fifty connections each get their own bytes back."""
    with echo_server() as echo, relay_process("127.0.0.1", echo, 5) as port:
        connections = [connect(port) for _ in range(50)]
        for number, connection in enumerate(connections):
            connection.sendall(b"%02d" % number)
            connection.shutdown(socket.SHUT_WR)
        assert [receive_all(connection) for connection in connections] == [b"%02d" % n for n in range(50)]
        for connection in connections:
            connection.close()


def test_a_target_that_is_gone_ends_the_connection() -> None:
    """Where nobody listens at the target, the client is cut off instead of waiting."""
    relay = relay_process("127.0.0.1", free_port(), 5)
    with relay as port, connect(port) as connection, suppress(ConnectionResetError):
        assert connection.recv(1) == b""


@pytest.mark.parametrize("delay", [0, 5])
def test_the_end_of_one_direction_leaves_the_other_open(delay: float) -> None:
    """After the client has closed its side, what the server still sends arrives."""
    with echo_server() as echo, relay_process("127.0.0.1", echo, delay) as port, connect(port) as connection:
        connection.sendall(b"y" * 1_000_000)
        connection.shutdown(socket.SHUT_WR)
        assert len(receive_all(connection)) == 1_000_000
