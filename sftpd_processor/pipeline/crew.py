"""The worker threads of one handler, and the watch over those that do not come back."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from sftpd_processor.errors import TransientError
from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.extensions.text import told
from sftpd_processor.handlers.api import Delivery, Handler, Item, Outcome
from sftpd_processor.ledger.records import Claim, moment
from sftpd_processor.pipeline.breaker import Breaker
from sftpd_processor.points import reached
from sftpd_processor.repeats import Gathered

logger = logging.getLogger(__name__)

_GRACE = 2.0  # seconds that a handler which ends late by itself has, before its thread is given up
_MOST_LOST = 4  # threads given up, for each worker, before no more work is taken
_ENOUGH = 200  # results that are worth a transaction

Result = tuple[Claim, Outcome | None]
"""How an attempt ended; None when the claim was given back untried."""


@dataclass(slots=True, eq=False)
class _Worker:
    chunk: Sequence[Claim] = ()
    at: int = 0
    size: int = 0
    since: float | None = None
    lost: bool = False
    thread: threading.Thread = field(default_factory=threading.Thread)


class Crew:
    """Runs chunks of claims: those of one chunk one after another, different chunks at the same time.

    A thread that does not return in time cannot be stopped in Python. It is given up: its delivery has failed,
    another thread takes its place, and whatever it still returns is not listened to.
    """

    def __init__(
        self,
        handler: Handler,
        breaker: Breaker,
        size: int,
        timeout: float,
        done: Callable[[], None],
        *,
        keyed_by: Callable[[Claim], str] | None = None,
    ) -> None:
        """`timeout` is in seconds, for one call of the handler; `done` is called when results are worth fetching.

        `breaker` is told of every outcome; when that opens it, all that was not begun is given back. `keyed_by` takes
        the place of the handler's name in the idempotency key of a claim.
        """
        self._keyed_by = keyed_by or (lambda _claim: handler.name)
        self._handler = handler
        self._breaker = breaker
        self._size = size
        self._timeout = timeout
        self._done = done
        self._lock = threading.Condition()
        self._todo: deque[Sequence[Claim]] = deque()
        self._results: deque[Result] = deque()
        self._workers: set[_Worker] = set()
        self._lost: set[_Worker] = set()
        self._idle = 0
        self._under_way = 0
        self._closed = False
        self._sharing = False
        self._mistakes: Gathered[BaseException] = Gathered()

    @property
    def hungry(self) -> bool:
        """Whether it can start on more work at once."""
        with self._lock:
            free = self._idle > 0 or len(self._workers) < self._size
            return not self._todo and free and not self._too_many_lost()

    @property
    def busy(self) -> bool:
        """Whether there are claims whose results have not been fetched."""
        return self._under_way > 0

    @property
    def exhausted(self) -> bool:
        """Whether no worker has anything left to begin with."""
        return not self._todo and all(worker.at >= len(worker.chunk) for worker in list(self._workers))

    @property
    def lost(self) -> int:
        """Threads given up that still run."""
        return len(self._lost)

    def give(self, chunks: Sequence[Sequence[Claim]]) -> None:
        """Work on `chunks`."""
        with self._lock:
            self._sharing = False
            self._todo.extend(chunks)
            self._under_way += (count := sum(map(len, chunks)))
            if too_late := self._breaker.open and count > 1:  # it opened while these were being claimed
                self._give_back()
            self._hire()
            self._lock.notify(len(chunks))
        if too_late:
            self._done()

    def results(self) -> list[Result]:
        """What has ended since the last call, with the attempts that ran out of time."""
        self._give_up_late()
        found = []
        while self._results:
            found.append(self._results.popleft())
        self._under_way -= len(found)
        return found

    def next_check(self) -> float | None:
        """Seconds until the next attempt runs out of time; None when nothing is under way."""
        with self._lock:
            since = [worker.since for worker in self._workers if worker.since is not None]
        if not since:  # what was given may not have begun yet, and may hang when it does
            return self._timeout + _GRACE if self.busy else None
        return max(0.0, min(since) + self._timeout + _GRACE - time.monotonic())

    def recall(self) -> None:
        """Give back all that was not begun, also what is left of chunks under way."""
        with self._lock:
            self._sharing = True
            self._give_back()

    def close(self) -> None:
        """Let the threads end when they are done with what they do."""
        with self._lock:
            self._closed = True
            self._lock.notify_all()

    def _hire(self) -> None:
        """As many threads as there is work for."""
        for _ in range(min(len(self._todo) - self._idle, self._size - len(self._workers))):
            worker = _Worker()
            worker.thread = threading.Thread(
                target=self._work, args=(worker,), name=f"handler-{self._handler.name}", daemon=True
            )
            try:
                worker.thread.start()
            except RuntimeError as error:
                raise TransientError("no thread can be started: a limit of the system is reached") from error
            self._workers.add(worker)

    def _work(self, worker: _Worker) -> None:
        while (chunk := self._next()) is not None:
            worker.chunk, worker.at = chunk, 0
            while worker.at < len(chunk):
                part = chunk[worker.at : worker.at + self._handler.batch_size]
                worker.size = len(part)
                worker.since = time.monotonic()
                results = self._handled(part)
                reached("handled")
                if not self._ended(worker, results):
                    return
            worker.chunk = chunk = part = ()  # a thread that waits for hours must not keep their bodies

    def _handled(self, part: Sequence[Claim]) -> list[Result]:
        reached("handing-over")
        try:
            return _in_order(part, self._handler.handle([self._item(claim) for claim in part]))
        except BaseException as error:  # noqa: BLE001 - a handler must not take the thread with it when it raises
            self._tell(error)
            return _in_order(part, [Outcome("retry", told(error))] * len(part))

    def _item(self, claim: Claim) -> Item:
        delivery = Delivery(
            idempotency_key(claim.organisation, claim.identity, self._keyed_by(claim)),
            self._handler.name,
            claim.attempt,
            claim.origin,
            claim.source,
            claim.file,
            moment(claim.recorded_at),
        )
        return Item(claim.body, claim.time_zone, delivery, claim.type, claim.conversation)

    def _tell(self, error: BaseException) -> None:
        with self._lock:
            self._mistakes.add(error)
            told = self._mistakes.due()
        if told is not None:
            often = f" ({told[0]} times since it was said last)" if told[0] > 1 else ""
            text, name = "handler %s: internal error; please report it%s", self._handler.name
            logger.error(text, name, often, exc_info=told[1], extra={"handler": name, "failures": told[0]})

    def _next(self) -> Sequence[Claim] | None:
        with self._lock:
            self._idle += 1
            while not self._todo and not self._closed:
                self._lock.wait()
            self._idle -= 1
            return self._todo.popleft() if self._todo else None

    def _ended(self, worker: _Worker, results: Sequence[Result]) -> bool:
        """Take the results in, unless the worker was given up meanwhile: then False."""
        with self._lock:
            if worker.lost:
                return False
            worker.since = None
            worker.at += len(results)
            self._take(results)
            if self._sharing or self._breaker.open or (len(results) == 1 and _is_retry(results[0])):
                # What follows in this conversation waits with it; and an open breaker holds back everything.
                self._results.extend((claim, None) for claim in worker.chunk[worker.at :])
                worker.at = len(worker.chunk)
            tell = len(self._results) >= _ENOUGH or not self._todo
        if tell:
            self._done()
        return True

    def _take(self, results: Sequence[Result]) -> None:
        for claim, outcome in results:
            if outcome is not None:
                self._breaker.note(claim.id, outcome)
        self._results.extend(results)
        if self._breaker.open:
            self._give_back()

    def _give_up_late(self) -> None:
        limit = time.monotonic() - self._timeout - _GRACE
        with self._lock:
            for worker in [w for w in self._workers if w.since is not None and w.since < limit]:
                worker.lost = True
                self._workers.discard(worker)
                self._lost.add(worker)
                late = worker.chunk[worker.at : worker.at + worker.size]
                self._take(_in_order(late, [self._late()] * len(late)))
                self._results.extend((claim, None) for claim in worker.chunk[worker.at + worker.size :])
            if self._too_many_lost():
                self._give_back()
            else:
                self._hire()

    def _too_many_lost(self) -> bool:
        self._lost = {worker for worker in self._lost if worker.thread.is_alive()}
        return len(self._lost) >= _MOST_LOST * self._size

    def _give_back(self) -> None:
        while self._todo:
            self._results.extend((claim, None) for claim in self._todo.popleft())

    def _late(self) -> Outcome:
        return Outcome("retry", f"it did not return within {self._timeout:g} s")


def _is_retry(result: Result) -> bool:
    return result[1] is not None and result[1].state == "retry"


def _in_order(part: Sequence[Claim], outcomes: Sequence[Outcome]) -> list[Result]:
    """Outcomes beside their claims; of one conversation only the first to be retried has used up an attempt."""
    results: list[Result] = []
    held: set[str] = set()
    for claim, outcome in zip(part, outcomes, strict=True):
        untried = outcome.state == "retry" and claim.lane in held
        results.append((claim, None if untried else outcome))
        if outcome.state == "retry" and claim.lane is not None:
            held.add(claim.lane)
    return results
