"""A pretend Webio: event files of every type, the same for the same seed, as odd as you ask for.

The fields of `inboundMessage`, `messageSend` and `messageStatusUpdate` are those of Webio's documented
samples. Everything else is assumed, because nothing public settles it: the fields of the other types, the
file names, and that a file holds one event unless asked otherwise.

    for file in Webio(seed=7).files(1_000, Shares(duplicates=0.05, half=0.01)):
        (folder / file.name).write_bytes(file.data)
"""

from __future__ import annotations

import json
import random
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Literal, get_args

Kind = Literal["event", "array", "lines", "duplicate", "conflict", "half", "broken", "unknown"]
KINDS: tuple[Kind, ...] = get_args(Kind)

DEFAULT_MIX: Mapping[str, float] = {
    "messageSend": 40,
    "messageStatusUpdate": 38,
    "inboundMessage": 14,
    "payment": 2,
    "setStatus": 2,
    "conversationClosed": 2,
    "moveToQueue": 1,
    "conversationAssignment": 1,
}
START = datetime(2026, 11, 22, 10, 11, 12, tzinfo=UTC)

_CHANNELS = ("Collections SMS", "WhatsApp UK", "Webchat")
_BODIES = (
    "Hello, this is Acme. Can you pay today? Reply YES or NO.",
    "yes",
    'He said "I\'ll pay on Friday" 🙂',
    "Thank you! 🎉 Your payment of £12.50 arrived.",
    "Line one\nLine two\twith a tab and a back\\slash",
    "Żółć, naïve café, 你好, مرحبا",
    "I can't talk now, please ring me after 6 👍🏽",
    "STOP",
)
_STATUS_CODES = ("0", "0", "0", "0", "0", "1", "2", "5", "14")
_BROKEN = (
    b"",
    b"not JSON at all",
    b"\x00" * 64,
    b"<html><body><h1>502 Bad Gateway</h1></body></html>",
    b'"only a string"',
    b"[1, 2, 3]",
    b'{"conversationId": "97011"}',
    b'{"type": "inboundMessage", "body": "\xff\xfe"}',
    b"[" * 2_000,
    b"{'type': 'payment'}",
)
_DIGITS = str.maketrans("", "", "-:")
_ENCODER = json.JSONEncoder(ensure_ascii=False)
_REMEMBERED = 256  # how far back a duplicate, a conflict or a status update reaches; keeps memory flat


@dataclass(frozen=True, slots=True)
class Shares:
    """How much of the stream is out of the ordinary: each a share from 0 to 1, together at most 1."""

    duplicates: float = 0.0
    conflicts: float = 0.0
    half: float = 0.0
    broken: float = 0.0
    arrays: float = 0.0
    lines: float = 0.0
    unknown: float = 0.0

    def __post_init__(self) -> None:
        shares = {field.name: float(getattr(self, field.name)) for field in fields(self)}
        for name, share in shares.items():
            if not 0 <= share <= 1:
                raise ValueError(f"{name} = {share}: a share lies between 0 and 1, for example 0.05")
        if sum(shares.values()) > 1 + 1e-9:
            raise ValueError(f"the shares add up to {sum(shares.values()):g}: together they are at most 1")

    def weights(self) -> dict[Kind, float]:
        """The weight of each kind of file; what is left is plain events."""
        odd: dict[Kind, float] = {
            "duplicate": self.duplicates,
            "conflict": self.conflicts,
            "half": self.half,
            "broken": self.broken,
            "array": self.arrays,
            "lines": self.lines,
            "unknown": self.unknown,
        }
        return {"event": max(0.0, 1 - sum(odd.values())), **odd}


@dataclass(frozen=True, slots=True)
class PretendFile:
    """One file as the pretend Webio would deliver it, and what is odd about it."""

    name: str
    data: bytes
    kind: Kind


