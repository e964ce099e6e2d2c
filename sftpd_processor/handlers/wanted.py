"""Which event types a handler takes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from sftpd_processor.events.models import EVENT_TYPES, Event, UnknownEvent, wire_type

_NAME_OF = {cls: name for name, cls in EVENT_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A set of event types: `types` by their name on the wire, and `unknown` for every type we do not know.

    `types=None` means all known types.
    """

    types: frozenset[str] | None = None
    unknown: bool = True

    def __contains__(self, event_type: str) -> bool:
        if event_type not in EVENT_TYPES:
            return self.unknown
        return self.types is None or event_type in self.types

    def __bool__(self) -> bool:
        return self.types is None or bool(self.types) or self.unknown

    def __and__(self, other: Wanted) -> Wanted:
        """What both take: the configuration narrows what a function declares."""
        both = [types for types in (self.types, other.types) if types is not None]
        return Wanted(frozenset.intersection(*both) if both else None, self.unknown and other.unknown)


EVERYTHING = Wanted()


def wanted(events: Iterable[object]) -> tuple[Wanted, tuple[str, ...]]:
    """Read event classes and names into a `Wanted`; the second part tells each mistake in words.

    No events at all, and the base class `Event`, mean everything.
    """
    types, mistakes, unknown, everything = set(), [], False, True
    for event in events:
        everything = everything and event is Event
        if event is UnknownEvent:
            unknown = True
        elif (name := _wire_name(event)) is not None:
            types.add(name)
        elif event is not Event:
            mistakes.append(_mistake(event))
    return (EVERYTHING if everything else Wanted(frozenset(types), unknown)), tuple(mistakes)


def _wire_name(event: object) -> str | None:
    if isinstance(event, str):
        return wire_type(event)
    return _NAME_OF.get(event) if isinstance(event, type) else None


def _mistake(event: object) -> str:
    name = event if isinstance(event, str) else getattr(event, "__name__", repr(event))
    known = {known.lower(): known for known in (*EVENT_TYPES, "deliveryReport")}
    near = get_close_matches(str(name).lower(), known, n=1)
    hint = f"did you mean {known[near[0]]!r}?" if near else f"known are: {', '.join(sorted(known.values()))}"
    return f"unknown event type {str(name)[:100]!r}; {hint}"
