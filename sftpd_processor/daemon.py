"""The daemon: everything started in order, supervised, drained, and stopped in reverse."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from sftpd_processor.bell import BellListener
from sftpd_processor.clockwatch import ClockWatch
from sftpd_processor.collector import spare_the_collector
from sftpd_processor.config.settings import DirectorySourceSettings, Settings, SftpSourceSettings, SourceSettings
from sftpd_processor.errors import ConfigurationError, InternalError, Problem, ProcessorError, TransientError
from sftpd_processor.handlers.api import Handler, HandlerContext
from sftpd_processor.handlers.registry import Handlers, build_handlers
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import QUARANTINED, Recorded
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.archive import Archive, Archivist
from sftpd_processor.pipeline.delivery import Deliverer
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.pipeline.poller import Poller
from sftpd_processor.points import reached
from sftpd_processor.sources.base import Source
from sftpd_processor.state import StateFolder

if TYPE_CHECKING:
    from sftpd_processor.http.admin import AdminListener
    from sftpd_processor.http.supervisor import Command, Supervisor
    from sftpd_processor.schedule import Schedule

logger = logging.getLogger(__name__)

_LEDGER_PAUSE = 5.0  # seconds between two tries to open the ledger

STOP_SECONDS = 20.0
"""How long a stop waits for what is under way; what has not ended then is done again after the next start."""


@dataclass(slots=True)
class Report:
    """What one run of `once` did."""

    intakes: dict[str, Intake]
    deliverers: dict[str, Deliverer]
    failures: dict[str, ProcessorError] = field(default_factory=dict)
    """Why a source could not be polled to its end, or a handler or the archive could not go on; by its name."""
    untried: dict[str, int] = field(default_factory=dict)
    """Deliveries that were not tried because the breaker of their handler is open; by its name."""
    interrupted: bool = False
    seconds: float = 0.0

    @property
    def quarantined(self) -> int:
        """Files put into quarantine."""
        tallies = [intake.tally.verdicts for intake in self.intakes.values()]
        return sum(verdicts[verdict] for verdicts in tallies for verdict in QUARANTINED)

    @property
    def died(self) -> int:
        """Deliveries that became dead letters."""
        return sum(deliverer.settled["dead"] for deliverer in self.deliverers.values())


def make_source(settings: SourceSettings) -> Source:
    """The source that these settings describe; not connected yet."""
    if isinstance(settings, DirectorySourceSettings):
        from sftpd_processor.sources.directory import DirectorySource

        return DirectorySource(settings)
    from sftpd_processor.sources.sftp import SftpSource

    return SftpSource(settings)


def make_handlers(settings: Settings, config_folder: Path) -> Handlers:
    """The configured handlers; raises `ConfigurationError` with every mistake in them."""
    context = HandlerContext(settings.delivery.timeout_seconds, config_folder)
    return build_handlers(settings.handlers, context)


class Daemon:
    """All parts of one configuration, between `open` and `close`."""

    def __init__(self, settings: Settings, config_folder: Path, serve: Command | None = None) -> None:
        """`config_folder` holds the configuration; modules of handlers may lie beside it.

        `serve` starts the process of the public listener; without it there is none.
        """
        self._settings = settings
        self._listener = _supervisor(settings, config_folder, serve)
        self._bell = BellListener(settings.state.dir, self._wake)
        self._handlers = make_handlers(settings, config_folder)
        self._state = StateFolder(settings.state.dir)
        self._clock = ClockWatch()
        self._ledger = Ledger(settings.state.ledger_url(), self._clock)
        self._archivist = Archivist(Archive(settings.state.dir, self._ledger))
        self._measures = Measures()
        self._deliverers = [
            Deliverer(handler, self._ledger, settings.delivery, measures=self._measures) for handler in self._handlers
        ]
        self._pollers = [self._poller(source) for source in settings.sources]
        self._stop = threading.Event()
        self._opened = ExitStack()

    @contextmanager
    def opened(self, *, patient: bool) -> Iterator[None]:
        """Open the ledger and the handlers and start what the ledger drives; in the end, stop it in reverse.

        When the ledger cannot be opened now (a full disk, a database that is down), a `patient` one tries again
        until it can, or until `stop`.
        """
        with self._opened as opened:
            self._state.hold()
            opened.callback(self._state.release)
            opened.callback(self._ledger.close)
            if patient:  # before the ledger: a bot that asks needs none, and an operator wants to know of it
                self._start_listeners(opened)
            self._open_ledger(patient=patient)
            if not self._stop.is_set():
                self._start_loops(opened)
            yield

    def _start_listeners(self, opened: ExitStack) -> None:
        if self._listener is not None:
            self._listener.start()
            opened.callback(self._listener.stop, STOP_SECONDS)
        if (admin := self._admin()) is not None:
            admin.start()
            opened.callback(admin.stop)

    def _start_loops(self, opened: ExitStack) -> None:
        spare_the_collector()
        _open_all(list(self._handlers), opened)
        for loop in (self._archivist, *self._deliverers):
            loop.start()
        opened.callback(self._end_all)
        self._bell.start()
        opened.callback(self._bell.stop)

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`. `ready` is called when everything is started."""
        from sftpd_processor.schedule import Schedule

        schedule = Schedule()
        with self.opened(patient=True), ExitStack() as started:
            for poller, settings in zip(self._pollers, self._settings.sources, strict=True):
                schedule.add(settings, poller.wake)
                poller.start()
                if isinstance(settings, DirectorySourceSettings):
                    started.callback(_watch(settings, poller))
            schedule.start()
            started.callback(schedule.stop)
            if not self._stop.is_set():
                ready()
            # A signal may reach another thread first: Python heeds it only when this one wakes.
            while not self._stop.wait(1.0):
                self._look_at_clock(schedule)
            logger.info("stopping: nothing more is taken, what runs may end")

    def once(self, watch: Callable[[Report], None]) -> Report:
        """Poll every source once, deliver until nothing is due, and end.

        `watch` is called some times a second with what has been done so far.
        """
        report = Report(
            {poller.source_name: poller.intake for poller in self._pollers},
            {deliverer.name: deliverer for deliverer in self._deliverers},
        )
        began = time.monotonic()
        with self.opened(patient=False):
            pollers = [] if self._stop.is_set() else self._pollers  # then the ledger is not open
            polls = [threading.Thread(target=self._poll, args=(poller, report)) for poller in pollers]
            for poll in polls:
                poll.start()
            _wait_for(polls, watch, report)
            loops = (self._archivist, *self._deliverers)
            for loop in loops:
                loop.finish()
            while not self._stop.is_set() and not _ended(loops):
                watch(report)
            with suppress(TransientError):  # then its failure is told already
                report.untried = self._untried()
        report.failures |= {str(loop): loop.failure for loop in loops if loop.failure is not None}
        report.interrupted = self._stop.is_set()
        report.seconds = time.monotonic() - began
        watch(report)
        return report

    def stop(self) -> None:
        """Take nothing more, and come to an end."""
        self._stop.set()
        if self._listener is not None:
            self._listener.begin_stop()
        for poller in self._pollers:
            poller.stop()

    def _open_ledger(self, *, patient: bool) -> None:
        failure = ""
        while not self._stop.is_set():
            try:
                self._ledger.open()
                self._clock.begin(self._ledger)
                self._recover()
            except TransientError as error:
                if not patient:
                    raise
                if str(error) != failure:
                    failure = str(error)
                    logger.error("%s; tried again every %g s", failure, _LEDGER_PAUSE)  # noqa: TRY400 - told in one line
                self._stop.wait(_LEDGER_PAUSE)
            else:
                break
        if failure:
            logger.info("the ledger works again")

    def _untried(self) -> dict[str, int]:
        broken = [deliverer.name for deliverer in self._deliverers if deliverer.breaker_open]
        figures = self._ledger.figures.deliveries() if broken else {}
        return {name: figures.get(name, {}).get("pending", 0) for name in broken}

    def _look_at_clock(self, schedule: Schedule) -> None:
        with suppress(TransientError):  # looked at again in a second
            if self._clock.look(self._ledger):
                schedule.clock_was_set()

    def _recover(self) -> None:
        again = self._ledger.deliveries.recover()
        reached("recovered")
        if again:
            total = sum(again.values())
            logger.info("%d deliveries were running when the last process ended; they run again", total)
        breakers = self._ledger.figures.breakers()
        for deliverer in self._deliverers:
            if deliverer.name in again:
                deliverer.be_careful()
            if deliverer.name in breakers:
                deliverer.resume_breaker(breakers[deliverer.name][0])

    def _poller(self, settings: SourceSettings) -> Poller:
        source = make_source(settings)
        intake = Intake(source, settings, self._ledger, self._handlers.wanting, self._recorded, measures=self._measures)
        longest = settings.reconnect_max_seconds if isinstance(settings, SftpSourceSettings) else settings.poll_seconds
        return Poller(source, intake, settings.settle_seconds, longest, measures=self._measures)

    def _admin(self) -> AdminListener | None:
        settings, listener = self._settings.admin, self._listener
        if settings is None:
            return None
        from sftpd_processor.http.admin import AdminListener
        from sftpd_processor.http.metrics import Metrics
        from sftpd_processor.http.readiness import Health

        health = Health(
            self._ledger.totals.probe,
            self._settings.sources,
            self._pollers,
            (self._archivist, *self._deliverers),
            late_seconds=settings.late_seconds,
            listener=listener.wrong if listener is not None else lambda: None,
        )
        metrics = Metrics(
            self._ledger,
            self._measures,
            pollers=self._pollers,
            deliverers=self._deliverers,
            listener=listener,
        )
        return AdminListener(settings, health, metrics.render)

    def _poll(self, poller: Poller, report: Report) -> None:
        try:
            poller.intake.poll()
        except ProcessorError as error:
            report.failures[poller.source_name] = error
        except Exception as error:
            logger.exception("source %s: internal error; please report it", poller.source_name)
            report.failures[poller.source_name] = InternalError(f"internal error: {type(error).__name__}")
        finally:
            poller.close()

    def _recorded(self, recorded: Recorded) -> None:
        self._archivist.offer(recorded.unarchived)
        for deliverer in self._deliverers:
            if deliverer.name in recorded.handlers:
                deliverer.wake()

    def _wake(self) -> None:
        """Another process has put something into the ledger."""
        for loop in (self._archivist, *self._deliverers):
            loop.wake()

    def _end_all(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        for loops in (self._pollers, [self._archivist, *self._deliverers]):
            for loop in loops:
                loop.stop()
            for loop in loops:
                if not loop.join(max(0.0, deadline - time.monotonic())):
                    logger.warning("%s did not end within %g s; it is left behind", loop, STOP_SECONDS)
        for poller in self._pollers:
            poller.close()


def _supervisor(settings: Settings, config_folder: Path, serve: Command | None) -> Supervisor | None:
    if serve is None or settings.http is None or not settings.http.supervise:
        return None
    from sftpd_processor.http.parts import check_parts
    from sftpd_processor.http.supervisor import Supervisor

    check_parts(settings, settings.http, config_folder)
    return Supervisor(settings.http, serve)


def _open_all(handlers: Sequence[Handler], opened: ExitStack) -> None:
    """Open every handler, and say what is wrong with all of them at once."""
    problems: list[Problem] = []
    for handler in handlers:
        opened.callback(handler.close)
        try:
            handler.open()
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)


def _watch(settings: DirectorySourceSettings, poller: Poller) -> Callable[[], None]:
    from sftpd_processor.sources.directory import watch

    try:
        return watch(settings.folder, poller.wake)
    except OSError as error:
        logger.warning(
            "source %s: %s cannot be watched (%s); files are seen at the next poll only",
            settings.name,
            settings.folder,
            error.strerror or error,
        )
        return lambda: None


def _wait_for(threads: Sequence[threading.Thread], watch: Callable[[Report], None], report: Report) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            watch(report)


def _ended(loops: Sequence[Loop]) -> bool:
    """Whether all have ended; gives each of them a moment."""
    return all([loop.join(0.05) for loop in loops])  # noqa: C419 - every one, also after the first that has not
