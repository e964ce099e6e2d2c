"""What is said of a replay: the plan before it runs, the progress while it does, the report afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, NamedTuple

MOST_PROBLEMS = 20
"""How many problems are told one by one."""


class Group(NamedTuple):
    """Deliveries that would be made."""

    day: str
    """YYYY-MM-DD, UTC: when the events were recorded."""
    type: str
    handler: str
    number: int


@dataclass(frozen=True, slots=True)
class Problems:
    """Files that cannot be read."""

    total: int = 0
    first: tuple[str, ...] = ()
    """Of the first `MOST_PROBLEMS`: where, and why. Never what is in them."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a replay would do."""

    files: int = 0
    events: int = 0
    deliveries: int = 0
    groups: tuple[Group, ...] = ()
    """By day, type and handler, in this order."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Deliveries that would not be made, by the reason; for example `done already`."""
    problems: Problems = Problems()
    recorded: int = 0
    """Of the files, those that would be newly recorded, or that are in quarantine and would give new events."""

    def as_data(self) -> dict[str, Any]:
        """For `--json`."""
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {"groups": [group._asdict() for group in self.groups], "problems": asdict(self.problems)}


class Progress(NamedTuple):
    """How far a replay is."""

    total: int
    at: int
    unit: Literal["events", "files"]
    done: int = 0
    """Deliveries that were done or skipped."""
    failed: int = 0
    """Deliveries that failed or died."""
    waiting: str = ""
    """Why nothing happens; for example `handler crm is failing; next try in 20 s`."""


@dataclass(frozen=True, slots=True)
class Report:
    """What a replay came to."""

    replay: int | None
    """Its number, by which it can be resumed; none when there was nothing to do."""
    files: int = 0
    """Read, or looked at in the ledger."""
    recorded: int = 0
    """Of these, new to the ledger."""
    invalid: int = 0
    """Of these, not readable."""
    events: int = 0
    deliveries: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """By handler: how many were done, skipped, failed (and wait for another attempt), or dead."""
    skipped: Mapping[str, int] = field(default_factory=dict)
    """Deliveries that were not made, by the reason."""
    seconds: float = 0.0
    """How long it ran; of one that was resumed, all its runs."""
    interrupted: bool = False
    """There is more to do: it can be resumed."""
    comparison: Mapping[str, Any] | None = None
    """Of a shadow run: what it would have done beside what was done."""
    problems: Problems = Problems()

    def as_data(self) -> dict[str, Any]:
        """As JSON can hold it."""
        # Not asdict of the whole: it makes a Counter of what is in a Counter.
        plain = {one.name: getattr(self, one.name) for one in fields(self)}
        return plain | {"problems": asdict(self.problems)}

    def to_json(self) -> str:
        """As it is kept in the ledger."""
        return json.dumps(self.as_data())

    @classmethod
    def from_json(cls, text: str) -> Report:
        """The report that was kept."""
        data = json.loads(text)
        problems = Problems(data["problems"]["total"], tuple(data["problems"]["first"]))
        return cls(**data | {"problems": problems})

    def failed(self) -> int:
        """How many deliveries failed and are to be tried again."""
        return sum(states.get("failed", 0) for states in self.deliveries.values())

    def unwell(self) -> bool:
        """Whether files could not be read, or deliveries failed or died."""
        dead = any(states.get("dead") for states in self.deliveries.values())
        return bool(self.invalid or self.problems.total or dead or self.failed())
