"""The circuit breaker of one handler: when everything fails, it is asked with one delivery at a time, now and then.

It opens when so many *different* deliveries in a row have failed that the handler itself must be out of order: a
single event that fails again and again never opens it. While it is open one delivery after a pause is the probe,
and the pause doubles. The first that succeeds closes it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.handlers.api import Outcome

logger = logging.getLogger(__name__)


class Breaker:
    """Told of every outcome, asked before every claim; by several threads."""

    def __init__(self, handler: str, settings: DeliverySettings, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds, from whenever."""
        self._handler = handler
        self._enough = settings.breaker_failures
        self._first_pause = min(settings.backoff_seconds, settings.breaker_max_seconds)
        self._longest_pause = settings.breaker_max_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._failed: set[int] = set()
        self._open = False
        self._pause = 0.0
        self._probe_at = 0.0
        self._probe: int | None = None

    @property
    def open(self) -> bool:
        """Whether the handler is only probed."""
        return self._open

    def resume(self) -> None:
        """Begin open, and with a probe at once: it was open when the last process ended."""
        self._open = self._enough > 0
        self._pause = self._first_pause

    def note(self, delivery: int, outcome: Outcome) -> None:
        """Take the outcome of an attempt at `delivery` into account."""
        with self._lock:
            if outcome.state != "retry":
                self._close()
            elif not outcome.asked:
                self._fail(delivery, outcome.after or 0.0)
            self._forget(delivery)

    def allowance(self, limit: int) -> int:
        """How many deliveries may be claimed now, at most `limit`."""
        with self._lock:
            if not self._open:
                return limit
            return 0 if self._probe is not None or self._clock() < self._probe_at else 1

    def claimed(self, delivery: int) -> None:
        """`delivery` has been claimed, as far as `allowance` allows: while the breaker is open, it is the probe."""
        with self._lock:
            self._probe = delivery if self._open else None

    def released(self, delivery: int) -> None:
        """A claim came back untried; had it been the probe, another one may be."""
        with self._lock:
            self._forget(delivery)

    def wait(self) -> float:
        """Seconds until the next probe; 0 when the breaker is closed."""
        return max(0.0, self._probe_at - self._clock()) if self._open else 0.0

    def _fail(self, delivery: int, after: float) -> None:
        if not self._open:
            self._failed.add(delivery)
            if not self._enough or len(self._failed) < self._enough:
                return
            self._open_up()
        elif delivery == self._probe:
            self._pause = min(2 * self._pause, self._longest_pause)
        else:
            return  # it had begun before the breaker opened
        self._probe_at = self._clock() + max(self._pause, min(after, self._longest_pause))

    def _forget(self, delivery: int) -> None:
        if delivery == self._probe:
            self._probe = None

    def _open_up(self) -> None:
        self._open = True
        self._pause = self._first_pause
        logger.error(
            "handler %s: %d deliveries in a row failed; from now on one at a time is tried, after %g s and then more "
            "rarely, until one succeeds. The others wait, and lose no attempt",
            self._handler, len(self._failed), self._pause, extra={"handler": self._handler},
        )  # fmt: skip

    def _close(self) -> None:
        self._failed.clear()
        if self._open:
            self._open = False
            fields = {"handler": self._handler}
            logger.info("handler %s: a delivery succeeded; the others go on", self._handler, extra=fields)
