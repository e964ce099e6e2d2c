"""Signals that end a verb: the first lets what is under way end, the second ends at once."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable

from sftpd_processor.cli import exit_codes

_ENDING = (signal.SIGTERM, signal.SIGINT)


def stop_at_signals(stop: Callable[[], None]) -> None:
    """Call `stop` at the first SIGTERM or Ctrl-C; a second one ends the process there and then."""

    def at_once(_number: int, _frame: object) -> None:
        os._exit(exit_codes.INTERRUPTED)

    def first(_number: int, _frame: object) -> None:
        for number in _ENDING:
            signal.signal(number, at_once)
        stop()

    for number in _ENDING:
        signal.signal(number, first)
