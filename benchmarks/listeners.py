"""The processes that the sidecar benchmark calls: the real listener, the real daemon, and bare servers beside them."""

from __future__ import annotations

import contextlib
import http.client
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.drain import BenchmarkError
from benchmarks.load import pinned
from sftpd_processor.config.schema import toml
from sftpd_processor.http.token import mint
from sftpd_processor.testing.servers import ThrowAwayServer, free_port

SECRET = "a secret of the benchmark, longer than 32 bytes"
CUSTOMER = "123456"
QUESTION = f"/custom-values?customerUID={CUSTOMER}&outboundChannelAddress=447700900123&param1=balance"
_PROGRAM = Path(sys.executable).with_name("sftpd-processor")
_START_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Place:
    """A folder with a configuration whose listener has a port of its own."""

    folder: Path
    port: int

    @property
    def url(self) -> str:
        """The listener's address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def config(self) -> Path:
        """Its configuration."""
        return self.folder / "config.toml"

    @property
    def ledger(self) -> Path:
        """Its ledger."""
        return self.folder / "state" / "ledger.db"

    @property
    def journal(self) -> Path:
        """Where its `jsonl` handler writes."""
        return self.folder / "events.jsonl"

    def log(self) -> str:
        """The end of what its process said."""
        return (self.folder / "log").read_text()[-500:]


def headers() -> dict[str, str]:
    """A right token."""
    return {"x-webio-token": mint("42", "benchmark", SECRET), "content-type": "application/json"}


def place(
    folder: Path,
    *,
    journal: bool,
    server: ThrowAwayServer | None = None,
    remote: Path | None = None,
    after: str = "delete",
) -> Place:
    """Configure a listener in a new folder; with a `jsonl` handler, and a folder on a server, when asked."""
    folder.mkdir()
    made = Place(folder, free_port())
    tables: dict[str, Any] = {
        "state": {"dir": str(folder / "state")},
        "sources": [_source(folder) if server is None else _remote(server, remote, after)],
        "http": {"listen": f"127.0.0.1:{made.port}", "token_secrets": [SECRET]},
        "values": [{"name": "v", "use": "static", "options": {"customers": {CUSTOMER: {"balance": "12.50"}}}}],
    }
    if journal:
        tables["handlers"] = [{"name": "lines", "use": "jsonl", "options": {"path": str(made.journal)}}]
    made.config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in tables.items()))
    made.config.chmod(0o600)
    return made


def _source(folder: Path) -> dict[str, Any]:
    (folder / "in").mkdir()
    return {"name": "local", "type": "directory", "folder": str(folder / "in")}


def _remote(server: ThrowAwayServer, remote: Path | None, after: str) -> dict[str, Any]:
    return {
        "name": "bench", "type": "sftp", "host": server.host, "port": server.port, "username": server.username,
        "private_key": {"file": str(server.client_key_path)}, "host_keys": [server.host_key_fingerprint],
        "folder": str(remote), "after": after,
    }  # fmt: skip


@contextlib.contextmanager
def ours(where: Place, verb: str = "serve", core: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """The real command, `serve` or `run`, from when it answers until it has ended in order."""
    with _process([str(_PROGRAM), "-c", str(where.config), verb], where.folder, where.port, core) as process:
        yield process


@contextlib.contextmanager
def bare(kind: str, folder: Path, core: int | None = None) -> Iterator[int]:
    """A server of `benchmarks/bare.py`; yields its port."""
    port = free_port()
    script = Path(__file__).with_name("bare.py")
    with _process([sys.executable, str(script), kind, str(port)], folder, port, core):
        yield port


@contextlib.contextmanager
def _process(command: list[str], folder: Path, port: int, core: int | None) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen([*pinned(core), *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait(process, port, folder)
        yield process
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        finally:
            process.kill()


def _wait(process: subprocess.Popen[bytes], port: int, folder: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        with contextlib.suppress(OSError):
            connection.request("GET", "/")
            connection.getresponse()
            connection.close()
            return
        time.sleep(0.02)
    raise BenchmarkError(f"no listener at port {port}: {(folder / 'log').read_text()[-500:]}")
