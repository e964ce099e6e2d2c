"""The throw-away servers do what the other tests rely on, and the two implementations do it alike."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.testing import servers
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import OpenSshServer, ThrowAwayServer, find_sshd
from tests.support import ServedFolder, not_here, wait_until

Make = Callable[..., ThrowAwayServer]


@pytest.fixture(params=[OpenSshServer, AsyncsshServer])
def make(request: pytest.FixtureRequest) -> Make:
    """Each implementation in turn."""
    if request.param is OpenSshServer and find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    made: Make = request.param
    return made


@contextmanager
def login(server: ThrowAwayServer, **credentials: Any) -> Iterator[paramiko.SFTPClient]:
    """A client that trusts the server's known_hosts only; it logs in with the key unless told otherwise."""
    with paramiko.SSHClient() as ssh:
        ssh.load_host_keys(str(server.known_hosts_path))
        chosen = credentials or {"key_filename": str(server.client_key_path)}
        ssh.connect(
            server.host,
            server.port,
            server.username,
            allow_agent=False,
            look_for_keys=False,
            timeout=10,
            **chosen,
        )
        with ssh.open_sftp() as sftp:
            yield sftp


def test_files_are_served_under_their_local_path(sftp_server: ServedFolder) -> None:
    """An absolute remote path is the local path, and a relative one starts at the server's root."""
    sftp_server.write({"a.json": b"{}"})
    with login(sftp_server.server) as sftp:
        assert sftp.listdir(str(sftp_server.folder)) == ["a.json"]
        assert sftp.listdir(sftp_server.folder.name) == ["a.json"]
        assert sftp.normalize(".") == str(sftp_server.server.root)


def test_files_can_be_written_renamed_and_removed(sftp_server: ServedFolder) -> None:
    """An ordinary account may change files."""
    with login(sftp_server.server) as sftp:
        sftp.chdir(str(sftp_server.folder))
        with sftp.open("b.part", "wb") as remote:
            remote.write(b"[]")
        sftp.rename("b.part", "b.json")
        assert (sftp_server.folder / "b.json").read_bytes() == b"[]"
        sftp.remove("b.json")
    assert sftp_server.names() == []


def test_the_fingerprint_is_that_of_the_key_shown(sftp_server: ServedFolder) -> None:
    """`host_key_fingerprint` is the SHA256 form of the key that the server presents."""
    server = sftp_server.server
    with socket.create_connection((server.host, server.port)) as raw, paramiko.Transport(raw) as transport:
        transport.start_client(timeout=10)
        assert transport.get_remote_server_key().fingerprint == server.host_key_fingerprint


def test_a_read_only_account_may_only_read(make: Make, tmp_path: Path) -> None:
    """Reading works; writing, renaming and removing are refused and change nothing."""
    with make(tmp_path, read_only=True) as server, login(server) as sftp:
        (tmp_path / "a.json").write_bytes(b"{}")
        with sftp.open("a.json") as remote:
            assert remote.read() == b"{}"
        changes: list[Callable[[], object]] = [
            lambda: sftp.open("b.json", "wb"),
            lambda: sftp.rename("a.json", "c.json"),
            lambda: sftp.posix_rename("a.json", "c.json"),
            lambda: sftp.remove("a.json"),
            lambda: sftp.mkdir("folder"),
        ]
        for change in changes:
            with pytest.raises(PermissionError):
                change()
        assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_a_stopped_server_comes_back_at_its_port(make: Make, tmp_path: Path) -> None:
    """After stop nobody answers; after start the same client details work again."""
    with make(tmp_path) as server:
        before = (server.port, server.host_key_fingerprint)
        with login(server) as sftp:
            server.stop()
            assert not server.running
            with pytest.raises((OSError, EOFError, paramiko.SSHException)):
                sftp.listdir(".")
        with pytest.raises(OSError, match="Unable to connect"), login(server):
            pass
        server.start()
        assert (server.port, server.host_key_fingerprint) == before
        with login(server) as sftp:
            assert sftp.listdir(".") == []


def test_connections_can_be_dropped(make: Make, tmp_path: Path) -> None:
    """drop_connections cuts a client off, and the next one is served."""
    with make(tmp_path) as server:
        with login(server) as sftp:
            sftp.listdir(".")
            transport = sftp.get_channel().get_transport()
            server.drop_connections()
            wait_until(lambda: not transport.is_active(), what="the client to notice")
        with login(server) as sftp:
            assert sftp.listdir(".") == []


def test_a_strange_key_is_refused(make: Make, tmp_path: Path) -> None:
    """A key that is not the client's does not log in."""
    stranger = paramiko.ECDSAKey.generate()
    with (
        make(tmp_path) as server,
        pytest.raises(paramiko.AuthenticationException),
        login(server, pkey=stranger),
    ):
        pass


def test_asyncssh_takes_a_password(asyncssh_server: ServedFolder) -> None:
    """The right password logs in, a wrong one does not."""
    server = asyncssh_server.server
    assert server.password is not None
    with login(server, password=server.password) as sftp:
        assert sftp.normalize(".") == str(server.root)
    with pytest.raises(paramiko.AuthenticationException), login(server, password="wrong"):
        pass


def test_an_external_sftp_server_can_be_used(tmp_path: Path) -> None:
    """OpenSSH's separate sftp-server program serves as the built-in one does."""
    places = ("/usr/lib/openssh/sftp-server", "/usr/libexec/openssh/sftp-server", "/usr/libexec/sftp-server")
    program = next((Path(place) for place in places if Path(place).exists()), None)
    if program is None or find_sshd() is None:
        not_here("OpenSSH's sftp-server", "openssh-sftp-server")
    with OpenSshServer(tmp_path, sftp_server=program) as server, login(server) as sftp:
        assert sftp.normalize(".") == str(tmp_path.resolve())


def test_a_taken_port_is_not_the_end(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When another process has the port that was found, the next one is tried."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, servers.free_port()])
        monkeypatch.setattr(servers, "free_port", lambda: next(ports))
        with make(tmp_path) as server, login(server) as sftp:
            assert server.port != taken
            assert sftp.listdir(".") == []


def test_no_sshd_is_said_clearly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without sshd the error names the package to install."""
    monkeypatch.setattr(servers, "find_sshd", lambda: None)
    with pytest.raises(SourceUnavailable, match="openssh-server"), OpenSshServer(tmp_path):
        pass


def test_postgres_gives_a_fresh_database(postgres_url: str) -> None:
    """The fixture's URL opens an empty, writable PostgreSQL database."""
    import sqlalchemy

    engine = sqlalchemy.create_engine(postgres_url)
    try:
        assert sqlalchemy.inspect(engine).get_table_names() == []
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("create table one (id int)"))
    finally:
        engine.dispose()


def test_postgres_databases_are_apart(postgres_url: str) -> None:
    """A second test does not see the tables of the first."""
    test_postgres_gives_a_fresh_database(postgres_url)
