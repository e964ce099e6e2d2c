"""What is done with age, step by step. Each can be stopped between two short pieces, and goes on at the next run."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path

from sftpd_processor.archive.compaction import compact
from sftpd_processor.archive.rooms import Place, on_disk
from sftpd_processor.archive.turn import turn
from sftpd_processor.config.settings import ArchiveSettings
from sftpd_processor.errors import ProcessorError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import moment
from sftpd_processor.ledger.upkeep import DAY, Kept
from sftpd_processor.upkeep.release import Release
from sftpd_processor.upkeep.removal import remove
from sftpd_processor.upkeep.report import Upkept

logger = logging.getLogger(__name__)

Page = Callable[[Kept | None], list[Kept]]

_PAUSE = 0.005  # seconds between two pieces, so that others get their turn with the ledger
_WORTH_TELLING = 64 << 20  # bytes


class _Stopped(Exception):
    """Somebody wants it to end."""


class Upkeep:
    """Sees to the archive, the quarantine and the ledger of one state folder."""

    def __init__(self, state: Path, settings: ArchiveSettings, ledger: Ledger) -> None:
        self.settings = settings
        self.release = Release(state, ledger)
        self.machine = f"{socket.gethostname()}:{state}"
        """Which of those that share the ledger this is: each has its own archive."""
        self._state = state
        self._ledger = ledger
        self._told = False

    def run(self, stop: Callable[[], bool]) -> Upkept:
        """Do everything that is due; `stop` is asked before each piece.

        A step that fails leaves the others as they are, and is told in the report. Raises `StateInUse` while another
        process is at it, and `LedgerUnavailable` when it cannot be noted that this was done.
        """
        began = time.monotonic()
        run = _Run(self, self._state, self._ledger, stop)
        with turn(self._state):
            run.everything()
        if run.report.finished:
            self._ledger.upkeep.done(self.machine)
            self._tell_waste()
        self._ledger.rest()
        run.report.seconds = time.monotonic() - began
        return run.report

    def _tell_waste(self) -> None:
        wasted = self._ledger.upkeep.wasted()
        if wasted < _WORTH_TELLING or self._told:
            return
        self._told = True
        logger.info(
            "%d MB of the ledger's file are empty; it was made by an older version and uses them again, but does not "
            "get smaller by itself: docs/operations.md tells how to shrink it",
            wasted >> 20,
        )


class _Run:
    """One run."""

    def __init__(self, upkeep: Upkeep, state: Path, ledger: Ledger, stop: Callable[[], bool]) -> None:
        self.report = Upkept()
        self._settings = upkeep.settings
        self._release = upkeep.release
        self._state = state
        self._ledger = ledger
        self._verbs = ledger.upkeep
        self._stop = stop

    def everything(self) -> None:
        """From the newest to the oldest: bytes that are on disk, days to be compacted, what has had its time."""
        steps = (
            self._release_raw,
            self._compact,
            self._expire_archive,
            self._expire_quarantine,
            self._drop_dead_letters,
            self._forget_identities,
            self._give_back,
        )
        for step in steps:
            try:
                self._between()
                step()
            except _Stopped:
                return
            except ProcessorError as error:
                self.report.errors.append(str(error))
            except OSError as error:
                self.report.errors.append(f"{error.filename or self._state}: {error.strerror or error}")
        self.report.finished = True

    def _release_raw(self) -> None:
        self.report.released, self.report.missing = self._release.everything(self._stop)

    def _compact(self) -> None:
        if days := self._settings.compact_after_days:
            before = self._today() - timedelta(days=days)
            done = compact(self._state, self._ledger.copies.of_day, before, self._stop)
            self.report.days_compacted, self.report.compacted = done.days, done.files
            self.report.errors += map(str, done.problems)
            self._between()

    def _expire_archive(self) -> None:
        self._expire("archive", self._settings.keep_days)

    def _expire_quarantine(self) -> None:
        self._expire("quarantine", self._settings.keep_quarantine_days)

    def _expire(self, room: str, days: int) -> None:
        """First the copies go, then what the ledger says of them: after a crash in between the next run finds both.

        A day waits while something of it is still to be delivered or archived, or could not be removed.
        """
        if not days:
            return
        before = self._day_before(days)
        held = self._verbs.held(before)
        for place in on_disk(self._state)[0]:
            at = place.source, place.day
            if place.room == room and place.day < before and at not in held and not self._removed(place):
                held.add(at)
        for day in self._verbs.days(before):
            page = self._kept(day, quarantined=room == "quarantine")
            for files in self._pages(page):
                self._expire_files([file.id for file in files if (file.source, day) not in held])

    def _removed(self, place: Place) -> bool:
        self._between()
        try:
            self.report.days_removed += remove(self._state, place, self._between)
        except OSError as error:
            why = f"{self._state / place.stored} cannot be removed: {error.strerror}; check who owns it"
            self.report.errors.append(why)
            return False
        return True

    def _kept(self, day: int, *, quarantined: bool) -> Page:
        return lambda after: self._verbs.kept(day, after, quarantined=quarantined)

    def _expire_files(self, numbers: list[int]) -> None:
        while numbers and (emptied := self._verbs.empty(numbers)):
            self.report.events_expired += emptied
            self._between()
        self.report.files_expired += self._verbs.expire(numbers) if numbers else 0

    def _drop_dead_letters(self) -> None:
        days = self._settings.keep_dead_letters_days
        while days and (dropped := self._verbs.drop_dead(self._day_before(days) * DAY)):
            self.report.dead_letters_removed += dropped
            self._between()

    def _forget_identities(self) -> None:
        if not (days := self._settings.keep_identities_days):
            return
        before = self._day_before(days)
        for day in self._verbs.days(before):
            for files in self._pages(self._gone(day)):
                self._forget([file.id for file in files], before * DAY)

    def _gone(self, day: int) -> Page:
        return lambda after: self._verbs.gone(day, after)

    def _forget(self, numbers: list[int], before: int) -> None:
        while forgotten := self._verbs.forget_events(numbers, before):
            self.report.events_forgotten += forgotten
            self._between()
        self.report.files_forgotten += self._verbs.forget_files(numbers)

    def _give_back(self) -> None:
        while given := self._verbs.shrink():
            self.report.bytes_given_back += given
            self._between()
        self._verbs.checkpoint()

    def _pages(self, page: Page) -> Iterator[list[Kept]]:
        after = None
        while found := page(after):
            self._between()
            yield found
            after = found[-1]

    def _between(self) -> None:
        """Between two pieces: a moment for others, and whether this is to end."""
        if self._stop():
            raise _Stopped
        time.sleep(_PAUSE)

    def _today(self) -> date:
        return moment(self._ledger.clock()).date()

    def _day_before(self, days: int) -> int:
        """The first day that is not older than so many days."""
        return self._ledger.clock() // DAY - days
