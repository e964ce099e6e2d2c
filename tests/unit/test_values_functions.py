from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from sftpd_processor import values
from sftpd_processor.measures import Measures
from sftpd_processor.values.asking import Answer, Asker
from sftpd_processor.values.functions import POOL_SIZE, FunctionProvider
from sftpd_processor.values.registry import Entry, Providers
from tests.support import wait_until
from tests.values_items import ANN, STRANGER, ask


@contextmanager
def provided(function: Callable[..., Any], deadline: float = 3.0) -> Iterator[Providers]:
    """The function as the provider `mine`."""
    provider = FunctionProvider("mine", function, deadline)
    assert provider.words is not None
    providers = Providers([Entry(provider, {word: word for word in provider.words})])
    try:
        providers.open()
        yield providers
    finally:
        providers.close()


def many(providers: Providers, times: int, deadline: float) -> list[Answer]:
    async def main() -> list[Answer]:
        asker = Asker(providers, deadline, Measures())
        return await asyncio.gather(*(asker.ask(ANN, ("a",)) for _ in range(times)))

    return asyncio.run(main())


def test_a_function_gets_the_customer_and_the_address() -> None:
    """`customer_uid` is None in a conversation that the customer began."""
    got = []

    @values("a")
    def plain(customer_uid: str | None, address: str | None) -> int:
        got.append((customer_uid, address))
        return 7

    with provided(plain) as providers:
        assert ask(providers, ("a",)).values == {"a": "7"}
        ask(providers, ("a",), STRANGER)
    assert got == [tuple(ANN), tuple(STRANGER)]


def test_several_names_come_in_a_mapping() -> None:
    """What is absent or None has no value, nor has anything when the whole is None."""

    @values("a", "b", "c")
    def plain(customer_uid: str | None, address: str | None) -> dict[str, object] | None:
        return {"a": 1, "b": None, "unasked": object()} if customer_uid else None

    with provided(plain) as providers:
        assert ask(providers, ("a", "b", "c")).values == {"a": "1", "b": None, "c": None}
        assert ask(providers, ("a",), STRANGER).failed is False


def test_an_async_function_runs_in_another_thread() -> None:
    """So that user code never runs in the listener's event loop; a plain one that returns a coroutine too."""

    @values("a")
    async def coroutine(customer_uid: str | None, address: str | None) -> str:
        await asyncio.sleep(0)
        return threading.current_thread().name

    @values("a")
    def wrapped(customer_uid: str | None, address: str | None) -> Any:
        return coroutine(customer_uid, address)

    for function in (coroutine, wrapped):
        with provided(function) as providers:
            assert ask(providers, ("a",)).values == {"a": "values-mine"}


def raising(error: BaseException) -> list[Callable[..., Any]]:
    @values("a", "b")
    def plain(customer_uid: str | None, address: str | None) -> None:
        raise error

    @values("a", "b")
    async def coroutine(customer_uid: str | None, address: str | None) -> None:
        raise error

    return [plain, coroutine]


@pytest.mark.parametrize(
    "error",
    [
        ValueError("447700900001"),
        SystemExit(1),
        KeyboardInterrupt(),
        StopIteration(),
        asyncio.CancelledError(),
        TimeoutError(),
    ],
)
def test_what_a_function_raises_is_the_failure_of_that_call(
    error: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    """exit() included; the log tells kind and line, not the message, and the next call works as ever."""
    # A coroutine cannot raise StopIteration: Python makes a RuntimeError of it.
    for function in raising(error)[: 1 if isinstance(error, StopIteration) else 2]:
        caplog.clear()
        with provided(function) as providers:
            for _ in range(3):
                answer = ask(providers, ("a",))
                assert (answer.failed, answer.late) == (True, False)
        (said,) = {record.getMessage() for record in caplog.records}
        assert re.fullmatch(rf"values mine: {type(error).__name__} in test_values_functions.py, line \d+", said)


def test_a_list_in_place_of_a_mapping_is_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """A function with several names has to say which value is which."""

    @values("a", "b")
    def plain(customer_uid: str | None, address: str | None) -> list[str]:
        return ["1", "2"]

    with provided(plain) as providers:
        assert ask(providers, ("a", "b")).failed
    assert "values mine: returned no mapping of names to values, but list" in caplog.text


def test_a_plain_function_that_hangs_uses_up_its_own_threads_at_most(caplog: pytest.LogCaptureFixture) -> None:
    """Then it fails at once, until it returns."""
    let_go, calls = threading.Event(), []

    @values("a")
    def hangs(customer_uid: str | None, address: str | None) -> int:
        calls.append(1)
        let_go.wait(30)
        return 1

    with provided(hangs) as providers:
        try:
            first = many(providers, POOL_SIZE + 3, 0.2)
            assert all(it.late for it in first)
            started = time.monotonic()
            assert all(it.failed and not it.late for it in many(providers, 20, 20.0))
            assert time.monotonic() - started < 10
            assert len(calls) == POOL_SIZE
            assert f"all its {POOL_SIZE} threads are held up" in caplog.text
        finally:
            let_go.set()
        wait_until(lambda: ask(providers, ("a",)).found == 1)
        assert len(calls) < POOL_SIZE + 20  # what nobody waits for any more is not called


def test_more_at_once_than_threads_wait_for_their_turn() -> None:
    """Busy is not stuck."""

    @values("a")
    def short(customer_uid: str | None, address: str | None) -> int:
        time.sleep(0.005)
        return 1

    with provided(short) as providers:
        assert all(it.found for it in many(providers, 10 * POOL_SIZE, 10.0))


def test_a_slow_coroutine_is_cancelled_at_the_deadline() -> None:
    """It learns of it, and the answer is late."""
    cancelled = threading.Event()

    @values("a")
    async def slow(customer_uid: str | None, address: str | None) -> None:
        try:
            await asyncio.sleep(30)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    with provided(slow) as providers:
        assert ask(providers, ("a",), deadline=0.1).late
        assert cancelled.wait(5)


def test_a_coroutine_that_blocks_its_loop_is_told_and_fails_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """It cannot pile up work, and the listener's own loop goes on."""
    let_go = threading.Event()

    @values("a")
    async def blocks(customer_uid: str | None, address: str | None) -> int:
        let_go.wait(30)
        return 1

    with provided(blocks, deadline=0.1) as providers:
        try:
            assert ask(providers, ("a",), deadline=0.1).late
            wait_until(lambda: ask(providers, ("a",), deadline=0.1).failed)
            assert "values mine: its event loop is blocked" in caplog.text
        finally:
            let_go.set()
        wait_until(lambda: ask(providers, ("a",)).found == 1)
