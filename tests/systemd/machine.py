"""A machine of its own with a real systemd as process 1, in private namespaces: it cannot touch the one it runs on.

It has its own processes, mounts, host name, control groups, /run, /var and /etc; the network is the one of outside, so
that servers on the loopback address can be reached. Its files are seen from outside through `path`.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from tests.support import wait_until
from tests.system_packages import SYSTEMD

_BOOT = Path(__file__).with_name("boot.sh")
_NAMESPACES = ("--mount", "--pid", "--fork", "--uts", "--ipc", "--cgroup", "--kill-child", "--propagation", "private")
_GROUP = "sftpd-processor-test-"
_TARGET = """\
[Unit]
DefaultDependencies=no
Requires=systemd-journald.service systemd-sysusers.service
After=systemd-journald.service systemd-sysusers.service
AllowIsolate=yes
"""


class Machine:
    """Boots when entered; when left, its process 1 is killed, and with it everything in there."""

    def __init__(self, folder: Path, installed: Path) -> None:
        """`folder` is for its own use; `installed` has what `make install` put there by DESTDIR, and stays as it is."""
        self._folder = folder
        self._groups = _control_groups(f"{_GROUP}{os.getpid()}-{folder.name}")
        self._unshare: subprocess.Popen[bytes] | None = None
        self._init = 0
        (folder / "disk").mkdir(parents=True)
        (folder / "machine.target").write_text(_TARGET)
        (folder / "installed").symlink_to(installed)

    def __enter__(self) -> Self:
        try:
            self._boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._unshare is not None:
            if self._init:
                with suppress(ProcessLookupError):
                    os.kill(self._init, signal.SIGKILL)
            self._unshare.kill()
            self._unshare.wait()
        for group in self._groups:
            wait_until(lambda group=group: _removed(group), 20, f"the end of what ran in {group}")  # type: ignore[misc]

    def path(self, inside: str | Path) -> Path:
        """Where a file of the machine is, seen from outside."""
        return Path(f"/proc/{self._init}/root") / str(inside).lstrip("/")

    def run(self, *command: str | Path, check: bool = True, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in there, as root; fails the test when it fails, unless `check` is false."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._init), "--all", "--", *command],
            capture_output=True, text=True, check=False, timeout=timeout, stdin=subprocess.DEVNULL,
            env={"PATH": os.defpath + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8", "SYSTEMD_PAGER": "", "COLUMNS": "200"},
        )  # fmt: skip
        if check and done.returncode:
            pytest.fail(f"{shlex.join(map(str, command))} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def systemctl(self, *arguments: str) -> None:
        """Run systemctl; when it fails, the test fails with what the journal says."""
        done = self.run("systemctl", *arguments, check=False)
        if done.returncode:
            journal = self.run("journalctl", "--lines=60", "--output=cat").stdout
            pytest.fail(f"systemctl {' '.join(arguments)} failed: {done.stderr}{journal}")

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Properties of a unit."""
        shown = self.run("systemctl", "show", unit, f"--property={','.join(properties)}").stdout
        return dict(line.split("=", 1) for line in shown.splitlines())

    def prop(self, unit: str, name: str) -> str:
        """One property of a unit."""
        return self.show(unit, name)[name]

    def journal(self, *matches: str) -> list[dict[str, Any]]:
        """The journal's entries with all their fields, the oldest first."""
        lines = self.run("journalctl", "--output=json", "--all", *matches).stdout.splitlines()
        return [json.loads(line) for line in lines]

    def drop_in(self, unit: str, name: str, *lines: str) -> None:
        """Put a drop-in of a [Service] in place and let systemd read it; no lines: remove it."""
        file = self.path(f"/run/systemd/system/{unit}.d/{name}.conf")
        if lines:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text("\n".join(("[Service]", *lines, "")))
        else:
            file.unlink()
        self.systemctl("daemon-reload")

    def signal(self, unit: str, number: signal.Signals) -> int:
        """Send a signal to the unit's main process; its id in there."""
        main = int(self.prop(unit, "MainPID"))
        assert main, f"{unit} does not run"
        self.run("kill", f"-{number.value}", str(main))
        return main

    def _boot(self) -> None:
        for group in self._groups:
            _sweep(group.parent)
            _make(group)
        log = (self._folder / "log").open("wb")
        entering = "".join(f"echo $$ >{shlex.quote(str(group))}/cgroup.procs; " for group in self._groups)
        command = ["unshare", *_NAMESPACES, "sh", str(_BOOT), str(self._folder)]
        with log:  # when this process dies, so does unshare, and with it the machine
            self._unshare = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "sh", "-euc", f"{entering}exec {shlex.join(command)}"],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        wait_until(self._runs, 60, "systemd to be up")

    def _runs(self) -> bool:
        assert self._unshare is not None
        if self._unshare.poll() is not None:
            pytest.fail(f"the machine did not boot: {(self._folder / 'log').read_text()[-2000:]}")
        children = Path(f"/proc/{self._unshare.pid}/task/{self._unshare.pid}/children")
        self._init = int((children.read_text() or "0").split()[0])
        if not self._init or Path(f"/proc/{self._init}/comm").read_text() != "systemd\n":
            return False
        state = self.run("systemctl", "is-system-running", check=False).stdout.strip()
        return state in {"running", "degraded"}


def why_no_machine() -> str | None:
    """What this machine lacks for one within it; None when nothing is."""
    if os.geteuid() != 0:
        return "the right to make namespaces (run the tests as root)"
    lacking = [name for name in ("unshare", "nsenter", "setpriv") if shutil.which(name) is None]
    if lacking or not SYSTEMD.exists():
        return ", ".join(lacking) or "systemd"
    if not all(os.access(group.parent, os.W_OK) for group in _control_groups("any")):
        return "control groups that can be written"
    command = ["unshare", *_NAMESPACES, "mount", "-t", "proc", "proc", "/proc"]
    tried = subprocess.run(command, capture_output=True, check=False)
    return None if tried.returncode == 0 else f"unshare: {tried.stderr.decode().strip()}"


def _control_groups(name: str) -> list[Path]:
    """A group for the machine below our own in each hierarchy: one, or with the old layout one for each controller."""
    mounts, groups = Path("/sys/fs/cgroup"), []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, own = line.split(":", 2)
        old = mounts / (controllers.removeprefix("name=") or "unified")
        groups.append((old if old.is_dir() else mounts) / own.lstrip("/") / name)
    return groups


def _make(group: Path) -> None:
    group.mkdir()
    for setting in ("cpuset.cpus", "cpuset.mems"):  # without these nothing may enter
        if (group / setting).exists() and (group.parent / "cgroup.procs").exists():
            (group / setting).write_text((group.parent / setting).read_text())


def _sweep(parent: Path) -> None:
    """Remove what tests left that were killed."""
    for group in parent.glob(f"{_GROUP}*"):
        if not Path("/proc", group.name.removeprefix(_GROUP).partition("-")[0]).exists():
            _removed(group)


def _removed(group: Path) -> bool:
    """Remove a group and those in it; false while a process is left in one."""
    for folder, _, _ in os.walk(group, topdown=False):
        with suppress(OSError):
            os.rmdir(folder)
    return not group.exists()
