"""A virtual environment that holds one version of the program, made once in its place."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError

_READY = ".complete"


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an environment is to hold."""

    wheel: Path
    constraints: Path | None
    packages: tuple[str, ...]
    """More packages beside it, as pip takes them."""
    python: str

    @property
    def name(self) -> str:
        """`<version>-<hash>`: two that differ in anything have two names."""
        digest = hashlib.sha256(self.wheel.read_bytes())
        for part in (self.constraints.read_bytes() if self.constraints else b"", *map(str.encode, self.packages)):
            digest.update(part + b"\0")
        digest.update(os.path.realpath(shutil.which(self.python) or self.python).encode())
        return f"{self.version}-{digest.hexdigest()[:8]}"

    @property
    def version(self) -> str:
        """Of the program, from the wheel's name."""
        found = re.fullmatch(r"sftpd_processor-([\w.!+]+)-py3-none-any\.whl", self.wheel.name)
        if not found:
            raise PermanentError(f"{self.wheel} is no wheel of sftpd-processor; `make dist` makes one")
        return found[1]


def make_environment(wanted: Wanted, root: Path, prefix: PurePosixPath) -> tuple[Path, bool]:
    """The environment under `root`, and whether it is new; one that is complete is left as it is.

    Raises `PermanentError` with what the tools said.
    """
    final = prefix / "versions" / wanted.name
    folder = root / final.relative_to("/")
    if (folder / _READY).exists():
        return folder, False
    if folder.exists():
        shutil.rmtree(folder)  # of a run that was cut off: nothing leads there yet
    _run(wanted.python, "-m", "venv", str(folder))
    staged = root != Path("/")
    _run(str(folder / "bin" / "python"), "-I", "-m", "pip", "install", *_arguments(wanted, staged=staged))
    if staged:
        _resettle(folder, str(folder), str(final))
    (folder / _READY).touch()
    return folder, True


def _arguments(wanted: Wanted, *, staged: bool) -> Sequence[str]:
    quiet = ["--quiet", "--disable-pip-version-check", "--root-user-action", "ignore"]
    constraints = ["--constraint", str(wanted.constraints)] if wanted.constraints else []
    return [*quiet, *constraints, *(["--no-compile"] if staged else []), str(wanted.wheel), *wanted.packages]


def _resettle(folder: Path, here: str, final: str) -> None:
    """Let every path in the environment be the one on the final machine."""
    for path in (*folder.glob("bin/*"), folder / "pyvenv.cfg"):
        if path.is_symlink():
            continue
        text = path.read_bytes()
        if here.encode() in text:
            path.write_bytes(text.replace(here.encode(), final.encode()))
    python = str(folder / "bin" / "python")
    _run(python, "-I", "-m", "compileall", "-qq", "-f", "-j0", "-s", here, "-p", final, f"{folder}/lib")


def _run(*command: str) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)  # noqa: S603
    except OSError as error:
        raise PermanentError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode:
        raise PermanentError(f"`{' '.join(command)}` failed:\n{(done.stderr or done.stdout).strip()[-2000:]}")
