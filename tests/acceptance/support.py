"""The real command in a process of its own, with a home, a temporary folder and a configuration of the test's.

It is forked from a process that has loaded it (see `nursery`), unless a test puts another command in its place.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from sftpd_processor import points
from sftpd_processor.config.schema import toml
from tests.acceptance import nursery
from tests.support import wait_until

COMMAND = (sys.executable, "-m", nursery.MODULE)
_FORKED = COMMAND


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        """Its output as JSON."""
        return json.loads(self.out)


class Running:
    """A command that goes on; what it says on stderr is in `log`, on stdout in `out`."""

    def __init__(self, process: subprocess.Popen[bytes] | nursery.Forked, log: Path, out: Path) -> None:
        self.process = process
        self._log = log
        self._out = out

    @property
    def log(self) -> str:
        return self._log.read_text()

    @property
    def out(self) -> str:
        return self._out.read_text()

    def wait_for(self, text: str, timeout: float = 40.0) -> None:
        """Wait until it has said so; fails at once when it ends instead."""

        def said() -> bool:
            if text in self.log:
                return True
            if self.process.poll() is not None:
                pytest.fail(f"it ended with {self.process.returncode} instead of saying {text!r}: {self.log}")
            return False

        wait_until(said, timeout, f"{text!r} in: {self.log}")

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def ended(self, timeout: float = 60.0) -> int:
        """Wait for its end; its exit code."""
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            pytest.fail(f"it has not ended after {timeout:g} s: {self.log[-3000:]}")

    def stop(self) -> int:
        """Ask it to end, as systemd does; its exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()


class Desk:
    """A folder with a configuration, its state beside it, and the commands run on them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.config = folder / "config.toml"
        self.journal = folder / "out.jsonl"
        self.home = folder / "home"
        self.work = folder / "work"
        self.temporary = folder / "tmp"
        for each in (self.home, self.work, self.temporary):
            each.mkdir()
        self._running: list[Running] = []

    def configure(
        self, *sources: dict[str, Any], handlers: Iterable[dict[str, Any]] | None = None, **tables: Any
    ) -> None:
        """Write config.toml; without `handlers`, every event becomes a line of `journal`."""
        journal = {"name": "journal", "use": "jsonl", "options": {"path": str(self.journal)}}
        data = {
            "state": {"dir": str(self.state)},
            "sources": list(sources),
            "handlers": [journal] if handlers is None else list(handlers),
            **tables,
        }
        self.config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in data.items()))
        self.config.chmod(0o600)

    def module(self, name: str, source: str) -> None:
        """Write a module of handlers beside the configuration."""
        (self.folder / f"{name}.py").write_text(source)

    def run(self, *arguments: str, timeout: float = 60.0, **environment: str) -> Ran:
        """Run `sftpd-processor -c CONFIG …` to its end."""
        return self._done(["-c", str(self.config), *arguments], environment, timeout)

    def bare(self, *arguments: str, **environment: str) -> Ran:
        """Run `sftpd-processor …` without naming a configuration."""
        return self._done(arguments, environment, 60.0)

    def start(self, *arguments: str, **environment: str) -> Running:
        """Start `sftpd-processor -c CONFIG …`; it is killed at the end of the test if it still runs."""
        number = len(self._running)
        log, out = self.folder / f"log-{number}", self.folder / f"stdout-{number}"
        with log.open("wb") as err, out.open("wb") as said:
            process = self._begin(["-c", str(self.config), *arguments], environment, said, err)
        self._running.append(Running(process, log, out))
        return self._running[-1]

    def daemon(self, **environment: str) -> Running:
        """Start `run` and wait until it is ready."""
        started = self.start("run", **environment)
        started.wait_for("ready: ")
        return started

    def lines(self) -> list[dict[str, Any]]:
        """The journal's lines; none before the first."""
        if not self.journal.exists():
            return []
        # Not splitlines: it takes U+2028 and others within a text for the end of a line.
        return [json.loads(line) for line in self.journal.read_text().split("\n")[:-1]]

    def keys(self) -> list[str]:
        """The idempotency keys of the journal's lines."""
        return [line["delivery"]["key"] for line in self.lines()]

    def archived(self) -> dict[str, bytes]:
        """The archive's files by name."""
        return self._copies("archive")

    def quarantined(self) -> dict[str, bytes]:
        """The quarantine's files by name, the reasons too."""
        return self._copies("quarantine")

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the ledger answers to SQL."""
        connection = sqlite3.connect(self.state / "ledger.db")
        try:
            return connection.execute(statement).fetchall()
        finally:
            connection.close()

    def close(self) -> None:
        """Kill what still runs."""
        for running in self._running:
            running.process.kill()
            running.process.wait()

    def _done(self, arguments: Sequence[str], environment: dict[str, str], timeout: float) -> Ran:
        with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as err:
            process = self._begin(arguments, environment, said, err)
            try:
                code = process.wait(timeout)
            finally:
                process.kill()
                process.wait()
            return Ran(code, *(_text(each) for each in (said, err)))

    def _begin(
        self, arguments: Sequence[str], environment: dict[str, str], said: IO[bytes], err: IO[bytes]
    ) -> subprocess.Popen[bytes] | nursery.Forked:
        env = self._environment(environment)
        # What an interpreter and `points` look for in the environment they look for when they are loaded.
        if COMMAND == _FORKED and not any(name.startswith(("PYTHON", points.VARIABLE)) for name in environment):
            return nursery.fork(arguments, self.work, env, said, err)
        command = [*COMMAND, *arguments]
        return subprocess.Popen(command, cwd=self.work, env=env, stdin=subprocess.DEVNULL, stdout=said, stderr=err)

    def _copies(self, room: str) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in (self.state / room).rglob("*") if path.is_file()}

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SFTPD_PROCESSOR")}
        own = {"HOME": str(self.home), "TMPDIR": str(self.temporary), "COLUMNS": "120", "PYTHONPATH": ""}
        return kept | own | more


def _text(said: IO[bytes]) -> str:
    said.seek(0)
    return said.read().decode()


def event(number: int, conversation: str = "97011", **more: str) -> bytes:
    """The content of a file with one message."""
    fields = {"type": "inboundMessage", "communicationActionId": f"m{number}", "conversationId": conversation}
    return json.dumps(fields | {"body": f"text {number}"} | more, ensure_ascii=False).encode()


def events(count: int, conversations: int = 50) -> dict[str, bytes]:
    """So many files, each with a message of its own."""
    return {f"e{number:05d}.json": event(number, f"c{number % conversations}") for number in range(count)}


def put(folder: Path, files: dict[str, bytes]) -> None:
    """Put files into a local folder, each at once as a whole."""
    for name, data in files.items():
        part = folder / f".{name}"[:200]
        part.write_bytes(data)
        part.rename(folder / name)


def local(folder: Path, **changes: Any) -> dict[str, Any]:
    """A `[[sources]]` table for a folder on this machine."""
    return {"name": "local", "type": "directory", "folder": str(folder), **changes}
