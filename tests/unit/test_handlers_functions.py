from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor import Delivery, Event, InboundMessage, Reject, Retry, Skip
from sftpd_processor.extensions.loop import LoopThread
from sftpd_processor.handlers.api import HandlerContext, Outcome
from sftpd_processor.handlers.functions import FunctionHandler, mistake_in, takes_delivery
from sftpd_processor.handlers.wanted import EVERYTHING
from tests.handler_items import item

Make = Callable[..., FunctionHandler]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes handlers from functions, and closes them."""
    made: list[FunctionHandler] = []

    def make(function: Callable[..., Any], timeout: float = 10.0) -> FunctionHandler:
        made.append(FunctionHandler("crm", EVERYTHING, function, HandlerContext(timeout, Path())))
        made[-1].open()
        return made[-1]

    yield make
    for handler in made:
        handler.close()


def one(handler: FunctionHandler) -> Outcome:
    (outcome,) = handler.handle([item()])
    return outcome


def raising(error: BaseException) -> Callable[[Event], None]:
    def function(event: Event) -> None:
        raise error

    return function


def raising_later(error: BaseException) -> Callable[[Event], Any]:
    async def function(event: Event) -> None:
        await asyncio.sleep(0)
        raise error

    return function


def test_a_plain_function_gets_the_event_in_the_calling_thread(make: Make) -> None:
    """A plain function is called with the parsed event, where `handle` was called."""
    seen: list[object] = []

    def function(event: Event) -> None:
        seen.extend([event, threading.get_ident()])

    assert one(make(function)) == Outcome("done")
    assert isinstance(seen[0], InboundMessage)
    assert seen[0].body == "hello\nthere ✓"
    assert seen[1] == threading.get_ident()


def test_a_second_parameter_gets_the_delivery(make: Make) -> None:
    """`(event, delivery)` is told the key, the attempt and the rest."""
    seen: list[Delivery] = []
    assert one(make(lambda event, delivery: seen.append(delivery))) == Outcome("done")
    assert seen == [item().delivery]


def test_an_async_function_runs_in_a_loop_of_its_own(make: Make) -> None:
    """All calls of one async handler share one loop, in a thread that is not the caller's."""
    seen: list[object] = []

    async def function(event: Event, delivery: Delivery) -> None:
        await asyncio.sleep(0)
        seen.append((threading.get_ident(), id(asyncio.get_running_loop())))

    handler = make(function)
    assert [one(handler), one(handler)] == [Outcome("done")] * 2
    assert seen[0] == seen[1]
    assert seen[0] != threading.get_ident()


def test_a_coroutine_returned_by_a_plain_function_runs_too(make: Make) -> None:
    """An async function behind a wrapper is not taken for done before it ran."""
    seen: list[str] = []

    async def inner() -> None:
        seen.append("ran")

    assert one(make(lambda event: inner())) == Outcome("done")
    assert seen == ["ran"]


VERDICTS = [
    (Skip("not ours"), Outcome("skipped", "not ours")),
    (Reject("no such customer"), Outcome("dead", "no such customer")),
    (Reject(), Outcome("dead", "rejected by the handler")),
    (Retry("later", after=60), Outcome("retry", "later", 60, asked=True)),
    (Retry(), Outcome("retry")),
]


@pytest.mark.parametrize(("verdict", "expected"), VERDICTS)
def test_a_verdict_counts_raised_and_returned_plain_and_async(
    make: Make, verdict: Exception, expected: Outcome
) -> None:
    """However a verdict leaves the function it means the same; above all, a returned `Retry` is not done."""

    async def returning(event: Event) -> object:
        return verdict

    functions = [raising(verdict), raising_later(verdict), lambda event: verdict, returning]
    assert [one(make(function)) for function in functions] == [expected] * 4


@pytest.mark.parametrize("kind", [raising, raising_later])
@pytest.mark.parametrize(
    "error", [ValueError("no such plan"), SystemExit("bye"), KeyboardInterrupt(), TimeoutError("theirs")]
)
def test_whatever_else_is_raised_is_retried_and_ends_nothing(
    make: Make, kind: Callable[[BaseException], Callable[[Event], Any]], error: BaseException
) -> None:
    """Even `exit()` in user code is only a failed attempt, told by its type and message."""
    handler = make(kind(error))
    told = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    assert [one(handler), one(handler)] == [Outcome("retry", told)] * 2


def test_an_async_function_is_cancelled_at_the_timeout(make: Make) -> None:
    """A coroutine that takes too long is cancelled, tried again, and the next one runs."""
    cancelled = threading.Event()

    async def function(event: Event) -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    started = time.monotonic()
    assert one(make(function, timeout=0.05)) == Outcome("retry", "timed out after 0.05 s")
    assert time.monotonic() - started < 5
    assert cancelled.is_set()


def test_a_loop_that_is_blocked_does_not_block_the_caller() -> None:
    """A coroutine that never yields costs its caller the timeout and a grace, not for ever."""
    free = threading.Event()
    loop = LoopThread("test", grace_seconds=0.05)

    async def blocking() -> None:
        free.wait(30)

    with pytest.raises(TimeoutError):
        loop.run(blocking(), timeout=0.05)
    free.set()
    loop.close()


def test_a_task_that_exits_does_not_end_the_loop(make: Make) -> None:
    """`exit()` in a task that user code started leaves the loop running for the next event."""

    async def exits() -> None:
        sys.exit(3)

    tasks: list[asyncio.Task[None]] = []

    async def function(event: Event) -> None:
        tasks.append(asyncio.create_task(exits()))
        await asyncio.wait([tasks[-1]])

    handler = make(function)
    assert [one(handler), one(handler)] == [Outcome("done")] * 2
    assert all(isinstance(task.exception(), SystemExit) for task in tasks)


def test_many_threads_share_one_handler(make: Make) -> None:
    """Calls from several threads run at the same time in the loop."""
    together = 8
    arrived: list[None] = []

    async def function(event: Event) -> None:
        arrived.append(None)
        while len(arrived) < together:
            await asyncio.sleep(0)

    handler = make(function)
    outcomes: list[Outcome] = []
    threads = [threading.Thread(target=lambda: outcomes.append(one(handler))) for _ in range(together)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert outcomes == [Outcome("done")] * together


def test_a_recorded_event_that_no_longer_parses_is_a_dead_letter(make: Make) -> None:
    """What can never be read is not tried for ever, and its body is not told."""
    (outcome,) = make(lambda event: None).handle([item(body=b'{"type": 447700900001}')])
    assert outcome.state == "dead"
    assert "447700900001" not in outcome.detail


def test_a_default_of_the_users_own_is_left_alone() -> None:
    """A second parameter gets the delivery when it needs a value or is called `delivery`."""
    assert takes_delivery(lambda event, delivery: None)
    assert takes_delivery(lambda event, delivery=None: None)
    assert takes_delivery(lambda event, about: None)
    assert not takes_delivery(lambda event: None)
    assert not takes_delivery(lambda event, dry_run=False: None)


def yields(event: Event) -> Iterator[None]:
    yield


@pytest.mark.parametrize(
    ("function", "said"),
    [
        (lambda: None, "called with (event)"),
        (lambda a, b, c: None, "called with (event)"),
        (lambda event, *, needed: None, "called with (event)"),
        (yields, "`yield`"),
        (InboundMessage, "class"),
    ],
)
def test_a_function_that_cannot_serve_is_told_so(function: Callable[..., Any], said: str) -> None:
    """A wrong signature, a generator and a class are found before the first event."""
    assert said in (mistake_in(function) or "")
