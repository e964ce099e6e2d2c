"""Installs a wheel as a service: `python3 -m sftpd_processor.installation WHEEL`, which is what `make install` does.

It also runs from within the wheel: `PYTHONPATH=WHEEL python3 -m sftpd_processor.installation WHEEL`.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError, ProcessorError
from sftpd_processor.installation.environment import Wanted, make_environment
from sftpd_processor.installation.host import require_root
from sftpd_processor.installation.interpreter import choose


def main() -> None:
    """Make the environment, and let the program in it install its service."""
    given = _arguments()
    try:
        sys.exit(_install(given))
    except ProcessorError as error:
        sys.stderr.write(f"install: {error}\n")
        sys.exit(1)


def _install(given: argparse.Namespace) -> int:
    root = Path(given.destdir or "/").absolute()
    if root == Path("/"):
        require_root()
    python, note = choose(given.python)
    if note:
        sys.stderr.write(f"install: {note}\n")
    wanted = Wanted(given.wheel, given.constraint, tuple(given.packages), python)
    prefix = PurePosixPath(given.prefix)
    if not prefix.is_absolute():
        raise PermanentError(f"the prefix {prefix} is not an absolute path")
    os.umask(0o022)  # the service's account reads and runs all of it
    try:
        folder, new = make_environment(wanted, root, prefix)
    except OSError as error:
        raise PermanentError(f"{error.filename} cannot be read or written: {error.strerror}") from error
    sys.stdout.write(f"{'made    ' if new else 'kept    '}  {prefix}/versions/{wanted.name}\n")
    sys.stdout.flush()
    command = [str(folder / "bin" / "python"), "-I", "-m", "sftpd_processor.cli.main", "service", "install"]
    options = ["--root", str(root), "--prefix", str(prefix), *given.options]
    return subprocess.run([*command, *options], check=False).returncode  # noqa: S603


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python3 -m sftpd_processor.installation", description="Install a wheel.")
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--destdir", default="", help="a folder that stands for / (for packages)")
    parser.add_argument("--prefix", default="/opt/sftpd-processor")
    parser.add_argument("--python", default=sys.executable, help="the interpreter to use")
    parser.add_argument("--constraint", type=Path, help="constraints.txt: the versions that the tests ran with")
    parser.add_argument("--packages", default="", type=str.split, help="more packages beside it, in quotes")
    parser.add_argument(
        "--restart", dest="options", action="append_const", const="--restart", default=[],
        help="restart what runs",
    )  # fmt: skip
    parser.add_argument(
        "--without-packages", dest="options", action="append_const", const="--without-packages",
        help="go on without packages that were added to the last version",
    )  # fmt: skip
    return parser.parse_args()


if __name__ == "__main__":
    main()
