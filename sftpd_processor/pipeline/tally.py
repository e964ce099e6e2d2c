"""Running counts that a person may watch while the work goes on."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from sftpd_processor.ledger.records import QUARANTINED, LookCounts, Recorded


@dataclass(slots=True)
class Tally:
    """Counts of one run at one source. Written by the threads that do the work, read by whoever shows them."""

    listed: int = 0
    disposed: int = 0
    events: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    last: LookCounts = field(default_factory=LookCounts)
    """The balance of the last complete look."""

    @property
    def recorded(self) -> int:
        """Files taken, whatever their verdict."""
        return self.verdicts.total()

    def counts(self) -> Counter[str]:
        """All of it by the names that the log gives to counts."""
        return Counter(
            recorded=self.recorded,
            duplicates=self.verdicts["duplicate"],
            quarantined=sum(self.verdicts[verdict] for verdict in QUARANTINED),
            events=self.events,
            disposed=self.disposed,
        )

    def count(self, recorded: Recorded) -> None:
        """Add one committed batch."""
        self.verdicts.update(recorded.verdicts)
        self.events += recorded.events

    def looked(self, counts: LookCounts) -> None:
        """Keep the balance of a look."""
        self.last = counts


def told_recorded(counts: Counter[str]) -> str:
    """`recorded 12 (2 duplicates, 1 quarantined)`; what there is none of is left out."""
    duplicates = f"{counts['duplicates']} duplicate{'s' if counts['duplicates'] > 1 else ''}"
    quarantined = f"{counts['quarantined']} quarantined"
    parts = [part for part in (duplicates, quarantined) if not part.startswith("0 ")]
    return f"recorded {counts['recorded']}" + (f" ({', '.join(parts)})" if parts else "")
