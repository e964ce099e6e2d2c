"""How each program is told to drain a folder: its command line, its files, and where it puts what it got."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sftpd_processor.testing.servers import ThrowAwayServer

Command = list[str]


@dataclass(frozen=True, slots=True)
class Job:
    """One run: drain `remote` on the server, seen at `port` (its own, or a relay's), working in `work`."""

    server: ThrowAwayServer
    port: int
    remote: Path
    work: Path

    @property
    def got(self) -> Path:
        """Where a peer puts the files."""
        return self.work / "got"

    @property
    def known_hosts(self) -> Path:
        """The server's key under the address this job uses."""
        key = self.server.known_hosts_path.read_text().split(maxsplit=1)[1]
        path = self.work / "known_hosts"
        path.write_text(f"[{self.server.host}]:{self.port} {key}")
        return path

    def config(self) -> Path:
        """A configuration for sftpd-processor: delete what is recorded, deliver to one `jsonl` handler."""
        path = self.work / "config.toml"
        path.write_text(
            f"""
[state]
dir = "{self.work / "state"}"

[[sources]]
name = "bench"
type = "sftp"
host = "{self.server.host}"
port = {self.port}
username = "{self.server.username}"
private_key = {{ file = "{self.server.client_key_path}" }}
host_keys = ["{self.server.host_key_fingerprint}"]
folder = "{self.remote}"
after = "delete"

[[handlers]]
name = "lines"
use = "jsonl"
options = {{ path = "{self.work / "events.jsonl"}" }}
"""
        )
        return path


@dataclass(frozen=True, slots=True)
class Peer:
    """A program that can drain a folder. `program` must be in PATH; `package` is what to install for it."""

    name: str
    program: str
    package: str
    command: Callable[[Job], Command]

    @property
    def installed(self) -> bool:
        """Whether its program is here."""
        return shutil.which(self.program) is not None


def _ours(job: Job) -> Command:
    program = Path(sys.executable).with_name("sftpd-processor")
    return [str(program), "-c", str(job.config()), "once"]


def _rclone(job: Job) -> Command:
    options = [
        "[bench]",
        "type = sftp",
        f"host = {job.server.host}",
        f"port = {job.port}",
        f"user = {job.server.username}",
        f"key_file = {job.server.client_key_path}",
        f"known_hosts_file = {job.known_hosts}",
        "shell_type = none",
    ]
    config = job.work / "rclone.conf"
    config.write_text("\n".join(options) + "\n")
    return ["rclone", "--config", str(config), "--quiet", "move", f"bench:{job.remote}", str(job.got)]


def _lftp(job: Job) -> Command:
    ssh = f"ssh -a -x {_ssh_options(job)}"
    script = (
        f'set sftp:connect-program "{ssh}"; set net:max-retries 1; set sftp:auto-confirm no; '
        f"open -u {job.server.username}, -p {job.port} sftp://{job.server.host}; "
        f"mirror --Remove-source-files --parallel=8 --no-recursion {job.remote} {job.got}; exit"
    )
    return ["lftp", "--norc", "-c", script]


def _sftp(job: Job) -> Command:
    batch = job.work / "batch"
    batch.write_text(f"get -r {job.remote}/* {job.got}/\nrm {job.remote}/*\n")
    options = ["-P", str(job.port), *_ssh_options(job).split(), "-b", str(batch)]
    return ["sftp", "-q", *options, f"{job.server.username}@{job.server.host}"]


def _ssh_options(job: Job) -> str:
    return (
        f"-F /dev/null -i {job.server.client_key_path} -o IdentitiesOnly=yes -o BatchMode=yes"
        f" -o UserKnownHostsFile={job.known_hosts}"
    )


def _plain(job: Job) -> Command:
    script = Path(__file__).with_name("plain_paramiko.py")
    login = [job.server.host, str(job.port), job.server.username, str(job.server.client_key_path)]
    return [sys.executable, str(script), *login, str(job.known_hosts), str(job.remote), str(job.got)]


OURS = "sftpd-processor"
PEERS = (
    Peer(OURS, sys.executable, "", _ours),
    Peer("rclone move", "rclone", "rclone", _rclone),
    Peer("lftp mirror", "lftp", "lftp", _lftp),
    Peer("sftp -b", "sftp", "openssh-client", _sftp),
    Peer("plain paramiko", sys.executable, "", _plain),
)
