from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence

import pytest

from sftpd_processor.measures import Measures
from sftpd_processor.values.api import ProviderFailed
from sftpd_processor.values.asking import Asker
from sftpd_processor.values.registry import Providers
from tests.values_items import ANN, Scripted, ask, entry, noted

LIVES_LONG = 60.0


def having(**values: object) -> Scripted:
    """Answers at once."""
    return Scripted("has", lambda _: values, [*values])


def later(name: str, words: Sequence[str], *, after: float = 0.0, **values: object) -> Scripted:
    """Answers with an awaitable."""

    async def reply() -> Mapping[str, object]:
        await asyncio.sleep(after)
        return values

    return Scripted(name, lambda _: reply(), words)


def failing(*words: str, error: Exception | None = None) -> Scripted:
    def reply(_: Sequence[str]) -> Mapping[str, object]:
        raise error or ValueError("447700900001 is a secret")

    return Scripted("fails", reply, words)


def test_the_answer_has_the_names_as_asked_and_in_that_order() -> None:
    """Keys are the names as the bot wrote them; what nobody can answer is None."""
    answer = ask([entry(having(balance="1", dueDate="2"))], ("DueDate", "nothing", "balance"))
    assert list(answer.values.items()) == [("DueDate", "2"), ("nothing", None), ("balance", "1")]
    assert (answer.found, answer.failed, answer.late) == (2, False, False)


def test_what_is_known_at_once_is_answered_at_once() -> None:
    """No task, no thread, not even a turn of the event loop: the answer is there at the first step."""
    answering = Asker(Providers([entry(having(a=None)), entry(having(a="1", b="2"))]), 3, Measures()).ask(
        ANN, ("a", "b")
    )
    with pytest.raises(StopIteration) as done:
        answering.send(None)
    assert done.value.value.values == {"a": "1", "b": "2"}


def test_names_are_compared_exactly_first_then_ignoring_case() -> None:
    """Two names that differ only in case are two; another spelling gets the first of them."""
    provider = Scripted("two", lambda _: {"ID": "1", "id": "2"}, ["ID", "id"])
    assert ask([entry(provider)], ("id", "ID", "Id")).values == {"id": "2", "ID": "1", "Id": "1"}
    assert provider.asked == [("id", "ID")]


def test_names_of_one_provider_are_asked_together_in_its_own_words() -> None:
    """One call, each word once, and values come back under the names."""
    provider = Scripted("x", lambda _: {"due_date": "2", "bal": "1"}, ["due_date", "bal"])
    one = entry(provider, names={"balance": "bal", "dueDate": "due_date"})
    answer = ask([one], ("dueDate", "balance", "duedate"))
    assert answer.values == {"dueDate": "2", "balance": "1", "duedate": "2"}
    assert provider.asked == [("due_date", "bal")]


@pytest.mark.parametrize(
    "first", [having(balance=None), failing("balance"), later("slow", ["balance"], after=LIVES_LONG)]
)
def test_a_name_without_a_value_goes_to_the_next_provider(first: Scripted) -> None:
    """Missing, failed or too late: the next that can answer it is asked, and only for that."""
    second = Scripted("b", lambda _: {"balance": "2", "other": "3"}, ["balance", "other"])
    answer = ask([entry(first, timeout_seconds=0.05), entry(second)], ("balance", "other"))
    assert answer.values == {"balance": "2", "other": "3"}
    assert sorted(second.asked) == [("balance",), ("other",)]


def test_the_next_is_asked_while_others_still_think() -> None:
    """One that hangs does not keep the names of others from going on to the next provider."""
    slow = later("slow", ["x"], after=LIVES_LONG)
    empty, last = later("empty", ["y"]), having(y="2")
    answer = ask([entry(slow), entry(empty), entry(last)], ("x", "y"), deadline=0.2)
    assert answer.values == {"x": None, "y": "2"}
    assert (answer.found, answer.failed, answer.late) == (1, False, True)


def test_different_providers_run_at_the_same_time() -> None:
    """Two that wait for each other both answer."""
    meeting = asyncio.Barrier(2)

    async def reply() -> Mapping[str, object]:
        await meeting.wait()
        return {"a": "1", "b": "2"}

    both = [Scripted(name, lambda _: reply(), [name]) for name in ("a", "b")]
    assert ask([entry(it) for it in both], ("a", "b")).found == 2


def test_everything_ends_at_the_deadline() -> None:
    """Also one that does not let itself be cancelled keeps nobody waiting."""

    async def stubborn() -> Mapping[str, object]:
        try:
            await asyncio.sleep(LIVES_LONG)
        except asyncio.CancelledError:
            await asyncio.sleep(0.3)
        return {}

    async def main() -> float:
        providers = Providers([entry(Scripted("s", lambda _: stubborn(), ["a"])), entry(having(b="1"))])
        asker, start = Asker(providers, 0.1, Measures()), time.monotonic()
        answer = await asker.ask(ANN, ("a", "b"))
        took = time.monotonic() - start
        assert (answer.values, answer.late) == ({"a": None, "b": "1"}, True)
        assert len(asker._leaving) == 1
        await asyncio.wait(asker._leaving)
        await asyncio.sleep(0)
        assert not asker._leaving
        return took

    assert asyncio.run(main()) < 0.3


