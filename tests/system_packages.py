"""What the tests need from the system: OpenSSH's sshd, PostgreSQL, Chromium, curl, systemd and a Python for services.

Run by `make test` before pytest.

As root on a machine with apt-get they are installed, without starting any service. Otherwise a note says
which tests will be skipped. With `CI` set, anything still missing is an error: a real service may not be
skipped in silence.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from sftpd_processor.installation.interpreter import unsuitable
from sftpd_processor.testing.servers import find_sshd

SYSTEMD = Path("/lib/systemd/systemd")
_POLICY = Path("/usr/sbin/policy-rc.d")


def find_postgres() -> Path | None:
    """The folder that holds `postgres` and `initdb` (the newest of several); None when there is none."""
    places = [Path(found).parent for found in (shutil.which("postgres"),) if found]
    versioned = Path("/usr/lib/postgresql").glob("*/bin")
    places += sorted(versioned, key=lambda place: _number(place.parent.name), reverse=True)
    return next((place for place in places if _holds_a_server(place)), None)


def find_chromium() -> Path | None:
    """The program of a Chromium; None when there is none."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((Path(found) for name in names if (found := shutil.which(name))), None)


def missing_packages() -> dict[str, str]:
    """Debian package → the tests that need it, for what is not installed."""
    missing = {}
    if find_sshd() is None:
        missing["openssh-server"] = "tests against a real OpenSSH sshd"
    if find_postgres() is None:
        missing["postgresql"] = "tests against a real PostgreSQL"
    if find_chromium() is None:
        missing["chromium"] = "tests in a real browser"
    if shutil.which("curl") is None:
        missing["curl"] = "tests of commands on the pages"
    if not SYSTEMD.exists():
        missing["systemd"] = "tests under a real systemd"
    if all(unsuitable(python) for python in ("python3", "/usr/bin/python3")):
        missing["python3-venv"] = "tests of the installed service"
    return missing


def main() -> int:
    """Install what is missing where that is possible; returns the exit code."""
    if (missing := missing_packages()) and os.geteuid() == 0 and shutil.which("apt-get"):
        _install(list(missing))
        missing = missing_packages()
    if not missing:
        return 0
    in_ci = bool(os.environ.get("CI"))
    for package, tests in missing.items():
        fate = "cannot run, and in CI they may not be skipped" if in_ci else "will be skipped"
        print(f"{package} is not installed: the {tests} {fate} (apt-get install {package})", file=sys.stderr)
    return 1 if in_ci else 0


def _install(packages: list[str]) -> None:
    print(f"installing {', '.join(packages)} for the tests …", file=sys.stderr)
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    with _no_services_started():
        for command in (["update"], ["install", "--yes", "--no-install-recommends", *packages]):
            done = subprocess.run(
                ["apt-get", "--quiet", *command], env=quiet, capture_output=True, text=True, check=False
            )
            if done.returncode:
                print(f"apt-get {command[0]} failed: {done.stderr.strip()[-500:]}", file=sys.stderr)


@contextlib.contextmanager
def _no_services_started() -> Iterator[None]:
    """Debian asks this script before a package starts its service; 101 says no. One that exists stays."""
    if _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink(missing_ok=True)


def _holds_a_server(place: Path) -> bool:
    return all(os.access(place / name, os.X_OK) for name in ("postgres", "initdb"))


def _number(version: str) -> float:
    return float(version) if re.fullmatch(r"\d+(\.\d+)?", version) else 0.0


if __name__ == "__main__":
    sys.exit(main())
