"""The listeners show nothing of what is asked, posted or configured: not in logs, error answers, metrics or pages."""

from __future__ import annotations

import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx2
import pytest

from sftpd_processor.http.token import mint
from sftpd_processor.testing.servers import free_port
from tests.acceptance.canaries import (
    CUSTOMER,
    DATABASE_PASSWORD,
    EXACT_TOKEN,
    MARK,
    MESSAGE,
    NAME,
    PHONE,
    SECRET,
    TOKEN,
    URL_TOKEN,
    assert_silent,
    leaks,
    leaks_in_reasons,
    pages,
    personal,
    personal_files,
    raw,
    told,
)  # fmt: skip
from tests.acceptance.sidecar import Caller, http, listener_of
from tests.acceptance.support import Desk, local
from tests.acceptance.test_admin import ADMIN, Operator
from tests.support import wait_until

CODE = f"""
import asyncio, threading, time
from sftpd_processor import values

def _told(*query): return f"{NAME} of {{query}} says {MESSAGE}"

@values("raises")
def raises(*query): raise ValueError(_told(*query))
@values("chains")
def chains(*query):
    try:
        raises(*query)
    except ValueError as error:
        raise KeyError(_told(*query)) from error
@values("exits")
def exits(*query): raise SystemExit(_told(*query))
@values("system")
def system(*query): raise OSError(5, "no", _told(*query))
@values("awaits")
async def awaits(*query): raise RuntimeError(_told(*query))
@values("awaits-exit")
async def awaits_exit(*query): raise SystemExit(_told(*query))
@values("cancels")
async def cancels(*query): raise asyncio.CancelledError(_told(*query))
@values("hangs")
def hangs(*query): time.sleep(1)
@values("odd")
def odd(*query): return {{_told(*query): _told(*query)}}
@values("long")
def long(*query): return _told(*query) * 100
@values("half")
def half(*query): return _told(*query) + "\\ud800"
@values("one", "two")
def several(*query): return _told(*query)

async def _fails(*query): raise OSError(_told(*query))
@values("task")
async def task(*query):
    asyncio.get_running_loop().create_task(_fails(*query))
    await asyncio.sleep(0.01)
@values("thread")
def thread(*query):
    other = threading.Thread(target=raises, args=query)
    other.start()
    other.join()
class _Unread:
    def __init__(self, query): self.query = query
    def __del__(self): raises(*self.query)
@values("garbage")
def garbage(*query): _Unread(query)
class _Mapping(dict):
    def __iter__(self): raise LookupError(self["told"])
    def keys(self): raise LookupError(self["told"])
@values("mapped", "other")
async def mapped(*query): return _Mapping(told=_told(*query))

def posted(event): raise ValueError(f"cannot handle {{event.body}} of {{event.customer_uid}}")
"""
NAMES = (
    "raises", "chains", "exits", "system", "awaits", "awaits-exit", "cancels", "hangs", "odd", "long", "half", "one",
    "task", "thread", "garbage", "mapped",
)  # fmt: skip
UPSTREAM = ("200", "302", "404", "500", "text", "list", "bad", "cut")
QUERIES = {
    "json-path": "SELECT json_extract('{}', :customerUID)",
    "json": "SELECT json(:customerUID || '{')",
    "words": "SELECT t FROM words WHERE words MATCH 'x-' || :customerUID",
    "syntax": "SELECT t FROM words WHERE words MATCH '\"' || :customerUID",
    "absent": "SELECT * FROM absent WHERE c = :customerUID",
    "rows": "SELECT t FROM words",
    "columns": "SELECT t, t, :customerUID FROM words LIMIT 1",
    "binary": "SELECT cast(:customerUID AS blob)",
}


