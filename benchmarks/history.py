"""A history to be handled again: an archive of some days, plain and compacted, and a ledger that knows it."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.drain import BenchmarkError
from sftpd_processor.testing.webio import Webio

DAYS = 10
FIRST = datetime(2026, 3, 2, 8, tzinfo=UTC)
HANDLER = "noop"
_CONVERSATIONS = 5_000
_LEDGER = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
_CONFIG = """
[state]
dir = "state"

[[sources]]
name = "webio"
type = "directory"
folder = "{folder}"

[[handlers]]
name = "noop"
use = "noop:noop"

[archive]
keep_days = 0
"""
_MODULE = '''
def noop(event, delivery):
    """Nothing to do."""
'''


@dataclass(frozen=True, slots=True)
class Place:
    """A configuration and its state folder, whose archive holds `count` events, one in each file."""

    folder: Path
    count: int

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    @property
    def archive(self) -> Path:
        """The archive in it."""
        return self.state / "archive"

    @property
    def ledger(self) -> Path:
        """The ledger in it."""
        return self.state / "ledger.db"

    def command(self, *arguments: str) -> list[str]:
        """`sftpd-processor` here."""
        program = str(Path(sys.executable).with_name("sftpd-processor"))
        return [program, "-c", str(self.folder / "config.toml"), *arguments]

    def reprocess(self, *arguments: str) -> list[str]:
        """The same with `reprocess`, which is to ask nothing."""
        return self.command("reprocess", *arguments, "--yes", "--json")

    def forget(self, known: Path | None = None) -> None:
        """Have no ledger, or a copy of `known`."""
        for name in _LEDGER:
            (self.state / name).unlink(missing_ok=True)
        if known is not None:
            shutil.copyfile(known, self.ledger)


@dataclass(frozen=True, slots=True)
class History:
    """The same events twice; `known` is a ledger that has recorded all of them, and delivered none."""

    plain: Place
    compacted: Place
    known: Path


def history(folder: Path, count: int) -> History:
    """Make one of `count` events. Raises `CalledProcessError`."""
    plain, compacted = (Place(_configured(folder / name), count) for name in ("plain", "compacted"))
    _fill(plain.archive, count)
    shutil.copytree(plain.archive, compacted.archive, copy_function=_linked)
    for command in (
        compacted.reprocess(str(compacted.archive), "--record-only"),
        compacted.command("archive", "upkeep"),
    ):
        subprocess.run(command, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    if sorted(each.suffix for each in compacted.archive.rglob("*") if each.is_file()) != [".zip"] * DAYS:
        raise BenchmarkError("the days were not compacted")
    known = folder / "known.db"
    compacted.ledger.rename(known)
    return History(plain, compacted, known)


def _linked(source: str, target: str) -> None:
    os.link(source, target)


def _configured(folder: Path) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.toml").write_text(_CONFIG.format(folder=folder / "incoming"))
    (folder / "noop.py").write_text(_MODULE)
    return folder


def _fill(archive: Path, count: int) -> None:
    """Plain copies, one event in each, over some days."""
    for number, share in enumerate(_shares(count)):
        began = FIRST + timedelta(days=number)
        folder = archive / "webio" / f"{began:%Y/%m/%d}"
        folder.mkdir(parents=True)
        at = int(began.timestamp()) * 1_000_000_000
        for place, file in enumerate(Webio(number, conversations=_CONVERSATIONS, start=began).files(share)):
            path = folder / file.name
            path.write_bytes(file.data)
            os.utime(path, ns=(at + place * 1_000_000,) * 2)


def _shares(count: int) -> Iterator[int]:
    yield from (count // DAYS + (number < count % DAYS) for number in range(DAYS))


def rows(path: Path, statements: Sequence[str]) -> list[int]:
    """The number that each statement asks a ledger for."""
    with closing(sqlite3.connect(path)) as connection:
        return [connection.execute(each).fetchone()[0] for each in statements]
