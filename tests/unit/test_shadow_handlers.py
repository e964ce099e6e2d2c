"""Shadows of handlers: what they would do is told exactly, kept in a file, and not done."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import sqlite3
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, cast

import pytest

from sftpd_processor import Delivery, Event, InboundMessage, Reject, Retry, Skip
from sftpd_processor import handler as marked
from sftpd_processor.handlers.api import DONE, MARK, Handler, HandlerContext, Outcome, Shadowable
from sftpd_processor.handlers.functions import FunctionHandler, mistake_in
from sftpd_processor.handlers.http import HIDDEN
from sftpd_processor.handlers.registry import build_handlers
from sftpd_processor.handlers.shadow import Compared, Shadow
from sftpd_processor.handlers.wanted import EVERYTHING
from tests.handler_items import item, live, mistakes, settings

SECRETS = {"adm1n", "pa55", "t0ken", "k3y", "s3cret"}


def unopened(use: str, folder: Path, **options: Any) -> Shadowable:
    """The handler as the configuration makes it; a shadow never opens it."""
    (handler,) = build_handlers([settings(use, options=options)], HandlerContext(10, folder))
    return cast("Shadowable", handler)


def of(function: Callable[..., Any]) -> FunctionHandler:
    return FunctionHandler("crm", EVERYTHING, function, HandlerContext(10, Path()))


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


@pytest.fixture
def effects(tmp_path: Path) -> Path:
    return tmp_path / "shadow" / "effects.jsonl"


@pytest.fixture
def crm() -> Iterator[tuple[HTTPServer, list[tuple[dict[str, str], str]]]]:
    """A real HTTP server, and the requests that it got."""
    got = []

    class Requests(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            got.append(({name.lower(): value for name, value in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Requests)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server, got
    server.shutdown()
    thread.join()
    server.server_close()


def test_http_tells_the_request_that_it_makes(crm: Any, tmp_path: Path) -> None:
    """What is captured is what a server gets, but for the user's own headers, which are hidden."""
    server, got = crm
    handler = unopened("http", tmp_path, url=f"http://127.0.0.1:{server.server_port}/", headers={"X-Team": "s3cret"})
    outcome, effect = handler.capture(item())
    assert got == []
    handler.open()
    handler.handle([item()])
    handler.close()
    assert outcome == DONE
    assert effect is not None
    ((headers, body),) = got
    told = {name.lower(): value for name, value in effect.pop("headers").items()}
    assert told.pop("x-team") == HIDDEN
    assert headers["x-team"] == "s3cret"
    assert told.items() <= headers.items()
    assert headers.keys() - told.keys() == {"host", "accept", "connection", "content-length", "x-team"}
    url = f"http://127.0.0.1:{server.server_port}"
    assert effect == {"kind": "http", "method": "POST", "url": url, "body": body}


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (
            "https://adm1n:pa55@crm.example.com:8443/hooks/t0ken?key=k3y",
            f"https://{HIDDEN}@crm.example.com:8443/{HIDDEN}",
        ),
        ("https://crm.example.com?key=k3y", f"https://crm.example.com/{HIDDEN}"),
        ("https://[::1]/t0ken", f"https://[::1]/{HIDDEN}"),
        ("https://crm.example.com", "https://crm.example.com"),
    ],
)
def test_no_secret_reaches_the_effects(tmp_path: Path, effects: Path, url: str, shown: str) -> None:
    """Of a URL only the scheme and the host are told, and of the user's headers the names."""
    shadow = Shadow(unopened("http", tmp_path, url=url, headers={"authorization": "s3cret"}), effects)
    shadow.open()
    shadow.handle([item()])
    shadow.close()
    (line,) = lines(effects)
    assert line["effect"]["url"] == shown
    assert line["effect"]["headers"]["authorization"] == HIDDEN
    assert not {secret for secret in SECRETS if secret in effects.read_text()}


def test_sql_tells_the_row_that_it_writes(tmp_path: Path) -> None:
    """Column by column, the key's too, with every digit; the database is not even looked for."""
    columns = {"customer": "customerUID", "amount": "payment.amount", "more": "payment"}
    database = tmp_path / "there.db"
    handler = unopened("sql", tmp_path, url=f"sqlite:///{database}", table="messages", columns=columns)
    paid = item(body=b'{"type": "payment", "customerUID": "C-1", "payment": {"amount": 12.50}}')
    outcome, effect = handler.capture(paid)
    assert not database.exists()
    connection = sqlite3.connect(database)
    connection.row_factory = sqlite3.Row
    connection.execute("create table messages (idempotency_key text unique, customer text, amount text, more text)")
    handler.open()
    handler.handle([paid])
    handler.close()
    (row,) = connection.execute("select * from messages").fetchall()
    connection.close()
    assert outcome == DONE
    assert effect == {"kind": "sql", "table": "messages", "row": dict(row)}
    assert effect["row"]["amount"] == "12.50"


