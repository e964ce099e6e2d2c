"""Personal data stays where it belongs: no command, log or note shows a message, a number, a name or a customer id."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.canaries import (
    DATABASE_PASSWORD,
    MARK,
    TOKEN,
    URL_TOKEN,
    assert_silent,
    leaks,
    leaks_in_reasons,
    personal,
    personal_files,
)  # fmt: skip
from tests.acceptance.support import Desk, Ran, local, put

QUOTING = """
import asyncio, threading
from sftpd_processor import Payment, Reject, Retry, Skip, handler

def raises(event): raise ValueError(f"cannot handle {event.body} of {event.model_extra} {event.customer_uid}")
def rejects(event): raise Reject(f"no: {event.body} {event.outbound_channel_address}")
def retries(event): raise Retry(f"later: {event.body}", after=600)
def skips(event): return Skip(f"nothing to do for {event.customer_uid} {event.body}")
def exits(event): raise SystemExit(f"{event.body}")
async def awaits(event): raise RuntimeError(event.body)
def chains(event):
    try:
        raises(event)
    except ValueError as error:
        raise KeyError(event.customer_uid) from error

async def _fails(event): raise OSError(f"in a task: {event.body}")
async def leaves_a_task(event):
    asyncio.get_running_loop().create_task(_fails(event))
    await asyncio.sleep(0.01)

def leaves_a_thread(event):
    thread = threading.Thread(target=raises, args=(event,))
    thread.start()
    thread.join()

class _Unread:
    def __init__(self, event): self.event = event
    def __del__(self): raises(self.event)
def leaves_garbage(event): _Unread(event)

class _Broken(Reject):
    event = None
    @property
    def reason(self): raise LookupError(f"{self.event.body} {self.event.customer_uid}")
    @reason.setter
    def reason(self, value): pass
def breaks_us(event):
    error = _Broken()
    error.event = event
    raise error
"""
FUNCTIONS = [
    "raises", "rejects", "retries", "skips", "exits", "awaits", "chains", "leaves_a_task", "leaves_a_thread",
    "leaves_garbage", "breaks_us",
]  # fmt: skip


class _Echo(http.server.BaseHTTPRequestHandler):
    """Refuses every event, and quotes it."""

    def do_POST(self) -> None:  # the name is the library's
        body = self.rfile.read(int(self.headers["content-length"]))
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("x-quoted", body.decode()[:200])
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def echo() -> Iterator[str]:
    """The address of a server that answers an event with itself, and the status that the path names."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def handlers(desk: Desk, echo: str) -> list[dict[str, Any]]:
    """Handlers of every kind that quote what they were given wherever they can, and some that work."""
    desk.module("quoting", QUOTING)
    strict = {"url": f"sqlite:///{desk.folder}/strict.db", "table": "events", "columns": {"text": "body"}}
    return [
        {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}},
        {"name": "log", "use": "log"},
        *({"name": name.replace("_", "-"), "use": f"quoting:{name}"} for name in FUNCTIONS),
        *(
            {"name": f"exit-{code}", "use": "command", "options": {"argv": ["sh", "-c", f"cat >&2; exit {code}"]}}
            for code in (0, 1, 75)
        ),
        *(
            {
                "name": f"http-{status}",
                "use": "http",
                "options": {
                    "url": f"{echo}/{status}/?key={URL_TOKEN}",
                    "headers": {"Authorization": f"Bearer {TOKEN}"},
                },
            }
            for status in (200, 302, 400, 500)
        ),
        {"name": "strict", "use": "sql", "options": strict},
    ]


def fill_strict_table(desk: Desk) -> None:
    """A table that refuses every row, with a message that names its check."""
    import sqlite3

    connection = sqlite3.connect(desk.folder / "strict.db")
    connection.execute("CREATE TABLE events (idempotency_key TEXT PRIMARY KEY, text TEXT CHECK (length(text) < 9))")
    connection.close()


