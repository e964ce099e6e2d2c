"""What `make install` puts on a machine, made once for all tests; and the version before, as its page said."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]
PREVIOUS = Path(__file__).with_name("previous")
"""The wheel and the unit of the version before, as they were: a clone need not reach back to its commit."""
HOME = Path("opt/sftpd-processor")


def once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, filled by `make` in the first of several processes that come for it."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            part = folder.with_suffix(".part")
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir()
            make(part)
            part.rename(folder)
    return folder


def install(folder: Path) -> None:
    """`make install` with this folder as DESTDIR; the driver of PostgreSQL comes with it."""
    tools = {"BUILD": f"{folder}.build", "DIST": f"{folder}.dist"}
    given = {**tools, "DESTDIR": str(folder), "PACKAGES": "psycopg[binary]"}
    _run("make", "--silent", "-C", str(CHECKOUT), "install", *(f"{name}={value}" for name, value in given.items()))


def install_previous(folder: Path, stage: Path) -> None:
    """The version before, where its page had it: an environment at /opt/sftpd-processor, and a copy of its unit.

    The packages that it needs are those of `stage`, which saves fetching them again.
    """
    (used,) = (stage / HOME / "versions").iterdir()
    shutil.copytree(used, folder / HOME, symlinks=True)
    (wheel,) = PREVIOUS.glob("*.whl")
    python = folder / HOME / "bin" / "python"
    pip = ("-I", "-m", "pip", "--quiet", "--disable-pip-version-check", "--no-input")
    _run(str(python), *pip, "install", "--no-index", "--no-deps", "--force-reinstall", str(wheel))
    for script in (folder / HOME / "bin").iterdir():
        if not script.is_symlink():
            text = script.read_bytes()
            for here in (str(folder / HOME), f"/{used.relative_to(stage)}"):
                text = text.replace(here.encode(), f"/{HOME}".encode())
            script.write_bytes(text)
    units = folder / "etc" / "systemd" / "system"
    units.mkdir(parents=True)
    shutil.copy(PREVIOUS / "sftpd-processor.service", units)


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=_environment())
    if done.returncode:
        pytest.fail(f"{' '.join(command)} failed: {done.stdout[-1500:]}{done.stderr[-1500:]}")


def _environment() -> dict[str, str]:
    """Without the marks of an outer make."""
    return {name: value for name, value in os.environ.items() if name not in {"MAKEFLAGS", "MAKELEVEL", "MFLAGS"}}
