"""What is sent: a pretend Webio's events, each with a number of our own, in files of every kind."""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sftpd_processor.testing.webio import Webio

NUMBER = "certifyNumber"
"""The field with an event's number: equal for events that are the same one, whatever file they come in."""
LARGEST_EVENT = 700
"""Bytes; no event is larger."""

Kind = Literal["fresh", "lines", "duplicate", "mixed", "conflict", "flawed", "half", "broken"]
_WEIGHTS: dict[Kind, int] = {
    "fresh": 72, "lines": 8, "duplicate": 6, "mixed": 4, "conflict": 2, "flawed": 2, "half": 3, "broken": 3,
}  # fmt: skip
_NO_EVENT = {"conversationId": "97011"}
_UNKNOWN = 0.01  # share of events of a type that no class describes
_REMEMBERED = 512  # how far back a repeat reaches; keeps memory flat
_EVENTS_OF_A_CONVERSATION = 50


class SentEvent(NamedTuple):
    """One event of a file; `variant` is 0 for its first content, another number for each other content."""

    number: int
    type: str
    variant: int


@dataclass(frozen=True, slots=True)
class SentFile:
    """One file as it is sent; one that is not `readable` holds no events and must be found invalid.

    A `flawed` one holds something beside its events that is none, and must be found partly good.
    """

    name: str
    data: bytes
    events: tuple[SentEvent, ...]
    flawed: bool = False

    @property
    def readable(self) -> bool:
        """Whether it holds what the processor must be able to read."""
        return bool(self.events)


class Feed:
    """An endless supply of files, the same for the same seed."""

    def __init__(self, seed: int, events_per_file: int, events: int) -> None:
        """`events`: about how many there will be, which says over how many conversations to spread them."""
        self._random = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
        self._webio = Webio(seed, conversations=max(50, events // _EVENTS_OF_A_CONVERSATION))
        self._size = events_per_file
        self._serial = 0
        self._number = 0
        self._variant = 0
        self._files: deque[SentFile] = deque(maxlen=_REMEMBERED)
        self._messages: deque[tuple[SentEvent, dict[str, str]]] = deque(maxlen=_REMEMBERED)

    def take(self, count: int) -> Iterator[SentFile]:
        """The next `count` files."""
        for kind in self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=count):
            yield self._file(kind)

    def _file(self, kind: Kind) -> SentFile:
        match kind:
            case "lines":
                return self._several(max(2, self._size), lines=True)
            case "duplicate" if self._files:
                past = self._random.choice(self._files)
                ending = past.name.rpartition(".")[2]
                return SentFile(self._name(ending), past.data, past.events)
            case "mixed" if self._messages:
                return self._mixed()
            case "conflict" if self._messages:
                return self._conflict()
            case "flawed":
                new = [self._event() for _ in range(self._size)]
                data = _encode([*(body for _, body in new), _NO_EVENT])
                return SentFile(self._name(), data, tuple(event for event, _ in new), flawed=True)
            case "half" | "broken":
                return SentFile(self._name(), self._webio.file(kind).data, ())
        return self._several(self._size)

    def _several(self, size: int, *, lines: bool = False) -> SentFile:
        """`size` new events: one object, an array, or JSON Lines."""
        new = [self._event() for _ in range(size)]
        bodies = [body for _, body in new]
        if lines:
            data = b"".join(_encode(body) + b"\n" for body in bodies)
        else:
            data = _encode(bodies[0] if size == 1 else bodies)
        file = SentFile(self._name("jsonl" if lines else "json"), data, tuple(event for event, _ in new))
        self._files.append(file)
        return file

    def _mixed(self) -> SentFile:
        """An array with an event that was sent before, and new ones."""
        again, *new = [self._random.choice(self._messages), *(self._event() for _ in range(max(1, self._size - 1)))]
        events = [*new, again]
        return SentFile(self._name(), _encode([body for _, body in events]), tuple(event for event, _ in events))

    def _conflict(self) -> SentFile:
        """An event that was sent before, with another text."""
        event, body = self._random.choice(self._messages)
        self._variant += 1
        changed = {**body, "body": f"{body['body'][:60]} (changed, {self._variant})"}
        return SentFile(self._name(), _encode(changed), (event._replace(variant=self._variant),))

    def _event(self) -> tuple[SentEvent, dict[str, str]]:
        self._number += 1
        unknown = self._random.random() < _UNKNOWN
        body = self._webio.event("conversationRated" if unknown else None)
        body = {**body, NUMBER: str(self._number)}
        event = SentEvent(self._number, body["type"], 0)
        if "body" in body:
            self._messages.append((event, body))
        return event, body

    def _name(self, ending: str = "json") -> str:
        self._serial += 1
        return f"certify_{self._serial:08d}.{ending}"


def _encode(content: object) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode()
