"""The service on a machine: its configuration, its secrets, what it did and what it says."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sftpd_processor.config.schema import toml
from tests.support import ServedFolder, wait_until
from tests.systemd.machine import Machine

_SLOW_HANDLER = """\
import json, time

def write(event, delivery):
    time.sleep(0.05)
    event = {{"communicationActionId": event.communication_action_id}}
    line = {{"delivery": {{"key": delivery.idempotency_key}}, "event": event}}
    with open("{path}", "a") as file:
        file.write(json.dumps(line) + "\\n")
"""

_ASK = """\
import json, sqlite3, sys
print(json.dumps(sqlite3.connect(f"file:{sys.argv[1]}?mode=ro", uri=True).execute(sys.argv[2]).fetchall()))
"""

SLOW = 40.0  # seconds: for a start on a machine that is busy


class Service:
    """The service, or with a name that instance of the template."""

    def __init__(self, machine: Machine, instance: str = "") -> None:
        self.machine = machine
        self.unit = f"sftpd-processor@{instance}.service" if instance else "sftpd-processor.service"
        self.home = Path("/var/lib/sftpd-processor") / instance
        self.config = machine.path("/etc/sftpd-processor") / f"{instance or 'config'}.toml"
        self.secrets = machine.path("/etc/sftpd-processor") / instance
        self.state = machine.path(self.home)

    def configure(
        self, *sources: dict[str, Any], handlers: Iterable[dict[str, Any]] | None = None, **tables: Any
    ) -> None:
        """Write the configuration; without `handlers`, every event becomes a line of out.jsonl."""
        journal = {"name": "journal", "use": "jsonl", "options": {"path": str(self.home / "out.jsonl")}}
        data = {"sources": list(sources), "handlers": [journal] if handlers is None else list(handlers), **tables}
        self.config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in data.items()))
        self.config.chmod(0o644)

    def source(self, served: ServedFolder, **changes: Any) -> dict[str, Any]:
        """The table of a source whose key is a credential, which is put into place: root's alone."""
        self.secret("sftp-key", served.server.client_key_path.read_text())
        return served.source(private_key={"credential": "sftp-key"}, poll_seconds=1, reconnect_max_seconds=2) | changes

    def slow_handler(self) -> dict[str, Any]:
        """The table of a handler that writes out.jsonl too, but takes its time; so there is a midst of the work."""
        (self.config.parent / "slow.py").write_text(_SLOW_HANDLER.format(path=self.home / "out.jsonl"))
        return {"name": "slow", "use": "slow:write"}

    def secret(self, name: str, text: str) -> None:
        """Write a secret as the page says: a file that only root may read."""
        self.secrets.mkdir(exist_ok=True)
        path = self.secrets / name
        path.touch(0o600)
        path.write_text(text)

    def start(self) -> None:
        self.machine.systemctl("start", self.unit)

    def stop(self) -> None:
        self.machine.systemctl("stop", self.unit)

    def prop(self, name: str) -> str:
        """One of its properties, as systemd has it."""
        return self.machine.prop(self.unit, name)

    def shown(self, key: str) -> list[str]:
        """The values of a key in the unit's own text, as `systemctl cat` shows it."""
        lines = self.machine.run("systemctl", "cat", self.unit).stdout.splitlines()
        return [line.partition("=")[2] for line in lines if line.startswith(f"{key}=")]

    @property
    def status(self) -> str:
        """The line in `systemctl status`."""
        return self.prop("StatusText")

    def wait_for_status(self, text: str) -> str:
        """Wait until the status says so; all of it."""
        wait_until(lambda: text in self.status, SLOW, f"{text!r} in the status, which is {self.status!r}")
        return self.status

    def kill(self, number: signal.Signals) -> int:
        """Send a signal to the daemon; its process id in the machine."""
        return self.machine.signal(self.unit, number)

    def wait_for_restart(self) -> None:
        """Wait until systemd has started it again by itself."""
        wait_until(lambda: int(self.prop("NRestarts")) > 0 and self.prop("ActiveState") == "active", SLOW, "a restart")

    @property
    def log(self) -> str:
        """Its messages, and systemd's about it."""
        return self.machine.run("journalctl", "--output=cat", "--unit", self.unit).stdout

    def lines(self) -> list[dict[str, Any]]:
        """The whole lines of out.jsonl; none before the first."""
        path = self.state / "out.jsonl"
        return [json.loads(line) for line in path.read_text().split("\n")[:-1]] if path.exists() else []

    def handled(self) -> list[str]:
        """The names that the sender gave the events in out.jsonl, sorted; the repeats of a crash, which can be told
        by their key, counted once."""
        events = {line["delivery"]["key"]: line["event"]["communicationActionId"] for line in self.lines()}
        return sorted(events.values())

    def wait_for_handled(self, names: Iterable[str], timeout: float = SLOW) -> None:
        """Wait until just these events were handled."""
        wanted = sorted(names)
        wait_until(lambda: self.handled() == wanted, timeout, f"{len(wanted)} events; {len(self.handled())} are there")

    def rows(self, statement: str) -> list[list[Any]]:
        """What the ledger answers to SQL; asked within the machine, for SQLite follows /proc/PID/root to our own."""
        said = self.machine.run("python3", "-c", _ASK, f"{self.home}/ledger.db", statement).stdout
        rows: list[list[Any]] = json.loads(said)
        return rows

    def clean(self) -> None:
        """Stop it and remove what is its own, so that the next test finds a fresh one."""
        self.machine.run("systemctl", "kill", "--signal=KILL", "--kill-who=all", self.unit, check=False)
        self.machine.run("systemctl", "stop", self.unit, check=False)
        self.machine.run("systemctl", "reset-failed", self.unit, check=False)
        self.machine.run("journalctl", "--rotate", "--vacuum-time=1us")
        shutil.rmtree(self.machine.path(f"/run/systemd/system/{self.unit}.d"), ignore_errors=True)
        self.machine.systemctl("daemon-reload")
        for path in (*self.state.glob("*"), *self.secrets.glob("*")):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
