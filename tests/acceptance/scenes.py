"""What has happened before each command of docs/stories.md, played on a real installation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.acceptance.support import Desk, local, put

ID = "7100042"
HANDLER = """
from pathlib import Path

from sftpd_processor import InboundMessage, MessageStatusUpdate, handler


@handler(InboundMessage, MessageStatusUpdate, name="crm")
def crm(event, delivery):
    if (Path(__file__).parent / "crm-is-down").exists():
        raise ConnectionError("503 Service Unavailable")
"""


def message(action: str, conversation: str = "97011", **more: Any) -> bytes:
    """An inbound message."""
    fields = {"type": "inboundMessage", "communicationActionId": action, "conversationId": conversation}
    return json.dumps(fields | {"dateCreated": "2026-11-22 08:15:00.000", "body": "Hello"} | more).encode()


def update(action: str) -> bytes:
    """A status update of a message."""
    return message(action, type="messageStatusUpdate", statusCode="3")


def configure(desk: Desk, **changes: Any) -> None:
    """One source, one handler; what settles does so at once."""
    folder = desk.folder / "in"
    folder.mkdir(exist_ok=True)
    desk.module("my_handlers", HANDLER)
    source = local(folder, name="webio", **({"settle_seconds": 0} | changes))
    delivery = {"max_attempts": 2, "backoff_seconds": 0.01}
    desk.configure(source, handlers=[{"name": "mine", "use": "my_handlers"}], delivery=delivery)


def bring(desk: Desk, **files: bytes) -> None:
    """Put files there and have them taken; a name gets its ending here."""
    put(desk.folder / "in", {f"{name}.json": data for name, data in files.items()})
    desk.run("once")


def taken(desk: Desk) -> None:
    configure(desk)
    bring(desk, inbound_20261122_081502=message(ID), status_20261122_081733=update(ID))


def duplicate(desk: Desk) -> None:
    bring(desk, inbound_20261122_081502_again=message(ID))


def conflict(desk: Desk) -> None:
    bring(desk, inbound_20261122_090000=message(ID, body="Good bye"))


def waiting(desk: Desk) -> None:
    configure(desk, settle_seconds=10)
    bring(desk, inbound_20261122_101500=message("7100050")[:60])


def ignored(desk: Desk) -> None:
    (desk.folder / "in" / "inbound_20261122_101500.json").unlink()
    put(desk.folder / "in", {"notes.txt": b"lunch at noon"})
    desk.run("once")


def invalid(desk: Desk) -> None:
    configure(desk)
    bring(desk, inbound_20261122_110000=message("7100060")[:-9])


def partial(desk: Desk) -> None:
    bad = b'{"typ": "inboundMessage"}'
    bring(desk, batch_20261122_113000=b"[" + b",".join([message("7100070"), bad, message("7100071")]) + b"]")


def nothing(_desk: Desk) -> None:
    """All is as it was."""


def down(desk: Desk) -> None:
    (desk.folder / "crm-is-down").touch()
    files = {f"inbound_20261122_12{n:02}00": message(f"71001{n:02}", f"97{n:03}") for n in range(3)}
    bring(desk, **files)
    while desk.rows("SELECT 1 FROM deliveries WHERE state = 'pending'"):
        desk.run("once")


def all_sorts(desk: Desk) -> None:
    """A file of which a part is new, a part came before and a part is bad, while the CRM is down."""
    taken(desk)
    (desk.folder / "crm-is-down").touch()
    bad = b'{"typ": "inboundMessage"}'
    bring(desk, batch_20261122_113000=b"[" + b",".join([message("7100080"), message(ID), bad]) + b"]")
    while desk.rows("SELECT 1 FROM deliveries WHERE state = 'pending'"):
        desk.run("once")


def up(desk: Desk) -> None:
    (desk.folder / "crm-is-down").unlink()


def corrected(desk: Desk) -> None:
    (desk.work / "mended.json").write_bytes(message("7100060"))


def new_type(desk: Desk) -> None:
    configure(desk, unknown_events="quarantine")
    bring(desk, survey_20261122_140000=b'{"type": "surveyAnswer", "conversationId": "97011", "score": "9"}')


def allowed(desk: Desk) -> None:
    configure(desk)


SCENES: dict[str, Callable[[Desk], None]] = {
    "taken": taken, "duplicate": duplicate, "conflict": conflict, "waiting": waiting, "ignored": ignored,
    "invalid": invalid, "partial": partial, "never": nothing, "event": nothing, "down": down, "up": up,
    "once": nothing, "status": nothing, "corrected": corrected, "new-type": new_type, "allowed": allowed,
    "again": nothing,
}  # fmt: skip
"""By the word behind ```console; in the order of the page."""
