"""Quarantined files once more: read again with today's rules, or replaced by a file that a person has corrected."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sftpd_processor.archive.copies import Copies
from sftpd_processor.config.reading import Reading
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import PermanentError
from sftpd_processor.events.parse import Parsed, Rejection, rejection_in
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.recording import Wanting
from sftpd_processor.ledger.records import Arrival, Batch
from sftpd_processor.pipeline.live import SOURCE as LIVE
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.sources.base import Entry

Row = dict[str, Any]
_CONFLICT = "it holds a known event with other content; which one is right is for a person to say"


@dataclass(frozen=True, slots=True)
class Reread:
    """What reading one quarantined file again came to, or would come to."""

    file: Row
    verdict: str
    """What it is now; of a corrected file, what that one is."""
    events: int
    """New events recorded from it."""
    wrong: str
    """What is still wrong with it; empty when nothing is."""


class _Origin(NamedTuple):
    """Where quarantined files come from, and how they are read: a source, or live posts."""

    name: str
    reading: Reading
    max_bytes: int


class Rereader:
    """Reads files of the quarantine, rows of `Retries.quarantined`, again. With `dry_run` nothing is changed."""

    def __init__(self, settings: Settings, ledger: Ledger, wanting: Wanting, *, dry_run: bool) -> None:
        """`wanting` names the handlers for a type of event."""
        self._origins = {origin.name: origin for origin in _origins(settings)}
        self._copies = Copies(settings.state.dir)
        self._ledger = ledger
        self._wanting = wanting
        self._dry_run = dry_run

    def take(self, file: Row) -> Reread:
        """Record what can be read of the file and was not before."""
        origin = self._origins.get(file["source"])
        if origin is None:
            return _as_it_was(file, f"its source {file['source']!r} is not in the configuration")
        if file["archived_at"] is None:  # whoever writes the copy must not be told of two places for it
            return _as_it_was(file, "its copy is still to be written; try again when it is there")
        try:
            raw = self._raw(file)
        except PermanentError as error:
            return _as_it_was(file, str(error))
        result = reader(origin.reading)(raw)
        if isinstance(result, Rejection):
            return _as_it_was(file, _first(result))
        entry = Entry(file["name"], file["size"], file["mtime"], regular=True)
        batch = _batch(origin, Arrival(entry, raw, result))
        recorded = self._ledger.reread(file["id"], batch, self._wanting, dry_run=self._dry_run)
        (verdict,) = recorded.verdicts
        return Reread(file, verdict, recorded.events, _wrong(result, verdict))

    def _raw(self, file: Row) -> bytes:
        """Its bytes: the ledger's, or those of the copy when these have left it."""
        raw = self._ledger.retries.held(file["id"])
        return self._copies.read(file["archive_path"] or "", file["sha256"]) if raw is None else raw

    def correct(self, file: Row, path: Path) -> Reread:
        """Record the file at `path` in place of the quarantined one.

        Raises `PermanentError` when it cannot be read, or still holds something that is no event: then nothing is
        recorded.
        """
        origin = self._origins.get(file["source"])
        if origin is None:
            raise PermanentError(f"the source {file['source']!r} is not in the configuration; put it back there first")
        raw = _read(path, origin.max_bytes)
        result = reader(origin.reading)(raw)
        if (rejection := rejection_in(result)) is not None:
            problem = f"{path} still holds something that is no event: {_first(rejection)}"
            raise PermanentError(f"{problem}; nothing was changed")
        batch = _batch(origin, Arrival(Entry(file["name"], len(raw), time.time_ns(), regular=True), raw, result))
        batch.corrects = file["id"]
        recorded = self._ledger.record(batch, self._wanting, dry_run=self._dry_run)
        (verdict,) = recorded.verdicts
        return Reread(file, verdict, recorded.events, _wrong(result, verdict))


def _origins(settings: Settings) -> Iterator[_Origin]:
    for source in settings.sources:
        yield _Origin(source.name, source, source.max_file_bytes)
    if settings.http is not None:
        yield _Origin(LIVE, settings.http, settings.http.max_body_bytes)


def _batch(origin: _Origin, arrival: Arrival) -> Batch:
    return Batch(origin.name, origin.reading.organisation, "replay", origin.reading.time_zone, 0, [arrival])


def _as_it_was(file: Row, wrong: str) -> Reread:
    return Reread(file, file["verdict"], 0, wrong)


def _wrong(result: Parsed | Rejection, verdict: str) -> str:
    if (rejection := rejection_in(result)) is not None:
        return _first(rejection)
    return _CONFLICT if verdict == "conflict" else ""


def _first(rejection: Rejection) -> str:
    more = rejection.total - 1
    return f"{rejection.faults[0]}" + (f" (and {more:,} more)" if more else "")


def _read(path: Path, most: int) -> bytes:
    """The bytes of a regular file."""
    try:
        if not path.is_file():
            raise PermanentError(f"{path} cannot be read: {'it is no file' if path.exists() else 'it is not there'}")
        with path.open("rb") as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise PermanentError(f"{path} cannot be read: {error.strerror}") from error
    if len(raw) > most:
        raise PermanentError(f"{path} is larger than its source takes ({most:,} bytes); nothing was changed")
    return raw
