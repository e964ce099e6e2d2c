"""The circuit breaker: when it opens, how it probes, what closes it."""

from __future__ import annotations

import logging
import random
import threading
from itertools import count

import pytest

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.handlers.api import DONE, Outcome
from sftpd_processor.pipeline.breaker import Breaker

FAILED = Outcome("retry", "refused")
ASKED = Outcome("retry", "later, please", after=5.0, asked=True)
LIMIT = 500


class Seconds:
    """A clock that the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def seconds() -> Seconds:
    return Seconds()


def breaker(clock: Seconds, **settings: float) -> Breaker:
    """It opens after 3 failures; pauses of 2, 4, 8 and at most 10 seconds."""
    chosen = {"breaker_failures": 3, "backoff_seconds": 2, "breaker_max_seconds": 10} | settings
    return Breaker("crm", DeliverySettings.model_validate(chosen), clock)


def opened(clock: Seconds, **settings: float) -> Breaker:
    made = breaker(clock, **settings)
    for number in range(3):
        made.note(number, FAILED)
    assert made.open
    return made


def probe(made: Breaker, number: int, outcome: Outcome) -> None:
    """One delivery is claimed as the breaker allows, and ends so."""
    assert made.allowance(LIMIT) == 1
    made.claimed(number)
    made.note(number, outcome)


def test_different_deliveries_in_a_row_open_it(seconds: Seconds) -> None:
    """The third different delivery that fails opens it; until then everything is allowed, afterwards nothing."""
    made = breaker(seconds)
    for number in range(2):
        made.note(number, FAILED)
        assert (made.open, made.allowance(LIMIT), made.wait()) == (False, LIMIT, 0.0)
    made.note(2, FAILED)
    assert (made.open, made.allowance(LIMIT), made.wait()) == (True, 0, 2.0)


def test_one_poison_event_never_opens_it(seconds: Seconds) -> None:
    """The same two deliveries may fail a thousand times."""
    made = breaker(seconds)
    for turn in range(1000):
        made.note(turn % 2, FAILED)
    assert not made.open


@pytest.mark.parametrize("state", ["done", "skipped", "dead"])
def test_any_answer_in_between_starts_the_row_anew(seconds: Seconds, state: str) -> None:
    """Done, skipped and rejected all mean that the handler works: only failures in a row count."""
    made = breaker(seconds)
    for number in range(0, 300, 3):
        made.note(number, FAILED)
        made.note(number + 1, FAILED)
        made.note(number + 2, Outcome(state))  # type: ignore[arg-type]
    assert not made.open


def test_a_handler_that_asks_for_time_is_in_order(seconds: Seconds) -> None:
    """`Retry(after=…)` of the user's own function neither opens it nor, as a probe, makes the pause longer."""
    made = breaker(seconds)
    for number in range(100):
        made.note(number, ASKED)
    assert not made.open
    made = opened(seconds)
    seconds.now += 2
    probe(made, 7, ASKED)
    assert made.open
    assert made.allowance(LIMIT) == 1, "nobody was told to wait longer"


def test_it_can_be_switched_off(seconds: Seconds) -> None:
    """With `breaker_failures = 0` it never opens, also not when it was open at the last end."""
    made = breaker(seconds, breaker_failures=0)
    made.resume()
    for number in range(10_000):
        made.note(number, FAILED)
    assert (made.open, made.allowance(LIMIT)) == (False, LIMIT)


def test_one_probe_at_a_time_after_pauses_that_double(seconds: Seconds) -> None:
    """Failed probes come after 2, 4, 8, 10, 10 … seconds, and while one runs there is no other."""
    made = opened(seconds)
    pauses = []
    for number in range(10, 16):
        pauses.append(made.wait())
        seconds.now += made.wait() - 0.01
        assert made.allowance(LIMIT) == 0
        seconds.now += 0.01
        assert made.allowance(LIMIT) == 1
        made.claimed(number)
        assert made.allowance(LIMIT) == 0, "a second probe beside the first"
        seconds.now += 100
        assert made.allowance(LIMIT) == 0, "a second probe beside a slow one"
        made.note(number, FAILED)
    assert pauses == pytest.approx([2, 4, 8, 10, 10, 10])


