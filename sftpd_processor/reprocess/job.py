"""What a person asks to be handled again."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.selection import Selection

UNDONE = ("missing", "failed", "dead")
"""States of deliveries that a replay runs unless told otherwise: not there, waiting for another attempt, given up."""
STATES = (*UNDONE, "done")
"""What can be chosen; `done` includes what was skipped."""


@dataclass(frozen=True, slots=True)
class Job:
    """Which archived files and events, for which handlers, and how. What is left out is all of it, or as configured."""

    paths: tuple[str, ...] = ()
    """Absolute paths of archived files, folders and compacted days; none: by `selection` alone, from the ledger."""
    read_as: str | None = None
    """The source by whose rules files are read that lie in no archive."""
    selection: Selection = field(default_factory=Selection)
    """Its `handlers` are unused: see below. Its times are those of recording; its `states` are of `STATES`."""
    handlers: tuple[str, ...] = ()
    """Those that get the events; none: every configured one."""
    again: bool = False
    """Also what is done already."""
    new_keys: bool = False
    """With idempotency keys that no handler has seen, for what runs `again`."""
    record_only: bool = False
    """Deliver nothing: only make the ledger know the files."""
    quarantine: bool = False
    """Read the files of the quarantine again, with today's rules."""
    shadow: str | None = None
    """The handler whose effects are captured, not performed."""
    against: str | None = None
    """The handler with whose recorded deliveries those are compared."""
    effects: str | None = None
    """The absolute path of the file that gets the captured effects."""
    rate: float | None = None
    """Deliveries a second, at most."""
    workers: int | None = None
    """In place of `delivery.workers`."""

    def to_json(self) -> str:
        """As it is kept in the ledger. It names customers and conversations when they were chosen."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Job:
        """The job that was kept; raises `PermanentError` when another version of this program kept it."""
        try:
            data = _tuples(json.loads(text))
            return cls(**data | {"selection": Selection(**data["selection"])})
        except (ValueError, TypeError, KeyError):
            raise PermanentError(
                "this replay was begun by another version of this program, which kept it in another way; begin it anew"
            ) from None


def _tuples(value: Any) -> Any:
    """What JSON made of `asdict`, with tuples in place of lists."""
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(value) if isinstance(value, list) else value
