"""The dependable inbox for Webio's SFTP hooks.

What a user's handlers and providers need, and nothing else, is here. The names are loaded when first used, so that
`import sftpd_processor` (which every command does) costs next to nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
    from sftpd_processor.handlers.api import Delivery, Reject, Retry, Skip, handler
    from sftpd_processor.values.api import values

    __version__: str

__all__ = [
    "ConversationAssignment",
    "ConversationClosed",
    "Delivery",
    "Event",
    "InboundMessage",
    "MessageSend",
    "MessageStatusUpdate",
    "MoveToQueue",
    "Payment",
    "Reject",
    "Retry",
    "SetStatus",
    "Skip",
    "UnknownEvent",
    "__version__",
    "handler",
    "values",
]

_FROM_HANDLERS = frozenset({"Delivery", "Reject", "Retry", "Skip", "handler"})


def __getattr__(name: str) -> object:
    """Load a public name on first use, and keep it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = _load(name)
    return value


def _load(name: str) -> object:
    if name == "__version__":
        from importlib.metadata import version

        return version("sftpd-processor")
    if name == "values":  # the room of that name, which can be called
        return import_module("sftpd_processor.values")
    home = "sftpd_processor.handlers.api" if name in _FROM_HANDLERS else "sftpd_processor.events.models"
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
