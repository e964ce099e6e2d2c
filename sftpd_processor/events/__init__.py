"""The events that Webio reports: their classes, how they are read from bytes, and what makes two the same."""

from __future__ import annotations

from sftpd_processor.events.models import (
    ConversationAssignment,
    ConversationClosed,
    Event,
    InboundMessage,
    MessageSend,
    MessageStatusUpdate,
    MoveToQueue,
    Payment,
    SetStatus,
    UnknownEvent,
)

__all__ = [
    "ConversationAssignment",
    "ConversationClosed",
    "Event",
    "InboundMessage",
    "MessageSend",
    "MessageStatusUpdate",
    "MoveToQueue",
    "Payment",
    "SetStatus",
    "UnknownEvent",
]
