"""A line of the log for each file, where `log.files` asks for them: its name and what became of it, never contents."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from sftpd_processor.events.parse import Parsed, Rejection, rejection_in
from sftpd_processor.ledger.records import Batch, Unarchived
from sftpd_processor.sources.base import Entry, Miss, Moved, Removed
from sftpd_processor.telemetry import FILES

logger = logging.getLogger(FILES)

_LONGEST = 300  # characters of a reason


def tell_recorded(batch: Batch, files: Sequence[Unarchived]) -> None:
    """The files of a commit: those taken with their verdicts, and those seen for the first time and not taken."""
    if not logger.isEnabledFor(logging.INFO):
        return
    for arrival, file in zip(batch.arrivals, files, strict=True):
        _tell(
            batch.source,
            file.name,
            _told(file.verdict, arrival.result),
            verdict=file.verdict,
            event_type=_type(arrival.result),
        )
    for sighting in batch.sightings:
        if sighting.known is None or sighting.known.state != sighting.state:
            text = f"{sighting.state}: {sighting.reason[:_LONGEST]}"
            _tell(batch.source, sighting.entry.name, text, verdict=sighting.state)


def tell_disposed(source: str, results: Iterable[tuple[Entry, Moved | Removed | Miss]]) -> None:
    """What the server did with files that were recorded before."""
    if not logger.isEnabledFor(logging.INFO):
        return
    for entry, result in results:
        match result:
            case Moved(path):
                _tell(source, entry.name, f"moved to {path}", verdict="moved")
            case Removed():
                _tell(source, entry.name, "deleted", verdict="deleted")
            case Miss(kind, reason):
                _tell(source, entry.name, f"left where it is ({kind}): {reason[:_LONGEST]}", verdict=kind)


def _tell(source: str, name: str, text: str, **fields: str | None) -> None:
    logger.info("source %s: %s: %s", source, name, text, extra={"source": source, "file": name, **fields})


def _told(verdict: str, result: Parsed | Rejection) -> str:
    rejection = rejection_in(result)
    return verdict if rejection is None else f"{verdict}: {str(rejection.faults[0])[:_LONGEST]}"


def _type(result: Parsed | Rejection) -> str | None:
    """The type of the events in a file, when all are of one."""
    types = {each.event.type for each in result.events} if not isinstance(result, Rejection) else set()
    return types.pop() if len(types) == 1 else None
