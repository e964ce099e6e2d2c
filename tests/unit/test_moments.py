"""Times as people give them to `--since` and `--until`."""

from __future__ import annotations

import time

import pytest
import typer

from sftpd_processor.cli.moments import given

NOON = 1_795_348_800 * 1_000_000  # 2026-11-22 12:00 UTC


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-11-22T12:00", NOON),
        (" 2026-11-22 12:00:00.000001 ", NOON + 1),
        ("2026-11-22T12:00Z", NOON),
        ("2026-11-22T13:30+01:30", NOON),
        ("2026-11-22", NOON - 12 * 3600 * 1_000_000),
        ("1969-12-31T23:59:59", -1_000_000),
    ],
)
def test_iso(text: str, at: int) -> None:
    """ISO 8601 is exact to the microsecond, and UTC unless it says otherwise."""
    assert given(text) == at


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("90m", 5400), ("2h", 7200), ("3 d", 259_200), ("1w", 604_800), ("2h ago", 7200)]
)
def test_so_long_ago(text: str, seconds: int) -> None:
    """A number with a unit counts back from now."""
    at = given(text)
    assert at is not None
    assert abs(time.time() - seconds - at / 1e6) < 5


@pytest.mark.parametrize(
    "text", ["", "ago", "yesterday", "2h30m", "-2h", "12", "22.11.2026", "2026-13-01", "9" * 30 + "d", "٣d", "1y", "\0"]
)
def test_mistakes(text: str) -> None:
    """Anything else is a mistake in the usage, told with examples."""
    with pytest.raises(typer.BadParameter, match="is no time; give for example 2026-11-22"):
        given(text)


def test_nothing_given() -> None:
    """Without the option there is no bound."""
    assert given(None) is None
