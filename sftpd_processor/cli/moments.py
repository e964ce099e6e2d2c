"""Times as people give them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import typer

_AGO = re.compile(r"(\d+)\s*([smhdw])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EXAMPLES = "2026-11-22, 2026-11-22T08:30, or 90m, 2h, 3d ago"


def given(text: str | None) -> int | None:
    """The ledger's time for what a person gave: ISO 8601 (UTC when it says nothing else), or so long ago.

    Raises `typer.BadParameter` with examples for anything else.
    """
    if text is None:
        return None
    try:
        return (_moment(text.strip().removesuffix("ago").strip()) - _EPOCH) // timedelta(microseconds=1)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is no time; give for example {EXAMPLES}") from None


def _moment(text: str) -> datetime:
    if ago := _AGO.fullmatch(text):
        return datetime.now(UTC) - timedelta(**{_UNITS[ago[2]]: int(ago[1])})
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