def test_a_bot_that_hangs_up_cancels_what_was_asked_for_it() -> None:
    """Nothing goes on for a request that is gone."""
    cancelled = []

    async def reply() -> Mapping[str, object]:
        try:
            await asyncio.sleep(LIVES_LONG)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise
        return {}

    async def main() -> None:
        asker = Asker(Providers([entry(Scripted("s", lambda _: reply(), ["a"]))]), LIVES_LONG, Measures())
        asking = asyncio.create_task(asker.ask(ANN, ("a",)))
        await asyncio.sleep(0.01)
        asking.cancel()
        await asyncio.wait([asking, *asyncio.all_tasks() - {asyncio.current_task()}])
        assert asking.cancelled()

    asyncio.run(main())
    assert cancelled == [True]


@pytest.mark.parametrize("error", [asyncio.CancelledError(), TimeoutError(), ProviderFailed("x"), RecursionError()])
def test_whatever_a_provider_raises_is_its_failure(error: BaseException) -> None:
    """Also what looks like an end of the request itself."""

    async def reply() -> Mapping[str, object]:
        raise error

    answer = ask([entry(Scripted("s", lambda _: reply(), ["a"])), entry(having(b="1"))], ("a", "b"))
    assert (answer.values, answer.failed, answer.late) == ({"a": None, "b": "1"}, True, False)


@pytest.mark.parametrize("nonsense", [["x"], {"x": 1}, b"x", float("nan"), object(), "\ud800", "x" * 10_001])
def test_nonsense_is_a_failure_and_is_told_without_the_value(
    nonsense: object, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the value that is nonsense is lost; the log tells its kind."""
    answer = ask([entry(having(a=nonsense, b="1"))], ("a", "b"))
    assert (answer.values, answer.failed) == ({"a": None, "b": "1"}, True)
    (record,) = caplog.records
    assert record.getMessage().startswith("values has: gave ")
    assert "xxx" not in record.getMessage()


def test_what_is_no_mapping_is_a_failure() -> None:
    """A provider that answers something else altogether harms nobody."""
    for reply in (lambda _: None, lambda _: "text", lambda _: [1]):
        assert ask([entry(Scripted("x", reply, ["a"]))], ("a",)).failed  # type: ignore[arg-type]


def test_calls_and_names_are_counted() -> None:
    """Each call by provider and outcome; each name by what became of it in the end."""
    measures = Measures()
    some = Scripted("some", lambda _: {"a": "1"}, ["a", "b", "c"])
    none = Scripted("none", lambda _: {}, ["b"])
    slow = later("slow", ["c"], after=LIVES_LONG)
    bad = failing("d")
    ask([entry(it) for it in (some, none, slow, bad)], "abcde", measures=measures, deadline=0.1)
    asyncio.run(asyncio.sleep(0))
    assert noted(measures) == {
        ("values_seconds", "some", "found"): 1,
        ("values_seconds", "none", "missing"): 1,
        ("values_seconds", "slow", "late"): 1,
        ("values_seconds", "fails", "failed"): 1,
        ("values_answers", "found"): 1,
        ("values_answers", "missing"): 2,
        ("values_answers", "late"): 1,
        ("values_answers", "failed"): 1,
    }


def test_a_failure_is_logged_once_and_without_what_it_says(caplog: pytest.LogCaptureFixture) -> None:
    """Not per request; another failure is told too; what an exception says may be about a customer."""
    caplog.set_level(logging.INFO)
    why: list[Exception] = [
        ValueError("447700900001"),
        ValueError("447700900002"),
        ProviderFailed("gave up"),
        KeyError(),
    ]

    def reply(_: Sequence[str]) -> Mapping[str, object]:
        raise why[0]

    async def main() -> None:
        asker = Asker(Providers([entry(Scripted("x", reply, ["a"]))]), 1, Measures())
        for _ in range(2):
            for _ in range(len(why)):
                await asker.ask(ANN, ("a",))
                why.append(why.pop(0))

    asyncio.run(main())
    assert [it.getMessage() for it in caplog.records] == [
        "values x: ValueError",
        "values x: gave up",
        "values x: KeyError",
    ]


def test_plans_for_ever_new_names_do_not_fill_the_memory() -> None:
    """Names come from outside."""

    async def main() -> None:
        asker = Asker(Providers([entry(having(a="1"))]), 1, Measures())
        for number in range(2_500):
            await asker.ask(ANN, (f"name-{number}",))
        assert len(asker._plans) <= 1_000

    asyncio.run(main())
