"""What is said of something that fails again and again, and of things that come by the thousand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sftpd_processor.repeats import Gathered, Repeats

START = datetime(2026, 11, 22, 14, 2, tzinfo=UTC)
REFUSED = "127.0.0.1:22: Connection refused"


class Clock:
    """Seconds since the start, set by the test."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at

    def now(self) -> datetime:
        return START + timedelta(seconds=self.at)


@pytest.fixture
def clock() -> Clock:
    """At 14:02."""
    return Clock()


@pytest.fixture
def repeats(clock: Clock) -> Repeats:
    """Of something that has not failed yet."""
    return Repeats(clock=clock, now=clock.now)


def said_in(repeats: Repeats, clock: Clock, seconds: float, *, every: float = 30.0, text: str = REFUSED) -> list[str]:
    """What is said of failures that come so often, for so long."""
    end, said = clock.at + seconds, []
    while clock.at < end:
        said.append(repeats.failed(text))
        clock.at += every
    return [each for each in said if each is not None]


def test_what_never_failed_is_not_said_to_work(repeats: Repeats) -> None:
    """Good news is for those who had bad news."""
    assert repeats.works() is None
    assert repeats.failures == 0


def test_a_failure_is_said_at_once_and_its_end_once(repeats: Repeats, clock: Clock) -> None:
    """The text as it is; then how long it lasted, how often it was met, and nothing more."""
    assert repeats.failed(REFUSED) == REFUSED
    clock.at = 12.4
    assert [repeats.works(), repeats.works()] == ["works again after 12 s, 1 failure", None]


def test_a_failure_that_lasts_is_summed_up_ever_more_rarely(repeats: Repeats, clock: Clock) -> None:
    """After ten minutes, then each hour: a day of tries every 30 s is 25 lines."""
    said = said_in(repeats, clock, 86_400)
    assert said[0] == REFUSED
    assert said[1] == f"still failing since 14:02 UTC, 21 failures: {REFUSED}"
    assert said[2] == f"still failing since 14:02 UTC, 141 failures: {REFUSED}"
    assert said[-1].startswith("still failing since 2026-11-22 14:02 UTC, ")
    assert len(said) == 25
    assert repeats.works() == "works again after 24 h, 2880 failures"


@pytest.mark.parametrize(
    ("seconds", "told"), [(119, "119 s"), (120, "2 min"), (7_199, "120 min"), (7_200, "2 h"), (172_800, "2 days")]
)
def test_how_long_it_lasted_is_told_in_a_fitting_unit(repeats: Repeats, clock: Clock, seconds: int, told: str) -> None:
    """Nobody has to divide by sixty."""
    repeats.failed(REFUSED)
    clock.at = float(seconds)
    assert repeats.works() == f"works again after {told}, 1 failure"


def test_other_numbers_are_no_other_failure(repeats: Repeats, clock: Clock) -> None:
    """A time, a port or a count that changes in the text does not make it news."""
    assert repeats.failed("no answer within 15.01 s (try 1)") is not None
    assert repeats.failed("no answer within 14.98 s (try 2)") is None


def test_another_failure_is_said_once_too(repeats: Repeats, clock: Clock) -> None:
    """Two that take turns are two lines; the same text of another kind is another failure."""
    said = [repeats.failed(text) for text in ("refused", "no answer", "refused", "no answer")]
    assert said == ["refused", "no answer", None, None]
    assert repeats.failed("refused", "SourceRefused") == "refused"


def test_ever_new_texts_do_not_fill_the_log(repeats: Repeats) -> None:
    """At most twenty of them are said before the next summary."""
    said = [repeats.failed("x" * number) for number in range(1, 100)]
    assert len([each for each in said if each is not None]) == 20


def test_what_comes_and_goes_is_summed_up(repeats: Repeats, clock: Clock) -> None:
    """Failing and working each minute: three times in full, then it is said that it flaps, then each hour."""
    said = []
    for _ in range(180):
        said.append(repeats.failed(REFUSED))
        clock.at += 30
        said.append(repeats.works())
        clock.at += 30
    lines = [each for each in said if each is not None]
    assert lines[:6] == [REFUSED, "works again after 30 s, 1 failure"] * 3
    assert lines[6] == f"fails on and off since 14:02 UTC, 4 failures; from now on summed up: {REFUSED}"
    assert lines[7] == f"still failing on and off since 14:02 UTC, 11 failures: {REFUSED}"
    assert lines[8] == f"still failing on and off since 14:02 UTC, 71 failures: {REFUSED}"
    assert len(lines) == 10


def test_its_end_is_said_when_it_has_worked_for_a_while(repeats: Repeats, clock: Clock) -> None:
    """What came and went is over after ten minutes without a failure; then the next one is news in full."""
    for _ in range(5):
        repeats.failed(REFUSED)
        clock.at += 30
        repeats.works()
        clock.at += 30
    assert repeats.works() is None
    clock.at += 600
    assert [repeats.works(), repeats.works()] == ["works again after 15 min, 5 failures", None]
    assert repeats.failed(REFUSED) == REFUSED


def test_failures_far_apart_are_each_told(repeats: Repeats, clock: Clock) -> None:
    """One failure an hour, mended each time, is no flapping."""
    for _ in range(10):
        assert repeats.failed(REFUSED) == REFUSED
        clock.at += 30
        assert repeats.works() == "works again after 30 s, 1 failure"
        clock.at += 3600


def test_good_and_bad_at_the_same_time(clock: Clock) -> None:
    """With `steady`, one success between failures is not yet good news."""
    repeats = Repeats(steady=10, clock=clock, now=clock.now)
    said = []
    for _ in range(100):
        said += [repeats.failed(REFUSED), repeats.works()]
        clock.at += 1
    assert [each for each in said if each is not None] == [REFUSED]
    clock.at += 9
    assert repeats.works() == "works again after 109 s, 100 failures"


def test_things_are_told_at_once_and_then_together(clock: Clock) -> None:
    """The first at once, the thousand after it in one line each ten minutes, the last of all at the end."""
    gathered: Gathered[str] = Gathered(clock)
    assert gathered.due() is None
    gathered.add("a")
    assert gathered.due() == (1, "a")
    for name in ("b", "c"):
        gathered.add(name)
        assert gathered.due() is None
    clock.at = 600
    assert gathered.due() == (2, "c")
    assert gathered.due() is None
    gathered.add("d")
    assert gathered.due(at_once=True) == (1, "d")
    assert gathered.due(at_once=True) is None
