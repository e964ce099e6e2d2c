"""What was found out about one source, step by step; whatever could not be found out says why."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True, slots=True)
class Right:
    """Whether something may be done, with the words of whoever said no, or why it was not tried."""

    answer: Literal["yes", "no", "untried"]
    why: str = ""


YES = Right("yes")


@dataclass(frozen=True, slots=True)
class SshFacts:
    """What both sides agreed on."""

    server: str
    """As the server calls itself, such as `SSH-2.0-OpenSSH_9.2p1`."""
    host_key_type: str
    host_key: str
    """The fingerprint, `SHA256:…`."""
    cipher: str
    mac: str
    """Empty when the cipher needs none."""


@dataclass(frozen=True, slots=True)
class Listed:
    """One walk through the folder."""

    entries: int
    seconds: float
    complete: bool
    """False when it was given up for want of time."""
    per_answer: int | None
    """How many names one answer of the server holds; None when all fit into one, or for a local folder."""

    @property
    def per_second(self) -> float:
        """Entries per second."""
        return self.entries / max(self.seconds, 1e-6)


@dataclass(frozen=True, slots=True)
class Clock:
    """How far the server's clock is ahead of ours, in seconds, give or take `uncertainty`."""

    offset: float
    uncertainty: float


@dataclass(frozen=True, slots=True)
class OpenFiles:
    """How many files were open at once; `refusal` is what the server said to one more, None when it did not."""

    most: int
    refusal: str | None


@dataclass(slots=True)
class Findings:
    """Filled as the examination goes; what is None was not reached, or does not apply."""

    source: str
    place: str
    """For people: the address and the folder."""
    unreachable: str | None = None
    """Why the server could not be entered at all."""
    ended_early: str | None = None
    """Why the examination stopped in the middle."""
    ssh: SshFacts | None = None
    round_trip_seconds: float | None = None
    slowest_answer_seconds: float | None = None
    listing: Listed | None = None
    sticky: bool | None = None
    """Whether only the owner of a file may move or delete it (the folder's sticky bit)."""
    rights: dict[str, Right] = field(default_factory=dict)
    """By what was tried: list, make_folder, write, read, rename, posix_rename, move_to, set_time, delete, …"""
    rename_replaces: bool | None = None
    """Whether RENAME onto a name that is taken replaces what is there."""
    other_file_system: bool | None = None
    """Whether `move_to` can be written, but not be moved to."""
    time_grain_seconds: float | None = None
    """What the times of files are rounded to."""
    clock: Clock | None = None
    open_files: OpenFiles | None = None
    strays: list[str] = field(default_factory=list)
    """Scratch folders that an earlier run, killed, has left."""
    left_behind: dict[str, str] = field(default_factory=dict)
    """What could not be removed again: path → why."""
