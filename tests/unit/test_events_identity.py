"""What makes two events the same one."""

from __future__ import annotations

import json

import pytest

from sftpd_processor.events import Event, InboundMessage, MessageSend, MessageStatusUpdate, Payment
from sftpd_processor.events.identity import canonical, conversation_key, identity


@pytest.mark.parametrize(
    ("event", "expected"),
    [
        (InboundMessage(communication_action_id="5"), '["inboundMessage","5"]'),
        (MessageSend(communication_action_id='a"\0é'), '["messageSend","a\\"\\u0000\\u00e9"]'),
        (
            MessageStatusUpdate.model_validate(
                {"communicationActionId": "5", "statusCode": "2", "dateCreated": "2026-01-01 00:00:00.000"}
            ),
            '["messageStatusUpdate","5","2","2026-01-01 00:00:00.000"]',
        ),
        (MessageStatusUpdate(communication_action_id="5"), '["messageStatusUpdate","5",null,null]'),
    ],
)
def test_identity_by_id(event: Event, expected: str) -> None:
    """A message's identity is the compact JSON of its type and id, an update's also of its code and date."""
    assert identity(event, b"{}") == expected
    assert json.dumps(json.loads(expected), separators=(",", ":")) == expected


@pytest.mark.parametrize("event", [InboundMessage(), Payment(communication_action_id="5")])
def test_identity_by_content(event: Event) -> None:
    """Without an id, and for types whose id is not known to be unique, the content is the identity."""
    assert identity(event, b'{"a":1,"b":2}') == identity(event, b' {"b": 2, "a": 1}')
    assert identity(event, b'{"a":1}') != identity(event, b'{"a":2}')


def test_long_identity_is_hashed() -> None:
    """An identity over 200 characters becomes its SHA-256, and still tells two ids apart."""
    short, long, other = (
        identity(InboundMessage(communication_action_id=key), b"") for key in ("a" * 179, "a" * 180, "a" * 181)
    )
    assert (len(short), long[:7], len(long)) == (200, "sha256:", 71)
    assert long != other


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'{"a":1,"b":[1,2]}', b'{ "b":[1, 2],\n"a":1}', True),
        (b'{"a":0,"a":1}', b'{"a":1}', True),
        (b'"\\u00e9"', '"é"'.encode(), True),
        (b"1", b"1.0", False),
        (b"0.0", b"-0.0", False),
        (b"[1,2]", b"[2,1]", False),
        (b'"1"', b"1", False),
        (b"null", b'""', False),
    ],
)
def test_canonical(one: bytes, other: bytes, same: bool) -> None:
    """Canonical bodies are equal exactly when the JSON content is."""
    assert (canonical(one) == canonical(other)) is same


@pytest.mark.parametrize(
    "body", [b"9" * 4300, b"-" + b"9" * 4299, b"1e400", b"NaN", b"-Infinity", b"[" * 200 + b"]" * 200]
)
def test_canonical_extremes(body: bytes) -> None:
    """Whatever the parser takes has a canonical form, and that form is its own."""
    assert canonical(canonical(body)) == canonical(body)


def test_conversation_key() -> None:
    """A conversation key has no NUL, is bounded, keeps distinct ids apart, and is None without an id."""
    keys = [conversation_key(Payment(conversation_id=key)) for key in ("97011", "a\0", "a\\0", "a" * 200, "a" * 201)]
    assert keys[:4] == ["97011", "a\\0", "a\\\\0", "a" * 200]
    assert keys[4] is not None
    assert keys[4].startswith("sha256:")
    assert conversation_key(Payment()) is None
    assert conversation_key(Payment(conversation_id="")) is None
