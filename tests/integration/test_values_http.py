"""The provider `http` against a real HTTP server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.measures import Measures
from sftpd_processor.testing.servers import free_port
from sftpd_processor.values.api import Query
from sftpd_processor.values.asking import Asker
from tests.handler_items import mistakes
from tests.values_items import STRANGER, ask, build, opened, settings

PERSON = b"""{
    "account": {"balance": 12.50, "Due": "2026-01-31", "none": null, "open": true, "all": [1]},
    "id": 12345678901234567890
}"""


@dataclass
class Crm:
    """What the server answers, and what it got."""

    url: str = ""
    status: int = 200
    body: bytes = PERSON
    headers: dict[str, str] = field(default_factory=dict)
    hang: threading.Event | None = None
    got: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    connections: set[Any] = field(default_factory=set)


@pytest.fixture
def crm() -> Iterator[Crm]:
    """A CRM that knows one person."""
    state = Crm()

    class Requests(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            state.got.append((self.path, {name.lower(): value for name, value in self.headers.items()}))
            state.connections.add(self.client_address)
            if state.hang:
                state.hang.wait(30)
                self.close_connection = True
                return
            self.send_response(state.status)
            for name, value in state.headers.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(state.body)))
            self.end_headers()
            try:
                self.wfile.write(state.body)
            except OSError:
                self.close_connection = True

        def log_message(self, *args: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Requests)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}/accounts/{{customerUID}}?phone={{outboundChannelAddress}}"
    yield state
    if state.hang:
        state.hang.set()
    server.shutdown()
    server.server_close()
    thread.join()


def http(crm: Crm, **options: Any) -> Any:
    return settings("http", "crm", options={"url": crm.url, **options})


def test_values_are_found_by_dotted_paths(crm: Crm, tmp_path: Path) -> None:
    """Numbers keep all their digits; null and what is absent is no value; names are compared ignoring case, too."""
    names = ("account.balance", "ACCOUNT.due", "account.none", "account.open", "account.open.x", "id", "other")
    with opened(tmp_path, http(crm)) as providers:
        answer = ask(providers, names)
    assert list(answer.values.values()) == ["12.50", "2026-01-31", None, "true", None, "12345678901234567890", None]
    assert not answer.failed
    with opened(
        tmp_path, settings("http", options={"url": crm.url}, names={"balance": "account.balance"})
    ) as providers:
        assert ask(providers, ("Balance", "id")).values == {"Balance": "12.50", "id": None}


def test_the_request(crm: Crm, tmp_path: Path) -> None:
    """One GET for all names, with the customer percent-encoded and our headers; connections are used again."""
    odd = Query("a/b?c=d&e#f%20ü {customerUID}", "+44 7700")

    async def main(asker: Asker) -> None:
        for _ in range(3):
            assert (await asker.ask(odd, ("id", "account.balance"))).found == 2

    with opened(tmp_path, http(crm, headers={"authorization": "Bearer x"})) as providers:
        asyncio.run(main(Asker(providers, 3, Measures())))
    paths = {path for path, _ in crm.got}
    assert paths == {"/accounts/a%2Fb%3Fc%3Dd%26e%23f%2520%C3%BC%20%7BcustomerUID%7D?phone=%2B44%207700"}
    headers = crm.got[0][1]
    assert headers["authorization"] == "Bearer x"
    assert headers["accept"] == "application/json"
    assert headers["user-agent"].startswith("sftpd-processor/")
    assert len(crm.connections) == 1


@pytest.mark.parametrize(
    "query", [STRANGER, Query("", "4477"), Query(".", "4477"), Query("..", "4477"), Query("C-1", None)]
)
def test_no_request_for_a_customer_that_is_not_there(crm: Crm, tmp_path: Path, query: Query) -> None:
    """What the URL needs and is not known means that there is no value; nor does a customer lead to another path."""
    with opened(tmp_path, http(crm)) as providers:
        answer = ask(providers, ("id",), query)
    assert (answer.found, answer.failed, crm.got) == (0, False, [])


def test_a_url_without_the_customer_is_asked_for_strangers_too(crm: Crm, tmp_path: Path) -> None:
    """Only what the URL needs counts."""
    url = crm.url.replace("accounts/{customerUID}", "phones")
    with opened(tmp_path, http(crm, url=url)) as providers:
        assert ask(providers, ("id",), STRANGER).found == 1
    assert crm.got[0][0] == "/phones?phone=447700900001"


def test_404_means_that_there_is_no_value(crm: Crm, tmp_path: Path) -> None:
    """And is no failure."""
    crm.status = 404
    with opened(tmp_path, http(crm)) as providers:
        answer = ask(providers, ("id",))
    assert (answer.found, answer.failed) == (0, False)


@pytest.mark.parametrize(
    ("status", "body", "said"),
    [
        (500, PERSON, "HTTP 500"),
        (401, PERSON, "HTTP 401"),
        (302, b"", "HTTP 302: redirects are not followed"),
        (200, b"<html>447700900001", "its answer is not JSON"),
        (200, b'{"id": NaN}', "its answer is not JSON"),
        (200, b"[" * 100_000, "its answer is not JSON"),
        (200, b'{"id": "\xff"}', "its answer is not JSON"),
        (204, b"", "its answer is not JSON"),
        (200, b'[{"id": 1}]', "its answer is not a JSON object"),
        (200, b'{"id": "' + b"x" * 1_048_576 + b'"}', "its answer is larger than 1,048,576 bytes"),
        (200, b'{"id": ["447700900001"]}', "gave a value that is no text, number or date, but list"),
        (200, b'{"id": 1e999999999}', "gave a number that is too long to write"),
    ],
)
def test_other_answers_are_failures(
    crm: Crm, tmp_path: Path, status: int, body: bytes, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log tells which kind, and nothing of what was asked or answered."""
    crm.status, crm.body, crm.headers = status, body, {"location": "/x"}
    with opened(tmp_path, http(crm)) as providers:
        answer = ask(providers, ("id",))
        assert (answer.found, answer.failed, answer.late) == (0, True, False)
        crm.status, crm.body = 200, PERSON
        assert ask(providers, ("id",)).found == 1
    assert f"values crm: {said}" in caplog.text
    assert "447700900001" not in caplog.text
    assert "C-1" not in caplog.text


