"""Polling: intake of one source again and again, when its schedule, the watcher or a settling file says so."""

from __future__ import annotations

import logging
import random

from sftpd_processor.errors import PermanentError, ProcessorError
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.sources.base import Source

logger = logging.getLogger(__name__)

_FIRST_PAUSE = 2.0  # seconds


class Poller(Loop):
    """Polls one source; polls at once when started, then whenever it is woken."""

    def __init__(self, source: Source, intake: Intake, settle_seconds: float, longest_pause: float) -> None:
        """`longest_pause`: seconds between two tries when the source cannot be reached."""
        super().__init__(f"source {source.name}")
        self._source = source
        self.intake = intake
        self._settle_seconds = settle_seconds
        self._longest_pause = longest_pause
        self._failures = 0

    @property
    def source_name(self) -> str:
        """The name of its source."""
        return self._source.name

    def step(self) -> float | None:
        """Poll once; then wait to be woken, but no longer than files need to settle."""
        before = self.intake.tally.recorded, self.intake.tally.disposed
        self.intake.poll()
        self._failures = 0
        recorded, disposed = self.intake.tally.recorded - before[0], self.intake.tally.disposed - before[1]
        if recorded or disposed:
            logger.info("%s: recorded %d, disposed of %d files", self._name, recorded, disposed)
        return self._settle_seconds if self.intake.unsettled else None

    def pause(self, error: ProcessorError) -> float:
        """Growing while the source cannot be reached; the longest at once where a person must act."""
        if isinstance(error, PermanentError):
            return self._longest_pause
        self._failures += 1
        longest = min(_FIRST_PAUSE * 2.0 ** min(self._failures - 1, 30), self._longest_pause)
        return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading, not secrecy

    def stop(self) -> None:
        """End after the batch under way."""
        self.intake.stop()
        super().stop()

    def close(self) -> None:
        """Disconnect; only after `join`."""
        self._source.close()
