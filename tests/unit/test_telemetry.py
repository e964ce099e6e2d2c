"""What is written to standard error: tracebacks that show where, and quote nobody but ourselves."""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator

import pytest

from sftpd_processor.cli import main
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.telemetry import set_up, trace

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
    for name in (
        "sftpd_processor",
        "paramiko",
        "apscheduler",
        "alembic",
        "watchdog",
        "sqlalchemy",
        "httpx2",
        "asyncio",
    ):
        logging.getLogger(name).setLevel(logging.NOTSET)


def failing() -> None:
    """Fails, and is heard of by what fails because of it."""
    try:
        int(SECRET)
    except ValueError as error:
        raise SourceUnavailable("the server is away") from error


def caught() -> SourceUnavailable:
    """The error of `failing`."""
    with pytest.raises(SourceUnavailable) as found:
        failing()
    return found.value


def test_a_trace_shows_places_kinds_and_our_own_words() -> None:
    """The cause comes first, as in Python's own; of an error that is not ours only its kind is shown."""
    lines = trace(caught()).splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert lines.index("ValueError") < lines.index("SourceUnavailable: the server is away")
    assert any(line.endswith(", in failing") and __file__ in line for line in lines)
    assert SECRET not in "\n".join(lines)


def test_a_trace_tells_what_the_system_says() -> None:
    """Of an error of the system its own words are shown, and not its arguments."""
    assert trace(PermissionError(13, "Permission denied", SECRET)).splitlines()[1:] == [
        "PermissionError: Permission denied"
    ]
    assert trace(OSError(SECRET)).splitlines()[1:] == ["OSError"]


def test_a_trace_of_errors_that_cause_each_other_ends() -> None:
    """A circle of causes is shown once."""
    first, second = ValueError(SECRET), KeyError(SECRET)
    first.__cause__, second.__cause__ = second, first
    assert trace(first).splitlines()[1:] == ["KeyError", "ValueError"]


def test_a_trace_leaves_out_what_was_suppressed() -> None:
    """`from None` hides what went before."""
    error = ValueError()
    error.__context__, error.__suppress_context__ = KeyError(), True
    assert trace(error).splitlines()[1:] == ["ValueError"]


def test_logged_errors_and_lost_ones_are_told_without_their_words(capsys: pytest.CaptureFixture[str]) -> None:
    """The same for what is logged with its traceback, and for what ends a thread."""
    set_up()
    logging.getLogger("sftpd_processor.x").error("it broke", exc_info=ValueError(SECRET))
    thread = threading.Thread(target=failing, name="Worker-7")
    thread.start()
    thread.join()
    told = capsys.readouterr().err
    assert "ERROR   it broke\nTraceback (most recent call last):\nValueError\n" in told
    assert "the thread Worker-7 ended with an error" in told
    assert SECRET not in told


@pytest.mark.parametrize("debug", [False, True])
def test_libraries_that_show_contents_never_log_them(capsys: pytest.CaptureFixture[str], debug: bool) -> None:
    """SQL parameters, URLs and tasks stay out of the log with `debug` too; a library's warning is shown."""
    set_up(debug=debug)
    for name in ("sqlalchemy.engine.Engine", "httpx2", "httpcore2.http11"):
        logging.getLogger(name).info(SECRET)
        logging.getLogger(name).debug(SECRET)
    logging.getLogger("asyncio").error("Task exception was never retrieved\nfuture: %s", SECRET)
    logging.getLogger("paramiko.transport").debug("a debug line")
    logging.getLogger("sftpd_processor.x").debug("our debug line")
    told = capsys.readouterr().err
    assert SECRET not in told
    assert "Task exception was never retrieved" in told
    assert ("a debug line" in told, "our debug line" in told) == (debug, debug)


@pytest.mark.parametrize("debug", [False, True])
def test_an_internal_error_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, debug: bool
) -> None:
    """Even a mistake of ours ends in one readable line and exit code 1; with --debug, with the place of it."""

    def broken() -> None:
        raise LookupError(SECRET)

    monkeypatch.setattr(main, "app", broken)
    monkeypatch.setattr(sys, "argv", ["sftpd-processor", *(["--debug"] if debug else []), "status"])
    with pytest.raises(SystemExit) as ended:
        main.main()
    told = capsys.readouterr().err
    assert ended.value.code == 1
    assert "sftpd-processor: internal error (LookupError); please report it, with what --debug shows\n" in told
    assert ("in broken" in told) == debug
    assert len(told.splitlines()) == 1 or debug
    assert SECRET not in told
