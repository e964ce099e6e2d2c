"""The log of the real daemon: a line for each poll, fields beside it, and in no format anything of what it handles."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance import support
from tests.acceptance.canaries import leaks, personal, personal_files
from tests.acceptance.support import Desk, event, local, put
from tests.acceptance.test_no_leaks import echo, fill_strict_table, handlers
from tests.journal import JournalSocket, journal_socket
from tests.support import wait_until

__all__ = ["echo"]

REDIRECTED = """
import sys
from sftpd_processor import journal
journal.SOCKET = sys.argv.pop(1)
from sftpd_processor.cli.main import main
main()
"""
REFUSES = """
from sftpd_processor import Reject

def crm(event):
    if event.type == "payment":
        raise Reject("no such account")
"""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder on this machine that is a source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


class Drained:
    """A journal whose entries are taken as they come."""

    def __init__(self, socket: JournalSocket) -> None:
        self.entries: list[dict[str, str]] = []
        self._socket = socket
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while True:
            entry = self._socket.received()
            if entry.get("MESSAGE") == "the end":
                return
            self.entries.append(entry)

    def end(self) -> None:
        """Take no more."""
        self._socket.send(b"MESSAGE=the end\n")
        self._thread.join()


@pytest.fixture
def journal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Drained]:
    """What the command takes for systemd's journal."""
    with journal_socket(None) as socket:
        monkeypatch.setattr(support, "COMMAND", (sys.executable, "-c", REDIRECTED, str(socket.path)))
        drained = Drained(socket)
        yield drained
        drained.end()


def told(log: str) -> list[dict[str, Any]]:
    """The lines of a log in JSON."""
    return [json.loads(line) for line in log.splitlines()]


def fates() -> dict[str, bytes]:
    """A good file, a duplicate of it, one that cannot be read, and one whose delivery is refused."""
    return {
        "a.json": event(1),
        "b.json": event(1),
        "c.json": b"<html>",
        "d.json": event(2, type="payment"),
    }


def test_a_poll_is_one_line_with_counts(desk: Desk, inbox: Path) -> None:
    """In JSON each line is an object; a poll is one of them, and a single dead letter tells its file."""
    put(inbox, fates())
    desk.module("crm", REFUSES)
    desk.configure(local(inbox, settle_seconds=0), handlers=[{"name": "crm", "use": "crm:crm"}], log={"format": "json"})
    daemon = desk.daemon()
    daemon.wait_for("dead letter")
    daemon.wait_for("disposed of")
    assert daemon.stop() == 0
    lines = told(daemon.log)
    (poll,) = [line for line in lines if "disposed" in line]
    assert poll.pop("timestamp").endswith("+00:00")
    assert poll == {
        "level": "info",
        "logger": "sftpd_processor.pipeline.poller",
        "message": "source local: recorded 4 (1 duplicate, 1 quarantined), disposed of 4 files",
        "source": "local",
        "recorded": 4,
        "duplicates": 1,
        "quarantined": 1,
        "events": 2,
        "disposed": 4,
    }
    (dead,) = [line for line in lines if "dead letter" in line["message"]]
    key = desk.rows("SELECT 1 FROM deliveries WHERE state = 'dead'")
    assert key == [(1,)]
    assert len(dead.pop("delivery")) == 32
    assert dead["message"] == "handler crm: 1 more dead letter; see `sftpd-processor status`"
    about = {
        "level": "error",
        "handler": "crm",
        "source": "local",
        "file": "d.json",
        "event_type": "payment",
        "dead": 1,
    }
    assert dead.items() >= about.items()
    assert not [line for line in lines if line.get("file") not in (None, "d.json")]


def test_each_file_has_a_line_where_that_is_asked_for(desk: Desk, inbox: Path) -> None:
    """With `log.files`: its verdict when it is recorded, what the server did with it, and why it was left alone."""
    put(inbox, fates() | {"notes.txt": b"x"})
    desk.configure(local(inbox, settle_seconds=0, after="delete"), log={"format": "json", "files": True})
    daemon = desk.daemon()
    daemon.wait_for("disposed of")
    assert daemon.stop() == 0
    lines = [line for line in told(daemon.log) if "file" in line]
    assert {(line["file"], line["verdict"], line.get("event_type")) for line in lines} == {
        ("a.json", "accepted", "inboundMessage"),
        ("b.json", "duplicate", "inboundMessage"),
        ("c.json", "invalid", None),
        ("d.json", "accepted", "payment"),
        ("notes.txt", "ignored", None),
        *((name, "deleted", None) for name in fates()),
    }
    said = [line["message"] for line in lines]
    assert len(said) == 9
    assert "source local: a.json: accepted" in said
    assert "source local: a.json: deleted" in said
    assert "source local: notes.txt: ignored: its name does not match `include`" in said
    assert all(line["source"] == "local" and line["level"] == "info" for line in lines)


def test_the_journal_gets_what_the_daemon_says(desk: Desk, inbox: Path, journal: Drained) -> None:
    """Fields to ask for, and nothing on standard error."""
    put(inbox, fates())
    desk.configure(local(inbox, settle_seconds=0), log={"format": "journald"})
    daemon = desk.start("run")
    wait_until(lambda: any("DISPOSED" in entry for entry in journal.entries), 30, "the poll")
    assert daemon.stop() == 0
    assert daemon.log == ""
    (poll,) = [entry for entry in journal.entries if "DISPOSED" in entry]
    assert poll["MESSAGE"] == "source local: recorded 4 (1 duplicate, 1 quarantined), disposed of 4 files"
    assert (poll["SOURCE"], poll["PRIORITY"], poll["SYSLOG_IDENTIFIER"]) == ("local", "6", "sftpd-processor")


@pytest.mark.parametrize("form", ["console", "json", "journald"])
def test_no_format_shows_what_is_handled(desk: Desk, inbox: Path, echo: str, journal: Drained, form: str) -> None:
    """Files of every fate and handlers that quote them, with --debug and a line for each file: not a word of them."""
    put(inbox, personal_files())
    fill_strict_table(desk)
    desk.configure(
        local(inbox, settle_seconds=0),
        handlers=handlers(desk, echo),
        delivery={"max_attempts": 2, "backoff_seconds": 0.01, "timeout_seconds": 20},
        log={"format": form, "files": True},
    )
    daemon = desk.start("--debug", "run")

    def shown() -> str:
        return daemon.log + json.dumps(journal.entries)

    for words in ("handler rejects: ", "breaks-us: internal error", "exit-1: ", "good.json: accepted", "disposed of"):
        wait_until(lambda: words in shown(), 30, words)  # noqa: B023
    put(inbox, {"late.json": personal(99), "late-cut.json": personal(98)[:90]})
    wait_until(lambda: "late-cut.json: invalid" in shown(), 30, "the late files")
    assert daemon.stop() == 0
    assert "LookupError" in shown()
    assert leaks(daemon.log) + leaks(daemon.out) + leaks(json.dumps(journal.entries, indent=1)) == []
    assert (form == "journald") == (len(journal.entries) > 10)


def test_the_listener_logs_in_the_same_way(desk: Desk, inbox: Path) -> None:
    """Its process reads the same settings: its lines are JSON, too."""
    desk.configure(
        local(inbox),
        http={"listen": "127.0.0.1:0", "auth": "none", "access_log": True},
        log={"format": "json"},
    )
    daemon = desk.daemon()
    daemon.wait_for("public listener: ")
    assert daemon.stop() == 0
    assert all({"timestamp", "level", "logger", "message"} <= line.keys() for line in told(daemon.log))
