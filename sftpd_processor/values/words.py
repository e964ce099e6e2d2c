"""Values as text, and names that are compared exactly first, then ignoring case."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, time
from decimal import Decimal
from math import isfinite
from typing import TypeVar

from sftpd_processor.values.api import ProviderFailed

LONGEST_VALUE = 10_000
"""Characters."""

T = TypeVar("T")


def as_text(value: object) -> str | None:
    """A value as the bot gets it; None when there is none. Raises ProviderFailed, which tells its kind only."""
    if value is None:
        return None
    text = value if type(value) is str else _written(value)
    if len(text) > LONGEST_VALUE:
        raise ProviderFailed(f"gave a value of more than {LONGEST_VALUE:,} characters")
    if not text.isascii():
        _check(text)
    return text


def _written(value: object) -> str:
    match value:
        case str():
            return str.__str__(value)
        case bool():
            return "true" if value else "false"
        case int() if value.bit_length() <= 3 * LONGEST_VALUE:
            return _digits(Decimal(value))
        case float() if isfinite(value):
            return _digits(Decimal(repr(value)))
        case Decimal() if value.is_finite():
            return _digits(value)
        case date() | time():
            return value.isoformat()
        case ProviderFailed():
            raise value
    raise ProviderFailed(f"gave a value that is no text, number or date, but {type(value).__name__}")


def _digits(number: Decimal) -> str:
    """Without an exponent; one with very many zeros is not written out."""
    if abs(number.adjusted()) > LONGEST_VALUE:
        raise ProviderFailed("gave a number that is too long to write")
    return format(number, "f")


def _check(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ProviderFailed("gave a text that is not Unicode") from None


def find(items: Mapping[str, T], name: str) -> T | None:
    """What has exactly that name, or else the first whose name differs only in case; None when there is neither."""
    if name in items:
        return items[name]
    folded = name.casefold()
    return next((item for its, item in items.items() if its.casefold() == folded), None)
