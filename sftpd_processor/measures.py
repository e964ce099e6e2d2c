"""Counts and durations of what this process did, for /metrics: cheap to note, and easy to add up over processes.

Labels are of few values and free of personal data; whoever notes something sees to that.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, NamedTuple

PREFIX = "sftpd_processor_"

_SHORT = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_LONG = (0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 14400.0, 86400.0)


class Measure(NamedTuple):
    """What is noted under one name: a counter, or with `bounds` a histogram of seconds."""

    help: str
    labels: tuple[str, ...]
    bounds: tuple[float, ...] = ()


MEASURES: dict[str, Measure] = {
    "http_requests": Measure("Requests answered by the public listener.", ("route", "status")),
    "http_request_seconds": Measure("From the last byte of a request's head to its answer.", ("route",), _SHORT),
    "http_refused_tokens": Measure("Requests without a right token.", ("why",)),
    "values_seconds": Measure("How long a provider took to answer.", ("provider", "outcome"), _SHORT),
    "values_answers": Measure("Custom values asked for, by what became of them.", ("outcome",)),
    "post_commit_seconds": Measure("From a live post's arrival to its commit.", (), _SHORT),
    "poll_seconds": Measure("How long a poll took, all its looks.", ("source", "outcome"), _LONG),
    "recorded_lag_seconds": Measure("From dateCreated to the commit of a new event.", ("origin",), _LONG),
    "alerts_sent": Measure("Messages of alerts that an address took.", ("alert",)),
    "alerts_failed": Measure("Messages of alerts that an address did not take; they are sent again.", ("alert",)),
    "done_lag_seconds": Measure("From the commit of an event to the end of its delivery.", ("handler",), _LONG),
}


@dataclass(slots=True)
class _Histogram:
    bounds: Sequence[float]
    counts: list[int]
    total: float = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def observe_many(self, values: Iterable[float]) -> None:
        counts, bounds = self.counts, self.bounds
        for value in values:
            counts[bisect_left(bounds, value)] += 1
            self.total += value


class Measures:
    """What one process has noted since its start.

    Threads may note at the same time: at worst an update of a number is lost, since none of them waits for another.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, tuple[str, ...]], int] = {}
        self._histograms: dict[tuple[str, tuple[str, ...]], _Histogram] = {}

    def count(self, name: str, *labels: str, by: int = 1) -> None:
        """Add to a counter."""
        key = (name, labels)
        self._counts[key] = self._counts.get(key, 0) + by

    def observe(self, name: str, *labels: str, seconds: float) -> None:
        """Note one duration."""
        self._histogram(name, labels).observe(seconds)

    def observe_many(self, name: str, *labels: str, seconds: Iterable[float]) -> None:
        """Note several durations."""
        self._histogram(name, labels).observe_many(seconds)

    def snapshot(self) -> list[dict[str, Any]]:
        """Everything noted, as plain values that JSON can carry."""
        counts = [{"name": name, "labels": [*labels], "count": n} for (name, labels), n in list(self._counts.items())]
        histograms = [
            {"name": name, "labels": [*labels], "counts": [*it.counts], "total": it.total}
            for (name, labels), it in list(self._histograms.items())
        ]
        return counts + histograms

    def add(self, snapshot: Iterable[dict[str, Any]]) -> None:
        """Add what another process noted."""
        for noted in snapshot:
            name, labels = noted["name"], tuple(noted["labels"])
            if "count" in noted:
                self.count(name, *labels, by=noted["count"])
                continue
            mine = self._histogram(name, labels)
            mine.counts = [a + b for a, b in zip(mine.counts, noted["counts"], strict=True)]
            mine.total += noted["total"]

    def _histogram(self, name: str, labels: tuple[str, ...]) -> _Histogram:
        key = (name, labels)
        found = self._histograms.get(key)
        if found is None:
            bounds = MEASURES[name].bounds
            found = self._histograms.setdefault(key, _Histogram(bounds, [0] * (len(bounds) + 1)))
        return found


def cumulative(counts: Sequence[int], bounds: Sequence[float]) -> list[tuple[str, float]]:
    """A histogram's buckets as Prometheus wants them: (upper bound, how many up to it), the last one "+Inf"."""
    return list(zip([*map(str, bounds), "+Inf"], map(float, accumulate(counts)), strict=True))
