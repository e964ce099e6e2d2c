"""What a proof came to: figures, checks, and one sentence; for people and as JSON."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.verdict import Check, Kind
from sftpd_processor.config.settings import SourceSettings

_MEGABYTE = 1 << 20


@dataclass(slots=True)
class Report:
    """Filled while the proof goes on."""

    source: SourceSettings
    place: str
    seed: int
    cutting: bool
    points: Counter[str] = field(default_factory=Counter)
    instants: int = 0
    """Kills at random instants."""
    runs: int = 0
    """How often the command was started."""
    cuts: int = 0
    """Connections that were cut."""
    files: int = 0
    events: int = 0
    deliveries: int = 0
    ran_again: int = 0
    """Deliveries that had had their effect, and ran again because a kill came before that was written down."""
    begun_again: int = 0
    """Deliveries that a kill cut off before they had their effect."""
    seconds: float = 0.0
    child_memory: int = 0
    """Peak of all runs, in bytes."""
    own_memory: int = 0
    checks: list[Check] = field(default_factory=list)

    @property
    def killed(self) -> int:
        """How often the command was killed."""
        return self.points.total() + self.instants

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return all(check.passed for check in self.checks)

    def kill(self, point: str | None) -> None:
        """Count a kill at this point, or at an instant."""
        if point is None:
            self.instants += 1
        else:
            self.points[point] += 1

    def count(self, evidence: Evidence) -> None:
        """Take the figures from the notebook."""
        self.files = evidence.number("SELECT count(*) FROM sent")
        self.events = evidence.number("SELECT count(*) FROM event")
        self.deliveries = evidence.number("SELECT count(*) FROM delivery")
        self.ran_again = evidence.number("SELECT count(*) FROM again WHERE before <> 'b'")
        self.begun_again = evidence.number("SELECT count(*) FROM again WHERE before = 'b'")

    def faults(self, kind: Kind) -> int:
        """How much broke the checks of this kind."""
        return sum(check.faults for check in self.checks if check.kind == kind)

    @property
    def verdict(self) -> str:
        """The sentence at the end."""
        if self.passed:
            return (
                f"PASSED: killed {self.killed} times, nothing was lost and nothing was handled twice beyond what was "
                f"running at a kill ({self.ran_again} of {self.deliveries:,} deliveries, with the same key)."
            )
        failed = sum(not check.passed for check in self.checks)
        return (
            f"FAILED: {failed} of {len(self.checks)} checks; lost {self.faults('lost')}, handled twice "
            f"{self.faults('twice')}, other faults {self.faults('other')}."
        )

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "passed": self.passed,
            "verdict": self.verdict,
            "source": self.source.name,
            "scratch_folder": self.place,
            "after": self.source.after,
            "seed": self.seed,
            "kills": {"all": self.killed, "instants": self.instants, "points": dict(self.points)},
            "line_cuts": self.cuts,
            "starts": self.runs,
            "files": self.files,
            "events": self.events,
            "deliveries": self.deliveries,
            "ran_again_after_a_kill": self.ran_again,
            "cut_off_and_begun_again": self.begun_again,
            "lost": self.faults("lost"),
            "handled_twice": self.faults("twice"),
            "seconds": round(self.seconds, 1),
            "peak_bytes": {"command": self.child_memory, "certify": self.own_memory},
            "checks": [
                {
                    "title": check.title, "kind": check.kind, "passed": check.passed, "examined": check.examined,
                    "faults": check.faults, "examples": list(check.examples),
                }
                for check in self.checks
            ],
        }  # fmt: skip

    def as_text(self) -> str:
        """For people."""
        return "\n".join(
            [*self._head(), "", *self._kills(), "", *self._figures(), "", *self._checked(), "", self.verdict]
        )

    def _head(self) -> list[str]:
        cutting = f"{self.cuts} connections cut" if self.cutting and self.source.type == "sftp" else "no line cut"
        return [
            f"source {self.source.name}, after = {self.source.after}, scratch folder {self.place}",
            f"killed {self.killed} times in {self.runs} starts, {cutting}, {self.seconds:.0f} s, seed {self.seed}",
        ]

    def _kills(self) -> list[str]:
        lines = [f"  {point:<16}{number:>5}" for point, number in sorted(self.points.items())]
        return ["Kills at each point:", *lines, f"  {'random instants':<16}{self.instants:>5}"]

    def _figures(self) -> list[str]:
        memory = f"{self.child_memory // _MEGABYTE} MB the command, {self.own_memory // _MEGABYTE} MB this one"
        figures = {
            "files sent": f"{self.files:,}",
            "events": f"{self.events:,}",
            "deliveries": f"{self.deliveries:,}",
            "had their effect again after a kill": f"{self.ran_again:,}",
            "begun again after a kill": f"{self.begun_again:,}",
            "lost": f"{self.faults('lost'):,}",
            "handled twice beyond that": f"{self.faults('twice'):,}",
            "peak memory": memory,
        }
        return [f"{what:<36}{figure}" for what, figure in figures.items()]

    def _checked(self) -> list[str]:
        lines = []
        for check in self.checks:
            lines.append(f"{'ok    ' if check.passed else 'FAILED'} {check.examined:>10,}  {check.title}")
            if not check.passed:
                lines.append(f"       {check.faults:>10,}  faults, such as: " + "; ".join(check.examples))
        return ["Checked from outside:", *lines]
