"""When sources are polled: every so many seconds, or by a crontab line (in the machine's local time)."""

from __future__ import annotations

from collections.abc import Callable

from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.cron import CronTrigger
from apscheduler.triggers.interval import IntervalTrigger

from sftpd_processor.config.settings import SourceSettings


class Schedule:
    """Calls a function of each source at its times."""

    def __init__(self) -> None:
        self._scheduler = BackgroundScheduler()

    def add(self, settings: SourceSettings, wake: Callable[[], None]) -> None:
        """Call `wake` at the times of this source; a time that was missed (the machine slept) is made up for once."""
        trigger = (
            IntervalTrigger(seconds=settings.poll_seconds)
            if settings.cron is None
            else CronTrigger.from_crontab(settings.cron)
        )
        self._scheduler.add_job(wake, trigger, name=settings.name, coalesce=True, misfire_grace_time=None)

    def start(self) -> None:
        """Begin."""
        self._scheduler.start()

    def stop(self) -> None:
        """Call nothing any more."""
        if self._scheduler.running:
            self._scheduler.shutdown(wait=False)