def test_a_server_that_hangs_costs_the_deadline(crm: Crm, tmp_path: Path) -> None:
    """The answer is late, and closing does not wait for the server."""
    crm.hang = threading.Event()
    with opened(tmp_path, http(crm)) as providers:
        assert ask(providers, ("id",), deadline=0.2).late


def test_a_server_that_is_down_is_a_failure(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Told by its kind."""
    with opened(tmp_path, http(Crm(url=f"http://127.0.0.1:{free_port()}/"))) as providers:
        assert ask(providers, ("id",)).failed
    assert "values crm: no answer: ConnectError" in caplog.text


def test_mistakes_in_the_options(tmp_path: Path) -> None:
    """Each at its path."""
    pem = tmp_path / "bad.pem"
    pem.write_text("nothing")
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"url": "https://crm/{customerUid}"}, "url", "no placeholder {customerUid}; did you mean 'customerUID'?"),
        ({"url": "https://crm/{x}"}, "url", "there are {customerUID} and {outboundChannelAddress}"),
        ({"url": "https://crm/{customerUID"}, "url", "has a { or }"),
        ({"url": "https://{customerUID}.crm.com/"}, "url", "must name its host itself"),
        ({"url": "ftp://crm/"}, "url", "https://"),
        ({"headers": {"Host": "x"}}, "headers", "set by this program"),
        ({"ca_file": "absent.pem"}, "ca_file", "there is no file"),
        ({"ca_file": "bad.pem"}, "ca_file", "cannot read certificates from"),
    ]
    for options, where, said in wrong:
        http = settings("http", options={"url": "https://crm.example.com/", **options})
        found = mistakes(lambda: build(tmp_path, http))  # noqa: B023
        assert said in found[f"values[0].options.{where}"]
    assert len(build(tmp_path, settings("http", options={"url": "https://u@[::1]:8443/{customerUID}"}))) == 1
