from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import Handler, Outcome
from sftpd_processor.testing.servers import free_port
from tests.handler_items import built, item, mistakes

DONE = Outcome("done")
Built = Callable[..., Handler]


@dataclass
class Crm:
    """A real HTTP server: what it got, and what it answers."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    trickle: threading.Event | None = None
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)


@pytest.fixture
def crm() -> Iterator[Crm]:
    """A CRM that takes events."""
    state = Crm()

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            state.got.append((self.path, headers, body))
            state.connections.add(self.client_address)
            if state.trickle:
                return self._trickle(state.trickle)
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(state.body)))
            self.end_headers()
            self.wfile.write(state.body)
            return None

        def _trickle(self, stop: threading.Event) -> None:
            """An answer whose header never ends, a little at a time."""
            self.wfile.write(b"HTTP/1.1 200 OK\r\nx-slow: ")
            try:
                while not stop.wait(0.02):
                    self.wfile.write(b"x")
            except OSError:
                pass
            self.close_connection = True

        def log_message(self, *args: Any) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *args: Any) -> None:
            """A client that speaks TLS to it is meant; keep the output clean."""

    server = Server(("127.0.0.1", 0), Requests)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/webio?x=1"
    yield state
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Built]:
    """Makes opened `http` handlers, and closes them."""
    made: list[Handler] = []

    def make(url: str, timeout: float = 10.0, **options: Any) -> Handler:
        made.append(built("http", tmp_path, timeout=timeout, options={"url": url, **options}))
        return made[-1]

    yield make
    for handler in made:
        handler.close()


def one(handler: Handler, number: int = 1) -> Outcome:
    (outcome,) = handler.handle([item(number)])
    return outcome


def test_an_event_is_posted_as_webio_would(crm: Crm, make: Built, monkeypatch: pytest.MonkeyPatch) -> None:
    """The exact body as JSON, with the key, the attempt, the origin and the user's own headers."""
    monkeypatch.setenv("CRM_TOKEN", "s3cret")
    handler = make(crm.url, headers={"authorization": {"env": "CRM_TOKEN"}, "x-team": "collections"})
    assert one(handler) == DONE
    ((path, headers, body),) = crm.got
    assert path == "/webio?x=1"
    assert body == item().body
    expected = {
        "content-type": "application/json",
        "idempotency-key": "key-1",
        "x-sftpd-processor-attempt": "1",
        "x-sftpd-processor-origin": "sftp",
        "authorization": "s3cret",
        "x-team": "collections",
    }
    assert {name: headers[name] for name in expected} == expected


@pytest.mark.parametrize(
    ("status", "state"),
    [
        *((status, "done") for status in (200, 201, 202, 204)),
        *((status, "retry") for status in (408, 425, 429, 500, 502, 503, 504)),
        *((status, "dead") for status in (301, 302, 304, 307, 400, 401, 403, 404, 409, 410, 422)),
    ],
)
def test_the_status_says_what_became_of_it(crm: Crm, make: Built, status: int, state: str) -> None:
    """2xx is done, what may heal is retried, and the rest is a dead letter; redirects are not followed."""
    crm.status = status
    crm.headers = {"location": crm.url}
    outcome = one(make(crm.url))
    assert outcome.state == state
    assert state == "done" or f"HTTP {status}" in outcome.detail
    assert len(crm.got) == 1


@pytest.mark.parametrize(
    ("value", "least", "most"),
    [
        ("120", 120, 120),
        ("999999999", 86_400, 86_400),
        (timedelta(hours=1), 3_400, 3_600),
        (timedelta(hours=-1), 0, 0),
        (timedelta(days=90), 86_400, 86_400),
    ],
)
def test_retry_after_is_honoured_up_to_a_day(
    crm: Crm, make: Built, value: str | timedelta, least: float, most: float
) -> None:
    """Seconds and dates both say when to come again, within a day."""
    if isinstance(value, timedelta):
        value = format_datetime(datetime.now(UTC) + value, usegmt=True)
    crm.status, crm.headers = 503, {"retry-after": value}
    after = one(make(crm.url)).after
    assert after is not None
    assert least <= after <= most


