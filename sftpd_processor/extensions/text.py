"""Foreign text made safe to show."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches


def one_line(text: str, limit: int = 500) -> str:
    """Make foreign text safe to show: one line, printable characters only, bounded."""
    printable = "".join(c if c.isprintable() else " " for c in text[: limit * 4])
    return " ".join(printable.split())[:limit]


def told(error: BaseException) -> str:
    """`TypeName: message` of what user code raised; survives a `__str__` that raises itself."""
    try:
        message = str(error)
    except BaseException:  # noqa: BLE001 (user code)
        message = "(its message could not be read)"
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'balance'?` when something known is near, else nothing."""
    by_lower = {it.lower(): it for it in known}
    near = get_close_matches(name.lower(), by_lower, n=1)
    return f"; did you mean {by_lower[near[0]]!r}?" if near else ""
