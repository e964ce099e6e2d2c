"""What is written to standard error or to systemd's journal: readable lines with fields, and tracebacks that quote
nobody.

The text of an error that is not ours may hold whatever a handler, a driver or a library was working on: an event, a
URL with its token. So of those only the kind is shown, and where it happened. Fields are taken from our own records
only, and by name.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, TextIO

from sftpd_processor.errors import ProcessorError
from sftpd_processor.journal import Journal, leads_into_journal

if TYPE_CHECKING:
    from structlog.stdlib import ProcessorFormatter
    from structlog.typing import EventDict, Processor

    from sftpd_processor.config.log import LogSettings

logger = logging.getLogger(__name__)

FIELDS = (
    "source", "file", "event_type", "delivery", "handler", "provider", "verdict",
    "recorded", "duplicates", "quarantined", "events", "disposed", "failures", "failed", "dead",
)  # fmt: skip
"""What a record may carry beside its sentence (`extra=`): names, keys and counts, never contents."""

FILES = "sftpd_processor.files"
"""The logger of the lines for single files; silent unless they are asked for."""

_IDENTIFIER = "sftpd-processor"
_OURS = "sftpd_processor"
_EXPLICIT = (_OURS, "paramiko", "apscheduler", "alembic", "watchdog")
"""Whose debug logs hold names and numbers, but no contents."""
_INDISCREET = ("sqlalchemy", "httpx2", "httpcore2", "asyncio")
"""Who logs parameters, rows or URLs already as information."""
PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def set_up(log: LogSettings | None = None, *, debug: bool = False, quiet: bool = False) -> None:
    """Begin to log as `log` says, or go on so; without it, with its defaults.

    With `debug` all of ours is told, and of discreet libraries; with `quiet` warnings and errors at most.
    """
    level = logging.getLevelNamesMapping()[log.level.upper()] if log else logging.INFO
    level = max(level, logging.WARNING) if quiet else level
    debug = debug or level == logging.DEBUG
    _listen(_handler(log.format if log else "auto", debug=debug))
    logging.getLogger().setLevel(max(level, logging.INFO))
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _EXPLICIT:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.NOTSET)
    logging.getLogger(FILES).setLevel(logging.NOTSET if debug or (log and log.files) else logging.WARNING)
    if not debug:
        # Their failures reach us as exceptions, which we tell in our own words.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        for name in ("apscheduler", "alembic"):
            logging.getLogger(name).setLevel(max(level, logging.WARNING))
    threading.excepthook = _thread_ended
    sys.unraisablehook = _ignored


def trace(error: BaseException) -> str:
    """Where `error` and what led to it happened: files, lines and kinds, and the messages of our own errors only."""
    lines = ["Traceback (most recent call last):"]
    for each in reversed(list(_causes(error))):
        frames = traceback.extract_tb(each.__traceback__)
        lines += [f'  File "{frame.filename}", line {frame.lineno}, in {frame.name}' for frame in frames]
        lines.append(_told(each))
    return "\n".join(lines)


class _Lines(logging.StreamHandler[TextIO]):
    """Console and JSON: to standard error."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the name is logging's
        _lost(record)


class _Entries(logging.Handler):
    """To the journal; where that does not answer, to standard error with the priority before each line."""

    def __init__(self) -> None:
        super().__init__()
        self._journal = Journal()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = self.format(record)
            priority = PRIORITIES.get(record.levelno, 6)
            try:
                self._journal.send(_entry(record, message, priority))
            except OSError:
                sys.stderr.write("".join(f"<{priority}>{line}\n" for line in message.splitlines()))
        except Exception:  # noqa: BLE001 - a log must not end what it tells of
            _lost(record)

    def close(self) -> None:
        self._journal.close()
        super().close()


def _listen(handler: logging.Handler) -> None:
    """Let it have all records, in place of those that had them; none is lost in between."""
    root = logging.getLogger()
    former = root.handlers[:]
    root.handlers[:] = [handler]
    for each in former:
        each.close()


