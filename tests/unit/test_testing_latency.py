"""Percentiles out of a histogram, beside those of all durations sorted."""

from __future__ import annotations

import math
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpd_processor.testing.latency import Latencies

durations = st.lists(st.floats(1e-6, 3600.0), min_size=1, max_size=300)


@given(durations, st.integers(1, 1000))
def test_percentiles_are_within_one_percent(seconds: list[float], thousandths: int) -> None:
    """Any percentile differs by at most 1 % from the value of that rank among the sorted durations."""
    exact = sorted(seconds)[max(1, math.ceil(thousandths * len(seconds) / 1000)) - 1]
    found = Latencies(seconds).percentile(thousandths / 1000)
    assert found == pytest.approx(exact, rel=0.01)


@given(durations)
def test_the_slowest_is_exact(seconds: list[float]) -> None:
    """`slowest` is the longest duration itself, and no percentile is above it."""
    taken = Latencies(seconds)
    assert taken.slowest == max(seconds)
    assert taken.as_milliseconds()["p99.9"] <= round(max(seconds) * 1000, 3)


def test_memory_does_not_grow() -> None:
    """A hundred thousand durations take no more memory than none, which is a few kilobytes."""
    taken = Latencies()
    before = sys.getsizeof(taken._counts)
    for number in range(100_000):
        taken.add(number / 1000)
    assert sys.getsizeof(taken._counts) == before < 20_000
    assert taken.count == 100_000


@pytest.mark.parametrize("odd", [0.0, -1.0, 1e-9, 7200.0, math.inf])
def test_what_lies_outside_is_counted(odd: float) -> None:
    """Zero, a clock set back, or more than an hour is counted at the end of the range, and breaks nothing."""
    taken = Latencies([odd, 0.5, 0.5])
    assert taken.count == 3
    assert taken.percentile(0.5) == pytest.approx(0.5, rel=0.01)


def test_nothing_noted() -> None:
    """Without a duration there is no percentile, and an empty table."""
    assert Latencies().percentile(0.5) is None
    assert Latencies().as_milliseconds() == {}
