"""A ledger with events in it, handlers that do as they are told, and replays: what the tests of reprocessing share."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.config.settings import HandlerSettings, Settings
from sftpd_processor.handlers.api import DONE, Item, Outcome
from sftpd_processor.handlers.registry import Handlers
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.recording import Wanting
from sftpd_processor.ledger.schema import metadata
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.pipeline.delivery import Deliverer
from sftpd_processor.reprocess.job import Job
from sftpd_processor.reprocess.replay import Replay
from sftpd_processor.reprocess.report import Plan, Progress, Report
from tests.ledger_samples import SECOND, Clock, arrival, batch

lite = pytest.mark.parametrize("url", ["sqlite"], indirect=True)
"""Where SQL makes no difference."""

RETRY, DEAD, SKIPPED = Outcome("retry", "503"), Outcome("dead", "no"), Outcome("skipped", "not for us")


class Call(NamedTuple):
    """One event that a handler got."""

    number: int
    attempt: int
    key: str
    conversation: str | None


class Told:
    """A handler that does as it is told, and notes when it begins and ends with an event."""

    def __init__(self, name: str = "crm", *, batch_size: int = 1, wants: Callable[[str], bool] | None = None) -> None:
        self.name = name
        self.batch_size = batch_size
        self.wants = wants or (lambda _type: True)
        self.calls: list[Call] = []
        self.log: list[tuple[str, int]] = []
        self.batches: list[int] = []
        self.answers: dict[int, list[Outcome]] = {}
        """By the number of the event: what comes of its attempts, one after another; then `answer`."""
        self.answer: Callable[[int], Outcome] = lambda _number: DONE

    def open(self) -> None:
        """Nothing to open."""

    def close(self) -> None:
        """Nothing to close."""

    def handle(self, items: Sequence[Item]) -> list[Outcome]:
        self.batches.append(len(items))
        outcomes: list[Outcome] = []
        held: set[str | None] = set()
        for item in items:
            outcome = RETRY if item.conversation in held else self._one(item)
            if outcome.state == "retry" and item.conversation is not None:
                held.add(item.conversation)
            outcomes.append(outcome)
        return outcomes

    def _one(self, item: Item) -> Outcome:
        number = int(json.loads(item.body)["body"])
        delivery = item.delivery
        self.calls.append(Call(number, delivery.attempt, delivery.idempotency_key, item.conversation))
        self.log.append(("begin", number))
        answers = self.answers.get(number)
        outcome = answers.pop(0) if answers else self.answer(number)
        self.log.append(("end", number))
        return outcome

    @property
    def numbers(self) -> list[int]:
        """Of the events, in the order of the calls."""
        return [call.number for call in self.calls]

    def forget(self) -> None:
        """All that was noted."""
        for notes in (self.calls, self.log, self.batches):
            notes.clear()


class State(NamedTuple):
    """One delivery as the ledger has it."""

    state: str
    attempts: int
    replay: int | None


class Office:
    """A ledger in a state folder, one source, and handlers."""

    def __init__(self, folder: Path, ledger: Ledger, url: str, clock: Clock, *handlers: Told) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.state.mkdir(exist_ok=True)
        self.ledger = ledger
        self.url = url
        self.clock = clock
        self.crm = Told()
        self.handlers = handlers or (self.crm,)
        self.delivery: dict[str, Any] = {"backoff_seconds": 60}
        self.stop = threading.Event()
        self.told: list[Progress] = []

    def event(self, number: int, conversation: str | None = None, **fields: Any) -> bytes:
        """An inbound message; its body is its number."""
        body = {"type": "inboundMessage", "communicationActionId": f"m{number}", "body": str(number)}
        return json.dumps(body | ({} if conversation is None else {"conversationId": conversation}) | fields).encode()

    def record(self, *events: bytes, wanting: Wanting = lambda _type: (), **where: Any) -> None:
        """A file for each, called by its number, a second after the one before; `wanting` gets deliveries."""
        for raw in events:
            number = int(json.loads(raw)["body"])
            self.clock.advance(1)
            self.ledger.record(batch(arrival(f"{number}.json", raw, number * 10**9), **where), wanting)

    def deliver(self, handler: Told | None = None) -> None:
        """As the daemon does, until nothing is due."""
        deliverer = Deliverer(handler or self.crm, self.ledger, self.settings().delivery)
        deliverer.start()
        deliverer.finish()
        assert deliverer.join(30)

    def settings(self) -> Settings:
        source = {"name": "webio", "type": "directory", "folder": str(self.folder / "in"), "after": "keep"}
        return Settings.model_validate(
            {
                "state": {"dir": str(self.state)},
                "sources": [source | {"settle_seconds": 0}],
                "delivery": self.delivery,
            }
        )

    def replay(self, *, resumed: int | None = None, **job: Any) -> Replay:
        """`job`: fields of a `Job`, or of its selection."""
        chosen = {name: job.pop(name) for name in Selection.__slots__ if name in job and name != "handlers"}
        made = Handlers((each, HandlerSettings(name=each.name, use="log")) for each in self.handlers)
        asked = Job(selection=Selection(**chosen), **job)
        return Replay(asked, self.settings(), self.ledger, made, resumed)

    def run(self, **job: Any) -> Report:
        return self.replay(**job).run(self.told.append, self.stop)

    def plan(self, **job: Any) -> Plan:
        return self.replay(**job).plan()

    def states(self, handler: str = "crm") -> dict[int, State]:
        """The deliveries to a handler by the numbers of their events."""
        found = self.rows(
            "SELECT events.identity, deliveries.state, attempts, replay FROM deliveries JOIN events ON "
            f"events.id = event_id WHERE handler = '{handler}' ORDER BY event_id"
        )
        return {self.number(identity): State(*rest) for identity, *rest in found}

    def number(self, identity: str) -> int:
        """Of the event with that identity."""
        return int(json.loads(identity)[1].removeprefix("m"))

    def rows(self, statement: str) -> list[tuple[Any, ...]]:
        """What the ledger answers to SQL."""
        return rows(self.url, statement)

    def dump(self, without: Iterable[str] = ()) -> dict[str, list[tuple[Any, ...]]]:
        """All that is in the ledger."""
        names = sorted(set(metadata.tables) - set(without))
        return {name: sorted(self.rows(f"SELECT * FROM {name}"), key=repr) for name in names}


def rows(url: str, statement: str) -> list[tuple[Any, ...]]:
    """What a query finds in the database."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return [tuple(row) for row in connection.execute(text(statement))]
    finally:
        engine.dispose()


def micros(clock: Clock, ago: float) -> int:
    """So many seconds before now, as a selection has it."""
    return clock.now - int(ago * SECOND)
