"""Events, batches and an injected clock for the tests of the ledger and of what stands on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.events.parse import parse
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Arrival, Batch, Known, LookCounts, Recorded, Settlement, Sighting
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.sources.base import Entry
from sftpd_processor.testing.memory import MemorySource

SECOND = 1_000_000
"""In the ledger's microseconds."""
_seconds = count(1)
NOON = 1_795_348_800 * SECOND  # 2026-11-22 12:00 UTC


class Clock:
    """This machine's clock, moved by the test; a microsecond passes at each reading, so that no two are alike."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> int:
        self.now += 1
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += int(seconds * SECOND)


def event(action: str | None = "1", conversation: str | None = "97011", **fields: Any) -> bytes:
    """The JSON of an inbound message, but for `fields`."""
    body = {"type": "inboundMessage", "conversationId": conversation, "communicationActionId": action, "body": "hi"}
    return json.dumps({key: value for key, value in (body | fields).items() if value is not None}).encode()


def array(*events: bytes) -> bytes:
    """Several events in one file."""
    return b"[" + b",".join(events) + b"]"


def entry(name: str, raw: bytes = b"", mtime: int = 1) -> Entry:
    """A listed file."""
    return Entry(name, len(raw), mtime, regular=True)


def arrival(name: str, raw: bytes, mtime: int = 1, known: Known | None = None) -> Arrival:
    """A file read whole."""
    return Arrival(entry(name, raw, mtime), raw, parse(raw, ZoneInfo("UTC")), known)


def batch(
    *arrivals: Arrival,
    source: str = "webio",
    organisation: str = "default",
    look: int = 1,
    sightings: Sequence[Sighting] = (),
) -> Batch:
    """What one transaction records."""
    return Batch(source, organisation, "sftp", "UTC", look, list(arrivals), list(sightings))


def wanting(_kind: str) -> list[str]:
    """One handler, `crm`, wants everything."""
    return ["crm"]


def record(ledger: Ledger, *files: tuple[str, bytes], **where: Any) -> Recorded:
    """Record files in one batch; each is a second newer than the one before, in whatever batch that was."""
    arrivals = [arrival(name, raw, next(_seconds) * 10**9) for name, raw in files]
    return ledger.record(batch(*arrivals, **where), wanting)


def settled(number: int, state: str = "done", *, attempts: int = 1, due_at: int = 0) -> Settlement:
    """How an attempt ended."""
    return Settlement(number, state, attempts, due_at, None)


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds in the database, seen from outside."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()


def sqlite_url(folder: Path) -> str:
    """A ledger of its own."""
    return f"sqlite:///{folder / 'ledger.db'}"


def database_url(request: pytest.FixtureRequest) -> str:
    """The URL that a fixture with the parameters "sqlite" and "postgresql" stands for: an empty database."""
    if request.param == "sqlite":
        folder = request.getfixturevalue("tmp_path")
        assert isinstance(folder, Path)
        return sqlite_url(folder)
    return str(request.getfixturevalue("postgres_url"))


@contextmanager
def opened(url: str, clock: Clock | None = None) -> Iterator[Ledger]:
    """A ledger, open; closed in the end."""
    ledger = Ledger(url, clock or Clock())
    try:
        ledger.open()
        yield ledger
    finally:
        ledger.close()


def settings(**changes: Any) -> DirectorySourceSettings:
    """The settings of a source named `webio`; what the folder is does not matter to a source in memory."""
    return DirectorySourceSettings.model_validate(
        {"name": "webio", "type": "directory", "folder": "/srv/webio", "after": "delete"} | changes
    )


class Site:
    """A source in memory, a ledger, and the intake between them: what a test of intake works with."""

    def __init__(self, folder: Path, **changes: Any) -> None:
        self.url = sqlite_url(folder)
        self.clock = Clock()
        self.source = MemorySource("webio")
        self.ledger = Ledger(self.url, self.clock)
        self.ledger.open()
        self.told: list[Recorded] = []
        self.restart(**changes)

    def restart(self, **changes: Any) -> None:
        """A new intake on the same ledger, as after a crash."""
        self.intake = Intake(self.source, settings(**changes), self.ledger, wanting, self._tell)

    def _tell(self, recorded: Recorded) -> None:
        self.told.append(replace(recorded, unarchived=[]))  # a list of all bodies would not be let go of

    def poll(self, *, after: float = 0) -> LookCounts:
        """Poll once, `after` so many seconds; returns the balance of the last look."""
        self.clock.advance(after)
        self.intake.poll()
        return self.intake.tally.last

    def state(self, name: str) -> tuple[str, str | None]:
        """State and verdict of the newest file of that name in the ledger."""
        found = self.rows("SELECT name, state, verdict FROM files ORDER BY id")
        return {name: (state, verdict) for name, state, verdict in found}[name]

    def reason(self, name: str) -> str:
        """Why the newest file of that name is in the state it is in."""
        return str(dict(self.rows("SELECT name, reason FROM files ORDER BY id"))[name])

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What a query finds in the ledger's database."""
        return rows(self.url, statement)

    def looks(self) -> list[dict[str, Any]]:
        """All looks, in order."""
        names = [*asdict(LookCounts()), "failure"]
        return [dict(zip(names, row, strict=True)) for row in self.rows(f"SELECT {', '.join(names)} FROM looks")]
