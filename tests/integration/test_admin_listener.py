"""The admin listener over real sockets: its answers, and what it does with those who ask badly."""

from __future__ import annotations

import json
import platform
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import httpx2
import pytest

import sftpd_processor
from sftpd_processor.config.http import AdminSettings
from sftpd_processor.errors import PermanentError, SourceUnavailable
from sftpd_processor.http import admin as room
from sftpd_processor.http.admin import AdminListener
from sftpd_processor.http.metrics import Metrics
from sftpd_processor.http.readiness import Health
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.schema import REVISION
from sftpd_processor.measures import Measures
from tests.integration.admin_items import FakePoller, admin, read, value
from tests.ledger_samples import opened, sqlite_url


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger."""
    with opened(sqlite_url(tmp_path)) as ledger:
        yield ledger


@pytest.fixture
def poller() -> FakePoller:
    """A poller whose last poll was good."""
    return FakePoller(last_good=time.monotonic(), up=True)


@pytest.fixture
def health(ledger: Ledger, poller: FakePoller) -> Health:
    """Of the one source and the ledger."""
    return Health(ledger.totals.probe, lambda: [poller], late_seconds=120)


@pytest.fixture
def client(ledger: Ledger, health: Health, poller: FakePoller) -> Iterator[httpx2.Client]:
    """A client of a running admin listener."""
    with admin(health, Metrics(ledger, Measures(), pollers=[poller])) as client:
        yield client


def test_alive(client: httpx2.Client) -> None:
    """/healthz says that the process lives."""
    answer = client.get("/healthz")
    assert (answer.status_code, answer.json()) == (200, {"status": "alive"})


def test_ready(client: httpx2.Client, poller: FakePoller) -> None:
    """/readyz is 200 while nothing is wrong, and tells of each source when its last good poll was."""
    answer = client.get("/readyz")
    assert answer.status_code == 200
    told = answer.json()
    assert (told["ready"], told["wrong"]) == (True, [])
    assert told["sources"]["webio"]["up"] is True
    assert told["sources"]["webio"]["failure"] is None
    assert told["sources"]["webio"]["last_good_poll"].endswith("+00:00")


def test_not_ready(client: httpx2.Client, poller: FakePoller) -> None:
    """/readyz is 503 when something is wrong, and says what."""
    poller.up, poller.last_good = False, time.monotonic() - 1000
    poller.failure = SourceUnavailable("source webio: no answer within 15 s")
    answer = client.get("/readyz")
    assert answer.status_code == 503
    told = answer.json()
    assert told["ready"] is False
    assert [wrong["part"] for wrong in told["wrong"]] == ["source webio"]
    assert "no answer within 15 s" in told["wrong"][0]["why"]


def test_metrics(client: httpx2.Client) -> None:
    """/metrics is Prometheus's text."""
    answer = client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert value(read(answer.content), "build_info", version=sftpd_processor.__version__) == 1


def test_version(client: httpx2.Client) -> None:
    """/version says what runs."""
    assert client.get("/version").json() == {
        "version": sftpd_processor.__version__,
        "python": platform.python_version(),
        "ledger_revision": REVISION,
    }


def test_the_status_page(client: httpx2.Client, poller: FakePoller) -> None:
    """The page tells what is wrong, loads nothing, runs nothing, and takes words of others for text."""
    assert "All is well" in client.get("/").text
    poller.last_good, poller.failure = None, SourceUnavailable("source webio: <script>alert(1)</script>")
    poller.ended = True
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src" not in answer.headers["content-security-policy"]
    assert answer.headers["content-security-policy"].startswith("default-src 'none'")
    assert "1 thing is wrong" in answer.text
    assert "its thread has ended" in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "<script" not in answer.text
    assert "http" not in answer.text.replace("http-equiv", "")


@pytest.mark.parametrize("path", ["/nope", "/readyz/", "/metrics/../x", "/%2e%2e/etc/passwd", "/healthz%00"])
def test_what_is_not_there(client: httpx2.Client, path: str) -> None:
    """Any other path is 404, in JSON."""
    answer = client.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "not found"})


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/version"])
def test_only_reading_is_possible(client: httpx2.Client, path: str) -> None:
    """Whatever would change something is 405; it says what is possible."""
    for method in ("POST", "PUT", "DELETE", "OPTIONS", "PATCH"):
        answer = client.request(method, path)
        assert (answer.status_code, answer.json()) == (405, {"error": "method not allowed"})
        assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD"}


