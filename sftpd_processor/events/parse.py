"""From the bytes of a file, or of a live post, to events: or to a rejection that says where and why.

How Webio lays out a file is not public, so one object, an array of objects and JSON Lines are all read,
with or without a byte-order mark. A file is taken whole or not at all. Nothing in a fault repeats a value of
the file, which may be personal data; names of types and fields are shown, shortened and printable.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, NamedTuple, cast
from zoneinfo import ZoneInfo

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails, from_json, to_json

from sftpd_processor.errors import InternalError
from sftpd_processor.events.identity import identity
from sftpd_processor.events.models import EVENT_TYPES, Event, KnownEvent, UnknownEvent

_WHITESPACE = b" \t\r\n"
_MOST_FAULTS = 20
_MOST_CHARACTERS = 60

# The validators themselves: a TypeAdapter's own method adds a tenth to the time an event takes.
_known = TypeAdapter[KnownEvent](Annotated[KnownEvent, Field(discriminator="type")]).validator.validate_json
_unknown = TypeAdapter(UnknownEvent).validator.validate_json


class ParsedEvent(NamedTuple):
    """One event, its JSON text, its identity, and its place among the events of the file (from 0).

    `body` is as sent, without what stood around it; members of an array are written anew.
    """

    event: Event
    body: bytes
    identity: str
    position: int


class Parsed(NamedTuple):
    """What a file holds. `lines`: read as JSON Lines, so it is only complete once the file has settled."""

    events: tuple[ParsedEvent, ...]
    lines: bool


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: where ("line 3, column 17", "$[2].dateCreated", "line 4: $.body"), why."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a file was not taken: its first faults, and how many there are in `total`."""

    faults: tuple[Fault, ...]
    total: int

    def __str__(self) -> str:
        more = self.total - len(self.faults)
        return "; ".join(map(str, self.faults)) + (f"; and {more} more" if more else "")


class _Document(NamedTuple):
    """One JSON text to be read as an event: the JSON path it is told by, and the line it starts on."""

    path: str
    line: int
    text: bytes


class _Unreadable(Exception):
    """The document is not an event; holds what is wrong with it."""

    def __init__(self, *faults: Fault) -> None:
        self.faults = faults


class _MoreFollows(_Unreadable):
    """The document is complete, but something comes after it: another line of JSON Lines, perhaps."""


def parse(raw: bytes, zone: ZoneInfo, *, accept_unknown: bool = True) -> Parsed | Rejection:
    """Read all events in `raw`, or say why not. Never raises, whatever the bytes are.

    `zone` is what times without an offset are read in. Without `accept_unknown`, a type that has no class is
    a fault. Takes time and memory in proportion to `raw`, whose size the caller bounds.
    """
    try:
        return _whole(raw.removeprefix(codecs.BOM_UTF8), zone, accept_unknown=accept_unknown)
    except _Unreadable as problem:
        foreign = _foreign(raw)
        faults = (foreign,) if foreign else problem.faults
        return Rejection(faults, len(faults))


def parse_event(body: bytes, zone: ZoneInfo) -> Event:
    """The event in `body`, which `parse` has accepted before. Raises InternalError when it is not one."""
    try:
        return _read(_Document("$", 1, body), zone, accept_unknown=True)
    except _Unreadable as problem:
        raise InternalError(
            f"a recorded event can no longer be read: {problem.faults[0]}; please report this"
        ) from None


def _whole(text: bytes, zone: ZoneInfo, *, accept_unknown: bool) -> Parsed | Rejection:
    match text.lstrip(_WHITESPACE)[:1]:
        case b"{":
            return _object_or_lines(text, zone, accept_unknown=accept_unknown)
        case b"[":
            return _gather(_members(text), zone, accept_unknown=accept_unknown)
        case _:
            raise _Unreadable(_scalar_fault(text))


def _object_or_lines(text: bytes, zone: ZoneInfo, *, accept_unknown: bool) -> Parsed | Rejection:
    try:
        return Parsed((_parsed(_Document("$", 1, text), 0, zone, accept_unknown=accept_unknown),), lines=False)
    except _MoreFollows:
        first_line = text.lstrip(_WHITESPACE).partition(b"\n")[0]
        if "EOF" in _syntax_error(first_line):
            raise  # the first document spans lines, so this is not JSON Lines
        return _gather(_lines(text), zone, accept_unknown=accept_unknown, lines=True)


def _members(text: bytes) -> Iterator[_Document]:
    try:
        members = from_json(text)
    except ValueError as error:
        raise _Unreadable(_syntax_fault(str(error), 1)) from None
    if not members:
        raise _Unreadable(Fault("$", "the array is empty: the file holds no event"))
    for index, member in enumerate(members):
        yield _Document(f"$[{index}]", 1, to_json(member))


def _lines(text: bytes) -> Iterator[_Document]:
    for number, line in enumerate(text.split(b"\n"), 1):
        if line.strip(_WHITESPACE):
            yield _Document(f"line {number}: $", number, line)


def _gather(
    documents: Iterable[_Document], zone: ZoneInfo, *, accept_unknown: bool, lines: bool = False
) -> Parsed | Rejection:
    """Read every document, so that all faults of a file are told at once."""
    events: list[ParsedEvent] = []
    faults: list[Fault] = []
    total = 0
    for document in documents:
        try:
            events.append(_parsed(document, len(events), zone, accept_unknown=accept_unknown))
        except _Unreadable as problem:
            total += len(problem.faults)
            faults.extend(problem.faults[: _MOST_FAULTS - len(faults)])
    return Rejection(tuple(faults), total) if total else Parsed(tuple(events), lines)