class _Echo(BaseHTTPRequestHandler):
    """Answers with what it was asked, in a way that its path names."""

    def do_GET(self) -> None:  # the name is the library's
        kind = self.path.split("/")[1]
        said = f"{MESSAGE} {NAME} {self.path}"
        body = {"200": "{}", "list": f'["{NAME}"]', "bad": f'{{"a": "{said}'}.get(kind, said)
        self.send_response(int(kind) if kind.isdigit() else 200, "Qzx" + CUSTOMER)
        self.send_header("location", f"http://127.0.0.1/?{said}")
        self.send_header("x-told", said)
        self.send_header("content-length", str(len(body) + 9 * (kind == "cut")))
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of an upstream that quotes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def providers(desk: Desk, echo: str) -> list[dict[str, Any]]:
    """Providers of every kind that quote what they were asked or what they have wherever they can."""
    desk.module("mine", CODE)
    database = desk.folder / "words.db"
    with sqlite3.connect(database) as connection:
        connection.execute("CREATE VIRTUAL TABLE words USING fts5(t)")
        connection.executemany("INSERT INTO words VALUES (?)", [(NAME,), (MESSAGE,)])
    connection.close()
    table = desk.folder / "customers.csv"
    table.write_text(f"customerUID,csv\n{CUSTOMER},{NAME}\n")
    away = f"postgresql+psycopg://u:{DATABASE_PASSWORD}@127.0.0.1:1/x"

    def options(kind: str) -> dict[str, Any]:
        url = f"{echo}/{kind}/{{customerUID}}/{{outboundChannelAddress}}?key={URL_TOKEN}"
        return {"url": url, "headers": {"Authorization": f"Bearer {TOKEN}"}}

    return [
        {"name": "mine", "use": "mine"},
        {"name": "table", "use": "static", "options": {"csv": str(table)}},
        {"name": "words", "use": "sql", "options": {"url": f"sqlite:///{database}", "queries": QUERIES}},
        {"name": "away", "use": "sql", "names": {"away": "a"}, "options": {"url": away, "query": "SELECT 1"}},
        *(
            {"name": f"http-{kind}", "use": "http", "names": {f"http-{kind}": "a"}, "options": options(kind)}
            for kind in UPSTREAM
        ),
    ]  # fmt: skip


def configure(desk: Desk, echo: str, attempts: int = 2, **changes: Any) -> None:
    """All that can quote, with the access log."""
    (desk.folder / "in").mkdir(exist_ok=True)
    table = http(
        token_secrets=[SECRET], tokens=[EXACT_TOKEN], access_log=True, trusted_proxies=["127.0.0.1"],
        custom_values_deadline_seconds=0.5, max_body_bytes=200_000,
    )  # fmt: skip
    desk.configure(
        local(desk.folder / "in"),
        http=table | changes,
        admin=ADMIN,
        values=providers(desk, echo),
        handlers=[
            {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}},
            {"name": "posted", "use": "mine:posted"},
        ],
        delivery={"max_attempts": attempts, "backoff_seconds": 0.01, "breaker_failures": 3, "timeout_seconds": 5},
    )


def refusals(webio: Caller) -> list[httpx2.Response]:
    """What comes of requests that are wrong or cannot be answered, each with canaries wherever there is room."""
    ask, client = webio.ask, webio.client
    wrong = [EXACT_TOKEN + "x", mint("42", "key", SECRET + "x"), f"Bearer {EXACT_TOKEN}", f"{MARK}.b.c"]
    strangers = [{"x-webio-token": each} for each in wrong]
    names = [*NAMES, *QUERIES, "away", *(f"http-{kind}" for kind in UPSTREAM), f"{NAME} {MESSAGE}"[:150]]
    body = personal(1)
    odd_headers = [{"content-encoding": MARK}, {"x-forwarded-for": f"fe80::1%{MARK}"}, {"x-forwarded-for": MARK}]
    return [
        *(ask(name, customer=CUSTOMER, address=PHONE) for name in names),
        client.get("/custom-values", params={"customerUID": [CUSTOMER, MARK], "param1": NAME}),
        client.get(f"/custom-values?customerUID={CUSTOMER}&param1={MESSAGE}"),
        client.get(f"/custom-values?customerUID={CUSTOMER}%00&{NAME}=1&param1=%ff{MARK}"),
        client.request("DELETE", f"/custom-values?customerUID={CUSTOMER}", headers={"x-told": NAME}),
        client.get(f"/{MARK}/{CUSTOMER}?{PHONE}"),
        client.post(f"/webhooks/{PHONE}", content=body),
        client.put(f"/webhooks?{PHONE}", content=body),
        *(webio.post(body, headers=each) for each in odd_headers[:1]),
        *(client.get(f"/{MARK}", headers=each | {"user-agent": NAME, "cookie": TOKEN}) for each in odd_headers[1:]),
        webio.post(personal(2, body=MESSAGE * 500)),
        *(webio.post(body, params={"customerUID": CUSTOMER}, headers=each) for each in strangers),
        *(client.get(f"/custom-values?customerUID={CUSTOMER}&param1=raises", headers=each) for each in strangers),
    ]


