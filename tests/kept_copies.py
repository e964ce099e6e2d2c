"""A state folder with a ledger and copies, plain and compacted, and a search through every byte of it."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

from sftpd_processor.archive.compaction import compact
from sftpd_processor.archive.day import Day
from sftpd_processor.archive.places import REASON
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.archive import Archive
from tests.ledger_samples import Clock, record, rows, sqlite_url

DAY = "2026/11/22"
"""What the ledger's clock shows."""
WEBIO = f"archive/webio/{DAY}"


class House:
    """The state folder."""

    def __init__(self, state: Path, url: str | None = None) -> None:
        """`url` of a database in place of ledger.db in the folder."""
        self.state = state
        state.mkdir()
        self.url = url or sqlite_url(state)
        self.clock = Clock()
        self.ledger = Ledger(self.url, self.clock)
        self.ledger.open()
        self.archive = Archive(state, self.ledger)

    def keep(self, **files: bytes) -> None:
        """Record files, their names without ending, and write their copies."""
        record(self.ledger, *((f"{name}.json", raw) for name, raw in files.items()))
        while self.archive.step():
            pass

    def release(self) -> None:
        """The bytes of all files leave the ledger, as they do at night; they stay in its free pages."""
        connection = sqlite3.connect(self.state / "ledger.db", isolation_level=None)
        connection.execute("PRAGMA secure_delete = FAST")
        connection.execute("DELETE FROM contents")
        connection.close()

    def compact(self) -> None:
        """Make one file of the archive's day."""
        after = date.fromisoformat(DAY.replace("/", "-")) + timedelta(days=1)
        assert not compact(self.state, self.ledger.copies.of_day, after, lambda: False).problems

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the ledger answers to SQL."""
        return rows(self.url, statement)

    def tree(self) -> dict[str, bytes]:
        """All copies, those of compacted days too, by where they lie; without the reasons."""
        return {path: raw for path, raw in self._copies() if not path.endswith(REASON)}

    def found(self, *words: str) -> list[str]:
        """The files below the state folder that hold one of the words, however packed or encoded."""
        wanted = [one.encode(how) for one in words for how in ("utf-8", "utf-16-le")]
        everything = [
            *self._copies(),
            *((path.name, path.read_bytes()) for path in self.state.rglob("*") if path.is_file()),
        ]
        return sorted(path for path, raw in everything if any(one in raw for one in wanted))

    def _copies(self) -> Iterator[tuple[str, bytes]]:
        for path in sorted(path for room in ("archive", "quarantine") for path in (self.state / room).rglob("*")):
            below = str(path.relative_to(self.state))
            if path.suffix == ".zip" and path.parent.name == DAY[5:7]:
                assert zipfile.ZipFile(path).testzip() is None  # also as ordinary tools see it
                with Day(path) as day:
                    for member in day.members():
                        yield f"{below.removesuffix('.zip')}/{member.name}", day.read(member)
            elif path.is_file():
                yield below, path.read_bytes()

    def close(self) -> None:
        self.ledger.close()
