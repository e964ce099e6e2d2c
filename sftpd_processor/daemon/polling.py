"""The sources as they are configured now: a poller for each, the times of its polls, and who watches its folder."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sftpd_processor.config.settings import DirectorySourceSettings, SourceSettings
from sftpd_processor.daemon.ending import end
from sftpd_processor.pipeline.poller import Poller

if TYPE_CHECKING:
    from sftpd_processor.schedule import Schedule

logger = logging.getLogger(__name__)


class Polling:
    """Polls all sources between `start` and `stop`; a reload changes which."""

    def __init__(
        self,
        sources: Sequence[SourceSettings],
        make: Callable[[SourceSettings], Poller],
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """`go_on` is asked while `replace` waits: whether it may, or a stop is wanted."""
        self._make = make
        self._go_on = go_on
        self.pollers: list[Poller] = [make(settings) for settings in sources]
        """One for each source, in the order of the configuration; the list itself is changed by `replace`."""
        self._schedule: Schedule | None = None
        self._unwatch: dict[Poller, Callable[[], None]] = {}

    def start(self) -> None:
        """Poll each source at once, and from now on at its times."""
        from sftpd_processor.schedule import Schedule

        self._schedule = Schedule()
        for poller in self.pollers:
            self._begin(poller)
        self._schedule.start()

    def clock_was_set(self) -> None:
        """Count the times of polls anew."""
        if self._schedule is not None:
            self._schedule.clock_was_set()

    def prepared(self, sources: Sequence[SourceSettings]) -> list[Poller]:
        """A poller for each of `sources`, those of now where nothing about their source is new; none is started."""
        now = {poller.source_name: poller for poller in self.pollers}
        return [
            now[settings.name]
            if settings.name in now and now[settings.name].settings == settings
            else self._make(settings)
            for settings in sources
        ]

    def replace(self, pollers: Sequence[Poller]) -> None:
        """Go over to `pollers`: those that are new begin when those that are not among them have ended."""
        gone = [poller for poller in self.pollers if poller not in pollers]
        fresh = [poller for poller in pollers if poller not in self.pollers]
        for poller in gone:
            self._forget(poller)
        left = end(gone, go_on=self._go_on)
        for poller in gone:
            if poller not in left:
                poller.close()
        self.pollers[:] = pollers
        for poller in fresh:
            if self._go_on():
                self._begin(poller)

    def begin_stop(self) -> None:
        """Take no further batch of files."""
        for poller in self.pollers:
            poller.stop()

    def stop(self, seconds: float) -> None:
        """End all polls, within so many seconds."""
        for poller in self.pollers:
            self._forget(poller)
        if self._schedule is not None:
            self._schedule.stop()
        end(self.pollers, seconds)

    def close(self) -> None:
        """Disconnect; only after `stop`."""
        for poller in self.pollers:
            poller.close()

    def _begin(self, poller: Poller) -> None:
        assert self._schedule is not None, "start() comes first"  # noqa: S101
        self._schedule.add(poller.settings, poller.wake)
        poller.start()
        if isinstance(poller.settings, DirectorySourceSettings):
            self._unwatch[poller] = _watch(poller.settings, poller.wake)

    def _forget(self, poller: Poller) -> None:
        """Nothing wakes it any more."""
        if self._schedule is not None:
            self._schedule.remove(poller.settings)
        self._unwatch.pop(poller, lambda: None)()


def _watch(settings: DirectorySourceSettings, wake: Callable[[], None]) -> Callable[[], None]:
    from sftpd_processor.sources.directory import watch

    try:
        return watch(settings.folder, wake)
    except OSError as error:
        logger.warning(
            "source %s: %s cannot be watched (%s); files are seen at the next poll only",
            settings.name,
            settings.folder,
            error.strerror or error,
            extra={"source": settings.name},
        )
        return lambda: None
