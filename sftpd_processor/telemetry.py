"""Logs: one readable line each, on standard error."""

from __future__ import annotations

import logging
import sys

_FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


def log_to_stderr(level: int, *, debug: bool = False) -> None:
    """Send logs of `level` and above to standard error; with `debug` all of them, also those of libraries."""
    logging.basicConfig(
        level=logging.DEBUG if debug else level,
        format=_FORMAT + (" [%(name)s %(threadName)s]" if debug else ""),
        stream=sys.stderr,
        force=True,
    )
    if not debug:
        # Their failures reach us as exceptions, which we tell in our own words.
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)
        for name in ("apscheduler", "alembic", "httpx2", "httpcore2"):
            logging.getLogger(name).setLevel(logging.WARNING)
