"""Fixtures for every test: the real command, a folder on a real SFTP server (two of them), a fresh PostgreSQL database.

The servers run once per session; each test gets its own folder, or its own database.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.acceptance.support import Desk
from tests.support import PostgresCluster, ServedFolder, not_here, postgres_cluster, served_folder


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    """The command sets its own, also where a test calls it within this process: no other test is to inherit that."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    """A folder to run the real command in; what still runs at the end of the test is killed."""
    made = Desk(tmp_path)
    yield made
    made.close()


@pytest.fixture(scope="session")
def openssh_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OpenSshServer]:
    """A running OpenSSH sshd."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    with OpenSshServer(tmp_path_factory.mktemp("openssh")) as server:
        yield server


@pytest.fixture(scope="session")
def asyncssh_session_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AsyncsshServer]:
    """A running asyncssh server, in a thread."""
    with AsyncsshServer(tmp_path_factory.mktemp("asyncssh")) as server:
        yield server


@pytest.fixture
def openssh(openssh_server: OpenSshServer) -> Iterator[ServedFolder]:
    """The test's own folder on OpenSSH."""
    with served_folder(openssh_server) as served:
        yield served


@pytest.fixture
def asyncssh_server(asyncssh_session_server: AsyncsshServer) -> Iterator[ServedFolder]:
    """The test's own folder on asyncssh."""
    with served_folder(asyncssh_session_server) as served:
        yield served


@pytest.fixture(params=["openssh", "asyncssh_server"])
def sftp_server(request: pytest.FixtureRequest) -> ServedFolder:
    """The test's own folder on each of the two in turn."""
    served = request.getfixturevalue(request.param)
    assert isinstance(served, ServedFolder)
    return served


@pytest.fixture(scope="session")
def postgres() -> Iterator[PostgresCluster]:
    """A running PostgreSQL."""
    with postgres_cluster() as cluster:
        yield cluster


@pytest.fixture
def postgres_url(postgres: PostgresCluster) -> Iterator[str]:
    """The SQLAlchemy URL of the test's own, empty PostgreSQL database."""
    with postgres.database() as url:
        yield url
