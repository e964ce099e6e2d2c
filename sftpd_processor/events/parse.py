"""From the bytes of a file, or of a live post, to events: or to a rejection that says where and why.

How Webio lays out a file is not public, so one object, an array of objects and JSON Lines are all read,
with or without a byte-order mark. A text that is not one JSON document, nor the beginning of one, is JSON Lines
when at least half of its lines look like objects: then a bad line, the first one too, does not spoil the others.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator
from io import BytesIO
from typing import NamedTuple
from zoneinfo import ZoneInfo

from pydantic_core import from_json, to_json

from sftpd_processor.errors import InternalError
from sftpd_processor.events.document import WHOLE, Place, Unreadable, not_json, read
from sftpd_processor.events.faults import WHITESPACE, Fault, Rejection, foreign
from sftpd_processor.events.identity import identity
from sftpd_processor.events.models import Event

__all__ = ["Fault", "Parsed", "ParsedEvent", "Rejection", "parse", "parse_event"]

_MOST_FAULTS = 20


class ParsedEvent(NamedTuple):
    """One event, its JSON text, its identity, and its place among all documents of the file (from 0).

    `body` is as sent, without what stood around it; members of an array are written anew. Bad documents have a
    `position` too, so an event keeps its own whatever becomes of its neighbours; blank lines have none.
    """

    event: Event
    body: bytes
    identity: str
    position: int


class Parsed(NamedTuple):
    """What a file holds: at least one event.

    `lines`: read as JSON Lines, so it is only complete once the file has settled. `rejected`: what is wrong with
    the other documents of the file, if only some of them are events.
    """

    events: tuple[ParsedEvent, ...]
    lines: bool
    rejected: Rejection | None = None


class _Rules(NamedTuple):
    zone: ZoneInfo
    accept_unknown: bool
    accept_partial: bool
    most_events: int


def rejection_in(result: Parsed | Rejection) -> Rejection | None:
    """What is wrong: with all of it, or with the part that could not be read; None when nothing is."""
    return result if isinstance(result, Rejection) else result.rejected


def parse(
    raw: bytes,
    zone: ZoneInfo,
    *,
    accept_unknown: bool = True,
    accept_partial: bool = True,
    most_events: int = 10_000,
) -> Parsed | Rejection:
    """Read all events in `raw`, or say why not. Never raises, whatever the bytes are.

    `zone` is what times without an offset are read in. Without `accept_unknown`, a type that has no class is
    a fault. With `accept_partial`, an array or JSON Lines with some bad members gives the good ones; without it
    one bad member rejects the file. So do more than `most_events` members, good or bad. Takes time and memory in
    proportion to `raw`, whose size the caller bounds.
    """
    try:
        return _whole(raw.removeprefix(codecs.BOM_UTF8), _Rules(zone, accept_unknown, accept_partial, most_events))
    except Unreadable as problem:
        beginning = foreign(raw)
        faults = (beginning,) if beginning else problem.faults
        return Rejection(faults, len(faults))


def parse_event(body: bytes, zone: ZoneInfo) -> Event:
    """The event in `body`, which `parse` has accepted before. Raises InternalError when it is not one."""
    try:
        return read(body, WHOLE, zone, accept_unknown=True)
    except Unreadable as problem:
        raise InternalError(
            f"a recorded event can no longer be read: {problem.faults[0]}; please report this"
        ) from None


def _whole(text: bytes, rules: _Rules) -> Parsed | Rejection:
    if text.lstrip(WHITESPACE)[:1] == b"[":
        return _gather(_members(text, rules.most_events), rules, lines=False)
    try:
        return Parsed((_parsed(text, WHOLE, 0, rules),), lines=False)
    except Unreadable as problem:
        if not problem.several or not _looks_like_lines(text, rules.most_events):
            raise
    return _gather(_lines(text), rules, lines=True)


def _members(text: bytes, most: int) -> Iterator[tuple[Place, bytes]]:
    try:
        members = from_json(text)
    except ValueError as error:
        raise not_json(str(error), 1) from None
    if not members:
        raise Unreadable(Fault("$", "the array is empty: the file holds no event"))
    _check_count(len(members), most)
    for index, member in enumerate(members):
        members[index] = None  # so that the file is not held twice over, as members and as events
        yield Place(f"$[{index}]", 1), to_json(member)


def _lines(text: bytes) -> Iterator[tuple[Place, bytes]]:
    for number, raw in enumerate(BytesIO(text), 1):
        if line := raw.strip(WHITESPACE):
            yield Place(f"line {number}: $", number), line


def _looks_like_lines(text: bytes, most: int) -> bool:
    """Whether at least half of the lines begin and end as objects do; raises `Unreadable` if they are too many."""
    count = alike = 0
    for raw in BytesIO(text):
        if line := raw.strip(WHITESPACE):
            count += 1
            alike += line[:1] == b"{" and line[-1:] == b"}"
    if count < 2 or alike * 2 < count:
        return False
    _check_count(count, most)
    return True


def _check_count(count: int, most: int) -> None:
    if count > most:
        raise Unreadable(Fault("the file", f"holds {count:,} events; `max_file_events` allows {most:,}"))


def _gather(documents: Iterable[tuple[Place, bytes]], rules: _Rules, *, lines: bool) -> Parsed | Rejection:
    """Read every document, so that all faults of a file are told at once."""
    events: list[ParsedEvent] = []
    faults: list[Fault] = []
    total = 0
    for position, (place, text) in enumerate(documents):
        try:
            events.append(_parsed(text, place, position, rules))
        except Unreadable as problem:
            total += len(problem.faults)
            faults.extend(problem.faults[: _MOST_FAULTS - len(faults)])
    rejection = Rejection(tuple(faults), total) if total else None
    if rejection and not (events and rules.accept_partial):
        return rejection
    return Parsed(tuple(events), lines, rejection)


def _parsed(text: bytes, place: Place, position: int, rules: _Rules) -> ParsedEvent:
    event = read(text, place, rules.zone, accept_unknown=rules.accept_unknown)
    body = text.strip(WHITESPACE)
    return ParsedEvent(event, body, identity(event, body), position)
