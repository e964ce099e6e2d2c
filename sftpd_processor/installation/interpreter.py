"""The interpreter that a service can run: one of the system's, not one in somebody's home."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path, PurePath

from sftpd_processor.errors import PermanentError

OLDEST = (3, 11)
_HOMES = ("/root", "/home", "/run/user")  # what ProtectHome=yes hides (systemd.exec(5))
_SYSTEM = ("/usr/bin/python3", "/usr/local/bin/python3", *(f"/usr/bin/python3.{minor}" for minor in range(19, 10, -1)))
_ASK = "import sys, ensurepip, venv; print(sys.version_info[0], sys.version_info[1], sys.base_prefix, sep='\\n')"


def hidden(path: PurePath) -> str | None:
    """Why a service cannot see `path`; None when it can."""
    home = next((home for home in _HOMES if path.is_relative_to(home)), None)
    return home and f"{path} lies in {home}, which is hidden from services"


def unreachable(path: Path) -> str | None:
    """Why an account of a service cannot reach what is at `path`; None when it can."""
    real = path.resolve()
    for folder in (*reversed(real.parents), real):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return hidden(real) or f"{folder} is closed to other accounts"
    return hidden(real)


def choose(asked: str) -> tuple[str, str]:
    """A suitable interpreter, and a note when it is not the one asked for.

    Raises `PermanentError` when there is none, with what to do.
    """
    first = unsuitable(asked)
    if first is None:
        return asked, ""
    for other in _SYSTEM:
        if unsuitable(other) is None:
            return other, f"{asked} will not do ({first}): taking {other}"
    raise PermanentError(
        f"{asked} will not do: {first}. Nor is there another one: install Python {OLDEST[0]}.{OLDEST[1]} or newer for"
        " the whole system, with its module venv (Debian, Ubuntu: apt-get install python3-venv), and name it by PYTHON="
    )


def unsuitable(python: str) -> str | None:
    """Why a service cannot be installed with this interpreter; None when it can."""
    found = shutil.which(python)
    if found is None:
        return "there is no such program"
    done = subprocess.run([found, "-Ic", _ASK], capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        lacks = "ensurepip" in done.stderr or "venv" in done.stderr
        return "its modules venv and ensurepip are missing" if lacks else "it cannot be run"
    major, minor, base = done.stdout.splitlines()
    if (int(major), int(minor)) < OLDEST:
        return f"it is Python {major}.{minor}"
    return unreachable(Path(base)) or unreachable(Path(os.path.realpath(found)))
