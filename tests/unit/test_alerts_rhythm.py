"""What is usual is learnt from the last weeks: nights and weekends are as quiet as they were."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import pytest

from sftpd_processor.alerts.silence import _STRETCH, Usual
from sftpd_processor.ledger.rhythm import Rhythm, Stretch
from tests.ledger_samples import NOON

MINUTE = 60_000_000
HOUR = 60 * MINUTE
DAY = 24 * HOUR
WEEK = 7 * DAY
SUNDAY = NOON - 12 * HOUR  # 2026-11-22 00:00 UTC


class Past:
    """Events of one type at given times, in place of a ledger."""

    def __init__(self, *times: int) -> None:
        self.times = sorted(times)
        self.asked = 0

    def before(self, time: int) -> int:
        return sum(at < time for at in self.times)

    def after(self, number: int, limit: int, slice_length: int) -> Stretch:
        self.asked += 1
        part = self.times[number : number + limit]
        return Stretch(number + len(part), [("payment", at // slice_length, 1) for at in part])


def office_hours(per_hour: int, weeks: int = 4) -> list[int]:
    """Events from Monday to Friday, 8:00 to 18:00, of the weeks before NOON's."""
    step = HOUR // per_hour
    days = [SUNDAY - week * WEEK + day * DAY for week in range(1, weeks + 1) for day in range(1, 6)]
    return [day + 8 * HOUR + number * step for day in days for number in range(10 * per_hour)]


def usual(*times: int) -> Callable[[int, int], bool]:
    """Whether it is unusual, at that time, that none came since then; with those events known."""

    def missed(now: int, last: int) -> bool:
        it = Usual(cast("Rhythm", Past(*times)), lambda: now)
        for _ in range(len(times) // _STRETCH + 1):
            it.learn()
        return it.missed("payment", last)

    return missed


def test_a_night_is_quiet() -> None:
    """None from Thursday's evening to Friday's morning is usual; none an hour after the beginning of work is not."""
    missed = usual(*office_hours(12))
    friday = SUNDAY + 5 * DAY
    last = friday - 6 * HOUR  # the last one of Thursday
    for hour in (0, 3, 7, 8):
        assert not missed(friday + hour * HOUR, last)
    assert missed(friday + 9 * HOUR, last)


def test_a_weekend_is_quiet() -> None:
    """None from Friday's evening to Monday's morning is usual; none an hour after the beginning of work is not."""
    missed = usual(*office_hours(12))
    monday, last = SUNDAY + DAY, SUNDAY - DAY - 6 * HOUR
    for hour in range(-50, 9):
        assert not missed(monday + hour * HOUR, last)
    assert missed(monday + 9 * HOUR, last)


def test_at_noon_an_hour_is_enough() -> None:
    """Within hours that are busy each week, an hour without any is missed; less is not, however busy they are."""
    missed = usual(*office_hours(600))
    noon = SUNDAY + 3 * DAY + 12 * HOUR
    assert not missed(noon, noon - HOUR + MINUTE)
    assert missed(noon + 10 * MINUTE, noon - HOUR)


def test_rare_ones_are_missed_later() -> None:
    """Of a type that comes twice in an hour, five hours without any are missed."""
    missed = usual(*office_hours(2))
    wednesday = SUNDAY + 3 * DAY
    assert not missed(wednesday + 12 * HOUR, wednesday + 8 * HOUR)
    assert missed(wednesday + 13 * HOUR, wednesday + 8 * HOUR)


def test_both_weeks_must_have_had_them() -> None:
    """A week that was quiet at that time, such as one of holidays, makes it usual; so does a history of one week."""
    times = office_hours(12)
    wednesday = SUNDAY + 3 * DAY
    quiet = [at for at in times if at < SUNDAY - WEEK or at > SUNDAY]
    for known in (quiet, [at for at in times if at > SUNDAY - WEEK]):
        assert not usual(*known)(wednesday + 12 * HOUR, wednesday + 8 * HOUR)
    assert usual(*times)(wednesday + 12 * HOUR, wednesday + 8 * HOUR)


def test_nothing_is_known_of_a_type_that_never_came() -> None:
    """A type without any history is never missed."""
    assert not usual()(NOON, NOON - WEEK)


def test_each_event_is_counted_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The past is read a stretch at each look, judged only when all of it is known, and then looked at once an hour."""
    monkeypatch.setattr("sftpd_processor.alerts.silence._STRETCH", 500)
    past, now = Past(*office_hours(12)), SUNDAY + 3 * DAY + 10 * HOUR
    it = Usual(cast("Rhythm", past), lambda: now)
    it.learn()
    assert not it.missed("payment", now - 2 * HOUR)
    for _ in range(10):
        it.learn()
    assert it.missed("payment", now - 2 * HOUR)
    asked, total = past.asked, sum(it._counts["payment"].values())
    assert total == sum(now - 3 * WEEK <= at for at in past.times)
    it.learn()
    assert past.asked == asked
    now += HOUR
    past.times.append(now - 1)
    it.learn()
    assert (past.asked, sum(it._counts["payment"].values()) <= total + 1) == (asked + 1, True)
    assert it._counts["payment"][(now - 1) // (10 * MINUTE)] == 1


def test_a_clock_that_is_set_back() -> None:
    """When the clock was set back by days, it goes on learning within the hour."""
    now = NOON
    past = Past()
    it = Usual(cast("Rhythm", past), lambda: now)
    it.learn()
    now -= 5 * DAY
    it.learn()
    assert past.asked == 2
