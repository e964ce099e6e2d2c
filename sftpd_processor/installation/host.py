"""The machine itself: its accounts, its systemd, and the processes that run."""

from __future__ import annotations

import grp
import os
import re
import shutil
import stat
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation.files import told
from sftpd_processor.installation.shipped import ACCOUNTS, CONFIGURATION
from sftpd_processor.installation.steps import Step

ACCOUNT = "sftpd-processor"
STATE = PurePosixPath("/var/lib/sftpd-processor")
OLDEST_SYSTEMD = 250
"""With credentials that have a value in place of a missing file (its NEWS)."""
_SHARED = ("*.toml", "known_hosts", "*/", "*/known_hosts")
_OVERRIDES = Path("/etc/systemd/system")
_UNIT = re.compile(r"sftpd-processor(@.+)?\.service")


def systemd_version() -> int | None:
    """Of this machine; None where there is no systemd."""
    said = _output("systemctl", "--version")
    found = re.match(r"systemd (\d+)", said)
    return int(found[1]) if found else None


def systemd_runs() -> bool:
    """Whether systemd is what started this machine, as sd_booted(3) tells it."""
    return Path("/run/systemd/system").is_dir()


def require_root() -> None:
    """Raises `PermanentError` for anybody else."""
    if os.geteuid() != 0:
        raise PermanentError("only root may do this; run it with sudo, or with --root into a folder of your own")


def account_exists() -> bool:
    """Whether there is a group of that name, which the account's is."""
    return _group() is not None


def make_account() -> Step:
    """The system account that the service runs as, by systemd-sysusers."""
    if account_exists():
        return Step("same", f"the account {ACCOUNT}")
    if shutil.which("systemd-sysusers") is None:
        useradd = f"useradd --system --user-group --home-dir {STATE} --shell /usr/sbin/nologin {ACCOUNT}"
        return Step("note", f"make the account: {useradd}")
    run("systemd-sysusers", str(ACCOUNTS))
    return Step("ran", f"systemd-sysusers {ACCOUNTS}", f"made the account {ACCOUNT}")


def share_configuration() -> Iterator[Step]:
    """Let the account read the configurations, the known_hosts files, and their folders: what root's group may read,
    its own may instead.

    Raises `PermanentError` when that fails.
    """
    if (group := _group()) is None:
        return
    folder = Path(CONFIGURATION)
    for path in (folder, *sorted({found for kind in _SHARED for found in folder.glob(kind)})):
        below = (path, *path.parents)[: len(path.relative_to(folder).parts)]
        if any(part.name.startswith(".") or part.is_symlink() for part in below):
            continue  # an editor's, such as Emacs' `.#config.toml`, or something elsewhere
        with told(path):
            status = path.stat()
            if not (status.st_gid == 0 and status.st_mode & stat.S_IRGRP):
                continue
            os.chown(path, -1, group)
        yield Step("ran", f"chgrp {ACCOUNT} {path}")


def reload_systemd() -> Step:
    """Let it read the units anew."""
    run("systemctl", "daemon-reload")
    return Step("ran", "systemctl daemon-reload")


def running_units() -> list[str]:
    """Our services that run, instances too."""
    if not systemd_runs():
        return []
    said = _output(
        "systemctl", "list-units", "--plain", "--no-legend", "--state=active,activating,reloading",
        "sftpd-processor.service", "sftpd-processor@*.service",
    )  # fmt: skip
    return [line.split()[0] for line in said.splitlines() if line.strip()]


def enabled_units() -> list[str]:
    """Our services that start with the machine."""
    return sorted({path.name for path in _OVERRIDES.glob("*.wants/*") if _UNIT.fullmatch(path.name)})


def overrides() -> Iterator[Step]:
    """What in /etc/systemd stands before or beside the units."""
    for path in sorted(_OVERRIDES.glob("sftpd-processor*.service")):
        yield Step("note", f"{path} is used in place of the unit that was installed; if it is an old copy, remove it")


def outdated(units: Iterable[str], program: PurePosixPath) -> list[str]:
    """Those of the running services whose process is not of the version in `program`."""
    return [unit for unit in units if not _command(_process(unit)).startswith(f"{program}/")]


def in_use(folder: Path) -> bool:
    """Whether a process runs with the interpreter of this virtual environment."""
    prefix = f"{folder}/"
    return any(_command(int(path.name)).startswith(prefix) for path in Path("/proc").glob("[0-9]*"))


def run(*command: str) -> None:
    """Run a tool of the system; raises `PermanentError` with what it said when it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603 - names of ours
    except OSError as error:
        raise PermanentError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip()[-500:]
        raise PermanentError(f"`{' '.join(command)}` failed: {said}")


def _output(*command: str) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False).stdout  # noqa: S603
    except OSError:
        return ""


def _group() -> int | None:
    try:
        return grp.getgrnam(ACCOUNT).gr_gid
    except KeyError:
        return None


def _process(unit: str) -> int:
    said = _output("systemctl", "show", "--property=MainPID", "--value", unit).strip()
    return int(said) if said.isdigit() else 0


def _command(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""  # it has ended
