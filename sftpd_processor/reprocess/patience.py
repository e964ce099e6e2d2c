"""Waiting while the ledger cannot be used: locked for long, no room on the disk, the database down."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from sftpd_processor.errors import LedgerUnavailable

_PAUSE = 1.0  # seconds; on SQLite each try waits for the lock as well

T = TypeVar("T")


class Patience:
    """Makes transactions again until they succeed, or somebody stops it: results in hand must not be lost."""

    def __init__(self, stop: threading.Event, told: Callable[[str], None] | None = None) -> None:
        """`told`: of each change of `why`."""
        self.stop = stop
        self._told = told
        self.why = ""
        """What is waited for; empty when nothing is."""

    def __call__(self, transaction: Callable[[], T]) -> T:
        """What it returns. Raises `LedgerUnavailable` only when a try after the stop fails, too."""
        while True:
            last = self.stop.is_set()
            try:
                found = transaction()
            except LedgerUnavailable as error:
                if last:
                    raise
                self.note(str(error))
                self.stop.wait(_PAUSE)
            else:
                self.note("")
                return found

    def note(self, why: str) -> None:
        """Have it said that this is waited for."""
        if self._told is not None and (why or self.why):
            self._told(why)
        self.why = why


def impatience() -> Patience:
    """Tries everything once."""
    stopped = threading.Event()
    stopped.set()
    return Patience(stopped)