def improper(webio: Caller) -> str:
    """The answers to what is no HTTP, or not for us."""
    head = f"host: {MARK}\r\nx-webio-token: {EXACT_TOKEN}\r\n"
    return "".join(
        raw(webio, request)
        for request in (
            f"{MESSAGE} /{CUSTOMER} HTTP/1.1\r\n{head}\r\n",
            f"GET /{CUSTOMER} HTTP/{MARK}\r\n{head}\r\n",
            f"POST /webhooks HTTP/1.1\r\n{head}content-length: {MARK}\r\n\r\n",
            f"POST /webhooks HTTP/1.1\r\n{head}transfer-encoding: {MARK}\r\n\r\n{MESSAGE}",
            f"GET /{MARK} HTTP/1.1\r\n{head}{head}\r\n",
            f"GET /{MARK * 9000} HTTP/1.1\r\n{head}\r\n",
            f"{MARK} {TOKEN}: {PHONE}\r\n\r\n",
        )
    )


def posts(webio: Caller) -> list[httpx2.Response]:
    """Bodies of every fate; none of the answers may quote, also the good ones."""
    bodies = [*personal_files().values(), personal(20, f"{MARK}-{PHONE}")]
    return [webio.post(body, headers={"content-type": MARK}) for body in bodies]


@pytest.mark.parametrize("flags", [[], ["--debug"]])
def test_the_daemon_and_its_listener_quote_nobody(desk: Desk, echo: str, flags: list[str]) -> None:
    """Requests of every fate to providers and handlers that quote them, a listener killed and started again: nothing
    in the log, an error answer, the metrics, /readyz or the status page, with --debug neither."""
    configure(desk, echo)
    running = desk.start(*flags, "run")
    running.wait_for("ready: ")
    webio, operator = Caller(running, mint("42", "Qzx-api-key", SECRET)), Operator(running)
    answers = posts(webio) + refusals(webio)
    assert leaks("\n".join(map(told, answers)) + improper(webio)) == []
    assert {answer.status_code for answer in answers} >= {200, 400, 401, 404, 405, 413, 415, 502, 504}
    assert MARK in webio.ask("csv", customer=CUSTOMER).json()["csv"]
    table = desk.folder / "customers.csv"
    good = table.read_text()
    for bad in (f"{good}{PHONE},{NAME},{MESSAGE}\n", f'{good}{PHONE},"{NAME}"{MESSAGE}'):
        before = running.log.count("what was read before is used")
        table.write_text(bad)
        wait_until(lambda: running.log.count("what was read before is used") > before)  # noqa: B023 - called at once
    table.write_text(good)
    os.kill(listener_of(running), signal.SIGKILL)
    running.wait_for("the public listener ended (signal 9)")
    assert leaks("\n".join(told(each) for each in posts(webio))) == []
    assert leaks(pages(operator)) == []
    wait_until(lambda: "handler posted: 3 deliveries in a row failed" in running.log, 20)
    assert running.stop() == 0
    assert leaks(running.log + running.out) == []
    for said in (
        "values mine: ValueError in mine.py",
        "values words: OperationalError: the query failed for this customer",
        "values http-500: HTTP 500",
        "http: GET other 404 in ",
    ):
        assert said in running.log
    assert leaks_in_reasons(desk) == []


def test_serve_and_the_commands_beside_it_quote_nobody(desk: Desk, echo: str) -> None:
    """`serve` alone, and other commands on the same configuration, all with --debug, show nothing of it either."""
    port = free_port()
    # What cannot be delivered dies at once: whether a second attempt came in time would depend on the breaker's speed.
    configure(desk, echo, attempts=1, listen=f"127.0.0.1:{port}", supervise=False)
    serving = desk.start("--debug", "serve")
    webio = Caller(serving, EXACT_TOKEN)
    answers = posts(webio) + refusals(webio)
    assert leaks("\n".join(map(told, answers)) + improper(webio)) == []
    (desk.work / "ids").write_text(f"{CUSTOMER}\n{PHONE}\n")
    (desk.work / "token").write_text(f"{EXACT_TOKEN}-wrong")
    (desk.work / "token").chmod(0o600)
    ask = "simulate --ask raises --customers ids --count 5"
    commands = {
        "check --live --json": 4, "simulate --live --count 5": 0, ask: 3, f"{ask} --token-file token": 3,
        "once": 3, "status": 0, "token verify token": 1,
    }  # fmt: skip
    ran = {command: desk.run("--debug", *command.split()) for command in commands}
    assert serving.stop() == 0
    lonely = desk.run("--debug", *ask.split())
    assert_silent(*ran.values(), lonely)
    assert leaks(serving.log + serving.out) == []
    assert {command: each.code for command, each in ran.items()} == commands
    assert lonely.code != 0
