"""Polling: intake of one source again and again, when its schedule, the watcher or a settling file says so."""

from __future__ import annotations

import logging
import random
import time
from collections import Counter

from sftpd_processor.config.settings import SftpSourceSettings, SourceSettings
from sftpd_processor.errors import PermanentError, ProcessorError
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.pipeline.tally import told_recorded
from sftpd_processor.sources.base import Source

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 2.0  # seconds


class Poller(Loop):
    """Polls one source; polls at once when started, then whenever it is woken."""

    def __init__(
        self,
        source: Source,
        intake: Intake,
        settings: SourceSettings,
        *,
        measures: Measures | None = None,
    ) -> None:
        """`settings` are those of `source`; `measures` is told how long polls took."""
        super().__init__(f"source {source.name}", source=source.name)
        self._source = source
        self.intake = intake
        self.settings = settings
        self._failures = 0
        self._measures = measures or Measures()
        self.began = time.monotonic()
        """When it was made."""
        self.last_good: float | None = None
        """When the last poll ended that ended well (`time.monotonic`); None before the first."""
        self.up = False
        """Whether the last poll ended well."""

    @property
    def source_name(self) -> str:
        """The name of its source."""
        return self._source.name

    @property
    def moved_at(self) -> float:
        """When its poll last got on, be it with part of a file (`time.monotonic`)."""
        return max(self.intake.moved_at, self._source.moved_at)

    def step(self) -> float | None:
        """Poll once; then wait to be woken, but no longer than files need to settle."""
        before = self.intake.tally.counts()
        try:
            self._poll()
        finally:  # what was done before it broke off is done
            self._tell(before)
        self._failures = 0
        return self.settings.settle_seconds if self.intake.unsettled else None

    def _tell(self, before: Counter[str]) -> None:
        """The whole poll in one line; nothing when it found nothing."""
        done = self.intake.tally.counts()
        done.subtract(before)
        if done["recorded"] or done["disposed"]:
            recorded, disposed = told_recorded(done), done["disposed"]
            logger.info("%s: %s, disposed of %d files", self._name, recorded, disposed, extra={**self._fields, **done})
        elif self.up:
            logger.debug("%s: nothing new", self._name, extra=self._fields)

    def _poll(self) -> None:
        began, outcome = time.monotonic(), "failed"
        try:
            self.intake.poll()
            outcome, self.last_good = "good", time.monotonic()
        finally:
            self.up = outcome == "good"
            self._measures.observe("poll_seconds", self.source_name, outcome, seconds=time.monotonic() - began)

    def pause(self, error: ProcessorError) -> float:
        """Growing while the source cannot be reached; the longest at once where a person must act."""
        if isinstance(error, PermanentError):
            return self._longest_pause
        self._failures += 1
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30), self._longest_pause)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading, not secrecy

    @property
    def _longest_pause(self) -> float:
        """Seconds between two tries when the source cannot be reached."""
        settings = self.settings
        return settings.reconnect_max_seconds if isinstance(settings, SftpSourceSettings) else settings.poll_seconds

    def stop(self) -> None:
        """End after the batch under way."""
        self.intake.stop()
        super().stop()

    def close(self) -> None:
        """Disconnect; only after `join`."""
        self._source.close()
