"""Signals: the first that ends a verb lets what is under way end, the second ends at once.

A handler runs in the middle of whatever the main thread does, where a lock may be held. So what is to happen happens
in a thread of its own.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
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
        _aside(stop)

    for number in _ENDING:
        signal.signal(number, first)


def on_hang_up(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    """Call `reload` at each SIGHUP; but `stop` when it came because the terminal that this ran in has gone."""
    terminals = [stream for stream in (sys.stdin, sys.stdout, sys.stderr) if stream.isatty()]

    def hang_up(_number: int, _frame: object) -> None:
        gone = terminals and not any(stream.isatty() for stream in terminals)
        _aside(stop if gone else reload)

    signal.signal(signal.SIGHUP, hang_up)


def _aside(call: Callable[[], None]) -> None:
    threading.Thread(target=call, name="signal", daemon=True).start()
