"""Which events, deliveries or files a person means."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, ColumnElement

from sftpd_processor.ledger.names import expression, is_pattern

_ESCAPE = "!"


@dataclass(frozen=True, slots=True)
class Selection:
    """All that is given must fit; what is left out fits everything. Times are the ledger's, `until` is not included."""

    handlers: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    file: str | None = None
    """A name, in which `*` and `?` stand for others."""
    error: str | None = None
    """A part of what was said, in upper or lower case."""
    since: int | None = None
    until: int | None = None
    conversations: tuple[str, ...] = field(default=(), repr=False)
    customers: tuple[str, ...] = field(default=(), repr=False)
    """By `customerUID`."""
    verdicts: tuple[str, ...] = ()
    """Of the file: accepted, duplicate, partial, invalid or conflict."""
    states: tuple[str, ...] = ()
    """Of the delivery: missing, failed, dead or done."""


def named(column: Column[Any], name: str) -> ColumnElement[bool]:
    """Whether the column is that name; in it `*` stands for any characters and `?` for one."""
    if not is_pattern(name):
        return column == name
    # Not LIKE: on SQLite it takes upper and lower case for the same. What re.escape gives is PostgreSQL's, too.
    return column.regexp_match(expression(name))


def holds(column: Column[Any], text: str) -> ColumnElement[bool]:
    """Whether the column holds `text`, in upper or lower case."""
    for special in (_ESCAPE, "%", "_"):
        text = text.replace(special, _ESCAPE + special)
    return column.ilike(f"%{text}%", escape=_ESCAPE)


def between(column: Column[Any], since: int | None, until: int | None) -> list[ColumnElement[bool]]:
    """Whether the time in the column is `since` or later, and before `until`."""
    return [
        *([] if since is None else [column >= since]),
        *([] if until is None else [column < until]),
    ]
