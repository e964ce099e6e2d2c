"""The event classes: what each field means, what is kept, and what is never shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from pydantic import ValidationError

from sftpd_processor.events import (
    Event,
    InboundMessage,
    MessageSend,
    MessageStatusUpdate,
    Payment,
    UnknownEvent,
)
from sftpd_processor.events.models import DELIVERY_OUTCOMES, EVENT_TYPES, wire_type
from sftpd_processor.events.parse import parse_event

DATA = Path(__file__).parents[1] / "data" / "events"
DUBLIN = ZoneInfo("Europe/Dublin")


def sample(name: str) -> Event:
    return parse_event((DATA / name).read_bytes(), DUBLIN)


def dated(text: str, zone: ZoneInfo = DUBLIN) -> datetime:
    event = parse_event(b'{"type":"payment","dateCreated":"%s"}' % text.encode(), zone)
    assert event.date_created is not None
    return event.date_created


def test_inbound_sample() -> None:
    """Every field of the documented inboundMessage is read into its attribute."""
    assert sample("inbound_message.json").model_dump() == {
        "type": "inboundMessage",
        "conversation_id": "97011",
        "communication_action_id": "5512377",
        "outbound_channel_address": "353870000001",
        "inbound_channel_address": "ExampleSMS",
        "customer_uid": None,
        "date_created": datetime(2026, 10, 20, 14, 2, 11, 123000, DUBLIN),
        "date_created_raw": "2026-10-20 14:02:11.123",
        "body": "Yes please, call me tomorrow",
    }


def test_sample_classes() -> None:
    """The documented message types come as their own classes, with code and outcome."""
    sent, update, old = map(sample, ("message_send.json", "message_status_update.json", "before_2021.json"))
    assert isinstance(sent, MessageSend)
    assert (sent.body, sent.status_code) == ("Thank you, we will.", "1")
    assert isinstance(update, MessageStatusUpdate)
    assert (update.status_code, update.outcome) == ("2", "unavailable")
    assert isinstance(old, MessageStatusUpdate)
    assert old.communication_action_id is None


@pytest.mark.parametrize("code", ["4", "8", "13", "99", "", None])
def test_outcome_unknown(code: str | None) -> None:
    """A status code outside Webio's table has no outcome, and does no harm."""
    assert MessageStatusUpdate(status_code=code).outcome is None


def test_every_type_is_registered() -> None:
    """Each wire type is in the registry, makes its class with nothing else given, and is its own name."""
    assert len(EVENT_TYPES) == 8
    for name, model in EVENT_TYPES.items():
        assert type(parse_event(b'{"type":"%s"}' % name.encode(), DUBLIN)) is model
        assert wire_type(name) == name


def test_delivery_report_is_a_name_not_a_type() -> None:
    """deliveryReport may be written for messageStatusUpdate, but as a `type` on the wire it is unknown."""
    assert wire_type("deliveryReport") == "messageStatusUpdate"
    assert wire_type("nonsense") is None
    assert type(parse_event(b'{"type":"deliveryReport"}', DUBLIN)) is UnknownEvent


def test_extra_fields_are_kept() -> None:
    """A field that no class names is kept, whatever its shape, as an attribute and in model_extra."""
    event = parse_event(b'{"type":"payment","amount":{"value":"12.50"},"conversation_id":"x"}', DUBLIN)
    assert event.model_extra == {"amount": {"value": "12.50"}, "conversation_id": "x"}
    assert event.conversation_id is None


@pytest.mark.parametrize("field", ["communicationActionId", "communicationActionID"])
def test_both_spellings_of_the_id(field: str) -> None:
    """The message id is read in both spellings Webio uses, and a number counts as its digits."""
    assert parse_event(b'{"type":"x","%s":77}' % field.encode(), DUBLIN).communication_action_id == "77"


@pytest.mark.parametrize("blank", [b'""', b"null"])
def test_blank_is_none(blank: bytes) -> None:
    """Empty and null ids, codes and dates are all None; a blank body is the empty text."""
    event = parse_event(
        b'{"type":"messageSend","customerUID":%b,"communicationActionId":%b,"dateCreated":%b,"body":%b}'
        % ((blank,) * 4),
        DUBLIN,
    )
    assert isinstance(event, MessageSend)
    assert event == MessageSend()
    assert event.body == ""


@pytest.mark.parametrize(
    ("text", "zone", "utc"),
    [
        ("2026-07-01 10:00:00.250", DUBLIN, datetime(2026, 7, 1, 9, 0, 0, 250000, UTC)),
        ("2026-07-01 10:00:00", ZoneInfo("UTC"), datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-07-01T10:00:00Z", DUBLIN, datetime(2026, 7, 1, 10, tzinfo=UTC)),
        ("2026-07-01T10:00:00.1234567+05:30", DUBLIN, datetime(2026, 7, 1, 4, 30, 0, 123456, UTC)),
        ("2026-10-25 01:30:00.000", DUBLIN, datetime(2026, 10, 25, 0, 30, tzinfo=UTC)),
        ("2026-03-29 01:30:00.000", DUBLIN, datetime(2026, 3, 29, 1, 30, tzinfo=UTC)),
    ],
)
def test_date_zone(text: str, zone: ZoneInfo, utc: datetime) -> None:
    """A date is read in the source's zone unless it has an offset, also where the clocks change."""
    assert dated(text, zone).astimezone(UTC) == utc
    assert dated(text, zone).fold == 0


@pytest.mark.parametrize("text", ["0002-01-01 00:00:00+23:59", "9998-12-31 23:59:59-23:59"])
def test_extreme_dates_survive_utc(text: str) -> None:
    """The earliest and latest dates taken can be turned into UTC without overflow."""
    assert dated(text).astimezone(UTC).utcoffset() == timedelta(0)


def test_made_by_hand() -> None:
    """Handler authors can make an event by attribute names in their own tests; it is frozen."""
    event = InboundMessage(body="hi", conversation_id="1", date_created=datetime(2026, 1, 2, tzinfo=UTC))
    assert (event.type, event.body, event.conversation_id) == ("inboundMessage", "hi", "1")
    with pytest.raises(ValidationError):
        event.body = "other"  # type: ignore[misc]


def test_nothing_personal_is_shown() -> None:
    """repr, str and validation errors show type and ids, never any other field."""
    event = UnknownEvent(
        type="x", conversation_id="c1", communication_action_id="a1", outbound_channel_address="SECRET",
        inbound_channel_address="SECRET", customer_uid="SECRET", name="SECRET",
    )  # fmt: skip
    for shown in (repr(event), str(event), repr(InboundMessage(body="SECRET"))):
        assert "SECRET" not in shown
    assert "c1" in repr(event)
    assert "a1" in repr(event)
    with pytest.raises(ValidationError) as error:
        InboundMessage.model_validate({"body": ["SECRET"]})
    assert "SECRET" not in str(error.value)


def test_json_dump_has_wire_names() -> None:
    """An event is written as JSON under Webio's own field names."""
    dumped = Payment(customer_uid="7", communication_action_id="1").model_dump(by_alias=True, exclude_none=True)
    assert dumped == {"type": "payment", "customerUID": "7", "communicationActionId": "1"}
    assert b"2026-10-20T14:02:11.123000+01:00" in sample("inbound_message.json").model_dump_json().encode()


def test_outcome_table() -> None:
    """The outcome table has exactly the codes Webio documents."""
    assert list(DELIVERY_OUTCOMES) == ["0", "1", "2", "3", "5", "6", "7", "9", "10", "11", "12", "14"]
