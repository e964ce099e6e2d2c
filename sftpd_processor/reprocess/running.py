"""Running a replay: round after round, and what there is to say meanwhile."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Literal, TypeVar

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger.bringing import Brought
from sftpd_processor.ledger.replaying import Replaying, Result, Step, Work
from sftpd_processor.points import reached
from sftpd_processor.reprocess.hands import Hands
from sftpd_processor.reprocess.patience import Patience
from sftpd_processor.reprocess.report import MOST_PROBLEMS, Problems, Progress

_SETTLE_SECONDS = 1.0
"""What has ended is written at least so often, so that a crash makes no more of it happen again."""
_WATCH_SECONDS = 0.1

T = TypeVar("T")
Watch = Callable[[Progress], None]
Round = Callable[[list[Result]], tuple[Step, int]]
"""Settles results and takes the next events, in one transaction; also tells how many events or files further it is."""


@dataclass(slots=True)
class _Round:
    """The round under way."""

    number: int
    """Of events or files that it goes on."""
    works: int
    ended: int = 0

    def of(self, number: int) -> int:
        """The part of `number` that is done."""
        return number * self.ended // self.works if self.works else number


@dataclass(slots=True)
class Counts:
    """What was met until now."""

    files: int = 0
    recorded: int = 0
    invalid: int = 0
    events: int = 0
    at: int = 0
    done: int = 0
    failed: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)
    unread: int = 0

    def brought(self, found: Brought) -> None:
        self.files += found.files
        self.recorded += found.recorded
        self.invalid += found.invalid

    def took(self, step: Step, events: int, number: int) -> None:
        self.events += events
        self.skipped += step.skipped
        self.at += number

    def settled(self, results: list[Result]) -> None:
        for result in results:
            if result.settlement is not None:
                well = result.settlement.state in ("done", "skipped")
                self.done += well
                self.failed += not well

    def could_not_read(self, problems: list[str]) -> None:
        self.unread += len(problems)
        self.problems += problems[: MOST_PROBLEMS - len(self.problems)]

    def told(self) -> Problems:
        return Problems(self.unread, tuple(self.problems))


class Running:
    """One run."""

    def __init__(
        self,
        replaying: Replaying,
        hands: Sequence[Hands],
        counts: Counts,
        whole: tuple[int, Literal["events", "files"]],
        watch: Watch,
        patience: Patience,
    ) -> None:
        """`whole`: how many events or files there are; `watch` is told some times a second how far it is; `patience`
        knows of a stop."""
        self._replaying = replaying
        self._hands = {each.name: each for each in hands}
        self._counts = counts
        self._total, self._unit = whole
        self._watch = watch
        self._patience = patience
        self._stop: threading.Event = patience.stop
        self._results: list[Result] = []  # that are not written yet
        self._began = self._watched = time.monotonic()
        self._round = _Round(0, 0)
        self.expect: Callable[[Iterable[Work]], None] | None = None
        """Told of works before they are handed over."""

    @property
    def seconds(self) -> float:
        """Since its beginning."""
        return time.monotonic() - self._began

    def run(self, rounds: Iterator[Round]) -> bool:
        """Make all rounds; whether it was stopped before its end.

        While the events of one round are handed over, the next are taken, with the results of the round before: the
        database and the handler seldom need the same processor. Whatever goes wrong, what has ended is written.
        """
        try:
            with ThreadPoolExecutor(1, thread_name_prefix="taking") as taker:
                coming = taker.submit(self._taken, rounds, [])
                while (taken := self._awaited(coming)) is not None:
                    coming = taker.submit(self._taken, rounds, self._unwritten())
                    self._hand_over(*taken)
                self._awaited(taker.submit(self._settle, self._unwritten()))
        finally:
            self._settle(self._unwritten())
        self._show(at_once=True)
        return self._stop.is_set()

    def _taken(self, rounds: Iterator[Round], results: list[Result]) -> tuple[Step, int] | None:
        """The next round, after the settling of `results`; None after the last, or when it is to stop."""
        left = results
        try:
            if self._stop.is_set() or (take := next(rounds, None)) is None:
                return None
            taken = self._patience(partial(take, results))
            left = []
            reached("replay-taken")
            self._counts.settled(results)
            return taken
        finally:
            self._settle(left)

    def _awaited(self, coming: Future[T]) -> T:
        """What comes of it; meanwhile it is told how far all is."""
        while wait([coming], _WATCH_SECONDS).not_done:
            self._show(at_once=False)
        return coming.result()

    def _hand_over(self, step: Step, number: int) -> None:
        """Hand over what was taken."""
        self._round = _Round(number, sum(map(len, step.work.values())))
        for handler, works in step.work.items():
            if self.expect is not None:
                self.expect(works)
            self._hands[handler].take(works)
        written = time.monotonic()
        while busy := [hands for hands in self._hands.values() if not hands.finished]:
            if self._stop.is_set():
                for hands in busy:
                    hands.stop()
            pauses = [hands.step() for hands in busy]
            self._collect()
            if self._results and time.monotonic() - written > _SETTLE_SECONDS:
                self._settle_meanwhile()
                written = time.monotonic()
            self._show(at_once=False)
            self._wait(busy, pauses)
        self._collect()
        this = self._round
        self._counts.took(step, this.of(len(step.candidates)), this.of(this.number))
        self._round = _Round(0, 0)

    def _wait(self, busy: Sequence[Hands], pauses: Iterable[float | None]) -> None:
        """Until something has ended or may begin, but not so long that nobody hears of it or a stop."""
        pause = min([_WATCH_SECONDS, *(pause for pause in pauses if pause is not None)])
        first = next((hands for hands in busy if not hands.finished), None)
        if first is not None and pause > 0:
            first.signal.wait(pause if len(busy) == 1 else min(pause, _WATCH_SECONDS / 10))

    def _collect(self) -> None:
        found = [result for hands in self._hands.values() for result in hands.results()]
        self._round.ended += sum(result.settlement is not None or result.held for result in found)
        self._results += found

    def _unwritten(self) -> list[Result]:
        found, self._results = self._results, []
        return found

    def _settle(self, results: list[Result]) -> None:
        if results:
            reached("replay-settling")
            self._patience(partial(self._replaying.end, results))
            self._counts.settled(results)

    def _settle_meanwhile(self) -> None:
        """Unless that cannot be done now: then a little later, and handing over goes on."""
        try:
            reached("replay-settling")
            self._replaying.end(self._results)
        except LedgerUnavailable as error:
            self._patience.note(str(error))
        else:
            self._patience.note("")
            self._counts.settled(self._unwritten())

    def _show(self, *, at_once: bool) -> None:
        now = time.monotonic()
        if at_once or now - self._watched >= _WATCH_SECONDS:
            self._watched = now
            counts = self._counts
            at = counts.at + self._round.of(self._round.number)
            self._watch(Progress(self._total, at, self._unit, counts.done, counts.failed, self._waiting()))

    def _waiting(self) -> str:
        if why := self._patience.why:
            return why
        for hands in self._hands.values():
            if (pause := hands.failing) is not None:
                return f"handler {hands.name} is failing; next try in {pause:.0f} s"
        return ""
