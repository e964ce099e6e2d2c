"""Upkeep at its time of day, and what need not wait for the night."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime

from apscheduler.triggers.cron import CronTrigger

from sftpd_processor.config.settings import ArchiveSettings
from sftpd_processor.errors import ProcessorError, StateInUse
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import moment
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.upkeep.report import Upkept
from sftpd_processor.upkeep.upkeep import Upkeep

logger = logging.getLogger(__name__)

_EVERY = 60.0  # seconds
_SOON = 5.0  # seconds, while files are being taken
_PATIENCE = 120  # so often; then it is done beside that


class Nightly(Loop):
    """Runs upkeep once for each time that `upkeep_at` has come, also while nobody was there to see it."""

    def __init__(
        self, upkeep: Upkeep, ledger: Ledger, busy: Callable[[], bool], each_time: Callable[[], None] = lambda: None
    ) -> None:
        """`busy`: whether files are being taken at this moment. `each_time` is called each time it looks around."""
        super().__init__("upkeep")
        self._upkeep = upkeep
        self._ledger = ledger
        self._busy = busy
        self._each_time = each_time
        self._waited = 0

    def configure(self, settings: ArchiveSettings) -> None:
        """Go over to other settings, from the next run on."""
        self._upkeep.settings = settings
        self.wake()

    def step(self) -> float | None:
        """Upkeep if it is due, else only what is quick; later, while files are being taken."""
        if self._waited < _PATIENCE and self._busy():
            self._waited += 1
            return _SOON
        self._waited = 0
        self._each_time()
        with suppress(StateInUse):  # `archive upkeep` or `archive forget` is at it: then in a minute
            if self._due():
                self._tell(self._upkeep.run(self._sign_of_life))
        if not self.stopping:
            self._upkeep.release.news(self._sign_of_life)
        return _EVERY

    def pause(self, error: ProcessorError) -> float:  # noqa: ARG002
        """Nothing here is urgent."""
        return _EVERY

    def _due(self) -> bool:
        last = self._ledger.upkeep.last(self._upkeep.machine)
        if last is None:  # the first start: nothing has been missed
            self._ledger.upkeep.done(self._upkeep.machine)
            return False
        return due_after(self._upkeep.settings.upkeep_at, moment(last)) <= moment(self._ledger.clock())

    def _sign_of_life(self) -> bool:
        """Whether it is to end; asked so often that a long run is not taken for one that hangs."""
        self.busy_since = time.monotonic()
        return self.stopping

    def _tell(self, report: Upkept) -> None:
        logger.info("upkeep: %s", report)
        for error in report.errors:
            logger.error("upkeep: %s; tried again at the next one", error)


def due_after(upkeep_at: str, then: datetime) -> datetime:
    """The first moment after `then` at which this machine's clock shows that time of day."""
    hour, minute = upkeep_at.split(":")
    due = CronTrigger(hour=hour, minute=minute).get_next_fire_time(None, then)
    assert isinstance(due, datetime), "each day has every time of day, or one right after it"  # noqa: S101
    return due
