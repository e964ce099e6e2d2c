"""Handing events to one handler: each conversation in order, many at once, no more than the breaker and the pace allow.

The daemon's own delivery claims from the ledger whatever is due. Here a replay has chosen, and keeps the rest of a
step in memory until it is its turn.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.handlers.api import Handler, Outcome
from sftpd_processor.ledger.records import Claim, Clock, Settlement
from sftpd_processor.ledger.replaying import Result, Work
from sftpd_processor.pipeline.breaker import Breaker
from sftpd_processor.pipeline.crew import Crew
from sftpd_processor.pipeline.policy import settlement
from sftpd_processor.points import reached
from sftpd_processor.reprocess.pace import Pace

_CHUNKS = 4  # for each worker: enough that all have work to the end
_QUICK = 0.2  # seconds for all that is given to a single thread; several only disturb each other then
_MOST_ALONE = 4000
_SHARE = 16  # for each worker at once: so many are soon done, and then may be quick again
_LOOK = 0.5  # seconds between two looks at a crew that is given nothing now


class Hands:
    """Hands the works of one step after another to a handler; used by one thread."""

    def __init__(
        self,
        handler: Handler,
        settings: DeliverySettings,
        workers: int,
        pace: Pace,
        clock: Clock,
        *,
        keyed_by: str,
    ) -> None:
        """`keyed_by` takes the place of the handler's name in idempotency keys of what was done before; `clock` is the
        ledger's."""
        self.name = handler.name
        self._handler = handler
        self._settings = settings
        self._workers = workers
        self._pace = pace
        self._clock = clock
        self.signal = threading.Event()
        self._breaker = Breaker(handler.name, settings)
        self._keyed_by = keyed_by
        limits = workers, settings.timeout_seconds
        self._crew = Crew(handler, self._breaker, *limits, self._tell, keyed_by=self._key_of)
        self._works: dict[int, Work] = {}
        self._todo: deque[Claim] = deque()
        self._results: list[Result] = []
        self._held: set[str] = set()
        self._alone = 0
        """So many a single thread does quickly; 0: they are slow, and several share them."""
        self._given = 0
        self._given_at = 0.0
        self._stopped = False

    def take(self, works: Sequence[Work]) -> None:
        """Begin with these, in their order within each conversation; only when all before are `finished`."""
        self._works = {work.claim.id: work for work in works}
        self._todo.extend(work.claim for work in works)

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do."""
        return not self._todo and not self._crew.busy

    @property
    def failing(self) -> float | None:
        """Seconds until the next try while the handler fails altogether; None when it does not."""
        return self._breaker.wait() if self._breaker.open else None

    def results(self) -> list[Result]:
        """What has come of works since the last call."""
        found, self._results = self._results, []
        return found

    def step(self) -> float | None:
        """Take in what has ended and hand over what may begin; how many seconds to wait for `signal` then."""
        self.signal.clear()
        self._take_in()
        self._adapt()
        if self._todo and not self._stopped and not self._crew.busy and self._crew.hungry:
            self._hand_over()
        if self._crew.busy:
            return min(self._crew.next_check() or 0.0, _QUICK) if self._alone else self._crew.next_check()
        return self._until_allowed() if self._todo else None

    def stop(self) -> None:
        """Begin nothing more: what was not begun ends without a settlement."""
        self._stopped = True
        self._crew.recall()
        for claim in self._todo:
            self._results.append(Result(self.name, self._works[claim.id], None))
        self._todo.clear()

    def close(self) -> None:
        """Let the threads go."""
        self._crew.close()

    def _tell(self) -> None:
        """Something has ended. Of a handler that is quick, only the last of what it was given is worth waking up for:
        two threads that take turns at every event take longer over it than it does."""
        if (self._alone and not self._crew.exhausted) or self.signal.is_set():
            return
        self.signal.set()

    def _key_of(self, claim: Claim) -> str:
        """Others keep theirs: whoever tries them the next time uses it, too."""
        return self._keyed_by if self._works[claim.id].again else self.name

    def _adapt(self) -> None:
        """One thread alone is fastest for a handler that is done at once, and many are for one that waits."""
        if not self._given:
            return
        took = time.monotonic() - self._given_at
        if self._crew.busy:
            if self._alone and took > _QUICK:
                self._alone = 0
                self._crew.recall()
            return
        quick = took * _MOST_ALONE / self._given < _QUICK * 5
        self._alone = min(max(2 * self._alone, 2 * self._given), _MOST_ALONE) if quick else 0
        self._given = 0

    def _take_in(self) -> None:
        back = []
        now = self._clock()
        for claim, outcome in self._crew.results():
            if outcome is None:
                self._breaker.released(claim.id)
                back.append(claim)
            else:
                self._settle(claim, outcome, now)
        self._todo.extendleft(reversed(back))

    def _settle(self, claim: Claim, outcome: Outcome, now: int) -> None:
        settled: Settlement = settlement(claim, outcome, self._settings, now)
        if settled.state == "pending" and claim.lane is not None and self._settings.order == "conversation":
            self._held.add(claim.lane)  # what follows in its conversation must not overtake it
        self._results.append(Result(self.name, self._works[claim.id], settled))

    def _hand_over(self) -> None:
        ready = self._ready()
        limit = self._breaker.allowance(self._pace.allowance(min(self._most(), len(ready))))
        if limit < len(ready):
            self._todo.extendleft(reversed(ready[limit:]))
            del ready[limit:]
        if not ready:
            return
        reached("replay-handing-over")
        self._breaker.claimed(ready[0].id)
        self._pace.used(len(ready))
        self._given, self._given_at = len(ready), time.monotonic()
        self._crew.give(self._chunks(ready))

    def _most(self) -> int:
        """How many are worth being given at once."""
        if self._handler.batch_size > 1:
            return self._handler.batch_size
        return self._alone or self._workers * _SHARE

    def _ready(self) -> list[Claim]:
        """All that is to do, without what waits for an event before it."""
        ready = []
        while self._todo:
            claim = self._todo.popleft()
            if claim.lane is not None and self._works[claim.id].behind:
                self._held.add(claim.lane)
            if claim.lane in self._held:
                self._results.append(Result(self.name, self._works[claim.id], None, held=True))
            else:
                ready.append(claim)
        return ready

    def _chunks(self, claims: list[Claim]) -> list[Sequence[Claim]]:
        """Whole conversations, put together into as many chunks as keep all workers busy to the end."""
        if self._handler.batch_size > 1 or self._alone:
            return [claims]
        if self._settings.order == "none":
            lanes = [[claim] for claim in claims]
        else:
            by_lane: dict[str | int, list[Claim]] = {}
            for claim in claims:
                by_lane.setdefault(claim.id if claim.lane is None else claim.lane, []).append(claim)
            lanes = list(by_lane.values())
        enough = max(1, len(claims) // (self._workers * _CHUNKS))
        chunks: list[list[Claim]] = [[]]
        for lane in lanes:
            if len(chunks[-1]) >= enough:
                chunks.append([])
            chunks[-1] += lane
        return list(chunks)

    def _until_allowed(self) -> float:
        pauses = [pause for pause in (self.failing, self._pace.wait()) if pause is not None]
        return min(_LOOK, max(pauses, default=_LOOK))
