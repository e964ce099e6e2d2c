"""A ledger with real events in it, handlers from a module, and deliverers: what the tests of delivery share."""

from __future__ import annotations

import json
import sqlite3
import sys
import threading
from collections.abc import Iterable
from importlib import import_module
from itertools import count
from pathlib import Path
from textwrap import dedent
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from sftpd_processor.config.settings import DeliverySettings, HandlerSettings
from sftpd_processor.events.parse import parse
from sftpd_processor.handlers.api import Handler, HandlerContext
from sftpd_processor.handlers.registry import Handlers, build_handlers
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Arrival, Batch, Recorded
from sftpd_processor.pipeline.delivery import Deliverer
from sftpd_processor.sources.base import Entry
from tests.support import wait_until

_MODULES = count(1)
_PRELUDE = """
import asyncio, sys, threading, time
from sftpd_processor import Reject, Retry, Skip, handler

calls = []  # (conversation, number, attempt, key), in the order of the calls
release = threading.Event()  # set at the end of the test

def note(event, delivery):
    calls.append((event.conversation_id, int(event.body), delivery.attempt, delivery.idempotency_key))

"""


class Row(NamedTuple):
    """One delivery as the ledger has it; `number` is that of the event."""

    number: int
    handler: str
    state: str
    attempts: int
    detail: str | None
    due_at: int


class World:
    """One test's ledger, handlers and deliverers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = self.opened_ledger()
        self._events = count(1)
        self._built: list[Handler] = []
        self._deliverers: list[Deliverer] = []
        self._modules: list[Any] = []
        self._before = set(threading.enumerate())

    def opened_ledger(self) -> Ledger:
        ledger = Ledger(f"sqlite:///{self.folder}/ledger.db")
        ledger.open()
        return ledger

    def record(
        self, handlers: Iterable[str], conversations: Iterable[str | None], organisation: str = "default"
    ) -> Recorded:
        """Record one event for each of `conversations`, for `handlers`; its body is its number, from 1 up."""
        batch = Batch("webio", organisation, "sftp", "UTC", look=1)
        for conversation in conversations:
            number = next(self._events)
            raw = _event(number, conversation)
            entry = Entry(f"{number:06d}.json", len(raw), number, regular=True)
            batch.arrivals.append(Arrival(entry, raw, parse(raw, ZoneInfo("UTC"))))
        return self.ledger.record(batch, lambda _type: tuple(handlers))

    def module(self, source: str, timeout: float = 10.0) -> tuple[Any, Handlers]:
        """A new module beside the configuration, and the handlers marked in it."""
        name = f"delivery_module_{next(_MODULES)}"
        (self.folder / f"{name}.py").write_text(_PRELUDE + dedent(source))
        settings = HandlerSettings(name="unused", use=name)
        handlers = build_handlers([settings], HandlerContext(timeout, self.folder))
        for handler in handlers:
            handler.open()
        self._built += handlers
        module = sys.modules.get(name) or import_module(name)
        self._modules.append(module)
        return module, handlers

    def deliverer(self, handler: Handler, ledger: Ledger | None = None, **settings: Any) -> Deliverer:
        """A deliverer that is not started yet."""
        made = Deliverer(handler, ledger or self.ledger, DeliverySettings(**{"backoff_seconds": 0.02, **settings}))
        self._deliverers.append(made)
        return made

    def finish(self, *deliverers: Deliverer, timeout: float = 30.0) -> None:
        """Run deliverers until nothing is due; fails when they do not come to an end."""
        for deliverer in deliverers:
            deliverer.start()
            deliverer.finish()
        for deliverer in deliverers:
            assert deliverer.join(timeout), f"{deliverer} hangs: {self.states()}"

    def rows(self) -> list[Row]:
        """Every delivery, in the order of the events."""
        asked = """
            SELECT events.body, deliveries.handler, deliveries.state, deliveries.attempts, deliveries.detail,
            deliveries.due_at FROM deliveries JOIN events ON events.id = deliveries.event_id ORDER BY deliveries.id"""
        connection = sqlite3.connect(self.folder / "ledger.db")
        try:
            return [Row(int(json.loads(body)["body"]), *rest) for body, *rest in connection.execute(asked)]
        finally:
            connection.close()

    def states(self) -> dict[str, dict[str, int]]:
        """By handler and state, how many deliveries there are."""
        return self.ledger.figures.deliveries()

    def close(self) -> None:
        """End everything; fails when a thread is left over."""
        for module in self._modules:
            module.release.set()
        for deliverer in self._deliverers:
            deliverer.stop()
        for deliverer in self._deliverers:
            assert deliverer.join(20), f"{deliverer} does not stop"
        for handler in self._built:
            handler.close()
        self.ledger.close()
        wait_until(lambda: not self._left(), what="the threads of the handlers to end")

    def _left(self) -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread not in self._before]


def _event(number: int, conversation: str | None) -> bytes:
    event = {"type": "inboundMessage", "communicationActionId": f"m{number}", "body": str(number)}
    return json.dumps(event | ({} if conversation is None else {"conversationId": conversation})).encode()