def prepare(desk: Desk, echo: str) -> Path:
    """A desk whose inbox holds every kind of file, and whose handlers quote."""
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, personal_files())
    fill_strict_table(desk)
    desk.configure(
        local(inbox, settle_seconds=0),
        handlers=handlers(desk, echo),
        delivery={"max_attempts": 2, "backoff_seconds": 0.01, "timeout_seconds": 20},
    )
    return inbox


def test_no_command_shows_what_it_handles(desk: Desk, echo: str) -> None:
    """Files of every fate and handlers that quote them: nothing printed, logged or noted, with --debug neither."""
    inbox = prepare(desk, echo)
    told = [desk.run("check", "--live"), desk.run("--debug", "once")]
    put(inbox, {"late.json": personal(99), "late-cut.json": personal(98)[:90]})
    commands = ("once --json", "status", "status --json", "check --json")
    told += [desk.run(*command.split()) for command in commands]
    assert [ran.code for ran in told] == [0, 3, 3, 0, 0, 0]
    assert_silent(*told)
    assert leaks_in_reasons(desk) == []
    kept = json.dumps(desk.rows("SELECT handler, detail FROM deliveries WHERE detail IS NOT NULL"))
    assert all(word in kept for word in ("raises", "exit-1", "http-400"))
    assert MARK in kept  # by design: the ledger is for the operator's eyes
    assert MARK in desk.journal.read_text()


@pytest.mark.parametrize("flags", [[], ["--debug"]])
def test_the_daemon_logs_nothing_of_what_it_handles(desk: Desk, echo: str, flags: list[str]) -> None:
    """The same from start to stop of the daemon, whose log is at a finer level."""
    prepare(desk, echo)
    daemon = desk.start(*flags, "run")
    daemon.wait_for("handler rejects: ")
    daemon.wait_for("breaks-us: internal error")
    daemon.wait_for("exit-1: ")
    assert daemon.stop() == 0
    assert leaks(daemon.log) + leaks(daemon.out) == []
    assert "handler breaks-us: internal error; please report it" in daemon.log
    assert "LookupError" in daemon.log
    assert "in reason" in daemon.log


def test_a_postgresql_that_refuses_rows_is_not_quoted(desk: Desk, postgres_url: str) -> None:
    """PostgreSQL puts the row into its messages; none of them is shown, nor the password of its URL."""
    import psycopg

    url = postgres_url.replace("test@", f"test:{DATABASE_PASSWORD}@")
    plain = postgres_url.replace("+psycopg", "")
    with psycopg.connect(plain, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA crm")
        connection.execute("CREATE TABLE crm.events (idempotency_key text PRIMARY KEY, body text NOT NULL, n integer)")
    options = {"url": url, "table": "crm.events", "columns": {"n": "body", "body": "absent"}}
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, personal_files())
    desk.configure(
        local(inbox, settle_seconds=0),
        handlers=[{"name": "rows", "use": "sql", "options": options}],
        state={"dir": str(desk.state), "database": url},
    )
    told = [desk.run("--debug", *command.split()) for command in ("check", "once", "once --json", "status --json")]
    assert [ran.code for ran in told] == [0, 3, 0, 0]
    assert_silent(*told)
    assert told[-1].data["handlers"]["rows"]["dead"] > 0
    assert leaks_in_reasons(desk) == []


@pytest.mark.parametrize("verb", ["once", "run"])
def test_a_process_that_is_aborted_shows_only_where(desk: Desk, verb: str) -> None:
    """A crash in the middle of a handler, reported by Python's fault handler, shows code and no contents."""
    desk.module("crash", "import os\ndef dies(event):\n    body = event.body\n    os.abort()\n")
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, {"a.json": personal(1)})
    desk.configure(local(inbox), handlers=[{"name": "crash", "use": "crash:dies"}])
    ran: Ran = desk.run("--debug", verb, PYTHONFAULTHANDLER="1")
    assert ran.code < 0
    assert "Fatal Python error: Aborted" in ran.err
    assert "crash.py" in ran.err
    assert_silent(ran)