@pytest.mark.parametrize("path", ["/", "/healthz", "/readyz", "/metrics", "/version", "/nope"])
def test_nothing_is_kept_by_caches(client: httpx2.Client, path: str) -> None:
    """Every answer is `no-store`."""
    assert client.get(path).headers["cache-control"] == "no-store"
    assert client.head(path).content == b""


def test_a_part_that_breaks_is_500_in_json(ledger: Ledger, health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our own mistake is an answer like others, and no words of it get out."""

    def fail() -> None:
        raise KeyError("a secret")

    monkeypatch.setattr(health, "wrong", fail)
    with admin(health, Metrics(ledger, Measures())) as client:
        answer = client.get("/readyz")
        assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})
        assert client.get("/healthz").status_code == 200


def test_alive_also_while_the_ledger_hangs(ledger: Ledger, poller: FakePoller) -> None:
    """/healthz waits for nothing: neither for a ledger that hangs, nor for those who wait for it."""
    hanging = threading.Event()
    health = Health(lambda: _hang(hanging), lambda: [poller], late_seconds=120)
    with admin(health, Metrics(ledger, Measures())) as client:
        answers: list[int] = []
        asking = threading.Thread(target=lambda: answers.append(client.get("/readyz").status_code))
        asking.start()
        began = time.monotonic()
        assert client.get("/healthz").status_code == 200
        assert time.monotonic() - began < 1.5
        asking.join()
        assert answers == [503]
        hanging.set()


def _hang(until: threading.Event) -> None:
    until.wait(60)


def _send(client: httpx2.Client, request: bytes) -> bytes:
    """What comes back for these bytes, up to the end of the connection."""
    address = client.base_url.host, client.base_url.port or 0
    with socket.create_connection(address, timeout=20) as connection:
        connection.sendall(request)
        answer = b""
        while part := connection.recv(65_536):
            answer += part
        return answer


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\nx: " + b"y" * 20_000 + b"\r\n\r\n", 431),
        (b"GET /healthz HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000\r\n\r\n", 413),
        (b"\x16\x03\x01 hello\r\n\r\n", 400),
    ],
    ids=["a large head", "a body", "not HTTP"],
)
def test_a_hostile_request_is_refused(client: httpx2.Client, request_: bytes, status: int) -> None:
    """What is too large or no HTTP is refused, and others are answered on."""
    assert _send(client, request_).startswith(b"HTTP/1.1 %d " % status)
    assert client.get("/healthz").status_code == 200


def test_a_slow_client_holds_up_nobody(ledger: Ledger, health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that send half a request are answered with 408 in the end, and others at once."""
    monkeypatch.setattr(room, "_LIMITS", replace(room._LIMITS, request_seconds=2.0))
    with admin(health, Metrics(ledger, Measures())) as client, ExitStack() as opened_ones:
        address = client.base_url.host, client.base_url.port or 0
        for _ in range(20):
            slow = opened_ones.enter_context(socket.create_connection(address, timeout=20))
            slow.sendall(b"GET /healthz HTTP/1.1\r\nhost:")
        began = time.monotonic()
        assert client.get("/readyz").status_code == 200
        assert time.monotonic() - began < 1.8
        assert slow.recv(100).startswith(b"HTTP/1.1 408 ")


def test_an_address_that_is_taken(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """A start on a taken address fails at once, and the message says what to do."""
    monkeypatch.setattr("sftpd_processor.http.server._TAKEN_SECONDS", 0.0)
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"127.0.0.1:{other.getsockname()[1]}"
        listener = AdminListener(AdminSettings(listen=address), health, lambda _: (b"", "text/plain"))
        with pytest.raises(PermanentError, match=r"127\.0\.0\.1.* is in use .*`listen`"):
            listener.start()
        listener.stop()


def test_it_ends_when_told(health: Health, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `stop` the thread has ended and nobody listens, also when a connection is still open."""
    monkeypatch.setattr(room, "_GRACEFUL_SECONDS", 0.5)
    listener = AdminListener(AdminSettings(listen="127.0.0.1:0"), health, lambda _: (b"", "text/plain"))
    listener.start()
    host, _, port = listener.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as idle:
        assert json.loads(httpx2.get(f"http://{listener.address}/healthz", trust_env=False).content)
        listener.stop()
        assert "admin" not in {thread.name for thread in threading.enumerate()}
        assert idle.recv(10) == b""
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((host, int(port)), timeout=10)
