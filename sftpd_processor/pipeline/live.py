"""Live posts: recorded like files, as source `live`, many of them in one commit."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from secrets import token_hex

from sftpd_processor.config.reading import Reading
from sftpd_processor.events.parse import Parsed, Rejection, rejection_in
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.recording import Wanting
from sftpd_processor.ledger.records import Arrival, Batch
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.lines import tell_recorded
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.points import reached
from sftpd_processor.sources.base import Entry

SOURCE = "live"
_REMEMBERED = 1024  # bodies in quarantine that may be posted again


@dataclass(frozen=True, slots=True)
class Posted:
    """What became of one live post."""

    verdict: str
    file: str
    """The name under which `why` tells of it, and its copy lies in the archive or in quarantine."""
    problem: str
    """The first thing that is wrong with it; empty when nothing is."""


class LiveIntake:
    """Records live posts. `record` is called by one thread at a time."""

    def __init__(self, settings: Reading, ledger: Ledger, wanting: Wanting, *, measures: Measures) -> None:
        """`wanting` names the handlers for a type of event; `measures` is told of lags."""
        self._settings = settings
        self._measures = measures
        self._ledger = ledger
        self._wanting = wanting
        self._read = reader(settings)
        self._open = False
        self._refused: OrderedDict[bytes, Posted] = OrderedDict()

    def record(self, posts: Sequence[bytes]) -> list[Posted]:
        """Make posts durable, all in one transaction; what became of each, in their order.

        Raises `LedgerUnavailable` and `LedgerUnusable`; then none of them is recorded.
        """
        results = [self._read(raw) for raw in posts]
        known = [self._refused_before(raw, result) for raw, result in zip(posts, results, strict=True)]
        fresh = [(raw, result) for raw, result, before in zip(posts, results, known, strict=True) if before is None]
        entries = _entries([len(raw) for raw, _ in fresh])
        made = iter(self._commit([Arrival(entry, *each) for entry, each in zip(entries, fresh, strict=True)]))
        return [next(made) if before is None else before for before in known]

    def _commit(self, arrivals: list[Arrival]) -> list[Posted]:
        if not arrivals:
            return []
        if not self._open:
            self._ledger.open()
            self._open = True
        settings = self._settings
        batch = Batch(SOURCE, settings.organisation, "http", settings.time_zone, 0, arrivals)
        reached("recording")
        recorded = self._ledger.record(batch, self._wanting)
        reached("recorded")
        self._measures.observe_many("recorded_lag_seconds", batch.origin, seconds=recorded.lags)
        tell_recorded(batch, recorded.unarchived)
        posted = [
            Posted(file.verdict, f"{SOURCE}/{file.name}", _problem(arrival.result, file.verdict))
            for arrival, file in zip(arrivals, recorded.unarchived, strict=True)
        ]
        for arrival, each in zip(arrivals, posted, strict=True):
            if each.verdict == "invalid":
                self._remember(arrival.raw, each)
        return posted

    def _refused_before(self, raw: bytes, result: Parsed | Rejection) -> Posted | None:
        """A body that is in quarantine already: who posts it again and again must not fill the disk with it."""
        return self._refused.get(sha256(raw).digest()) if isinstance(result, Rejection) else None

    def _remember(self, raw: bytes, posted: Posted) -> None:
        self._refused[sha256(raw).digest()] = posted
        if len(self._refused) > _REMEMBERED:
            self._refused.popitem(last=False)


def _entries(sizes: Sequence[int]) -> list[Entry]:
    """A file for each post of a commit, in their order; no two are ever called alike."""
    now = time.time_ns()
    stem = f"{datetime.fromtimestamp(now / 1e9, UTC):%Y%m%dT%H%M%S.%f}-{token_hex(4)}"
    return [Entry(f"{stem}-{number:03}.json", size, now, regular=True) for number, size in enumerate(sizes, 1)]


def _problem(result: Parsed | Rejection, verdict: str) -> str:
    rejection = rejection_in(result)
    if rejection is not None:
        return str(rejection.faults[0])
    return "a known event with other content; it is in quarantine" if verdict == "conflict" else ""
