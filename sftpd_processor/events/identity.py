"""What makes two events the same one, and two bodies the same content.

That a message's `communicationActionId` is unique, and that a status update carries the id of the message
it is about, is documented by Webio.
"""

from __future__ import annotations

import json
import sys
from hashlib import blake2b, sha256

from pydantic_core import from_json

from sftpd_processor.events.models import Event, InboundMessage, MessageSend, MessageStatusUpdate

# The parser takes integers of so many digits, Python's own limit; PYTHONINTMAXSTRDIGITS may have lowered that, and
# then an event that was read could not be written any more, here or by a handler.
_MOST_DIGITS = 4300
if 0 < sys.get_int_max_str_digits() < _MOST_DIGITS:
    sys.set_int_max_str_digits(_MOST_DIGITS)

_LONGEST = 200
_MESSAGES = frozenset({InboundMessage, MessageSend, MessageStatusUpdate})
_quoted = json.encoder.encode_basestring_ascii  # what json.dumps of a text is, without its preparations
_sorted = json.JSONEncoder(separators=(",", ":"), sort_keys=True, ensure_ascii=False).encode


def canonical(body: bytes) -> bytes:
    """The JSON document `body` with sorted keys and no whitespace: equal for two bodies iff their content is.

    Of a key given twice the last counts. Numbers compare as parsed: 1 and 1.0 differ, 1.10 and 1.1 do not.
    Raises ValueError only when `body` is not JSON as `parse` accepts it.
    """
    return _sorted(from_json(body)).encode()


def identity(event: Event, body: bytes) -> str:
    """The key under which `event`, read from `body`, is recorded once: ASCII, at most 200 characters.

    Messages are known by type and id, their status updates also by code and date; everything else, and
    messages without an id, by the SHA-256 of the canonical body.
    """
    kind, key = type(event), event.communication_action_id
    if key is None or kind not in _MESSAGES:  # not isinstance: on a pydantic class it costs microseconds
        return _digest(canonical(body))
    text = f'["{event.type}",{_quoted(key)}'
    if type(event) is MessageStatusUpdate:
        for part in (event.status_code, event.date_created_raw):
            text += ",null" if part is None else f",{_quoted(part)}"
    text += "]"
    return text if len(text) <= _LONGEST else _digest(text.encode())


def message_identity(kind: str, action: str) -> str:
    """The identity of a message of type `kind` whose `communicationActionId` is `action`."""
    return f'["{kind}",{_quoted(action)}]'


def idempotency_key(organisation: str, identity: str, handler: str) -> str:
    """The same for every attempt at handing this event to this handler, also from a rebuilt ledger."""
    return blake2b(f"{organisation}\n{identity}\n{handler}".encode(), digest_size=16).hexdigest()


def conversation_key(event: Event) -> str | None:
    """The conversation's id made safe for a database: no NUL, at most 200 characters; None without one."""
    return keyed(event.conversation_id) if event.conversation_id else None


def keyed(conversation: str) -> str:
    """The same of the id alone."""
    # The backslash is escaped as well, so that two ids never share a key.
    key = conversation.replace("\\", "\\\\").replace("\0", "\\0")
    return key if len(key) <= _LONGEST else _digest(key.encode())


def _digest(content: bytes) -> str:
    return "sha256:" + sha256(content).hexdigest()
