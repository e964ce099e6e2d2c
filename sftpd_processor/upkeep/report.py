"""What one run of upkeep has done."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(slots=True)
class Upkept:
    """Numbers, for a line of log and for `archive upkeep`."""

    released: int = 0
    """Files whose raw bytes left the ledger, since their copy is on disk."""
    missing: int = 0
    """Files whose copy is not where the ledger says: their bytes stay there."""
    days_compacted: int = 0
    """Days of a source that became one file, or had late copies put into theirs."""
    compacted: int = 0
    """Copies that went into them."""
    days_removed: int = 0
    """Days of a source that left the archive or the quarantine."""
    files_expired: int = 0
    events_expired: int = 0
    dead_letters_removed: int = 0
    events_forgotten: int = 0
    """Identities: if one of these came again, it would be new."""
    files_forgotten: int = 0
    bytes_given_back: int = 0
    """By which the ledger's file became smaller."""
    seconds: float = 0.0
    finished: bool = False
    """Whether it came to its end; what it was stopped at is taken up by the next run."""
    errors: list[str] = field(default_factory=list)
    """What went wrong; the other steps were done all the same."""

    def as_data(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)

    def __str__(self) -> str:
        told = [f"{number:,} {words[number != 1]}" for number, words in self._counted() if number]
        done = ", ".join(told) or "nothing to do"
        return f"{done}; {'' if self.finished else 'stopped after '}{self.seconds:.1f} s"

    def _counted(self) -> list[tuple[int, tuple[str, str]]]:
        return [
            (self.released, ("file's bytes left the ledger", "files' bytes left the ledger")),
            (self.missing, ("copy missing", "copies missing")),
            (self.days_compacted, ("day compacted", "days compacted")),
            (self.days_removed, ("day removed", "days removed")),
            (self.files_expired, ("file expired", "files expired")),
            (self.events_expired, ("event expired", "events expired")),
            (self.dead_letters_removed, ("dead letter removed", "dead letters removed")),
            (self.events_forgotten, ("identity forgotten", "identities forgotten")),
            (self.files_forgotten, ("file forgotten", "files forgotten")),
            (self.bytes_given_back, ("byte given back", "bytes given back")),
        ]
