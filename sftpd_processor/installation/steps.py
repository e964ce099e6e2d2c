"""What was done, told step by step."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, or left as it was."""

    did: Literal["made", "replaced", "removed", "ran", "same", "kept", "note"]
    what: str
    """A path as it is on the final machine, a command, or for a note the whole text."""
    why: str = ""

    @property
    def text(self) -> str:
        """A line for people; empty for what has not changed."""
        if self.did == "same":
            return ""
        return f"{self.did:<8}  {self.what}" + (f": {self.why}" if self.why else "")
