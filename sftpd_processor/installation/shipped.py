"""The files that come with the program: units, the account's description, the example of a configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import InternalError

PREFIX = PurePosixPath("/opt/sftpd-processor")
"""Where the units expect the program; another one is written into them."""
CONFIGURATION = PurePosixPath("/etc/sftpd-processor")
# systemd's place for what administrators install: all that is in /etc wins over it (systemd.unit(5)), so that a
# drop-in or a unit of the operator's own is never touched by an upgrade.
UNITS = PurePosixPath("/usr/local/lib/systemd/system")
ACCOUNTS = PurePosixPath("/usr/local/lib/sysusers.d/sftpd-processor.conf")
EXAMPLE = CONFIGURATION / "config.example.toml"

_NAMES = ("sftpd-processor.service", "sftpd-processor@.service")
_BACK_OFF_SINCE = 254
"""The systemd that knows RestartSteps= and RestartMaxDelaySec= (its NEWS)."""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A file and where it goes."""

    target: PurePosixPath
    content: bytes
    mode: int = 0o644


def source_folder() -> Path:
    """The folder that holds `systemd/` and `config.example.toml`: in a wheel's package, or the root of a checkout."""
    package = Path(__file__).parents[1]
    for folder in (package / "_service", package.parent):
        if (folder / "systemd").is_dir() and (folder / "config.example.toml").is_file():
            return folder
    raise InternalError(f"{package} comes without its units; install a wheel made by `make dist`")


def example() -> str:
    """The text of config.example.toml."""
    return (source_folder() / "config.example.toml").read_text()


def shipped(prefix: PurePosixPath, systemd: int | None) -> Iterator[Shipped]:
    """What is put into place; `systemd` is the version that will read the units, None when it is not known."""
    folder = source_folder() / "systemd"
    for name in _NAMES:
        yield Shipped(UNITS / name, _at(prefix, (folder / name).read_bytes()))
        if systemd is not None and systemd >= _BACK_OFF_SINCE:
            yield Shipped(UNITS / f"{name}.d" / "back-off.conf", (folder / "back-off.conf").read_bytes())
    yield Shipped(ACCOUNTS, (folder / "sysusers.d" / "sftpd-processor.conf").read_bytes())
    yield Shipped(EXAMPLE, example().encode(), 0o640)


def _at(prefix: PurePosixPath, unit: bytes) -> bytes:
    return re.sub(re.escape(str(PREFIX).encode()) + rb"(?=/)", str(prefix).encode(), unit)
