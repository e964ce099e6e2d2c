"""The connection to a real server: kept between verbs, opened again after a loss, and never waited for without end."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import paramiko
import pytest

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Removed
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.opened_sources import clients, files, listed, moves, opened, within
from tests.support import ServedFolder, not_here, served_folder, wait_until


@pytest.fixture(autouse=True)
def _no_connection_is_left_behind() -> Iterator[None]:
    """Whatever went wrong, a closed source leaves no connection, whose thread would run on."""
    yield

    def left() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if isinstance(thread, paramiko.Transport)]

    wait_until(lambda: not left(), what="the threads of the connections to end")


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """The path of a shell script for sshd to run in place of an SFTP server."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    return tmp_path / "program"


@contextlib.contextmanager
def serving(program: Path, script: str) -> Iterator[ServedFolder]:
    """A real sshd whose SFTP server is this shell script."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    with OpenSshServer(program.parent / "root", sftp_server=program) as server, served_folder(server) as served:
        yield served


def test_one_connection_serves_all_verbs(sftp_server: ServedFolder) -> None:
    """Looks, fetches, moves and removals use the connection of before; closing ends it."""
    sftp_server.write({"a.json": b"{}", "b.json": b"[]"})
    port = sftp_server.server.port
    before = clients(port)
    with opened(sftp_server) as source:
        first = files(source)
        mine = clients(port) - before
        assert len(mine) == 1
        for _ in range(3):
            source.fetch(files(source))
        source.move(moves(first[:1]))
        source.remove(first[1:])
        assert clients(port) - before == mine
    wait_until(lambda: not clients(port) & mine, what="the connection to end")


def test_nothing_is_connected_before_the_first_verb(sftp_server: ServedFolder) -> None:
    """Making a source reaches for nothing, and closing an unused one does nothing."""
    before = clients(sftp_server.server.port)
    with opened(sftp_server) as source:
        assert clients(sftp_server.server.port) - before == set()
        assert source.name == "webio"
        source.close()


def test_a_closed_source_connects_again(sftp_server: ServedFolder) -> None:
    """`close` lets go of the connection; the next verb opens another one."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server) as source:
        entries = files(source)
        source.close()
        assert source.fetch(entries) == [(entries[0], b"{}")]


def test_a_dropped_connection_is_told_once_and_then_mended(sftp_server: ServedFolder) -> None:
    """The verb that meets the loss raises SourceUnavailable; the next one works again."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server) as source:
        entries = files(source)
        sftp_server.server.drop_connections()
        with (
            within(),
            pytest.raises(SourceUnavailable, match=rf"^source webio: 127\.0\.0\.1:{sftp_server.server.port}: "),
        ):
            source.fetch(entries)
        assert source.fetch(entries) == [(entries[0], b"{}")]
        sftp_server.server.drop_connections()
        with within(), pytest.raises(SourceUnavailable):
            source.remove(entries)
        assert source.remove(entries) == [(entries[0], Removed())]


def test_a_connection_lost_in_a_listing_is_told(sftp_server: ServedFolder) -> None:
    """A look that breaks off raises instead of ending as if the folder were read to its end."""
    sftp_server.write({f"{n}.json": b"" for n in range(6_000)})
    with opened(sftp_server) as source:
        look = source.look()
        assert len(next(iter(look))) == 1000
        sftp_server.server.drop_connections()
        with within(), pytest.raises(SourceUnavailable):
            list(look)
        assert len(listed(source)) == 6_000


def test_a_stopped_server_is_unavailable_until_it_is_back(sftp_server: ServedFolder) -> None:
    """A server that is away is told at once, with its address; when it is back, the same source works."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server, connect_timeout_seconds=2.0) as source:
        assert list(listed(source)) == ["a.json"]
        sftp_server.server.stop()
        for _ in range(2):
            with within(), pytest.raises(SourceUnavailable, match=rf"127\.0\.0\.1:{sftp_server.server.port}"):
                listed(source)
        sftp_server.server.start()
        assert list(listed(source)) == ["a.json"]


def test_a_host_that_has_no_address_is_unavailable(openssh: ServedFolder) -> None:
    """A name that cannot be resolved is told as that (`.invalid` is reserved never to exist)."""
    with opened(openssh, host="sftp.invalid") as source, pytest.raises(SourceUnavailable, match=r"sftp\.invalid:"):
        listed(source)


def test_a_listener_that_says_nothing_is_unavailable(openssh: ServedFolder) -> None:
    """A port that accepts and then keeps silent is given up after `connect_timeout_seconds`."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with (
            opened(openssh, port=port, connect_timeout_seconds=0.5) as source,
            within(),
            pytest.raises(SourceUnavailable, match=f":{port}"),
        ):
            listed(source)


def test_a_listener_that_is_no_ssh_server_is_unavailable(openssh: ServedFolder) -> None:
    """Something else at the port is told without waiting long."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" * 200)

        thread = threading.Thread(target=answer)
        thread.start()
        with (
            opened(openssh, port=listener.getsockname()[1], connect_timeout_seconds=2.0) as source,
            within(),
            pytest.raises(SourceUnavailable),
        ):
            listed(source)
        thread.join()


def test_an_sftp_server_that_says_nothing_is_unavailable(program: Path) -> None:
    """After a good login a silent SFTP server is given up after `operation_timeout_seconds`."""
    with (
        serving(program, "exec sleep 60") as served,
        opened(served, operation_timeout_seconds=0.5) as source,
        within(),
        pytest.raises(SourceUnavailable, match=r"did not answer within 0\.5 s"),
    ):
        listed(source)


def test_an_sftp_server_that_ends_at_once_is_unavailable(program: Path) -> None:
    """A server program that crashes at its start is told as a closed connection."""
    with (
        serving(program, "exit 1") as served,
        opened(served) as source,
        within(),
        pytest.raises(SourceUnavailable, match="closed the connection"),
    ):
        listed(source)


def test_an_account_whose_shell_prints_a_greeting_is_explained(program: Path) -> None:
    """A text before the protocol, as from a talkative login script, is told as a breach of it."""
    with (
        serving(program, "echo 'Welcome to this server'; exec sleep 60") as served,
        opened(served) as source,
        within(),
        pytest.raises(SourceUnavailable, match="broke the SFTP protocol"),
    ):
        listed(source)
