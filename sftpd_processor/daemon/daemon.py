"""The daemon: everything started in order, supervised, changed at a reload, drained, and stopped in reverse."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sftpd_processor.bell import BellListener
from sftpd_processor.clockwatch import ClockWatch
from sftpd_processor.collector import spare_the_collector
from sftpd_processor.config.load import Configuration
from sftpd_processor.config.settings import AdminSettings, Settings, SourceSettings
from sftpd_processor.daemon.delivering import Delivering
from sftpd_processor.daemon.ending import STOP_SECONDS, end
from sftpd_processor.daemon.listening import Listening
from sftpd_processor.daemon.making import make_handlers, make_source
from sftpd_processor.daemon.polling import Polling
from sftpd_processor.daemon.report import Report
from sftpd_processor.errors import InternalError, ProcessorError, TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Recorded
from sftpd_processor.measures import Measures
from sftpd_processor.notify import Notifier
from sftpd_processor.pipeline.archive import Archive, Archivist
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.pipeline.poller import Poller
from sftpd_processor.points import reached
from sftpd_processor.repeats import Repeats
from sftpd_processor.reprocess.lock import if_free
from sftpd_processor.state import StateFolder

if TYPE_CHECKING:
    from sftpd_processor.alerts.watch import Alerter
    from sftpd_processor.http.readiness import Health
    from sftpd_processor.http.supervisor import Command
    from sftpd_processor.upkeep.nightly import Nightly

logger = logging.getLogger(__name__)

_LEDGER_PAUSE = 5.0  # seconds between two tries to open the ledger
_LEDGER_PATIENCE = 600.0  # seconds that one try may take: it may migrate millions of rows


class Daemon:
    """All parts of one configuration, between `opened` and its end."""

    def __init__(
        self,
        configuration: Configuration,
        config_folder: Path,
        serve: Command | None = None,
        notifier: Notifier | None = None,
    ) -> None:
        """`config_folder` holds the configuration; modules of handlers may lie beside it.

        `serve` starts the process of the public listener; without it there is none. `notifier` tells systemd.
        """
        settings = configuration.settings
        self._configuration = configuration
        self._config_folder = config_folder
        self._notifier = notifier or Notifier({})
        self._listening = Listening(configuration, config_folder, serve)
        self._bell = BellListener(settings.state.dir, self._wake)
        self._state = StateFolder(settings.state.dir)
        self._clock = ClockWatch()
        self._ledger = Ledger(settings.state.ledger_url(), self._clock)
        self._archivist = Archivist(Archive(settings.state.dir, self._ledger))
        self._measures = Measures()
        handlers = make_handlers(settings, config_folder)
        self._stop = threading.Event()
        self._delivering = Delivering(handlers, settings.delivery, self._ledger, self._measures, self._meanwhile)
        self._polling = Polling(settings.sources, self._poller, self._meanwhile)
        self._alerter: Alerter | None = None
        self._nightly: Nightly | None = None
        self._reload: tuple[Callable[[], Configuration], Callable[[Settings], None]] | None = None

    @contextmanager
    def opened(self, *, patient: bool) -> Iterator[None]:
        """Open the ledger and the handlers and start what the ledger drives; in the end, stop it in reverse.

        When the ledger cannot be opened now (a full disk, a database that is down), a `patient` one tries again
        until it can, or until `stop`.
        """
        with ExitStack() as opened:
            self._state.hold()
            opened.callback(self._state.release)
            opened.callback(self._ledger.close)
            if patient:  # before the ledger: a bot that asks needs none, and an operator wants to know of it
                opened.callback(self._listening.stop)
                self._listening.start()
            if self._alerter is not None:  # before the ledger, which may be what is wrong
                opened.callback(end, [self._alerter])
                self._alerter.start()
            self._open_ledger(patient=patient)
            if not self._stop.is_set():
                self._start_loops(opened)
            yield

    def _start_loops(self, opened: ExitStack) -> None:
        spare_the_collector()
        opened.callback(self._delivering.close)
        self._delivering.open()
        opened.callback(self._end_all)
        self._archivist.start()
        self._delivering.start()
        if self._nightly is not None:
            self._nightly.start()
        self._bell.start()
        opened.callback(self._bell.stop)

    def run(self, ready: Callable[[], None]) -> None:
        """Work until `stop`. `ready` is called when everything is started."""
        from sftpd_processor.daemon.standing import Standing

        self._alerter = self._make_alerter()
        self._nightly = self._make_nightly()
        health = self._watched()
        standing = Standing(self._ledger.figures.gauges, health.failing)
        with self.opened(patient=True):
            if not self._stop.is_set():
                self._polling.start()
                self._notifier.ready()
                ready()
            # A signal may reach another thread first: Python heeds it only when this one wakes.
            while not self._stop.wait(1.0):
                self._look_at_clock()
                if self._reload is not None:
                    (read, adopted), self._reload = self._reload, None
                    standing.remark = self._reloaded(read, adopted)
                if not health.stuck():
                    self._notifier.alive()
                if self._notifier.heard:
                    self._notifier.status(standing.line(self._polling.pollers))
            self._notifier.stopping()
            self._notifier.status("stopping: what is under way may end")
            logger.info("stopping: nothing more is taken, what runs may end")

    def once(self, watch: Callable[[Report], None]) -> Report:
        """Poll every source once, deliver until nothing is due, and end.

        `watch` is called some times a second with what has been done so far.
        """
        report = Report(
            {poller.source_name: poller.intake for poller in self._polling.pollers},
            {deliverer.name: deliverer for deliverer in self._delivering.deliverers},
        )
        began = time.monotonic()
        with self.opened(patient=False):
            pollers = [] if self._stop.is_set() else self._polling.pollers  # then the ledger is not open
            polls = [threading.Thread(target=self._poll, args=(poller, report)) for poller in pollers]
            for poll in polls:
                poll.start()
            _wait_for(polls, watch, report)
            loops = self._loops()
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
        """Take nothing more, and come to an end. Not to be called by a signal handler: it takes locks."""
        self._stop.set()
        self._listening.begin_stop()
        self._polling.begin_stop()

    def reload(self, read: Callable[[], Configuration], adopted: Callable[[Settings], None]) -> None:
        """Go over to the configuration that `read` returns, soon, and tell `adopted`; may be called by any thread."""
        self._reload = read, adopted

    def _reloaded(self, read: Callable[[], Configuration], adopted: Callable[[Settings], None]) -> str:
        """What is to be remarked of it; empty when all went well."""
        from sftpd_processor.daemon.reload import Reload

        self._notifier.reloading()
        self._notifier.status("reading the configuration again")
        others = (self._alerter, self._nightly, self._config_folder)
        reload = Reload(self._polling, self._delivering, self._listening, *others)
        former = self._configuration
        self._configuration, remark = reload.go_over(former, read)
        if self._configuration is not former:
            adopted(self._configuration.settings)
        self._notifier.ready()
        return remark

    def _meanwhile(self) -> bool:
        """Told between two waits of a reload: a sign of life; whether to go on, since nobody wants a stop."""
        self._notifier.alive()
        return not self._stop.is_set()

    def _open_ledger(self, *, patient: bool) -> None:
        repeats = Repeats()
        while not self._stop.is_set():
            self._notifier.more_time(_LEDGER_PATIENCE)
            try:
                self._ledger.open()
                self._clock.begin(self._ledger)
                self._recover()
            except TransientError as error:
                if not patient:
                    raise
                if said := repeats.failed(str(error)):
                    logger.error("%s; tried again every %g s", said, _LEDGER_PAUSE)  # noqa: TRY400 - told in one line
                self._notifier.status(f"starting, but the ledger cannot be opened yet: {error}")
                self._stop.wait(_LEDGER_PAUSE)
            else:
                break
        if said := repeats.works():
            logger.info("the ledger %s", said)

    def _untried(self) -> dict[str, int]:
        broken = [deliverer.name for deliverer in self._delivering.deliverers if deliverer.breaker_open]
        figures = self._ledger.figures.deliveries() if broken else {}
        return {name: figures.get(name, {}).get("pending", 0) for name in broken}

    def _look_at_clock(self) -> None:
        with suppress(TransientError):  # looked at again in a second
            if self._clock.look(self._ledger):
                self._polling.clock_was_set()

    def _recover(self) -> None:
        with if_free(self._configuration.settings.state.dir, self._ledger) as free:
            again = self._ledger.deliveries.recover(beside_replay=not free)
        reached("recovered")
        if again:
            total = sum(again.values())
            logger.info("%d deliveries were running when the last process ended; they run again", total)
        self._delivering.recovered(again)

    def _poller(self, settings: SourceSettings) -> Poller:
        source = make_source(settings)
        wanting = self._delivering.wanting
        intake = Intake(source, settings, self._ledger, wanting, self._recorded, measures=self._measures)
        return Poller(source, intake, settings, measures=self._measures)

    def _make_alerter(self) -> Alerter:
        from sftpd_processor.alerts.watch import Alerter

        state = self._configuration.settings.state
        return Alerter(
            self._configuration.settings.alerts,
            self._ledger,
            pollers=lambda: self._polling.pollers,
            deliverers=lambda: self._delivering.deliverers,
            http=self._configuration.settings.http,
            state_dir=state.dir,
            shared=state.database is not None,
            measures=self._measures,
        )

    def _make_nightly(self) -> Nightly:
        from sftpd_processor.upkeep.nightly import Nightly
        from sftpd_processor.upkeep.upkeep import Upkeep

        settings = self._configuration.settings
        upkeep = Upkeep(settings.state.dir, settings.archive, self._ledger)
        return Nightly(upkeep, self._ledger, self._taking, self._take_over)

    def _taking(self) -> bool:
        """Whether a poll is under way."""
        return any(poller.busy_since for poller in self._polling.pollers)

    def _take_over(self) -> None:
        """What a replay was killed at, and nobody has resumed."""
        with if_free(self._configuration.settings.state.dir, self._ledger) as free:
            left = self._ledger.deliveries.recover_orphans() if free else {}
        if left:
            logger.info("%d deliveries were running when a replay was killed; they run again", sum(left.values()))
            self._delivering.wake(left)

    def _watched(self) -> Health:
        """Who looks at all parts; and the admin listener, if there is one, which shows what it sees."""
        from sftpd_processor.http.readiness import Health

        settings = self._configuration.settings.admin
        health = Health(
            self._ledger.totals.probe,
            lambda: self._polling.pollers,
            lambda: [*self._loops(), *(loop for loop in (self._alerter, self._nightly) if loop is not None)],
            late_seconds=(settings or AdminSettings()).late_seconds,
            listener=self._listening.wrong,
        )
        if settings is not None:
            from sftpd_processor.http.admin import AdminListener
            from sftpd_processor.http.metrics import Metrics

            metrics = Metrics(
                self._ledger,
                self._measures,
                pollers=self._polling.pollers,
                deliverers=self._delivering.deliverers,
                listener=lambda: self._listening.public,
                alerts=lambda: {} if self._alerter is None else self._alerter.open(),
            )
            self._listening.admin = AdminListener(settings, health, metrics.render)
        return health

    def _poll(self, poller: Poller, report: Report) -> None:
        try:
            poller.intake.poll()
        except ProcessorError as error:
            report.failures[poller.source_name] = error
        except Exception as error:
            fields = {"source": poller.source_name}
            logger.exception("source %s: internal error; please report it", poller.source_name, extra=fields)
            report.failures[poller.source_name] = InternalError(f"internal error: {type(error).__name__}")
        finally:
            poller.close()

    def _recorded(self, recorded: Recorded) -> None:
        self._archivist.offer(recorded.unarchived)
        self._delivering.wake(recorded.handlers)

    def _wake(self) -> None:
        """Another process has put something into the ledger."""
        for loop in self._loops():
            loop.wake()

    def _loops(self) -> Sequence[Loop]:
        """All that the ledger drives."""
        return self._archivist, *self._delivering.deliverers

    def _end_all(self) -> None:
        deadline = time.monotonic() + STOP_SECONDS
        self._polling.stop(STOP_SECONDS)
        nightly = [] if self._nightly is None else [self._nightly]
        end([*self._loops(), *nightly, *self._delivering.left], max(0.0, deadline - time.monotonic()))
        self._polling.close()


def _wait_for(threads: Sequence[threading.Thread], watch: Callable[[Report], None], report: Report) -> None:
    for thread in threads:
        while thread.is_alive():
            thread.join(0.1)
            watch(report)


def _ended(loops: Sequence[Loop]) -> bool:
    """Whether all have ended; gives each of them a moment."""
    return all([loop.join(0.05) for loop in loops])  # noqa: C419 - every one, also after the first that has not
