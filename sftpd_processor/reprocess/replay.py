"""A replay: archived events chosen by a person, handled again.

Each round is one transaction, which settles what came of the round before and takes the next events, and then their
handing over. So whatever moment it is killed at, the ledger says what is still to do, and a replay that is resumed
finds it there.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Literal

from sftpd_processor.collector import spare_the_collector
from sftpd_processor.config.reading import Reading
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import PermanentError
from sftpd_processor.handlers.api import Handler
from sftpd_processor.handlers.registry import Handlers
from sftpd_processor.ledger.candidates import Candidate, Candidates, fits
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import moment
from sftpd_processor.ledger.replaying import Replaying, Result, Step, Terms
from sftpd_processor.pipeline.live import SOURCE as LIVE
from sftpd_processor.pipeline.rereading import Rereader
from sftpd_processor.points import reached
from sftpd_processor.reprocess.bringing import brought
from sftpd_processor.reprocess.comparing import Comparing
from sftpd_processor.reprocess.hands import Hands
from sftpd_processor.reprocess.job import STATES, UNDONE, Job
from sftpd_processor.reprocess.lock import alone
from sftpd_processor.reprocess.pace import Pace
from sftpd_processor.reprocess.patience import Patience, impatience
from sftpd_processor.reprocess.reading import Request
from sftpd_processor.reprocess.report import Group, Plan, Report
from sftpd_processor.reprocess.running import Counts, Round, Running, Watch


class Replay:
    """Plans and runs one job."""

    def __init__(
        self,
        job: Job,
        settings: Settings,
        ledger: Ledger,
        handlers: Handlers,
        resumed: int | None = None,
    ) -> None:
        """`handlers`: all that are configured; those that get events are opened when it runs.

        `resumed`: the number of the replay that this goes on with.
        """
        self._job = job
        self._settings = settings
        self._ledger = ledger
        self._resumed = resumed
        _demand(job.handlers, handlers)
        self.number: int | None = None
        """Of the replay, once it has begun."""
        self._patience = impatience()
        self._comparing = None if job.shadow is None else Comparing(job, handlers, resumed=resumed is not None)
        chosen = [] if job.record_only else [each for each in handlers if not job.handlers or each.name in job.handlers]
        self._handlers: list[Handler] = chosen if self._comparing is None else [self._comparing.shadow]
        self._size: int | None = None

    def size(self) -> int:
        """How many events it is about; files, where it is given paths or reads the quarantine again."""
        if self._size is None:
            self._size = self._counted()
        return self._size

    def plan(self) -> Plan:
        """What `run` would do. Nothing is changed."""
        counts, files = Counts(), set[tuple[str, str]]()
        groups: Counter[tuple[str, str, str]] = Counter()
        for take in self._rounds(self._replaying(self._resumed or 0, dry_run=True), counts, dry_run=True):
            step, number = take([])
            counts.took(step, len(step.candidates), number)
            if not self._job.paths:
                files.update((one.source, one.file) for one in step.candidates)
            for handler, works in step.work.items():
                groups.update(
                    (f"{moment(work.claim.recorded_at):%Y-%m-%d}", work.claim.type, handler) for work in works
                )
        found = tuple(Group(*key, number) for key, number in sorted(groups.items()))
        skipped = dict(counts.skipped)
        total, told = counts.files or len(files), counts.told()
        return Plan(total, counts.events, groups.total(), found, skipped, told, counts.recorded)

    def run(self, watch: Watch, stop: threading.Event) -> Report:
        """Do it, until `stop` is set. Raises `StateInUse` when another replay runs on this state folder."""
        with alone(self._settings.state.dir, self._ledger), ExitStack() as opened:
            spare_the_collector()
            self._ledger.deliveries.recover_orphans()
            self._open(opened)
            self.number = number = self._resumed or self._ledger.replays.begin(self._job.to_json())
            reached("replay-begun")
            counts, replaying = Counts(), self._replaying(number)
            self._patience = patience = Patience(stop)
            running = Running(replaying, self._hired(number, opened), counts, self._whole(), watch, patience)
            if self._comparing is not None:
                running.expect = self._comparing.expect
            stopped = running.run(self._rounds(replaying, counts, dry_run=False))
            return patience(partial(self._noted, number, counts, running.seconds, stopped=stopped))

    def _noted(self, number: int, counts: Counts, seconds: float, *, stopped: bool) -> Report:
        unfinished = stopped or self._ledger.replays.unsettled(number)
        report = self._report(number, counts, seconds, interrupted=unfinished)
        self._ledger.replays.note(number, report.to_json(), finished=not unfinished)
        return report

    def _open(self, opened: ExitStack) -> None:
        if self._comparing is not None:
            opened.callback(self._comparing.close)
        for handler in self._handlers:
            opened.callback(handler.close)
            handler.open()

    def _hired(self, number: int, opened: ExitStack) -> list[Hands]:
        """Hands for each handler."""
        settings, job = self._settings.delivery, self._job
        workers, pace = job.workers or settings.workers, Pace(job.rate)
        found = []
        for handler in self._handlers:
            keyed_by = f"{handler.name}, replay {number}" if job.new_keys else handler.name
            found.append(Hands(handler, settings, workers, pace, self._ledger.clock, keyed_by=keyed_by))
            opened.callback(found[-1].close)
        return found

    def _report(self, number: int, counts: Counts, seconds: float, *, interrupted: bool) -> Report:
        before = self._ledger.replays.one(number).report
        former = Report(number) if before is None else Report.from_json(before)
        outcomes = self._ledger.replays.outcomes(number)
        comparison = None if self._comparing is None else self._comparing.told(self._ledger.replays.details(number))
        return Report(
            number, counts.files, former.recorded + counts.recorded, counts.invalid, counts.events, outcomes,
            dict(counts.skipped), round(former.seconds + seconds, 3), interrupted, comparison, counts.told(),
        )  # fmt: skip

    def _counted(self) -> int:
        if self._job.paths:
            return len(self._request())
        if self._job.quarantine:
            return len(self._ledger.retries.quarantined(self._job.selection))
        return self._candidates().count()

    def _whole(self) -> tuple[int, Literal["events", "files"]]:
        return self.size(), "files" if self._job.paths or self._job.quarantine else "events"

    def _replaying(self, replay: int, *, dry_run: bool = False) -> Replaying:
        wants = {handler.name: handler.wants for handler in self._handlers}
        states = self._job.selection.states or (STATES if self._job.again else UNDONE)
        apart = None if self._comparing is None else self._comparing.against
        ordered = self._settings.delivery.order == "conversation"
        due = self._job.quarantine
        terms = Terms(replay, wants, frozenset(states), self._resumed is not None, ordered, apart, due)
        return self._ledger.replays.replaying(terms, dry_run=dry_run)

    def _rounds(self, replaying: Replaying, counts: Counts, *, dry_run: bool) -> Iterator[Round]:
        """Each round is to be made before the next is asked for."""
        if self._job.paths:
            return self._archived(replaying, counts, dry_run=dry_run)
        if self._job.quarantine:
            return self._reread(replaying, counts, dry_run=dry_run)
        return self._selected(replaying, self._candidates())

    def _archived(self, replaying: Replaying, counts: Counts, *, dry_run: bool) -> Iterator[Round]:
        fit = fits(self._job.selection)
        bringer = self._ledger.replays.bringer(dry_run=dry_run)
        ledger_url = None if dry_run else self._settings.state.ledger_url()
        for found, problems in brought(self._request(), self.size(), bringer, self._patience, ledger_url):
            counts.brought(found)
            counts.could_not_read(problems)
            yield partial(_take, replaying, list(filter(fit, found.candidates)), found.files)

    def _selected(self, replaying: Replaying, candidates: Candidates) -> Iterator[Round]:
        for page in candidates.pages():
            yield partial(_take, replaying, page, len(page))

    def _reread(self, replaying: Replaying, counts: Counts, *, dry_run: bool) -> Iterator[Round]:
        """The files of the quarantine one by one. What is new in each has its deliveries at once: whatever happens to
        this replay, somebody makes them."""
        candidates = self._candidates()
        rereader = Rereader(self._settings, self._ledger, self._wanting, dry_run=dry_run)
        for file in self._ledger.retries.quarantined(self._job.selection):
            reread = rereader.take(file)
            counts.files += 1
            counts.recorded += reread.events > 0
            if reread.wrong:
                counts.could_not_read([f"{file['source']}/{file['name']}: {reread.wrong}"])
            page = candidates.of_file(file["id"])
            yield partial(_take, replaying, page, 1)

    def _wanting(self, event_type: str) -> Iterator[str]:
        return (handler.name for handler in self._handlers if handler.wants(event_type))

    def _candidates(self) -> Candidates:
        names = [handler.name for handler in self._handlers]
        return self._ledger.replays.candidates(self._job.selection, names)

    def _request(self) -> Request:
        job, chosen = self._job, self._job.selection
        readings: dict[str, Reading] = {source.name: source for source in self._settings.sources}
        origins: dict[str, str] = {source.name: source.type for source in self._settings.sources}
        if self._settings.http is not None:
            readings[LIVE], origins[LIVE] = self._settings.http, "http"
        told = {name: each.model_dump(include=set(Reading.model_fields)) for name, each in readings.items()}
        state = str(self._settings.state.dir.absolute())
        return Request(
            job.paths, state, job.read_as, told, origins, chosen.sources, chosen.file, chosen.since, chosen.until
        )


def _demand(names: Sequence[str], handlers: Handlers) -> None:
    """Raise `PermanentError` unless all are configured: one may have gone since a replay began."""
    for name in names:
        if handlers.get(name) is None:
            raise PermanentError(
                f"there is no handler {name!r} in the configuration, for which this replay is; put it there again, or "
                "begin another replay"
            )


def _take(replaying: Replaying, candidates: list[Candidate], number: int, results: list[Result]) -> tuple[Step, int]:
    return replaying.take(results, candidates), number
