"""One person's data: in which events it is, and how it is cut out of the bytes of a file."""

from __future__ import annotations

import codecs
import re
from collections.abc import Collection, Iterator
from io import BytesIO
from zoneinfo import ZoneInfo

from pydantic_core import from_json, to_json

from sftpd_processor.errors import InternalError
from sftpd_processor.events.faults import WHITESPACE
from sftpd_processor.events.models import Event
from sftpd_processor.events.parse import Rejection, parse, parse_event

_UTC = ZoneInfo("UTC")
_ANY_NUMBER = 1 << 62  # of events in a file
_FEW = 32  # ids that are looked for one by one
_NUMBER = re.compile(rb'"(?:customerUID|outboundChannelAddress|conversationId)"\s*:\s*[-0-9]')
_ESCAPES = re.compile(r'((?:\\u[0-9a-fA-F]{4})+)|\\(["\\/])')


class Sought:
    """Whose data is meant. Customers go by `customerUID` or by their number, `outboundChannelAddress`.

    Webio sends an empty `customerUID` for whom it does not know yet; then the number is all that tells.
    """

    def __init__(self, customers: Collection[str], conversations: Collection[str]) -> None:
        """Ids as sent, none of them empty; of a number its digits."""
        self._customers = frozenset(customers)
        self.conversations = frozenset(conversations)
        self.ids = self._customers | self.conversations
        self._written = [one.encode() for one in self.ids] if len(self.ids) <= _FEW else None
        words = "|".join(re.escape(one) for one in sorted(self.ids))
        self._word = re.compile(rf"(?<!\w)(?<!\d[-:.])(?:{words})(?!\w)(?![-:.]\d)")  # not a part of a time

    def __repr__(self) -> str:
        return f"Sought({len(self.ids)} ids)"

    def may_hold(self, raw: bytes) -> bool:
        """False when nothing of theirs can be in it, found out fast: then no id is in it as it is, nor escaped, nor
        written as a number, nor in another encoding."""
        if self._written is None or any(one in raw for one in self._written):
            return True
        return b"\\" in raw or b"\0" in raw or _NUMBER.search(raw) is not None

    def in_event(self, body: bytes) -> bool:
        """Whether the JSON of a recorded event is about them."""
        return self.may_hold(body) and self._meant(parse_event(body, _UTC))

    def without(self, raw: bytes) -> bytes | None:
        """A file without their events: `raw` itself when there are none, None when nothing else is left.

        Lines of JSON Lines stay byte for byte; the members of an array are written anew. Of bytes that cannot be read
        as events, all go when one of the ids is in them as a word.
        """
        if not self.may_hold(raw):
            return raw
        result = parse(raw, _UTC, most_events=_ANY_NUMBER)
        if isinstance(result, Rejection):
            return None if self._named(raw) else raw
        text = raw.removeprefix(codecs.BOM_UTF8)
        if result.lines:
            return self._without_lines(raw)
        if text.lstrip(WHITESPACE)[:1] == b"[":
            return self._without_members(raw, text)
        return None if self._meant(result.events[0].event) else raw

    def _without_lines(self, raw: bytes) -> bytes | None:
        lines = list(BytesIO(raw))
        kept = [line for line in lines if not self._theirs(line.removeprefix(codecs.BOM_UTF8).strip(WHITESPACE))]
        if len(kept) == len(lines):
            return raw
        return b"".join(kept) if any(line.strip(WHITESPACE) for line in kept) else None

    def _without_members(self, raw: bytes, text: bytes) -> bytes | None:
        members = [to_json(member) for member in from_json(text)]
        kept = [member for member in members if not self._theirs(member)]
        if len(kept) == len(members):
            return raw
        return b"[" + b",".join(kept) + b"]" if kept else None

    def _theirs(self, text: bytes) -> bool:
        """Of one of several documents, which need not be an event."""
        if not text or not self.may_hold(text):
            return False
        try:
            return self._meant(parse_event(text, _UTC))
        except InternalError:
            return self._named(text)

    def _meant(self, event: Event) -> bool:
        return (
            event.customer_uid in self._customers
            or event.outbound_channel_address in self._customers
            or event.conversation_id in self.conversations
        )

    def _named(self, raw: bytes) -> bool:
        return any(self._word.search(text) for text in _readings(raw))


def _readings(raw: bytes) -> Iterator[str]:
    """What the bytes may say; text in UTF-16 is read without its zeros, which keeps digits and Latin letters."""
    yield (text := raw.replace(b"\0", b"").decode(errors="replace"))
    if "\\" in text:
        yield _ESCAPES.sub(_unescaped, text)


def _unescaped(found: re.Match[str]) -> str:
    if found[2]:
        return found[2]
    return bytes.fromhex(found[1].replace("\\u", "")).decode("utf-16-be", "replace")
