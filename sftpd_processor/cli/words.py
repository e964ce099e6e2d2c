"""How numbers and times are said to people and written as JSON."""

from __future__ import annotations

VERDICTS = ("accepted", "duplicate", "partial", "invalid", "conflict")
"""Of a recorded file, in the order in which they are shown."""


def counted(number: int, one: str, many: str | None = None) -> str:
    """`1 file`, `2,000 files`."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def listed(counts: dict[str, int]) -> str:
    """`266 accepted, 12 duplicate`: those that are not zero; empty when all are."""
    return ", ".join(f"{number:,} {word}" for word, number in counts.items() if number)


def duration(seconds: float) -> str:
    """`0.3 s`, `42 s`, `3 min 12 s`, `2 h 5 min`."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours:,} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def iso(micros: int | None) -> str | None:
    """The ledger's time in ISO 8601, UTC."""
    if micros is None:
        return None
    from sftpd_processor.ledger.records import moment

    return moment(micros).isoformat(timespec="milliseconds")


def clock(moment: str) -> str:
    """`2026-11-22 12:20:03 UTC`, from what `iso` gives."""
    return f"{moment[:19].replace('T', ' ')} UTC"
