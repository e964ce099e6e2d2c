"""What several tests share: waiting for a condition, a folder on a real SFTP server, a real PostgreSQL."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, NoReturn, Self

import pytest

from sftpd_processor.testing.servers import ThrowAwayServer, free_port
from tests.system_packages import find_postgres


def wait_until(condition: Callable[[], object], timeout: float = 30.0, what: str = "the condition") -> None:
    """Return as soon as `condition()` is true; fail the test after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout:g} s in vain for {what}")
        time.sleep(0.01)


def not_here(what: str, package: str) -> NoReturn:
    """Skip the test for want of a service; in CI that is a failure instead."""
    reason = f"{what} is not installed (apt-get install {package})"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@dataclass(frozen=True, slots=True)
class ServedFolder:
    """A test's own folder on a running server. `folder` is its path here, and over SFTP too."""

    server: ThrowAwayServer
    folder: Path

    def source(self, **changes: Any) -> dict[str, Any]:
        """The `[[sources]]` table that reads this folder: key login, host key pinned."""
        return {
            "name": "webio",
            "type": "sftp",
            "host": self.server.host,
            "port": self.server.port,
            "username": self.server.username,
            "private_key": {"file": str(self.server.client_key_path)},
            "host_keys": [self.server.host_key_fingerprint],
            "folder": str(self.folder),
            **changes,
        }

    def write(self, files: dict[str, bytes]) -> None:
        """Put files into the folder."""
        for name, data in files.items():
            (self.folder / name).write_bytes(data)

    def names(self) -> list[str]:
        """The names in the folder, sorted."""
        return sorted(entry.name for entry in self.folder.iterdir())


@contextmanager
def served_folder(server: ThrowAwayServer) -> Iterator[ServedFolder]:
    """A fresh folder on the server; afterwards it is gone, and a server that the test stopped runs again."""
    folder = Path(tempfile.mkdtemp(dir=server.root))
    try:
        yield ServedFolder(server, folder)
    finally:
        if not server.running:
            server.start()
        shutil.rmtree(folder, ignore_errors=True)


class PostgresCluster:
    """A real, throw-away PostgreSQL on a loopback port: no fsync, no password, no rights needed."""

    def __init__(self, binaries: Path) -> None:
        self._binaries = binaries
        self._numbers = count(1)
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._home = Path()
        self._identity: dict[str, Any] = {}

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="sftpd-processor-postgres-"))
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root, so root lends it another account
            known = {entry.pw_name: entry for entry in pwd.getpwall()}
            account = known.get("postgres") or known["nobody"]
            os.chown(self._home, account.pw_uid, account.pw_gid)
            self._identity = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        try:
            self._make()
            self._start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
        shutil.rmtree(self._home, ignore_errors=True)

    @contextmanager
    def database(self) -> Iterator[str]:
        """The SQLAlchemy URL of a fresh, empty database, which is dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        self._execute(f"CREATE DATABASE {name}")
        try:
            yield f"postgresql+psycopg://test@127.0.0.1:{self._port}/{name}"
        finally:
            self._execute(f"DROP DATABASE {name} WITH (FORCE)")

    def _make(self) -> None:
        options = ["-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
        command: list[str | Path] = [self._binaries / "initdb", "-D", self._home / "data", *options]
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._identity)

    def _start(self) -> None:
        self._port = free_port()
        options = ["-p", str(self._port), "-h", "127.0.0.1", "-k", "", "-F"]
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._home / "data", *options]
        with (self._home / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd="/", **self._identity)
        wait_until(self._answers, 60, "PostgreSQL to answer")

    def _answers(self) -> bool:
        import psycopg

        if self._process is None or self._process.poll() is not None:
            pytest.fail(f"PostgreSQL did not start: {(self._home / 'log').read_text()[-500:]}")
        try:
            self._execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def _execute(self, statement: str) -> None:
        import psycopg

        address = f"host=127.0.0.1 port={self._port} user=test dbname=postgres"
        with psycopg.connect(address, autocommit=True) as connection:
            connection.execute(statement.encode())


def postgres_cluster() -> PostgresCluster:
    """A cluster to enter; where PostgreSQL is missing the test is skipped, or fails in CI."""
    binaries = find_postgres()
    if binaries is None:
        not_here("a PostgreSQL server", "postgresql")
    return PostgresCluster(binaries)
