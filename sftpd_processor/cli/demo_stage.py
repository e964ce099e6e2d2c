"""The stage of the demo: a folder with a server's files, a configuration, two handlers, and a pretend Webio."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpd_processor.cli import exit_codes
from sftpd_processor.errors import PermanentError, SourceUnavailable

if TYPE_CHECKING:
    from sftpd_processor.testing.servers import ThrowAwayServer

FILES = 300
SEED = 7
SETTLE_SECONDS = 3
UNFINISHED = 3
LEFT_ALONE = {"notes.txt": b"not for this program", ".upload.json.part": b'{"type": "inbo'}

CONFIG = """\
# Written by `sftpd-processor demo`. Its server is gone when the demo has ended.
[state]
dir = "state"

[[sources]]
name = "webio"
host = "{host}"
port = {port}
username = {username}
private_key = {{ file = "client_key" }}
host_keys = ["{fingerprint}"]
folder = "webhooks"
include = ["*.json", "*.jsonl"]
settle_seconds = {settle}
after = "move"

[[handlers]]
name = "journal"
use = "jsonl"
options = {{ path = "events.jsonl" }}

[[handlers]]
name = "opt-outs"
use = "demo_handlers:opt_outs"

[[handlers]]
name = "payments"
use = "demo_handlers:payments"
"""

HANDLERS = '''\
"""Two handlers, called by sftpd-processor for the events that they ask for."""

from pathlib import Path

from sftpd_processor import Delivery, InboundMessage, Payment, Retry, Skip, handler

OPT_OUTS = Path(__file__).with_name("opt-outs.txt")


@handler(InboundMessage)
def opt_outs(event: InboundMessage, delivery: Delivery) -> Skip | None:
    """Keep the conversations in which a customer wrote STOP."""
    if event.body.strip().upper() != "STOP":
        return Skip("not an opt-out")
    with OPT_OUTS.open("a") as file:
        file.write(f"{delivery.idempotency_key} conversation {event.conversation_id}\\n")
    return None


@handler(Payment)
def payments(event: Payment, delivery: Delivery) -> None:
    """Pretend that the ledger of payments is down the first time it is asked."""
    if delivery.attempt == 1:
        raise Retry("the ledger of payments does not answer", after=1)
'''


@dataclass(slots=True)
class Stage:
    """The folder of the demo, and who writes into the server's folder."""

    folder: Path
    written: Counter[str] = field(default_factory=Counter)
    unfinished: dict[str, bytes] = field(default_factory=dict)
    runs: list[dict[str, Any]] = field(default_factory=list)

    @property
    def webhooks(self) -> Path:
        """The folder on the server: `ls` of it is what an SFTP client would list."""
        return self.folder / "server" / "webhooks"

    @property
    def config(self) -> Path:
        """The configuration that the demo writes."""
        return self.folder / "config.toml"

    def configure(self, server: ThrowAwayServer) -> None:
        """Write the configuration, and what it refers to."""
        shutil.copy(server.client_key_path, self.folder / "client_key")
        text = CONFIG.format(
            host=server.host, port=server.port, username=json.dumps(server.username),
            fingerprint=server.host_key_fingerprint, settle=SETTLE_SECONDS,
        )  # fmt: skip
        self.config.write_text(text)
        (self.folder / "demo_handlers.py").write_text(HANDLERS)

    def write_files(self) -> None:
        """Be Webio: ordinary files and odd ones, and some whose upload has not ended."""
        from sftpd_processor.testing.webio import Shares, Webio

        self.webhooks.mkdir(parents=True)
        webio = Webio(SEED)
        shares = Shares(duplicates=0.05, conflicts=0.01, half=0.01, broken=0.02, arrays=0.04, lines=0.03, unknown=0.02)
        for file in webio.files(FILES, shares):
            (self.webhooks / file.name).write_bytes(file.data)
            self.written[file.kind] += 1
        for name, data in LEFT_ALONE.items():
            (self.webhooks / name).write_bytes(data)
        self.unfinished = {file.name: file.data for file in (webio.file() for _ in range(UNFINISHED))}
        for name, data in self.unfinished.items():
            (self.webhooks / name).write_bytes(data[: len(data) // 2])

    def finish_files(self) -> None:
        """Be Webio: the uploads that were under way come to their end."""
        for name, data in self.unfinished.items():
            (self.webhooks / name).write_bytes(data)

    def once(self) -> str:
        """Run the real `once`; returns what it printed."""
        done = self._run("once")
        self.runs.append({"exit_code": done.returncode, "output": done.stdout})
        if done.returncode not in (exit_codes.DONE, exit_codes.DONE_WITH_LOSSES):
            raise PermanentError(f"`once` failed (exit code {done.returncode}): {done.stderr.strip()}")
        return done.stdout

    def status(self) -> dict[str, Any]:
        """What the real `status --json` tells."""
        found: dict[str, Any] = json.loads(self._run("status", "--json").stdout)
        return found

    def _run(self, *verb: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-P", "-m", "sftpd_processor.cli.main", "-c", str(self.config), *verb]
        return subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603


def throw_away_server(root: Path) -> ThrowAwayServer:
    """The machine's sshd; in its absence asyncssh's server, in this process.

    Raises `SourceUnavailable`, saying what to install, without both.
    """
    from importlib.util import find_spec

    from sftpd_processor.testing.asyncssh_server import AsyncsshServer
    from sftpd_processor.testing.servers import OpenSshServer, find_sshd

    with contextlib.suppress(KeyError):  # an account without a name, as in some containers: sshd refuses to work for it
        if find_sshd() is not None:
            return OpenSshServer(root)
    if find_spec("asyncssh") is None:
        raise SourceUnavailable(
            "the demo needs an SFTP server, and finds none: install OpenSSH's sshd (apt-get install openssh-server), "
            "or the extra `demo` of this program (pip install '.[demo]' where its source lies)"
        )
    return AsyncsshServer(root)