def test_a_probe_that_succeeds_closes_it(seconds: Seconds) -> None:
    """Then everything is allowed, and it takes as many failures as before, and the first pause, to open it again."""
    made = opened(seconds)
    seconds.now += 2
    probe(made, 9, FAILED)
    seconds.now += 4
    probe(made, 9, DONE)
    assert (made.open, made.allowance(LIMIT), made.wait()) == (False, LIMIT, 0.0)
    for number in (20, 21):
        made.note(number, FAILED)
    assert not made.open
    made.note(22, FAILED)
    assert (made.open, made.wait()) == (True, 2.0)


def test_what_began_before_it_opened_changes_no_pause(seconds: Seconds) -> None:
    """Failures that arrive late neither double the pause nor put the probe off; a late success closes it."""
    made = opened(seconds)
    seconds.now += 1.5
    for number in range(50, 60):
        made.note(number, FAILED)
    assert made.wait() == pytest.approx(0.5)
    seconds.now += 0.5
    assert made.allowance(LIMIT) == 1
    made.claimed(99)
    made.note(60, FAILED)
    assert made.allowance(LIMIT) == 0, "the late failure was taken for the probe's"
    made.note(61, DONE)
    assert (made.open, made.allowance(LIMIT)) == (False, LIMIT)


def test_a_probe_given_back_untried_leaves_its_place(seconds: Seconds) -> None:
    """When the claim is released another delivery may be the probe at once; releasing another one changes nothing."""
    made = opened(seconds)
    seconds.now += 2
    made.claimed(9)
    made.released(8)
    assert made.allowance(LIMIT) == 0
    made.released(9)
    assert made.allowance(LIMIT) == 1


def test_the_server_may_ask_for_a_longer_pause(seconds: Seconds) -> None:
    """`Retry-After` of a failed answer is kept when it is longer than the pause, up to the longest pause."""
    made = breaker(seconds)
    for number, after in enumerate((None, None, 5.0)):
        made.note(number, Outcome("retry", "HTTP 503", after))
    assert made.wait() == 5.0
    seconds.now += 5
    probe(made, 9, Outcome("retry", "HTTP 503", 86_400.0))
    assert made.wait() == 10.0


def test_resumed_it_probes_at_once(seconds: Seconds) -> None:
    """After a restart with an open breaker one delivery is tried at once, then after pauses that double."""
    made = breaker(seconds)
    made.resume()
    assert (made.open, made.wait()) == (True, 0.0)
    probe(made, 1, FAILED)
    assert made.wait() == 4.0
    seconds.now += 4
    probe(made, 2, DONE)
    assert not made.open


def test_it_is_said_once(seconds: Seconds, caplog: pytest.LogCaptureFixture) -> None:
    """A line when it opens, with the number of failures and the pause, and a line when it closes; none for probes."""
    caplog.set_level(logging.INFO)
    made = opened(seconds)
    for number in range(5):
        seconds.now += 60
        probe(made, number, FAILED)
    seconds.now += 60
    probe(made, 6, DONE)
    made.note(7, DONE)
    assert caplog.messages == [
        "handler crm: 3 deliveries in a row failed; from now on one at a time is tried, after 2 s and then more "
        "rarely, until one succeeds. The others wait, and lose no attempt",
        "handler crm: a delivery succeeded; the others go on",
    ]


def test_many_threads_never_have_two_probes(seconds: Seconds) -> None:
    """While eight threads note failures and successes, whoever claims finds one probe allowed at a time."""
    made = breaker(seconds, breaker_max_seconds=2)
    numbers, over = count(1), threading.Event()

    def hammer(seed: int) -> None:
        chance = random.Random(seed)
        while not over.is_set():
            made.note(next(numbers), DONE if chance.random() < 0.01 else FAILED)

    threads = [threading.Thread(target=hammer, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    try:
        probes = _claim_probes(made, seconds, numbers)
    finally:
        over.set()
        for thread in threads:
            thread.join(10)
    assert probes == 200


def _claim_probes(made: Breaker, clock: Seconds, numbers: count[int]) -> int:
    """Claim as the delivery step does, until 200 probes have run; each must end before the next one is allowed."""
    probes = 0
    for _ in range(2_000_000):
        clock.now += 1
        if probes == 200:
            break
        if made.allowance(LIMIT) != 1:
            continue
        number = next(numbers)
        made.claimed(number)
        if made._probe != number:
            continue  # a late success closed it just now
        assert made.allowance(LIMIT) in (0, LIMIT), "two probes at a time"
        made.note(number, FAILED)
        probes += 1
    return probes
