"""The one question that Webio asks: which customer, and which names. Read from the query of a GET.

That it is `customerUID`, `outboundChannelAddress`, `param1`, `param2`, …, and that the values of the latter are the
names asked for, is documented by Webio. How an absent customer looks is not: absent, empty and `null` are taken alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_plus

from sftpd_processor.errors import PermanentError
from sftpd_processor.values.api import Query

MOST_NAMES = 100
_LONGEST = 200
_KINDS = {"customeruid": "customer", "outboundchanneladdress": "address"}
_PARAMETER = re.compile(r"param[0-9]{1,6}").fullmatch
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]").search


class BadQuestion(PermanentError):
    """The query is not one that Webio sends; the message quotes none of it."""


class Question(NamedTuple):
    """Who is asked about, and the names, each once and in the order asked."""

    query: Query
    names: tuple[str, ...]


def read_question(query_string: bytes) -> Question:
    """Raises `BadQuestion`. The keys are taken in any case, since nothing says in which they come."""
    names: dict[str, None] = {}
    customers: dict[str, None] = {}
    addresses: dict[str, None] = {}
    for key, value in _pairs(query_string):
        kind = _kind(key)
        if kind == "param" and value:
            names[value] = None
        elif kind == "customer":
            customers[value] = None
        elif kind == "address":
            addresses[value] = None
    if not names:
        raise BadQuestion("no name is asked for: param1, param2, … are missing or empty")
    if len(names) > MOST_NAMES:
        raise BadQuestion(f"more than {MOST_NAMES} names are asked for at once")
    return Question(
        Query(_single(customers, "customerUID"), _single(addresses, "outboundChannelAddress")), tuple(names)
    )


@lru_cache(512)
def _kind(key: str) -> str | None:
    lowered = key.lower()
    return "param" if _PARAMETER(lowered) else _KINDS.get(lowered)


def _pairs(query_string: bytes) -> Iterator[tuple[str, str]]:
    """Keys and values; each is looked at once, since a bot waits for the answer."""
    try:
        parts = query_string.decode("ascii").split("&")
        if len(parts) > 2 * MOST_NAMES:
            raise BadQuestion(f"the query has more than {2 * MOST_NAMES} fields")
        for part in parts:
            key, _, value = part.partition("=")
            if "%" in part or "+" in part:
                key, value = unquote_plus(key, errors="strict"), unquote_plus(value, errors="strict")
            _check(value)
            yield key, value
    except UnicodeDecodeError:
        raise BadQuestion("the query is not UTF-8 text in percent-encoding") from None


def _single(given: Iterable[str], key: str) -> str | None:
    """The one value; whose balance would it be if there were two?"""
    told = [value for value in given if value and value != "null"]
    if len(told) > 1:
        raise BadQuestion(f"{key} is given more than once, with different values")
    return told[0] if told else None


def _check(text: str) -> None:
    if len(text) > _LONGEST:
        raise BadQuestion(f"a value in the query is longer than {_LONGEST} characters")
    if not text.isprintable() and _CONTROL(text):
        raise BadQuestion("a value in the query holds a control character")
