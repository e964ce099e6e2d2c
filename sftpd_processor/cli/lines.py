"""What is printed, line by line. Names come from a server: nothing in them may act upon the terminal."""

from __future__ import annotations

from collections.abc import Iterable


def page(lines: Iterable[str]) -> str:
    """The lines as one text, in which what is not printable is escaped."""
    return "".join(f"{printable(line)}\n" for line in lines)


def printable(line: str) -> str:
    """`line` with escapes in place of control, invisible and undecodable characters."""
    if line.isprintable():
        return line
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in line)


def more(number: int, one: str, many: str | None = None) -> list[str]:
    """The line that says how many are not shown; none when all are."""
    return [f"and {number:,} more {one if number == 1 else many or one + 's'}"] if number > 0 else []
