"""The schedule: when sources are polled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Self

import apscheduler.schedulers.base
import apscheduler.triggers.cron
import apscheduler.triggers.interval
import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from sftpd_processor import schedule as ours
from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.schedule import Schedule
from tests.support import wait_until


@pytest.fixture
def schedule() -> Iterator[Schedule]:
    """A schedule that is stopped in the end."""
    made = Schedule()
    yield made
    made.stop()


def source(name: str = "local", **when: Any) -> DirectorySourceSettings:
    return DirectorySourceSettings(name=name, type="directory", folder="/srv/in", **when)


class Wall(datetime):
    """The clock on the wall as the scheduler reads it; `ahead` is by how much it was set."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Self:
        return super().now(tz) + cls.ahead


@pytest.fixture
def wall(monkeypatch: pytest.MonkeyPatch) -> type[Wall]:
    """A wall clock that a test may set."""
    monkeypatch.setattr(Wall, "ahead", timedelta(0))
    for module in (apscheduler.schedulers.base, apscheduler.triggers.interval, apscheduler.triggers.cron, ours):
        monkeypatch.setattr(module, "datetime", Wall)
    return Wall


def test_a_source_is_woken_again_and_again(schedule: Schedule) -> None:
    """With `poll_seconds` the function is called each time so many seconds have passed."""
    calls: list[datetime] = []
    schedule.add(source(poll_seconds=0.1), lambda: calls.append(datetime.now().astimezone()))
    schedule.start()
    wait_until(lambda: len(calls) >= 3, what="three calls")
    assert calls[2] - calls[0] >= timedelta(seconds=0.15)


def test_sources_have_times_of_their_own(schedule: Schedule) -> None:
    """A source that is polled seldom does not slow one that is polled often, nor is it woken with it."""
    often, seldom = threading.Event(), threading.Event()
    schedule.add(source("seldom", poll_seconds=3600), seldom.set)
    schedule.add(source("often", poll_seconds=0.05), often.set)
    schedule.start()
    assert often.wait(10)
    assert not seldom.is_set()


def test_a_crontab_line_is_kept(schedule: Schedule, monkeypatch: pytest.MonkeyPatch) -> None:
    """`cron` gives the times that crontab means, day names included."""
    triggers: list[Any] = []
    monkeypatch.setattr(BackgroundScheduler, "add_job", lambda self, wake, trigger, **more: triggers.append(trigger))
    schedule.add(source(cron="*/20 8 * * mon-fri"), lambda: None)
    (trigger,) = triggers
    friday = datetime(2026, 11, 20, 8, 25, tzinfo=trigger.timezone)
    times = [friday]
    for _ in range(3):
        times.append(trigger.get_next_fire_time(times[-1], times[-1] + timedelta(seconds=1)))
    told = [f"{moment:%a %H:%M}" for moment in times[1:]]
    assert told == ["Fri 08:40", "Mon 08:00", "Mon 08:20"]


def test_stopped_it_calls_nothing(schedule: Schedule) -> None:
    """After `stop` no call comes, and no thread is left; a stop before the start, or twice, is harmless."""
    calls: list[int] = []
    schedule.stop()
    schedule.add(source(poll_seconds=0.01), lambda: calls.append(1))
    schedule.start()
    wait_until(lambda: calls, what="a call")
    schedule.stop()
    schedule.stop()
    wait_until(lambda: not [t for t in threading.enumerate() if "APScheduler" in t.name], what="its threads to end")


def test_a_clock_set_back_does_not_hold_up_polls(schedule: Schedule, wall: type[Wall]) -> None:
    """Set back by three hours, the next poll comes after `poll_seconds`, not after three hours."""
    calls: list[int] = []
    schedule.add(source(poll_seconds=0.1), lambda: calls.append(1))
    schedule.start()
    wait_until(lambda: len(calls) >= 2, what="two calls")
    wall.ahead = timedelta(hours=-3)
    schedule.clock_was_set()
    before = len(calls)
    wait_until(lambda: len(calls) >= before + 3, what="three calls after the jump")


def test_a_crontab_line_that_never_fits_survives_a_set_clock(schedule: Schedule, wall: type[Wall]) -> None:
    """On 30 February no poll is due, before the jump and after it; the sources beside it are made up for."""
    polls: list[str] = []
    schedule.add(source("never", cron="0 0 30 2 *"), lambda: polls.append("never"))
    schedule.add(source("hourly", poll_seconds=3600), lambda: polls.append("hourly"))
    schedule.start()
    wall.ahead = timedelta(hours=3)
    schedule.clock_was_set()
    assert polls == ["hourly"]


def test_a_clock_set_forward_skips_no_poll(schedule: Schedule, wall: type[Wall]) -> None:
    """What fell into the hours passed over is made up for once and at once; the next time is one interval later."""
    polls: dict[str, list[int]] = {"hourly": [], "daily": [], "yearly": []}
    at = datetime.now().astimezone() + timedelta(minutes=90)
    schedule.add(source("hourly", poll_seconds=3600), lambda: polls["hourly"].append(1))
    schedule.add(source("daily", cron=f"{at:%M} {at:%H} * * *"), lambda: polls["daily"].append(1))
    schedule.add(source("yearly", poll_seconds=365 * 86_400), lambda: polls["yearly"].append(1))
    schedule.start()
    wall.ahead = timedelta(hours=3)
    schedule.clock_was_set()
    assert polls == {"hourly": [1], "daily": [1], "yearly": []}
    waits = {job.id: job.next_run_time - wall.now(UTC) for job in schedule._scheduler.get_jobs()}
    assert timedelta(minutes=59) < waits["hourly"] <= timedelta(minutes=60)
    assert timedelta(hours=22) < waits["daily"] < timedelta(hours=24)
    schedule.clock_was_set()
    assert polls == {"hourly": [1], "daily": [1], "yearly": []}
