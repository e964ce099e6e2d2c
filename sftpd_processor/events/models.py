"""The events that Webio reports, one class per type.

Which types exist, and the fields of the three message types, are documented by Webio. The wire names and
fields of the other types are assumed: nothing public settles them, so those classes name only the fields
common to all. Every documented value is a JSON string and ids are opaque; a number is read as its digits.
Fields that no class names are kept, as attributes and in `model_extra`. A `repr` shows the type and ids only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    ValidationInfo,
)
from pydantic.alias_generators import to_camel
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

_STAMP = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[ T][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]{1,9})?(Z|[+-][0-9]{2}:?[0-9]{2})?"
).fullmatch
_DATE_EXPECTED = 'must be a date and time such as "2026-01-31 09:15:00.000" (ISO 8601 is taken too)'
_SHOWN_CHARACTERS = 60

DELIVERY_OUTCOMES: Mapping[str, str] = MappingProxyType(
    {
        "0": "delivered",
        "1": "invalid number",
        "2": "unavailable",
        "3": "network error",
        "5": "expired",
        "6": "invalid message structure",
        "7": "invalid contact structure",
        "9": "overrun",
        "10": "blocklisted",
        "11": "profanity",
        "12": "rejected",
        "14": "unconfirmed",
    }
)
"""Webio's documented delivery outcomes by code. That `statusCode` uses this table on the wire is assumed."""


class _TextSchema:
    """A text, or a number as its digits; empty and null become `blank`. One union, so it stays in Rust."""

    def __init__(self, blank: str | None) -> None:
        self.blank = blank

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        empty = core_schema.literal_schema(["", None])
        return core_schema.union_schema(
            [
                core_schema.str_schema(min_length=1, coerce_numbers_to_str=True),
                core_schema.no_info_after_validator_function(lambda _: self.blank, empty),
            ],
            mode="left_to_right",
            custom_error_type="text_expected",
            custom_error_message="must be a text (a number is taken too)",
            serialization=core_schema.simple_ser_schema("any"),
        )


def _instant(value: object, info: ValidationInfo) -> datetime | None:
    """Read `dateCreated`; without an offset it is local time in the zone given as the validation context."""
    if isinstance(value, str) and _STAMP(value):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise _impossible() from None
    elif value is None or value == "":
        return None
    if not isinstance(value, datetime):
        raise PydanticCustomError("date_foreign", _DATE_EXPECTED)
    if value.year in (MINYEAR, MAXYEAR):  # so that turning it into UTC can never overflow
        raise _impossible()
    return value if value.tzinfo else value.replace(tzinfo=info.context or UTC)


def _impossible() -> PydanticCustomError:
    return PydanticCustomError("date_impossible", "is not a date and time that exists")


class _InstantSchema:
    """A point in time as `_instant` reads it, in one call from Rust."""

    def __get_pydantic_core_schema__(self, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        written = core_schema.simple_ser_schema("any")
        return core_schema.with_info_plain_validator_function(_instant, serialization=written)


Text = Annotated[str | None, _TextSchema(None)]
"""A text, None when it is absent, null or empty."""
Words = Annotated[str, _TextSchema("")]
"""A text, empty when it is absent or null."""
TypeName = Annotated[str, Field(strict=True, min_length=1, max_length=100, pattern=r"^[^\p{C}\p{Zl}\p{Zp}]*$")]
"""A text that can be shown on a terminal and kept by any database: no control characters, NUL among them."""


class Event(BaseModel):
    """What every event may carry. All of it but `type` is optional: posts before February 2021 had no ids.

    `date_created` is always aware: where Webio sent no offset it is assumed to be the source's time zone (UTC
    when the event is made by hand). Its milliseconds tie, so it is neither a key nor an order.
    `date_created_raw` is the same as sent. `outbound_channel_address` is the customer's number and
    `inbound_channel_address` the channel's name, in both directions.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="allow",
        alias_generator=to_camel,
        validate_by_alias=True,
        validate_by_name=True,
        hide_input_in_errors=True,
    )

    type: TypeName
    conversation_id: Text = None
    communication_action_id: Text = Field(
        default=None,
        validation_alias=AliasChoices("communicationActionId", "communicationActionID"),
        serialization_alias="communicationActionId",
    )
    outbound_channel_address: Text = None
    inbound_channel_address: Text = None
    customer_uid: Text = Field(default=None, alias="customerUID")
    date_created: Annotated[datetime | None, _InstantSchema()] = None
    date_created_raw: Text = Field(default=None, validation_alias="dateCreated")

    def __repr_args__(self) -> Iterator[tuple[str | None, Any]]:
        """Only what may be seen in a log; `repr`, `str` and rich all ask here."""
        yield "type", self.type
        for name in ("communication_action_id", "conversation_id"):
            value = getattr(self, name)
            yield name, value and value[:_SHOWN_CHARACTERS]


class InboundMessage(Event):
    """A customer's message came in. Documented with a sample; that `body` may be missing is assumed."""

    type: Literal["inboundMessage"] = "inboundMessage"
    body: Words = ""


class MessageSend(Event):
    """A message went from pending to sent. Documented with a sample; what `status_code` means is not."""

    type: Literal["messageSend"] = "messageSend"
    body: Words = ""
    status_code: Text = None


class MessageStatusUpdate(Event):
    """A sent message came to an outcome. Documented with a sample; subscribed to as `deliveryReport`."""

    type: Literal["messageStatusUpdate"] = "messageStatusUpdate"
    status_code: Text = None

    @property
    def outcome(self) -> str | None:
        """What `status_code` means by Webio's table of delivery outcomes; None for a code not in it."""
        return DELIVERY_OUTCOMES.get(self.status_code or "")


class Payment(Event):
    """A WebioPay payment succeeded. That it exists is documented; its fields are not public."""

    type: Literal["payment"] = "payment"


class SetStatus(Event):
    """A conversation was given a status. That it exists is documented; spelling and fields are assumed."""

    type: Literal["setStatus"] = "setStatus"


class ConversationClosed(Event):
    """A conversation was closed; it may be reopened and closed again. Spelling and fields are assumed."""

    type: Literal["conversationClosed"] = "conversationClosed"


class MoveToQueue(Event):
    """A conversation was moved to a queue. Spelling and fields are assumed."""

    type: Literal["moveToQueue"] = "moveToQueue"


class ConversationAssignment(Event):
    """A conversation was assigned or unassigned. Spelling and fields are assumed."""

    type: Literal["conversationAssignment"] = "conversationAssignment"


class UnknownEvent(Event):
    """An event of a type this program has no class for, kept whole."""


KnownEvent = (
    InboundMessage
    | MessageSend
    | MessageStatusUpdate
    | Payment
    | SetStatus
    | ConversationClosed
    | MoveToQueue
    | ConversationAssignment
)

EVENT_TYPES: Mapping[str, type[Event]] = MappingProxyType(
    {str(model.model_fields["type"].default): model for model in KnownEvent.__args__}
)
"""The class for each value of `type` on the wire."""


def wire_type(name: str) -> str | None:
    """The `type` that `name` stands for, or None; Webio's subscription name `deliveryReport` is one too."""
    name = "messageStatusUpdate" if name == "deliveryReport" else name
    return name if name in EVENT_TYPES else None