def test_jsonl_tells_the_line_that_it_writes(tmp_path: Path) -> None:
    """Word for word, without the file or its folder being made."""
    path = tmp_path / "out" / "events.jsonl"
    handler = unopened("jsonl", tmp_path, path="out/events.jsonl")
    outcome, effect = handler.capture(live(item()))
    assert not path.parent.exists()
    handler.handle([live(item())])
    handler.close()
    assert (outcome, effect) == (DONE, {"kind": "jsonl", "path": str(path), "line": path.read_text().rstrip("\n")})


def test_command_tells_what_its_program_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The arguments, standard input and the variables, without a process."""
    monkeypatch.chdir(tmp_path)
    argv = ["sh", "-c", "cat > stdin; env > env"]
    handler = unopened("command", tmp_path, argv=argv)
    outcome, effect = handler.capture(item())
    assert not (tmp_path / "stdin").exists()
    assert handler.handle([item()]) == [DONE]
    assert effect is not None
    variables = dict(text.split("=", 1) for text in (tmp_path / "env").read_text().splitlines())
    assert len(effect["environment"]) == 8
    assert effect.pop("environment").items() <= variables.items()
    stdin = (tmp_path / "stdin").read_text()
    assert effect == {"kind": "command", "argv": [shutil.which("sh"), *argv[1:]], "stdin": stdin}
    assert outcome == DONE


def test_log_tells_its_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The same text as in the log, which stays empty."""
    caplog.set_level(logging.INFO)
    handler = unopened("log", tmp_path)
    _, effect = handler.capture(item())
    assert caplog.messages == []
    handler.handle([item()])
    assert effect == {"kind": "log", "line": caplog.messages[0]}


def test_a_function_is_told_of_the_shadow() -> None:
    """`delivery.shadow` is true in a shadow run only; what it returns is the effect, an event as Webio spells it."""
    performed = []

    @marked(InboundMessage, shadow=True)
    async def to_crm(event: InboundMessage, delivery: Delivery) -> dict[str, Any] | None:
        if delivery.shadow:
            return {"customer": event.customer_uid, "at": event.date_created, "event": event}
        performed.append(delivery.idempotency_key)
        return None

    handler = of(to_crm)
    outcome, effect = handler.capture(item())
    assert performed == []
    assert handler.handle([item()]) == [DONE]
    handler.close()
    assert performed == ["key-1"]
    assert outcome == DONE
    assert effect is not None
    returned = effect["returned"]
    assert effect == {"kind": "function", "returned": returned}
    assert (returned["customer"], returned["at"]) == ("C-1", "2026-01-31T09:15:00.123000Z")
    assert returned["event"]["customerUID"] == "C-1"


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (Skip("a test"), Outcome("skipped", "a test")),
        (Reject("no customer"), Outcome("dead", "no customer")),
        (Retry("later", after=60), Outcome("retry", "later", 60, asked=True)),
        (ValueError("wrong"), Outcome("retry", "ValueError: wrong")),
        (SystemExit(3), Outcome("retry", "SystemExit: 3")),
    ],
)
def test_what_a_function_raises_is_its_outcome(answer: BaseException, expected: Outcome) -> None:
    """And it has no effect then."""

    @marked(shadow=True)
    def to_crm(event: Event, delivery: Delivery) -> None:
        raise answer

    assert of(to_crm).capture(item()) == (expected, None)


@pytest.mark.parametrize("answer", [object(), float("nan"), b"\xff"])
def test_an_effect_that_is_not_json_is_a_mistake_of_the_function(answer: object) -> None:
    """It is told as such, and stops nothing."""
    outcome, effect = of(marked(shadow=True)(lambda event, delivery: answer)).capture(item())
    assert outcome.state == "dead"
    assert outcome.detail.startswith("it returned what cannot be written as JSON: ")
    assert effect is None


