"""What has happened before each command of docs/reprocess.md, played on a real installation."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from typing import Any

from tests.acceptance.support import Desk, local, put

HANDLERS = """
import json
import os
from pathlib import Path

from sftpd_processor import InboundMessage, handler

HERE = Path(__file__).parent


def note(name, event, delivery):
    with (HERE / name).open("a") as file:
        file.write(json.dumps([event.communication_action_id, delivery.idempotency_key]) + "\\n")


@handler(InboundMessage, name="crm")
def crm(event, delivery):
    if (HERE / "crm-is-down").exists():
        raise ConnectionError("503 Service Unavailable")
    note("crm", event, delivery)


if (HERE / "with-warehouse").exists():

    @handler(name="warehouse")
    def warehouse(event, delivery):
        note("warehouse", event, delivery)
"""


def message(number: int, conversation: str, **more: str) -> bytes:
    """An inbound message."""
    fields = {"type": "inboundMessage", "communicationActionId": str(7_100_000 + number)}
    fields |= {"conversationId": conversation, "customerUID": "4711", "dateCreated": "2026-11-22 08:15:00.000"}
    return json.dumps(fields | {"body": "Hello"} | more).encode()


def configure(desk: Desk, **rules: Any) -> None:
    """One source; the handlers of a module."""
    folder = desk.folder / "in"
    folder.mkdir(exist_ok=True)
    desk.module("replay_scene", HANDLERS)
    source = local(folder, name="webio", **({"settle_seconds": 0} | rules))
    desk.configure(source, handlers=[{"name": "mine", "use": "replay_scene"}])


def bring(desk: Desk, **files: bytes) -> None:
    """Put files there and have them taken; a name gets its ending here."""
    put(desk.folder / "in", {f"{name}.json": data for name, data in files.items()})
    desk.run("once")


def bug(desk: Desk) -> None:
    """Three days' worth of events."""
    configure(desk, unknown_events="quarantine")
    messages = {f"inbound_20261122_0815{n:02}": message(n, f"9701{n % 3}") for n in range(5)}
    bring(desk, **messages, payment_20261122_081601=message(9, "97011", type="payment"))
    bring(desk, survey_20261122_090000=b'{"type": "surveyAnswer", "conversationId": "97011", "score": "9"}')


def nothing(_desk: Desk) -> None:
    """All is as it was."""


def new(desk: Desk) -> None:
    (desk.folder / "with-warehouse").touch()


def allowed(desk: Desk) -> None:
    configure(desk)


def interrupted(desk: Desk) -> None:
    """A replay at two a second, ended by Ctrl-C after the first."""
    desk.run("once")
    before = len((desk.folder / "crm").read_text().splitlines())
    running = desk.start("reprocess", "--all", "--again", "--rate", "2", "--workers", "1")
    while len((desk.folder / "crm").read_text().splitlines()) == before:
        assert running.process.poll() is None, running.log
    running.signal(signal.SIGINT)
    assert running.ended() == 130, running.log
    assert "NOT FINISHED" in running.out


def lost(desk: Desk) -> None:
    for file in desk.state.glob("ledger.db*"):
        file.unlink()


SCENES: dict[str, Callable[[Desk], None]] = {
    "bug": bug, "new": new, "auditor": nothing, "quarantine": allowed, "interrupted": interrupted, "lost": lost,
    "rebuilt": nothing,
}  # fmt: skip
"""By the word behind ```console; in the order of the page."""
