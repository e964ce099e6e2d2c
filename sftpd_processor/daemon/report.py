"""What one run of `once` did."""

from __future__ import annotations

from dataclasses import dataclass, field

from sftpd_processor.errors import ProcessorError
from sftpd_processor.ledger.records import QUARANTINED
from sftpd_processor.pipeline.delivery import Deliverer
from sftpd_processor.pipeline.intake import Intake


@dataclass(slots=True)
class Report:
    """What one run of `once` did."""

    intakes: dict[str, Intake]
    deliverers: dict[str, Deliverer]
    failures: dict[str, ProcessorError] = field(default_factory=dict)
    """Why a source could not be polled to its end, or a handler or the archive could not go on; by its name."""
    untried: dict[str, int] = field(default_factory=dict)
    """Deliveries that were not tried because the breaker of their handler is open; by its name."""
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def quarantined(self) -> int:
        """Files put into quarantine."""
        tallies = [intake.tally.verdicts for intake in self.intakes.values()]
        return sum(verdicts[verdict] for verdicts in tallies for verdict in QUARANTINED)

    @property
    def died(self) -> int:
        """Deliveries that became dead letters."""
        return sum(deliverer.settled["dead"] for deliverer in self.deliverers.values())