def test_a_function_that_promises_nothing_cannot_be_shadowed(effects: Path) -> None:
    """The refusal says where the function is and what to write; the function is not called."""

    @marked(InboundMessage)
    def to_crm(event: Event) -> None:
        raise AssertionError

    (why,) = mistakes(lambda: Shadow(of(to_crm), effects)).values()
    assert why.startswith(f"{__file__}, line ")
    assert why.endswith(
        "to_crm() is not declared as one that can be shadowed; if it does nothing while delivery.shadow is true, and"
        " returns what it would have done, mark it @handler(…, shadow=True)"
    )


def test_a_promise_that_cannot_be_kept_is_a_mistake() -> None:
    """A function that does not take `delivery` cannot know when to do nothing; `shadow=` is True or False."""

    @marked(InboundMessage, shadow=True)
    def to_crm(event: Event) -> None: ...

    assert (mistake_in(to_crm) or "").startswith("is marked shadow=True, but does not take `delivery`")
    wrong = marked(shadow=cast("bool", "yes"))(lambda event, delivery: None)
    assert getattr(wrong, MARK).mistakes == ("its shadow= must be True or False",)


def test_a_shadow_writes_one_line_for_each_event(tmp_path: Path, effects: Path) -> None:
    """For owner and group only; every event is done at once, whatever the handler would have answered."""

    @marked(shadow=True)
    def to_crm(event: InboundMessage, delivery: Delivery) -> object:
        return Retry("later") if event.communication_action_id == "2" else {"ok": True}

    shadow = Shadow(of(to_crm), effects)
    shadow.open()
    assert shadow.handle([item(1), live(item(2))]) == [Outcome("done", "done"), Outcome("done", "retry")]
    assert effects.stat().st_mode & 0o777 == 0o640
    first, second = lines(effects)
    shadow.close()
    assert first == {
        "event_key": "key-1", "handler": "crm", "type": "inboundMessage", "source": "webio", "file": "1.json",
        "outcome": "done", "detail": "", "effect": {"kind": "function", "returned": {"ok": True}},
    }  # fmt: skip
    assert (second["file"], second["outcome"], second["detail"], second["effect"]) == (None, "retry", "later", None)


def test_a_judge_adds_to_the_line(tmp_path: Path, effects: Path) -> None:
    """The comparison stands in the line, and in short in the detail of the outcome."""
    compared = Compared("different", ("row.amount", "row.said"), {"outcome": "done", "effect": None})
    shadow = Shadow(unopened("log", tmp_path), effects, judge=lambda item, captured: compared)
    shadow.open()
    assert shadow.handle([item()]) == [Outcome("done", "done; different: row")]
    shadow.close()
    (line,) = lines(effects)
    assert line["compared"] == "different"
    assert line["differs"] == ["row.amount", "row.said"]
    assert line["against"] == {"outcome": "done", "effect": None}


def test_no_file_of_others_is_written(tmp_path: Path, effects: Path) -> None:
    """A new run wants a new file; one that is resumed goes on with its own, after the half line of a crash."""
    effects.parent.mkdir()
    effects.write_text('{"event_key": "a"}\n{"event_k')
    handler: Handler = unopened("log", tmp_path)
    why = mistakes(Shadow(handler, effects).open)
    assert why == {str(effects): "is there already; name another file, or move it away"}
    resumed = Shadow(handler, effects, resumed=True)
    resumed.open()
    resumed.handle([item()])
    resumed.close()
    whole, half, added = effects.read_text().splitlines()
    assert (whole, half) == ('{"event_key": "a"}', '{"event_k')
    assert json.loads(added)["event_key"] == "key-1"


def test_a_full_disk_is_tried_again(tmp_path: Path, effects: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be written is not done, and half a line is taken back."""
    shadow = Shadow(unopened("log", tmp_path), effects)
    shadow.open()
    write = os.write

    def full(fd: int, data: memoryview) -> int:
        monkeypatch.setattr(os, "write", lambda *_: exhausted())
        return write(fd, data[:10])

    def exhausted() -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    (outcome,) = shadow.handle([item()])
    monkeypatch.undo()
    assert (outcome.state, outcome.detail) == ("retry", f"cannot write {effects}: No space left on device")
    assert effects.read_bytes() == b""
    shadow.close()


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """With the path and the reason."""
    (tmp_path / "file").write_text("")
    path = tmp_path / "file" / "shadow" / "effects.jsonl"
    assert mistakes(Shadow(unopened("log", tmp_path), path).open) == {str(path): "cannot be written: Not a directory"}
