"""The three formats of the log: what each shows of a record, and what no record can make it show."""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from sftpd_processor import journal, telemetry
from sftpd_processor.config.log import LogSettings
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.telemetry import FIELDS, set_up
from tests.journal import JournalSocket, journal_socket

OURS = logging.getLogger("sftpd_processor.pipeline.poller")
HOSTILE = 'a\n2026-01-01 ERROR x\r\x1b[2J\u202e\udcff\x00"}\nPRIORITY=0.json'
SHOWN = 'a\\n2026-01-01 ERROR x\\r\\x1b[2J\\u202e\\udcff\\x00"}\\nPRIORITY=0.json'
POLL = {"source": "webio", "recorded": 12, "duplicates": 0, "disposed": 12}
SECRET = "Qzx-secret"


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Logging, and the hooks for what nobody catches, are put back after each test."""
    root, hooks = logging.getLogger(), (threading.excepthook, sys.unraisablehook)
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    threading.excepthook, sys.unraisablehook = hooks
    for name in ("sftpd_processor", telemetry.FILES, "paramiko", "apscheduler", "alembic", "watchdog", "sqlalchemy"):
        logging.getLogger(name).setLevel(logging.NOTSET)


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[JournalSocket]:
    """In the journal's place."""
    with journal_socket() as made:
        monkeypatch.setattr(journal, "SOCKET", str(made.path))
        yield made


def log(form: str, **more: Any) -> LogSettings:
    """The settings for a format."""
    return LogSettings.model_validate({"format": form, **more})


def tell(text: str = "source webio: recorded 12, disposed of 12 files") -> None:
    OURS.info("%s", text, extra=POLL)


def test_the_console_shows_the_sentence_alone(capsys: pytest.CaptureFixture[str]) -> None:
    """Local time, level and sentence; what the fields say is in the sentence."""
    set_up(log("console"))
    tell()
    line = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} INFO    source webio: recorded 12, disposed of 12 files\n"
    assert re.fullmatch(line, capsys.readouterr().err)


def test_json_has_the_fields_beside_it(capsys: pytest.CaptureFixture[str]) -> None:
    """One object in each line, with the time in UTC."""
    set_up(log("json"))
    tell()
    (line,) = capsys.readouterr().err.splitlines()
    told = json.loads(line)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", told.pop("timestamp"))
    head = {"level": "info", "logger": OURS.name, "message": "source webio: recorded 12, disposed of 12 files"}
    assert told == head | POLL


def test_the_journal_gets_fields(listener: JournalSocket) -> None:
    """In capital letters, beside the message, its priority and its place in the code."""
    set_up(log("journald"))
    tell()
    told = listener.received()
    assert told.pop("CODE_FILE") == __file__
    assert told.pop("CODE_FUNC") == "tell"
    assert int(told.pop("CODE_LINE")) > 1
    assert told == {
        "MESSAGE": "source webio: recorded 12, disposed of 12 files",
        "PRIORITY": "6",
        "SYSLOG_IDENTIFIER": "sftpd-processor",
        "LOGGER": OURS.name,
        "SOURCE": "webio",
        "RECORDED": "12",
        "DUPLICATES": "0",
        "DISPOSED": "12",
    }


