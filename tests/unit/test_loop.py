"""The background loop: steps, waits, failures, and how it ends."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from sftpd_processor.errors import LedgerUnavailable, ProcessorError
from sftpd_processor.pipeline.loop import Loop
from tests.support import wait_until

Step = Callable[["Counting"], float | None]


class Counting(Loop):
    """Counts its steps; each does what the test says."""

    def __init__(self, do: Step) -> None:
        super().__init__("counting loop")
        self.do = do
        self.steps = 0
        self.holding = False

    def step(self) -> float | None:
        self.steps += 1
        return self.do(self)

    def pause(self, error: ProcessorError) -> float:
        return 0.01

    def unfinished(self) -> bool:
        return self.holding


Make = Callable[[Step], Counting]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes loops, and ends them."""
    made: list[Counting] = []

    def make(do: Step) -> Counting:
        made.append(Counting(do))
        return made[-1]

    yield make
    for loop in made:
        loop.holding = False
        loop.stop()
        assert loop.join(10)


def failing(times: int) -> Step:
    def step(loop: Counting) -> float | None:
        if loop.steps <= times:
            raise LedgerUnavailable("the disk is full")
        return None

    return step


def test_it_steps_at_once_and_then_waits(make: Make) -> None:
    """The first step needs no signal; one that has nothing to do is not repeated until it is woken."""
    loop = make(lambda _: None)
    loop.start()
    wait_until(lambda: loop.steps == 1, what="the first step")
    loop.wake()
    wait_until(lambda: loop.steps == 2, what="the step it was woken for")


def test_it_goes_on_while_there_is_more(make: Make) -> None:
    """A step that returns 0 is followed by the next at once."""
    loop = make(lambda self: 0 if self.steps < 500 else None)
    loop.start()
    wait_until(lambda: loop.steps == 500, what="500 steps")


def test_it_comes_back_when_its_time_has_come(make: Make) -> None:
    """A step that returns seconds is followed by the next after them, without a signal."""
    loop = make(lambda self: 0.05 if self.steps < 3 else None)
    began = time.monotonic()
    loop.start()
    wait_until(lambda: loop.steps == 3, what="three steps")
    assert time.monotonic() - began >= 0.09


def test_a_wake_during_a_step_is_not_lost(make: Make) -> None:
    """Woken in the middle of a step, it steps once more."""
    inside, go_on = threading.Event(), threading.Event()

    def step(loop: Counting) -> float | None:
        if loop.steps == 1:
            inside.set()
            go_on.wait(10)
        return None

    loop = make(step)
    loop.start()
    assert inside.wait(10)
    loop.wake()
    go_on.set()
    wait_until(lambda: loop.steps == 2, what="the second step")


def test_a_failure_is_told_once_and_its_end_too(make: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The same failure again is no news; when steps succeed again, that is said, and `failure` is gone."""
    caplog.set_level(logging.INFO)
    loop = make(failing(5))
    loop.start()
    wait_until(lambda: loop.steps == 6 and loop.failure is None, what="its recovery")
    told = [(record.levelname, re.sub(r"\d+ s", "… s", record.getMessage())) for record in caplog.records]
    assert told == [
        ("ERROR", "counting loop: the disk is full"),
        ("INFO", "counting loop: works again after … s, 5 failures"),
    ]


def test_what_is_wrong_can_be_asked(make: Make) -> None:
    """As long as steps fail, `failure` says why."""
    loop = make(failing(10**9))
    assert loop.failure is None
    loop.start()
    wait_until(lambda: str(loop.failure) == "the disk is full", what="the failure")


def test_something_unforeseen_does_not_end_it(make: Make) -> None:
    """A defect in a step (an exception that is not ours) is told like a failure, and the loop goes on after it."""

    def step(loop: Counting) -> float | None:
        if loop.steps == 1:
            raise ZeroDivisionError("a defect")
        return None

    loop = make(step)
    previous, threading.excepthook = threading.excepthook, lambda _: None
    try:
        loop.start()
        wait_until(lambda: loop.steps > 1, timeout=5, what="the step after the defect")
    finally:
        threading.excepthook = previous


def test_stop_ends_it_while_it_waits(make: Make) -> None:
    """A loop that waits without end ends at once when it is stopped."""
    loop = make(lambda _: None)
    loop.start()
    wait_until(lambda: loop.steps == 1, what="the first step")
    loop.stop()
    assert loop.join(5)
    assert loop.stopping


def test_stop_waits_for_what_is_under_way(make: Make) -> None:
    """A stopped loop goes on with its steps until nothing is unfinished."""
    loop = make(lambda _: 0.01)
    loop.holding = True
    loop.start()
    loop.stop()
    before = loop.steps
    wait_until(lambda: loop.steps > before + 3, what="steps after the stop")
    assert not loop.join(0)
    loop.holding = False
    assert loop.join(5)


def test_stop_ends_the_pause_after_a_failure() -> None:
    """A loop that leaves things alone for a long time after a failure still stops at once."""

    class Patient(Counting):
        def pause(self, error: ProcessorError) -> float:
            return 3600

    loop = Patient(failing(10**9))
    loop.start()
    wait_until(lambda: loop.failure is not None, what="the failure")
    loop.stop()
    assert loop.join(5)


@pytest.mark.parametrize("wait", [None, 3600.0])
def test_finish_ends_it_when_idle(make: Make, wait: float | None) -> None:
    """Finishing ends a loop that waits, for ever or for a time, without a further signal."""
    loop = make(lambda _: wait)
    loop.start()
    wait_until(lambda: loop.steps == 1, what="the first step")
    loop.finish()
    assert loop.join(5)


def test_finish_lets_it_do_all_there_is(make: Make) -> None:
    """Asked to finish in the middle of its work, it ends only after the last of it."""
    loop = make(lambda self: 0 if self.steps < 300 else None)
    loop.start()
    loop.finish()
    assert loop.join(10)
    assert loop.steps >= 300


def test_finish_never_hangs_however_it_falls(make: Make) -> None:
    """Called at any moment of a step's life, before, in or after it, finish ends the loop."""
    for _ in range(200):
        loop = make(lambda self: 0 if self.steps < 3 else None)
        loop.start()
        loop.finish()
        assert loop.join(5)


def test_finish_gives_up_at_a_failure(make: Make) -> None:
    """A loop that is to finish does not try for ever: the first step that fails ends it, and says why."""
    loop = make(failing(10**9))
    loop.finish()
    loop.start()
    assert loop.join(5)
    assert str(loop.failure) == "the disk is full"


def test_one_never_started_has_ended(make: Make) -> None:
    """Stopping and joining a loop that was never started is harmless."""
    loop = make(lambda _: None)
    loop.stop()
    assert loop.join(1)
    assert str(loop) == "counting loop"
