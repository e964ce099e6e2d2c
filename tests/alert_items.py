"""What the tests of alerts share: parts that are as the test says, and services that take messages, or hang."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

from sftpd_processor.alerts.courier import Failures, Letter
from sftpd_processor.alerts.message import Message
from sftpd_processor.alerts.watch import Alerter
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import ProcessorError
from sftpd_processor.ledger.ledger import Ledger
from tests.ledger_samples import Clock
from tests.support import wait_until

AnyServer = TypeVar("AnyServer", bound=socketserver.BaseServer)

MINUTE = 60.0
"""In seconds."""


class Post:
    """What would be sent, in place of the process that sends; `answer` tells what comes of each address."""

    def __init__(self) -> None:
        self.sent: list[Message] = []
        self.tries = 0
        self.answer: Callable[[int], str | None] = lambda _address: None

    def delivered(self, letters: Sequence[Letter], urls: Sequence[str]) -> Failures:
        """As `courier.delivered`."""
        self.tries += 1
        found = {(number, at): self.answer(at) for number, letter in enumerate(letters) for at in letter.owed}
        reached = {number for (number, _), why in found.items() if why is None}
        self.sent += [letter.message for number, letter in enumerate(letters) if number in reached]
        return found

    def titles(self) -> list[str]:
        """Of what arrived since the last call, without who sent it."""
        told = [message.title.partition(": ")[2] for message in self.sent]
        self.sent.clear()
        return told


def alert(*urls: str, **changes: Any) -> AlertSettings:
    """An [[alerts]] table."""
    return AlertSettings.model_validate({"name": "operators", "urls": urls or ("json://127.0.0.1:1",)} | changes)


@dataclass
class FakePoller:
    """A poller as the test says."""

    source_name: str = "webio"
    up: bool = True
    failure: ProcessorError | None = None

    def fail(self, error: ProcessorError) -> None:
        self.up, self.failure = False, error

    def work(self) -> None:
        self.up, self.failure = True, None


@dataclass
class FakeDeliverer:
    """A deliverer as the test says."""

    name: str = "crm"
    failure: ProcessorError | None = None


class Steady:
    """A clock of seconds, moved by the test."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Inbox(BaseHTTPRequestHandler):
    """Takes what is posted to it, as long as `status` is good."""

    server: Web

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.status == 200:
            self.server.got.append(json.loads(body))
        self.send_response(self.server.status)
        if self.server.leads_to:
            self.send_header("location", self.server.leads_to)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


class Web(ThreadingHTTPServer):
    """A web service on a loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Inbox)
        self.status = 200
        self.leads_to = ""
        self.got: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        """As apprise writes it."""
        return f"json://127.0.0.1:{self.server_port}/hook"

    @property
    def titles(self) -> list[str]:
        """Of all messages that arrived, without who sent them."""
        return [message["title"].partition(": ")[2] for message in self.got]


@contextmanager
def web() -> Iterator[Web]:
    """A web service that runs."""
    with serving(Web()) as server:
        yield server


@contextmanager
def serving(server: AnyServer) -> Iterator[AnyServer]:
    """That server, running."""
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@dataclass
class Station:
    """An alerter on a real ledger, stepped by the test, with all else as the test says."""

    ledger: Ledger
    clock: Clock
    folder: Path
    settings: Sequence[AlertSettings]
    pollers: list[FakePoller] = field(default_factory=lambda: [FakePoller()])
    deliverers: list[FakeDeliverer] = field(default_factory=lambda: [FakeDeliverer()])
    steady: Steady = field(default_factory=Steady)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, *, shared: bool = False) -> None:
        """A new alerter, as after a restart of the daemon."""
        self.alerter = Alerter(
            self.settings,
            self.ledger,
            pollers=lambda: self.pollers,
            deliverers=lambda: self.deliverers,
            http=None,
            state_dir=self.folder,
            shared=shared,
            clock=self.steady,
        )

    def look(self, *, after: float = 0) -> None:
        """One look, `after` so many seconds, and all that is sent by it."""
        self.steady.now += after
        self.clock.advance(after)
        self.alerter.step()
        while self.alerter.unfinished():
            wait_until(self._all_sent, 40, "the messages to be sent")
            self.alerter.step()

    def _all_sent(self) -> bool:
        sendings = [each.courier._sending for each in self.alerter._alerts.values()]
        return all(sending is None or sending.ended for sending in sendings)
