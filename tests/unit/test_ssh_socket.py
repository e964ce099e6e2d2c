"""The TCP connection under an SSH session: it wakes paramiko's thread seldom, and at once when it is closed."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.sources.ssh import _BufferedSocket


@pytest.fixture
def connection() -> Iterator[_BufferedSocket]:
    """A connection to a server that says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        settings = SftpSourceSettings.model_validate(
            {
                "name": "webio",
                "host": "127.0.0.1",
                "port": server.getsockname()[1],
                "username": "acme",
                "password": "x",
                "host_keys": ["SHA256:" + "A" * 43],
                "folder": "/webhooks",
            }
        )
        made = _BufferedSocket(settings)
        theirs, _ = server.accept()
        with theirs:
            yield made
        made.close()


def test_it_is_looked_at_once_a_second(connection: _BufferedSocket) -> None:
    """A time-out of a tenth of a second, which paramiko sets, becomes one of a second; a longer one stays."""
    connection.settimeout(0.1)
    assert connection.gettimeout() == 1.0
    connection.settimeout(5.0)
    assert connection.gettimeout() == 5.0


def test_who_reads_is_told_of_the_end(connection: _BufferedSocket) -> None:
    """Closing ends the connection itself, so that a thread which waits for bytes of it is woken; paramiko's does."""
    with connection.dup() as other:
        connection.close()
        other.settimeout(10.0)
        assert other.recv(1) == b""
