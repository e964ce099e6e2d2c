"""Answers that are used again, and failures that are told once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence

import pytest

from sftpd_processor.measures import Measures
from sftpd_processor.values.asking import Asker
from sftpd_processor.values.cache import Cache
from sftpd_processor.values.line import Health
from sftpd_processor.values.registry import Providers
from tests.values_items import ANN, STRANGER, Scripted, entry, noted


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_a_cached_answer_is_used_for_that_query_and_word_only() -> None:
    """Found and missing are kept; another customer or word is asked for."""
    provider = Scripted("x", lambda _: {"a": 1, "b": None}, ["a", "b", "c"])
    measures = Measures()

    async def main() -> None:
        asker = Asker(Providers([entry(provider, cache_seconds=60)]), 1, measures)
        assert (await asker.ask(ANN, ("a", "b"))).values == {"a": "1", "b": None}
        assert (await asker.ask(ANN, ("a", "b"))).values == {"a": "1", "b": None}
        assert (await asker.ask(ANN, ("c", "a"))).values == {"c": None, "a": "1"}
        assert (await asker.ask(STRANGER, ("a",))).values == {"a": "1"}

    asyncio.run(main())
    assert provider.asked == [("a", "b"), ("c",), ("a",)]
    counts = noted(measures)
    assert sum(count for name, count in counts.items() if name[0] == "values_seconds") == 3
    assert counts["values_answers", "found"] == 4


def test_an_awaited_answer_is_kept_too_and_a_failure_is_not() -> None:
    """What failed is asked again at once."""
    replies: list[Mapping[str, object] | None] = [None, {"a": "1", "b": b""}, {"b": "2"}]

    async def reply(_: Sequence[str]) -> Mapping[str, object]:
        if (now := replies.pop(0)) is None:
            raise ValueError
        return now

    provider = Scripted("x", reply, ["a", "b"])

    async def main() -> None:
        asker = Asker(Providers([entry(provider, cache_seconds=60)]), 1, Measures())
        assert (await asker.ask(ANN, ("a", "b"))).found == 0
        assert (await asker.ask(ANN, ("a", "b"))).values == {"a": "1", "b": None}
        assert (await asker.ask(ANN, ("a", "b"))).values == {"a": "1", "b": "2"}

    asyncio.run(main())
    assert provider.asked == [("a", "b"), ("a", "b"), ("b",)]


def test_an_answer_is_used_for_its_seconds() -> None:
    """And not a moment longer."""
    clock = Clock()
    cache = Cache(5, now=clock)
    cache.put(ANN, {"a": "1"})
    clock.now += 4.9
    assert cache.get(ANN, ["a"]) == {"a": "1"}
    clock.now += 0.1
    assert cache.get(ANN, ["a"]) == {}


def test_the_least_used_answers_go_first() -> None:
    """The cache is bounded; one that was used stays."""
    cache = Cache(60, most=2)
    cache.put(ANN, {"a": "1", "b": "2"})
    cache.get(ANN, ["a"])
    cache.put(ANN, {"c": "3"})
    assert cache.get(ANN, ["a", "b", "c"]) == {"a": "1", "c": "3"}


def test_it_is_told_when_a_provider_works_again(caplog: pytest.LogCaptureFixture) -> None:
    """Once, after ten seconds without a failure, so that one which comes and goes does not fill the log."""
    caplog.set_level(logging.INFO)
    clock = Clock()
    health = Health("x", clock)
    health.works()
    for _ in range(3):
        health.failed("gone")
        clock.now += 9
        health.works()
    clock.now += 1
    health.works()
    health.works()
    health.failed("gone")
    told = [it.getMessage() for it in caplog.records]
    assert told == ["values x: gone", "values x: works again after 28 s, 3 failures", "values x: gone"]


def test_ever_new_failures_do_not_fill_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """At most twenty different ones until it works again."""
    health = Health("x")
    for number in range(100):
        health.failed(f"failure {'x' * number}")
    assert len(caplog.records) == 20