def _handler(form: str, *, debug: bool) -> logging.Handler:
    if form == "auto":
        form = "journald" if leads_into_journal(2) else "console"
    handler = _Entries() if form == "journald" else _Lines(sys.stderr)
    handler.setFormatter(_formatter(form, debug=debug))
    handler.addFilter(_without_details)
    return handler


def _formatter(form: str, *, debug: bool) -> ProcessorFormatter:
    with _absent("rich"):  # structlog would load it to draw tracebacks, which are not drawn here: 3 MB, 50 ms
        from structlog.processors import JSONRenderer
        from structlog.stdlib import ProcessorFormatter

    last: dict[str, list[Processor]] = {
        "console": [_console(debug=debug)],
        "journald": [_sentence],
        "json": [_object, JSONRenderer(ensure_ascii=False)],
    }
    return ProcessorFormatter(processors=last[form])


def _console(*, debug: bool) -> Processor:
    def line(_logger: object, _name: str, event: EventDict) -> str:
        record: logging.LogRecord = event["_record"]
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(record.created))
        head = f"{at},{int(record.msecs):03d} {record.levelname:<7}"
        where = f" [{record.name} {record.threadName}]" if debug else ""
        return "\n".join([f"{head} {printable(event['event'])}{where}", *_traces(event)])

    return line


def _sentence(_logger: object, _name: str, event: EventDict) -> str:
    return "\n".join([printable(event["event"]), *_traces(event)])


def _object(_logger: object, _name: str, event: EventDict) -> EventDict:
    record: logging.LogRecord = event["_record"]
    told: EventDict = {
        "timestamp": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": printable(event["event"]),
        **_fields(record),
    }
    if traces := _traces(event):
        told["exception"] = traces[0]
    return told


def _entry(record: logging.LogRecord, message: str, priority: int) -> dict[str, str | int]:
    return {
        "MESSAGE": message,
        "PRIORITY": priority,
        "SYSLOG_IDENTIFIER": _IDENTIFIER,
        "LOGGER": record.name,
        "CODE_FILE": record.pathname,
        "CODE_LINE": record.lineno,
        "CODE_FUNC": record.funcName or "",
        **{name.upper(): value for name, value in _fields(record).items()},
    }


def _fields(record: logging.LogRecord) -> dict[str, str | int]:
    if not f"{record.name}.".startswith(f"{_OURS}."):
        return {}
    given = record.__dict__
    found = [(name, given[name]) for name in FIELDS if given.get(name) is not None]
    return {name: it if isinstance(it, int) else printable(str(it)) for name, it in found}


def printable(text: str) -> str:
    """`text` in one line, with escapes for what would be obeyed instead of shown."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _traces(event: EventDict) -> list[str]:
    info = event.get("exc_info")
    return [trace(info[1])] if info and info[1] is not None else []


def _without_details(record: logging.LogRecord) -> bool:
    if record.name == "asyncio":  # from its second line on, it shows tasks, and the errors they ended with
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True


def _lost(record: logging.LogRecord) -> None:
    """Instead of logging's own words, which quote the arguments."""
    kind = getattr(sys.exc_info()[0], "__name__", "")
    with suppress(OSError, ValueError):
        sys.stderr.write(f"a line of the log is lost: {kind} ({record.name}, line {record.lineno})\n")


@contextmanager
def _absent(module: str) -> Iterator[None]:
    """Let imports find no such module, unless it is loaded already."""
    hidden = module not in sys.modules
    if hidden:
        sys.modules[module] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        if hidden:
            del sys.modules[module]


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if args.exc_value is not None:
        name = args.thread.name if args.thread else "unknown"
        logger.error("the thread %s ended with an error", name, exc_info=args.exc_value)


def _ignored(args: sys.UnraisableHookArgs) -> None:
    logger.error("an error was passed over", exc_info=args.exc_value)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The error, what caused it, and so on."""
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        implicit = None if following.__suppress_context__ else following.__context__
        following = following.__cause__ or implicit


def _told(error: BaseException) -> str:
    kind = type(error).__name__
    if isinstance(error, ProcessorError):
        return f"{kind}: {printable(str(error))}"
    return f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.strerror else kind
