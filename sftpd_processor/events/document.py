"""One JSON text, read as one event: or what is wrong with it, and where."""

from __future__ import annotations

from typing import Annotated, NamedTuple, cast
from zoneinfo import ZoneInfo

from pydantic import Field, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from sftpd_processor.events.faults import Fault, field_fault, printable, syntax_fault
from sftpd_processor.events.models import EVENT_TYPES, Event, KnownEvent, UnknownEvent

# The validators themselves: a TypeAdapter's own method adds a tenth to the time an event takes.
_known = TypeAdapter[KnownEvent](Annotated[KnownEvent, Field(discriminator="type")]).validator.validate_json
_unknown = TypeAdapter(UnknownEvent).validator.validate_json
_KINDS = frozenset(EVENT_TYPES)
_WITHOUT_CLASS = frozenset({"union_tag_invalid", "union_tag_not_found"})
_MOST_NESTED = 10_000  # an event of 1 MiB could hold half a million: 130 MiB and 2 s at each reading


class Place(NamedTuple):
    """Where a document stands in its file: the JSON path it is told by, and the line it starts on."""

    path: str
    line: int


WHOLE = Place("$", 1)
"""The place of a document that is the whole file."""


class Unreadable(Exception):
    """The text is not an event; holds what is wrong with it. `several`: it may be several documents instead."""

    def __init__(self, *faults: Fault, several: bool = False) -> None:
        self.faults = faults
        self.several = several


def read(text: bytes, place: Place, zone: ZoneInfo, *, accept_unknown: bool) -> Event:
    """The event in `text`; only a type without a class costs a second look. Raises `Unreadable`."""
    if len(text) > _MOST_NESTED:
        _check_nesting(text, place)
    try:
        return cast("Event", _known(text, context=zone, by_name=False))
    except ValidationError as error:
        details = _details(error)
    if details[0]["type"] not in _WITHOUT_CLASS:
        raise _unreadable(place, details)
    try:
        event: Event = _unknown(text, context=zone, by_name=False)
    except ValidationError as error:
        raise _unreadable(place, _details(error)) from None
    if accept_unknown:
        return event
    names = ", ".join(EVENT_TYPES)
    why = f'the type "{printable(event.type)}" is unknown (known are {names})'
    raise Unreadable(Fault(f"{place.path}.type", why))


def _check_nesting(text: bytes, place: Place) -> None:
    """Raise `Unreadable` before an event of more lists and objects than anybody sends takes memory and time."""
    if text.count(b"[") + text.count(b"{") > _MOST_NESTED:
        why = f'holds too many lists and objects for one event ("[" and "{{" may stand in it {_MOST_NESTED:,} times)'
        raise Unreadable(Fault(place.path, why), several=True)


def not_json(message: str, first_line: int) -> Unreadable:
    """What the parser's message means; the beginning of one document is not several."""
    return Unreadable(syntax_fault(message, first_line), several=not message.startswith("EOF"))


def _details(error: ValidationError) -> list[ErrorDetails]:
    return error.errors(include_url=False, include_input=False)


def _unreadable(place: Place, details: list[ErrorDetails]) -> Unreadable:
    if details[0]["type"] == "json_invalid":
        return not_json(details[0]["ctx"]["error"], place.line)
    return Unreadable(*(field_fault(place.path, detail, _KINDS) for detail in details))