class Webio:
    """An endless, repeatable supply of event files.

    `mix` weighs the types (default `DEFAULT_MIX`; a type left out never comes), `conversations` is how many
    the events are spread over, `start` is about the `dateCreated` of the first event. Another seed makes
    other ids. Raises ValueError for a mix with an unknown type, a negative weight, or nothing in it.
    """

    def __init__(
        self,
        seed: int = 0,
        mix: Mapping[str, float] | None = None,
        conversations: int = 500,
        start: datetime = START,
    ) -> None:
        chosen = DEFAULT_MIX if mix is None else mix
        _check_mix(chosen)
        if conversations < 1:
            raise ValueError(f"conversations = {conversations}: at least 1 is needed")
        self._random = random.Random(seed)
        self._types, self._weights = list(chosen), list(accumulate(chosen.values()))
        self._conversations = conversations
        self._clock = start
        self._serial = 0
        self._next_id = self._random.randrange(10**5, 10**6) * 10**8
        self._unreported: deque[dict[str, str]] = deque(maxlen=_REMEMBERED)
        self._past_files: deque[PretendFile] = deque(maxlen=_REMEMBERED)
        self._past_messages: deque[dict[str, str]] = deque(maxlen=_REMEMBERED)

    def files(self, count: int, shares: Shares | None = None) -> Iterator[PretendFile]:
        """Yield `count` files; memory does not grow with it.

        A `duplicate` or a `conflict` repeats an earlier plain event file of this Webio, so where there is
        none yet (or, for a conflict, no message with an id) a plain event comes in its place.
        """
        weights = (shares or Shares()).weights()
        kinds, amounts = list(weights), list(accumulate(weights.values()))
        for _ in range(count):
            yield self.file(self._random.choices(kinds, cum_weights=amounts)[0])

    def file(self, kind: Kind = "event") -> PretendFile:
        """One file of this kind."""
        if kind == "duplicate" and self._past_files:
            past = self._random.choice(self._past_files)
            return PretendFile(self._name(past.name.partition("_")[0]), past.data, kind)
        if kind == "conflict" and self._past_messages:
            event = self._random.choice(self._past_messages)
            changed = {**event, "body": f"{event['body']} (changed, {self._serial})"}
            return PretendFile(self._name(event["type"]), _encode(changed), kind)
        if kind in ("array", "lines"):
            return self._several(kind)
        if kind == "half":
            event = self.event()
            data = _encode(event)
            return PretendFile(self._name(event["type"]), data[: self._random.randrange(1, len(data))], kind)
        if kind == "broken":
            return PretendFile(self._name("inboundMessage"), self._random.choice(_BROKEN), kind)
        if kind == "unknown":
            event = {**self._base("conversationRated", apart=True), "rating": "5"}
            return PretendFile(self._name(event["type"]), _encode(event), kind)
        return self._plain()

    def event(self, type_name: str | None = None) -> dict[str, str]:
        """One event of this type (default: one of the mix); every value is a string, as Webio sends them."""
        chosen = type_name or self._random.choices(self._types, cum_weights=self._weights)[0]
        if chosen == "messageStatusUpdate":
            return self._status_update()
        if chosen in ("inboundMessage", "messageSend"):
            return self._message(chosen)
        return {**self._base(chosen, apart=True), **self._assumed_fields(chosen)}

    def _plain(self) -> PretendFile:
        event = self.event()
        file = PretendFile(self._name(event["type"]), _encode(event), "event")
        self._past_files.append(file)
        if "body" in event:
            self._past_messages.append(event)
        return file

    def _several(self, kind: Kind) -> PretendFile:
        events = [self.event() for _ in range(self._random.randint(2, 5))]
        if kind == "array":
            return PretendFile(self._name("events"), _encode(events), kind)
        return PretendFile(self._name("events", ".jsonl"), b"".join(_encode(one) + b"\n" for one in events), kind)

    def _message(self, type_name: str) -> dict[str, str]:
        event = {**self._base(type_name), "communicationActionId": self._new_id()}
        event["body"] = self._random.choice(_BODIES)
        if type_name == "messageSend":
            event["statusCode"] = "1"
            self._unreported.append(event)
        return event

    def _status_update(self) -> dict[str, str]:
        """About an earlier messageSend; when none is waiting, about one sent before this stream began."""
        if self._unreported:
            sent = self._unreported.popleft()
        else:
            sent = {**self._base("messageSend"), "communicationActionId": self._new_id()}
        event = {key: value for key, value in sent.items() if key != "body"}
        event |= {"type": "messageStatusUpdate", "dateCreated": self._tick()}
        event["statusCode"] = self._random.choice(_STATUS_CODES)
        return event

    def _base(self, type_name: str, *, apart: bool = False) -> dict[str, str]:
        number = self._random.randrange(self._conversations)
        return {
            "type": type_name,
            "conversationId": str(97_011 + number),
            # 07700 900000 to 900999: set aside by Ofcom for drama, so nobody's number.
            "outboundChannelAddress": str(447_700_900_000 + number % 1_000),
            "inboundChannelAddress": _CHANNELS[number % len(_CHANNELS)],
            "customerUID": str(100_000 + number) if number % 10 else "",
            "dateCreated": self._tick(apart=apart),
        }

    def _assumed_fields(self, type_name: str) -> dict[str, str]:
        match type_name:
            case "payment":
                pence = self._random.randrange(100, 50_000)
                return {"paymentId": self._new_id(), "amount": f"{pence / 100:.2f}", "currency": "GBP"}
            case "setStatus":
                return {"status": self._random.choice(("Promise to pay", "Dispute", "Call back"))}
            case "moveToQueue":
                return {"queue": self._random.choice(("Collections", "Vulnerable customers"))}
            case "conversationAssignment":
                return {"action": self._random.choice(("assigned", "unassigned")), "agent": "agent-7"}
            case _:
                return {}

    def _tick(self, *, apart: bool = False) -> str:
        """The next `dateCreated`: messages may tie, events told apart by content alone may not."""
        self._clock += timedelta(milliseconds=self._random.randrange(int(apart), 12))
        return self._clock.isoformat(" ", "milliseconds")[:23]

    def _new_id(self) -> str:
        self._next_id += self._random.randrange(1, 4)
        return str(self._next_id)

    def _name(self, stem: str, ending: str = ".json") -> str:
        self._serial += 1
        moment = self._clock.isoformat("_", "seconds")[:19].translate(_DIGITS)
        return f"{stem}_{moment}_{self._serial:06d}{ending}"


def _encode(content: object) -> bytes:
    return _ENCODER.encode(content).encode()


def _check_mix(mix: Mapping[str, float]) -> None:
    for name, weight in mix.items():
        if name not in DEFAULT_MIX:
            raise ValueError(f"{name!r} is not an event type; there are: {', '.join(DEFAULT_MIX)}")
        if weight < 0:
            raise ValueError(f"{name} = {weight:g}: a weight is 0 or more")
    if not sum(mix.values()) > 0:
        raise ValueError("the mix is empty: give at least one type a weight above 0, for example payment=1")
