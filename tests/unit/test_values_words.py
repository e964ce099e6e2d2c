from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum

import pytest

from sftpd_processor.values.api import ProviderFailed
from sftpd_processor.values.words import as_text, find


class Colour(str, Enum):  # noqa: UP042 (its str() is another text)
    RED = "red"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("", ""),
        ("12.50 €", "12.50 €"),
        (Colour.RED, "red"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-7, "-7"),
        (10**30, "1" + "0" * 30),
        (12.5, "12.5"),
        (0.1, "0.1"),
        (1e16, "10000000000000000"),
        (1e-7, "0.0000001"),
        (Decimal("12.50"), "12.50"),
        (Decimal("1E+3"), "1000"),
        (Decimal("1E-9"), "0.000000001"),
        (date(2026, 1, 31), "2026-01-31"),
        (datetime(2026, 1, 31, 9, 15, tzinfo=UTC), "2026-01-31T09:15:00+00:00"),
        (datetime(2026, 1, 31, 9, 15, tzinfo=timezone(timedelta(hours=1))), "2026-01-31T09:15:00+01:00"),
        (time(9, 15), "09:15:00"),
        ("x" * 10_000, "x" * 10_000),
    ],
)
def test_values_become_text(value: object, text: str | None) -> None:
    """Text as it is, numbers with all their digits and no exponent, dates as ISO 8601."""
    assert as_text(value) == text


@pytest.mark.parametrize(
    "value",
    [[], {}, b"", object(), float("nan"), float("inf"), Decimal("NaN"), Decimal("sNaN"), Decimal("-Infinity"),
     Decimal("1E+999999"), Decimal("1E-999999"), 10**20_000, "\udc80", "x" * 10_001, ProviderFailed("x")],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_nonsense_is_refused_and_not_quoted(value: object) -> None:
    """What no bot can show fails, and the error holds the kind of the value at most."""
    with pytest.raises(ProviderFailed) as caught:
        as_text(value)
    assert len(str(caught.value)) < 100


def test_names_are_found_exactly_or_else_ignoring_case() -> None:
    """An exact name wins, also when what it has is nothing; ignoring case, the first wins."""
    items = {"Balance": 1, "balance": 2, "NULL": 3, "null": None, "Straße": 4}
    assert [find(items, name) for name in ("balance", "BALANCE", "null", "STRASSE", "x")] == [2, 1, None, 4, None]
