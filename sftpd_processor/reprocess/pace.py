"""How many deliveries a second a replay may make."""

from __future__ import annotations

import time
from collections.abc import Callable

_BURST_SECONDS = 0.2


class Pace:
    """Hands out permission: `rate` a second, in short bursts; without a rate as much as is wanted."""

    def __init__(self, rate: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds, from whenever."""
        self._rate = rate
        self._clock = clock
        self._most = max(1.0, (rate or 0.0) * _BURST_SECONDS)
        self._left = 1.0
        self._at = clock()

    def allowance(self, wanted: int) -> int:
        """How many may begin now, at most `wanted`."""
        if self._rate is None:
            return wanted
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        return min(wanted, int(self._left))

    def used(self, number: int) -> None:
        """So many have begun."""
        self._left -= number

    def wait(self) -> float | None:
        """Seconds until the next may begin; None when nothing has to be waited for."""
        return None if self._rate is None else max(0.0, (1.0 - self._left) / self._rate)