@pytest.mark.parametrize("value", ["soon", "-5", "", "Wed, 99 Foo 9999"])
def test_a_retry_after_that_says_nothing_is_left_to_the_policy(crm: Crm, make: Built, value: str) -> None:
    """What is neither seconds nor a date does not count."""
    crm.status, crm.headers = 429, {"retry-after": value}
    assert one(make(crm.url)) == Outcome("retry", "HTTP 429")


def test_the_answer_is_told_bounded(crm: Crm, make: Built) -> None:
    """The start of an answer that refuses is kept for the dead letter."""
    crm.status, crm.body = 422, b'{"error": "no such customer"}' + b"x" * 1_000_000
    outcome = one(make(crm.url))
    assert outcome.detail.startswith('HTTP 422: {"error": "no such customer"}xxx')
    assert len(outcome.detail) < 350


def test_a_server_that_trickles_is_given_up_at_the_timeout(crm: Crm, make: Built) -> None:
    """The limit is for the whole request: a byte now and then does not stretch it."""
    crm.trickle = threading.Event()
    started = time.monotonic()
    outcome = one(make(crm.url, timeout=0.4))
    took = time.monotonic() - started
    crm.trickle.set()
    assert outcome == Outcome("retry", "timed out after 0.4 s")
    assert took < 4


def test_no_server_is_retried_and_the_url_is_not_told(make: Built) -> None:
    """A refused connection is retried; a URL may hold a secret, so it is in no detail."""
    outcome = one(make(f"http://user:s3cret@127.0.0.1:{free_port()}/"))
    assert outcome == Outcome("retry", "no answer: ConnectError")


def test_a_server_whose_certificate_is_not_trusted_gets_nothing(crm: Crm, make: Built) -> None:
    """TLS is always verified; a server that does not speak it is an error to retry, never sent in clear."""
    assert one(make(crm.url.replace("http:", "https:"))).state == "retry"
    assert crm.got == []


def test_threads_share_connections(crm: Crm, make: Built) -> None:
    """Requests from several threads all arrive, over a pool of connections that are used again."""
    handler = make(crm.url)
    outcomes: list[Outcome] = []

    def work(start: int) -> None:
        outcomes.extend(one(handler, number) for number in range(start, start + 20))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 160, 20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [DONE] * 160
    assert {headers["idempotency-key"] for _, headers, _ in crm.got} == {f"key-{n}" for n in range(160)}
    assert len(crm.connections) <= 16


@pytest.mark.parametrize(
    ("options", "key", "said"),
    [
        ({}, "url", "missing"),
        ({"url": "crm.example.com"}, "url", "https://"),
        ({"url": "http://"}, "url", "names a host"),
        ({"url": "https://x", "headers": {"Idempotency-Key": "1"}}, "headers", "set by this program"),
        ({"url": "https://x", "headers": {"a b": "1"}}, "headers", "not the name"),
        ({"url": "https://x", "headers": {"a": "s3cret\r\nb: c"}}, "headers", "one line"),
        ({"url": "https://x", "ca_file": "none.pem"}, "ca_file", "no file"),
        ({"url": "https://x", "verify": False}, "verify", "no such option"),
    ],
)
def test_wrong_options_are_told(tmp_path: Path, options: dict[str, Any], key: str, said: str) -> None:
    """Each mistake is at its own key, without the value."""
    found = mistakes(lambda: built("http", tmp_path, options=options))
    assert said in found[f"handlers[0].options.{key}"]
    assert "s3cret" not in str(found)


def test_a_ca_file_without_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    """It is told at the start rather than with the first event."""
    (tmp_path / "ca.pem").write_text("not a certificate")
    found = mistakes(lambda: built("http", tmp_path, options={"url": "https://x", "ca_file": "ca.pem"}))
    assert "cannot read certificates" in found["handler 'crm', options.ca_file"]