def _parsed(document: _Document, position: int, zone: ZoneInfo, *, accept_unknown: bool) -> ParsedEvent:
    event = _read(document, zone, accept_unknown=accept_unknown)
    body = document.text.strip(_WHITESPACE)
    return ParsedEvent(event, body, identity(event, body), position)


def _read(document: _Document, zone: ZoneInfo, *, accept_unknown: bool) -> Event:
    """The event in a document; only a type without a class costs a second look at the bytes."""
    try:
        return cast("Event", _known(document.text, context=zone, by_name=False))
    except ValidationError as error:
        details = _details(error)
    if details[0]["type"] not in ("union_tag_invalid", "union_tag_not_found"):
        raise _unreadable(document, details)
    try:
        event: Event = _unknown(document.text, context=zone, by_name=False)
    except ValidationError as error:
        raise _unreadable(document, _details(error)) from None
    if accept_unknown:
        return event
    names = ", ".join(EVENT_TYPES)
    raise _Unreadable(
        Fault(f"{document.path}.type", f'the type "{_printable(event.type)}" is unknown (known are {names})')
    )


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _unreadable(document: _Document, details: list[ErrorDetails]) -> _Unreadable:
    first = details[0]
    if first["type"] != "json_invalid":
        return _Unreadable(*(_field_fault(document, detail) for detail in details))
    message = first["ctx"]["error"]
    fault = _syntax_fault(message, document.line)
    return _MoreFollows(fault) if message.startswith("trailing characters") else _Unreadable(fault)


_FIELD_FAULTS = {
    "missing": "is missing; it says what kind of event this is",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than 100 characters",
    "dict_type": "an event must be a JSON object",
    "model_type": "an event must be a JSON object",
}


def _field_fault(document: _Document, detail: ErrorDetails) -> Fault:
    names = [str(name) for name in detail["loc"]]
    if names and names[0] in EVENT_TYPES:  # pydantic puts the member of the union first
        del names[0]
    path = "".join(f".{_printable(name)}" for name in names)
    return Fault(document.path + path, _FIELD_FAULTS.get(detail["type"], detail["msg"]))


_SYNTAX_FAULTS = {
    "EOF while parsing": "the text ends in the middle of a JSON document: was it cut short?",
    "trailing characters": "something follows after the end of the JSON document; several events must"
    " stand in an array, or on one line each",
    "recursion limit exceeded": "is nested too deeply (200 levels at most)",
    "number out of range": "holds a number that is too long (4,300 digits at most)",
    "invalid unicode code point": "is not valid UTF-8",
    "control character": "a text holds a raw control character, such as a line break not written as \\n",
    "lone leading surrogate": "a text holds half of a \\u surrogate pair",
    "unexpected end of hex escape": "a text holds an incomplete \\u escape, or half of a surrogate pair",
}
_PLACE = re.compile(r"(.*) at line (\d+) column (\d+)", re.DOTALL)


def _syntax_fault(message: str, first_line: int) -> Fault:
    """Put the parser's message, which holds no values, in words and its place in terms of the file."""
    place = _PLACE.fullmatch(message)
    what, line, column = place.groups() if place else (message, "1", "0")
    why = next((words for start, words in _SYNTAX_FAULTS.items() if what.startswith(start)), "")
    where = f"line {int(line) - 1 + first_line}, column {column}"
    return Fault(where, why or f"is not valid JSON ({what})")


def _syntax_error(text: bytes) -> str:
    """The parser's message about `text`, empty when it is valid JSON."""
    try:
        from_json(text)
    except ValueError as error:
        return str(error)
    return ""


_BEGINNINGS = {
    codecs.BOM_UTF32_LE: "is UTF-32 text; events must be UTF-8",
    codecs.BOM_UTF32_BE: "is UTF-32 text; events must be UTF-8",
    codecs.BOM_UTF16_LE: "is UTF-16 text; events must be UTF-8",
    codecs.BOM_UTF16_BE: "is UTF-16 text; events must be UTF-8",
    b"\x1f\x8b": "is compressed (gzip); events must be plain JSON",
    b"PK\x03\x04": "is a zip archive; events must be plain JSON",
    b"<": "looks like HTML or XML, perhaps an error page; events must be JSON",
}


def _foreign(raw: bytes) -> Fault | None:
    """What the bytes are instead of UTF-8 JSON, where that can be told from their beginning."""
    text = raw.removeprefix(codecs.BOM_UTF8).lstrip(_WHITESPACE)
    if not text:
        return Fault("the file", "holds only whitespace: no event" if raw else "is empty: no event")
    if not raw.strip(b"\0"):
        return Fault("the file", "holds only NUL bytes: its content was perhaps never written")
    for beginning, why in _BEGINNINGS.items():
        if raw.startswith(beginning) or text.startswith(beginning):
            return Fault("the file", why)
    if b"\0" in raw[:4]:
        wide = "UTF-32" if b"\0\0" in raw[:4] else "UTF-16"
        return Fault("the file", f"looks like {wide} text; events must be UTF-8")
    return None


def _scalar_fault(text: bytes) -> Fault:
    message = _syntax_error(text)
    return _syntax_fault(message, 1) if message else Fault("$", _FIELD_FAULTS["dict_type"])


def _printable(name: str) -> str:
    """A name from the file, safe to show on one line."""
    shown = name[:_MOST_CHARACTERS].encode("unicode_escape").decode() if not name.isprintable() else name
    return shown if len(shown) <= _MOST_CHARACTERS else shown[: _MOST_CHARACTERS - 1] + "…"