@pytest.mark.parametrize(("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)])
def test_priorities_are_right(listener: JournalSocket, level: str, priority: int) -> None:
    """As syslog counts them."""
    set_up(log("journald"), debug=True)
    getattr(OURS, level)("x")
    assert listener.received()["PRIORITY"] == str(priority)


def test_without_a_journal_lines_say_their_priority(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing is lost: standard error gets it, as systemd reads priorities there."""
    monkeypatch.setattr(journal, "SOCKET", "/nowhere/socket")
    set_up(log("journald"))
    OURS.error("it broke", exc_info=SourceUnavailable("no answer"))
    assert capsys.readouterr().err == (
        "<3>it broke\n<3>Traceback (most recent call last):\n<3>SourceUnavailable: no answer\n"
    )


def test_auto_is_the_journal_where_standard_error_leads_there(
    monkeypatch: pytest.MonkeyPatch, listener: JournalSocket, capfd: pytest.CaptureFixture[str]
) -> None:
    """Else it is the console."""
    set_up(log("auto"))
    tell("to the console")
    found = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
    set_up(log("auto"))
    tell("to the journal")
    assert listener.received()["MESSAGE"] == "to the journal"
    told = capfd.readouterr().err
    assert "INFO    to the console\n" in told
    assert "to the journal" not in told


@pytest.mark.parametrize("form", ["console", "json", "journald"])
def test_a_name_can_forge_neither_line_nor_field(
    form: str, listener: JournalSocket, capsys: pytest.CaptureFixture[str]
) -> None:
    """What a terminal, a reader of lines or the journal would obey is escaped, in the sentence and in the fields."""
    set_up(log(form))
    OURS.info("source webio: %s: accepted", HOSTILE, extra={"file": HOSTILE})
    if form == "journald":
        told = listener.received()
        assert (told["MESSAGE"], told["FILE"]) == (f"source webio: {SHOWN}: accepted", SHOWN)
        assert told["PRIORITY"] == "6"
        return
    (line,) = capsys.readouterr().err.splitlines()
    assert line.isprintable()
    if form == "json":
        assert json.loads(line)["file"] == SHOWN
    else:
        assert line.endswith(f"INFO    source webio: {SHOWN}: accepted")


@pytest.mark.parametrize("form", ["console", "json", "journald"])
def test_tracebacks_quote_nobody(form: str, listener: JournalSocket, capsys: pytest.CaptureFixture[str]) -> None:
    """Kinds and places in every format, and no word of an error that is not ours."""
    set_up(log(form), debug=True)
    try:
        int(SECRET)
    except ValueError:
        OURS.exception("internal error")
    told = json.dumps(listener.received()) if form == "journald" else capsys.readouterr().err
    assert "ValueError" in told
    assert "test_tracebacks_quote_nobody" in told
    assert SECRET not in told


@pytest.mark.parametrize("form", ["console", "json", "journald"])
def test_fields_of_others_are_not_shown(form: str, listener: JournalSocket, capsys: pytest.CaptureFixture[str]) -> None:
    """A library's, or a handler's of the user, may hold anything, whatever their names; so may ours under others."""
    set_up(log(form))
    logging.getLogger("crm").warning("told", extra={"file": SECRET, "customer": SECRET})
    told = json.dumps(listener.received()) if form == "journald" else capsys.readouterr().err
    OURS.warning("told", extra={"body": SECRET})
    told += json.dumps(listener.received()) if form == "journald" else capsys.readouterr().err
    assert told.count("told") == 2
    assert SECRET not in told


@pytest.mark.parametrize("form", ["console", "json", "journald"])
def test_a_line_that_cannot_be_made_is_not_quoted(
    form: str, listener: JournalSocket, capsys: pytest.CaptureFixture[str]
) -> None:
    """A library's mistake in a log call shows where it is; logging's own words would hold the arguments."""
    set_up(log(form))
    logging.getLogger("library").warning("%d of them", SECRET)
    told = capsys.readouterr().err
    assert told.startswith("a line of the log is lost: TypeError (library, line ")
    assert SECRET not in told


def test_every_field_has_its_own_name() -> None:
    """None is an attribute that each record has anyway, and all are fit for the journal."""
    record = logging.makeLogRecord({})
    assert not [name for name in FIELDS if hasattr(record, name)]
    assert all(re.fullmatch("[a-z][a-z_]*", name) for name in FIELDS)


@pytest.mark.parametrize(
    ("level", "debug", "quiet", "told"),
    [
        ("debug", False, False, "debug info warning error"),
        ("info", False, False, "info warning error"),
        ("warning", False, False, "warning error"),
        ("error", False, False, "error"),
        ("error", True, False, "debug info warning error"),
        ("debug", False, True, "warning error"),
        ("error", False, True, "error"),
        ("info", True, True, "debug info warning error"),
    ],
)
def test_levels(level: str, debug: bool, quiet: bool, told: str, capsys: pytest.CaptureFixture[str]) -> None:
    """`--debug` goes before the setting; verbs that are quiet never tell less than asked, but at most warnings."""
    set_up(log("console", level=level), debug=debug, quiet=quiet)
    for each in ("debug", "info", "warning", "error"):
        getattr(OURS, each)("it is %s", each)
    assert re.findall(r"it is (\w+)", capsys.readouterr().err) == told.split()


def test_it_can_be_set_up_anew(capsys: pytest.CaptureFixture[str]) -> None:
    """A reload changes level, format and lines for files at once; each record is told once."""
    files = logging.getLogger(telemetry.FILES)
    set_up(log("console", level="debug"))
    set_up(log("json", level="warning", files=True))
    tell("not told")
    files.info("not told: `level` goes before")
    set_up(log("console", files=True))
    tell("told")
    files.info("a file")
    set_up(log("console"))
    files.info("not told: not asked for")
    told = capsys.readouterr().err
    assert [line.partition(" INFO    ")[2] for line in told.splitlines()] == ["told", "a file"]
    assert len(logging.getLogger().handlers) == 1
