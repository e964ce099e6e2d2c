"""The schedule: when sources are polled."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
from apscheduler.schedulers.background import BackgroundScheduler

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.schedule import Schedule
from tests.support import wait_until


@pytest.fixture
def schedule() -> Iterator[Schedule]:
    """A schedule that is stopped in the end."""
    made = Schedule()
    yield made
    made.stop()


def source(**when: Any) -> DirectorySourceSettings:
    return DirectorySourceSettings(name="local", type="directory", folder="/srv/in", **when)


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
    schedule.add(source(poll_seconds=3600), seldom.set)
    schedule.add(source(poll_seconds=0.05), often.set)
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
