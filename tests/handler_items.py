"""Deliveries to give to handlers under test, and the words of a configuration error."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.config.settings import HandlerSettings
from sftpd_processor.errors import ConfigurationError
from sftpd_processor.handlers.api import Delivery, Handler, HandlerContext, Item
from sftpd_processor.handlers.registry import build_handlers

RECEIVED_AT = datetime(2026, 1, 31, 9, 15, tzinfo=UTC)
EVENT = {
    "type": "inboundMessage",
    "conversationId": "97011",
    "communicationActionId": "551",
    "outboundChannelAddress": "447700900001",
    "inboundChannelAddress": "Acme",
    "customerUID": "C-1",
    "body": "hello\nthere ✓",
    "dateCreated": "2026-01-31 09:15:00.123",
}


def item(number: int = 1, *, body: bytes | None = None, **fields: Any) -> Item:
    """A claimed delivery with the key `key-<number>`; `fields` change the event, `body` replaces it."""
    event = {**EVENT, "communicationActionId": str(number), **fields}
    delivery = Delivery(f"key-{number}", "crm", 1, "sftp", "webio", f"{number}.json", RECEIVED_AT)
    return Item(
        body=json.dumps(event).encode() if body is None else body,
        zone_name="Europe/Dublin",
        delivery=delivery,
        event_type=str(event["type"]),
        conversation=str(event["conversationId"]),
    )


def live(claimed: Item) -> Item:
    """The same, as it comes by a live post: without a file."""
    return replace(claimed, delivery=replace(claimed.delivery, origin="http", source="live", file=None))


def settings(use: str, name: str = "crm", **more: Any) -> HandlerSettings:
    return HandlerSettings.model_validate({"name": name, "use": use, **more})


def built(use: str, base_dir: Path, *, timeout: float = 10.0, **more: Any) -> Handler:
    """The one handler that these settings make, opened."""
    (handler,) = build_handlers([settings(use, **more)], HandlerContext(timeout, base_dir))
    try:
        handler.open()
    except ConfigurationError:
        handler.close()
        raise
    return handler


def mistakes(action: Callable[[], object]) -> dict[str, str]:
    """What is wrong, by its place, when `action` finds the configuration wrong."""
    with pytest.raises(ConfigurationError) as caught:
        action()
    return {problem.where: problem.why for problem in caught.value.problems}
