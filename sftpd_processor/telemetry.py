"""What is written to standard error: logs of one readable line each, and tracebacks that quote nobody.

The text of an error that is not ours may hold whatever a handler, a driver or a library was working on: an event, a
URL with its token. So of those only the kind is shown, and where it happened.
"""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import Iterator
from typing import Any

from sftpd_processor.errors import ProcessorError

logger = logging.getLogger(__name__)

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"
_EXPLICIT = ("sftpd_processor", "paramiko", "apscheduler", "alembic", "watchdog")
"""Whose debug logs hold names and numbers, but no contents."""
_INDISCREET = ("sqlalchemy", "httpx2", "httpcore2", "asyncio")
"""Who logs parameters, rows or URLs already as information."""


def log_to_stderr(level: int, *, debug: bool = False) -> None:
    """Send logs of `level` and above to standard error; with `debug` all of ours, and of discreet libraries."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Formatter(_FORMAT + (" [%(name)s %(threadName)s]" if debug else "")))
    handler.addFilter(_without_details)
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in _INDISCREET:
        logging.getLogger(name).setLevel(logging.WARNING)
    for name in _EXPLICIT:
        logging.getLogger(name).setLevel(logging.DEBUG if debug else logging.NOTSET)
    if not debug:
        # Their failures reach us as exceptions, which we tell in our own words.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        for name in ("apscheduler", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
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


class _Formatter(logging.Formatter):
    def formatException(self, ei: Any) -> str:  # noqa: N802 - the name is logging's
        return trace(ei[1])


def _without_details(record: logging.LogRecord) -> bool:
    if record.name == "asyncio":  # from its second line on, it shows tasks, and the errors they ended with
        record.msg, record.args = record.getMessage().partition("\n")[0], ()
    return True


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
        return f"{kind}: {error}"
    return f"{kind}: {error.strerror}" if isinstance(error, OSError) and error.strerror else kind
