"""When sources are polled: every so many seconds, or by a crontab line (in the machine's local time)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from sftpd_processor.config.settings import SourceSettings


class Schedule:
    """Calls a function of each source at its times."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler()
        self._settings: dict[str, SourceSettings] = {}

    def add(self, settings: SourceSettings, wake: Callable[[], None]) -> None:
        """Call `wake` at the times of this source; a time that was missed (the machine slept) is made up for once."""
        self._settings[settings.name] = settings
        trigger = _trigger(settings)
        self._scheduler.add_job(wake, trigger, id=settings.name, coalesce=True, misfire_grace_time=None)

    def remove(self, settings: SourceSettings) -> None:
        """Let this source be; without effect where it was not added."""
        if self._settings.pop(settings.name, None) is not None:
            self._scheduler.remove_job(settings.name)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def clock_was_set(self) -> None:
        """Count anew from now: the next times were computed with the old clock. What was passed over is made up for."""
        for settings in self._settings.values():
            job = self._scheduler.get_job(settings.name)
            if job.next_run_time is None:
                continue  # a crontab line that never fits, such as one for 30 February
            if job.next_run_time <= datetime.now(UTC):
                job.func()
            job.reschedule(_trigger(settings))

    def stop(self) -> None:
        """Call nothing any more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)


def _trigger(settings: SourceSettings) -> BaseTrigger:
    if settings.cron is None:
        return IntervalTrigger(seconds=settings.poll_seconds)
    return CronTrigger.from_crontab(settings.cron)


def due_after(settings: SourceSettings, then: datetime) -> datetime | None:
    """When a source that was polled at `then` is to be polled next; UTC. None for a crontab line that never fits."""
    if settings.cron is None:
        return then + timedelta(seconds=settings.poll_seconds)
    due: datetime | None = CronTrigger.from_crontab(settings.cron).get_next_fire_time(None, then)
    return None if due is None else due.astimezone(UTC)
