"""The machine's clock is set now and then, by hand or by a time server. What waits here must not notice."""

from __future__ import annotations

import logging
import time

from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Clock, now

logger = logging.getLogger(__name__)

_LEAST = 5_000_000  # microseconds; less is what time servers correct all the time
_STEADY = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)  # the former counts the time that a machine sleeps


class ClockWatch:
    """The ledger's clock: the time of the machine's, carried on by one that nobody can set.

    When the two have come apart, `look` moves the waiting times along and goes over to the new time. So all that is
    written until then is by the old one, and is moved too.
    """

    def __init__(self, wall: Clock = now) -> None:
        """`wall` is the clock that may be set."""
        self._wall = wall
        self._ahead = wall() - _steady()

    def __call__(self) -> int:
        """Microseconds since 1970, UTC."""
        return _steady() + self._ahead

    def begin(self, ledger: Ledger) -> None:
        """See whether the clock was set back since the ledger was last written."""
        self._ahead = self._wall() - _steady()
        last = ledger.times.last()
        if last is not None and last - self() > _LEAST:
            _shift(ledger, self() - last)

    def look(self, ledger: Ledger) -> bool:
        """Whether the clock was set since the last call; then the waiting times have been moved along."""
        jump = self._wall() - self()
        if abs(jump) < _LEAST:
            return False
        _shift(ledger, jump)
        self._ahead += jump
        return True


def _steady() -> int:
    return time.clock_gettime_ns(_STEADY) // 1000


def _shift(ledger: Ledger, by: int) -> None:
    direction = "back" if by < 0 else "forward"
    logger.warning(
        "the clock of this machine was set %s by %g s; waiting times are kept", direction, round(abs(by) / 1e6, 1)
    )
    ledger.times.shift(by)
