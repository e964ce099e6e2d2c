"""What goes into the ledger and what comes out of it: plain values, no database in them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import NamedTuple

from sftpd_processor.events.parse import Parsed, Rejection
from sftpd_processor.sources.base import Entry

Clock = Callable[[], int]

QUARANTINED = ("partial", "invalid", "conflict")
"""The verdicts of files whose copy, with the reason, lies in quarantine."""


def now() -> int:
    """Microseconds since 1970, UTC: the time as the ledger writes it."""
    return time.time_ns() // 1000


@lru_cache(64)
def moment(micros: int) -> datetime:
    """The ledger's time as an aware datetime."""
    return datetime.fromtimestamp(micros / 1_000_000, UTC)


class Known(NamedTuple):
    """What the ledger knows of a listed file."""

    id: int
    state: str
    first_seen: int
    look: int
    occurrence: int
    sha256: str | None
    disposed_look: int | None
    reason: str | None


class Kept(NamedTuple):
    """Of a file that lies in the archive already: what is known of its copy."""

    path: str
    """Below the state folder."""
    sha256: str
    recorded_at: int


class Noted(NamedTuple):
    """The file that a copy is of."""

    sha256: str
    """Of the copy as it is kept."""
    mtime: int
    """Nanoseconds, as listed."""
    recorded_at: int
    """Microseconds."""
    origin: str
    verdict: str
    name: str
    """As listed; the copy may go by another name."""


class Arrival(NamedTuple):
    """One file read whole, with what is in it. `known` is its earlier row: a sighting, or the same file come back.

    With `kept` its bytes are in the archive, and are not taken into the ledger once more.
    """

    entry: Entry
    raw: bytes
    result: Parsed | Rejection
    known: Known | None = None
    kept: Kept | None = None


class Sighting(NamedTuple):
    """One file that was listed but not taken, and why."""

    entry: Entry
    state: str
    reason: str
    known: Known | None = None


@dataclass(slots=True)
class Batch:
    """What one transaction records."""

    source: str
    organisation: str
    origin: str
    time_zone: str
    look: int
    arrivals: list[Arrival] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)
    corrects: int | None = None
    """The quarantined file that the one arrival takes the place of."""


class Unarchived(NamedTuple):
    """A recorded file whose local copy is still to be written."""

    id: int
    source: str
    name: str
    mtime: int
    size: int
    verdict: str
    reason: str | None
    origin: str
    recorded_at: int
    sha256: str
    former_path: str | None
    raw: bytes


@dataclass(slots=True)
class Recorded:
    """What became of a batch: files by verdict, new events, the handlers that got deliveries, copies to be written.

    `lags`: of the new events that tell when they came to be (dateCreated), the seconds from then until now.
    """

    verdicts: dict[str, int] = field(default_factory=dict)
    events: int = 0
    handlers: frozenset[str] = frozenset()
    unarchived: list[Unarchived] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)


class Claim(NamedTuple):
    """One delivery taken for an attempt."""

    id: int
    lane: str | None
    attempt: int
    organisation: str
    identity: str
    type: str
    conversation: str | None
    time_zone: str
    recorded_at: int
    body: bytes
    origin: str
    source: str
    file: str | None


class Settlement(NamedTuple):
    """How an attempt ended: state done, skipped, dead, or pending (again at `due_at`).

    `failed`: the attempt took place and is to be remembered; a claim that was given back untried did not.
    """

    id: int
    state: str
    attempts: int
    due_at: int
    detail: str | None
    failed: bool = False


@dataclass(slots=True)
class LookCounts:
    """The balance of one look: `listed = recorded + known + waiting + ignored + vanished` when it was finished."""

    listed: int = 0
    recorded: int = 0
    known: int = 0
    waiting: int = 0
    ignored: int = 0
    vanished: int = 0
    disposed: int = 0

    def balanced(self) -> bool:
        """Whether every listed file is accounted for."""
        return self.listed == self.recorded + self.known + self.waiting + self.ignored + self.vanished
