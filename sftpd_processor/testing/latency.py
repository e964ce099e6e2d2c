"""How long requests took: percentiles of any number of durations, in a memory that does not grow.

taken = Latencies()
taken.add(0.0123)
taken.percentile(0.99)
"""

from __future__ import annotations

import math
from collections.abc import Iterable

PERCENTILES = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999}

_LEAST = 1e-6  # seconds; all that is shorter counts as this
_MOST = 3600.0  # seconds; all that is longer counts as this, but for `slowest`
_STEP = math.log(1.02)  # a bucket's middle is then within 1 % of everything in it


class Latencies:
    """A histogram whose buckets grow by 2 %: what it tells lies within 1 % of the truth, from 1 µs to an hour."""

    def __init__(self, seconds: Iterable[float] = ()) -> None:
        self._counts = [0] * (_bucket(_MOST) + 1)
        self.count = 0
        self.slowest = 0.0
        """In seconds; exact."""
        for each in seconds:
            self.add(each)

    def add(self, seconds: float) -> None:
        """Note one duration."""
        self._counts[_bucket(seconds)] += 1
        self.count += 1
        self.slowest = max(self.slowest, seconds)

    def percentile(self, share: float) -> float | None:
        """The shortest duration (seconds) that at least this share (0 to 1) of all stayed within; None without any."""
        rank = max(1, math.ceil(share * self.count - 1e-9))  # 0.07 * 100 is a little more than 7
        seen = 0
        for bucket, count in enumerate(self._counts):
            seen += count
            if count and seen >= rank:
                return min(_middle(bucket), self.slowest)
        return None

    def as_milliseconds(self) -> dict[str, float]:
        """The usual percentiles and the slowest, in milliseconds; empty without any duration."""
        found = {name: self.percentile(share) for name, share in PERCENTILES.items()} | {"max": self.slowest}
        return {name: round(seconds * 1000, 3) for name, seconds in found.items() if seconds is not None and self.count}


def _bucket(seconds: float) -> int:
    return round(math.log(min(max(seconds, _LEAST), _MOST) / _LEAST) / _STEP)


def _middle(bucket: int) -> float:
    return _LEAST * math.exp(bucket * _STEP)
