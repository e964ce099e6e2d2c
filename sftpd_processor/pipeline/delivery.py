"""Delivery: claim → handler → settle, driven by the ledger alone, for each handler on its own.

A handler that is slow, hangs or fails so holds up neither intake nor another handler. Claims and results are
written in batches; how many are claimed at once follows how fast the handler is, so that a slow one does not hold
claims it cannot begin on.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Sequence

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.handlers.api import Handler, Outcome
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Claim, Settlement
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.breaker import Breaker
from sftpd_processor.pipeline.crew import Crew
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.pipeline.policy import released, settlement
from sftpd_processor.points import reached
from sftpd_processor.repeats import Gathered

logger = logging.getLogger(__name__)

_MOST_CLAIMS = 1000
_IDLE = 5.0  # seconds between two questions to the ledger: `retry`, or another machine, may have put work there
_LOST_PAUSE = 1.0  # seconds between two looks for a thread that came back, when all are lost
_FAST, _SLOW = 0.25, 1.0  # seconds for one claim: below, the next is twice as large; above, half


class Deliverer(Loop):
    """Delivers to one handler."""

    def __init__(
        self, handler: Handler, ledger: Ledger, settings: DeliverySettings, *, measures: Measures | None = None
    ) -> None:
        """`measures` is told how long events waited for their end here."""
        super().__init__(f"handler {handler.name}", handler=handler.name)
        self._measures = measures or Measures()
        self._handler = handler
        self._ledger = ledger
        self._settings = settings
        self._breaker = Breaker(handler.name, settings)
        self._opened_at: int | None = None
        self._crew = Crew(handler, self._breaker, settings.workers, settings.timeout_seconds, self.wake)
        self._unsettled: list[Settlement] = []
        self._lags: list[float] = []
        self._failed_attempts: Gathered[Claim] = Gathered()
        self._dead: Gathered[Claim] = Gathered()
        self._limit = handler.batch_size if handler.batch_size > 1 else 2 * settings.workers
        self._claimed_at = 0.0
        self.settled: Counter[str] = Counter()
        """Attempts that ended since the start, by the state they led to."""

    def be_careful(self) -> None:
        """Begin with one delivery at a time: what ran when the last process ended may have ended it."""
        self._limit = self._handler.batch_size

    def resume_breaker(self, opened_at: int) -> None:
        """Its breaker was open when the last process ended, since `opened_at` (the ledger's time)."""
        self._opened_at = opened_at
        self._breaker.resume()

    @property
    def breaker_open(self) -> bool:
        """Whether its handler is only probed, because everything failed."""
        return self._breaker.open

    @property
    def name(self) -> str:
        """The handler's name."""
        return self._handler.name

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; whether it came. The handler may be closed then."""
        ended = super().join(timeout)
        if ended:
            self._crew.close()
            self._tell(at_once=True)
        return ended

    def step(self) -> float | None:
        """Settle what has ended and claim what is due; then wait for a result, a time-out or the next retry."""
        if self.stopping:
            self._crew.recall()
        ended = self._settle()
        self._tell()
        before, hungry = self._ledger.clock(), self._crew.hungry
        claimed = not self.stopping and hungry and self._claim()
        if self._crew.busy:
            return self._crew.next_check()
        if claimed or ended:
            return 0
        if not hungry:
            return _LOST_PAUSE
        return min(_IDLE, self._breaker.wait() or self._until_due(before))

    def _until_due(self, before: int) -> float:
        """Seconds until the next delivery is due.

        What was due before and is still not claimed waits behind another delivery, not for the time.
        """
        due = self._ledger.deliveries.next_due(self._handler.name, before)
        return _IDLE if due is None else max(0.0, (due - self._ledger.clock()) / 1_000_000)

    def complaint(self) -> str | None:
        """Calls of the handler that hang hold threads, and in the end nothing is delivered any more."""
        if not (lost := self._crew.lost):
            return None
        calls = "a call of the handler has" if lost == 1 else f"{lost} calls of the handler have"
        return f"{calls} not come back within {self._settings.timeout_seconds:g} s; give its own calls a time-out"

    def unfinished(self) -> bool:
        """Whether attempts run, or their results are not written yet."""
        return self._crew.busy or bool(self._unsettled)

    def _settle(self) -> bool:
        now = self._ledger.clock()
        results = self._crew.results()
        self._adapt(time.monotonic() - self._claimed_at)
        for claim, outcome in results:
            if outcome is None:
                self._breaker.released(claim.id)
                self._unsettled.append(released(claim, now))
            else:
                settled = settlement(claim, outcome, self._settings, now)
                self._unsettled.append(settled)
                self._note_failure(claim, outcome, settled)
                if outcome.state in ("done", "skipped"):
                    self._lags.append(max(0, now - claim.recorded_at) / 1_000_000)
        if not self._unsettled:
            return False
        reached("settling")
        self._ledger.deliveries.settle(self.name, self._unsettled)
        reached("settled")
        self.settled.update(
            settled.state for settled in self._unsettled if settled.failed or settled.state != "pending"
        )
        self._unsettled = []
        self._measures.observe_many("done_lag_seconds", self.name, seconds=self._lags)
        self._lags = []
        self._note_breaker(now)
        return True

    def _note_failure(self, claim: Claim, outcome: Outcome, settled: Settlement) -> None:
        """For the log: what is told together later."""
        if settled.state == "dead":
            self._dead.add(claim)
        elif settled.failed and not outcome.asked:
            self._failed_attempts.add(claim)

    def _tell(self, *, at_once: bool = False) -> None:
        """Say what has failed: at once, and then now and then."""
        if told := self._failed_attempts.due(at_once=at_once):
            count, last = told
            what = "attempt has failed and is" if count == 1 else "attempts have failed and are"
            text = "handler %s: %d %s made again"
            logger.info(text, self.name, count, what, extra=self._about(last, failed=count))
        if told := self._dead.due(at_once=at_once):
            count, last = told
            what = "dead letter" if count == 1 else "dead letters"
            text = "handler %s: %d more %s; see `sftpd-processor status`"
            logger.error(text, self.name, count, what, extra=self._about(last, dead=count))

    def _about(self, claim: Claim, **count: int) -> dict[str, object]:
        """Fields of the log: the count, and which delivery it was when it was a single one."""
        if 1 not in count.values():
            return {**self._fields, **count}
        key = idempotency_key(claim.organisation, claim.identity, self.name)
        about = {"source": claim.source, "file": claim.file, "event_type": claim.type, "delivery": key}
        return {**self._fields, **count, **about}

    def _note_breaker(self, now: int) -> None:
        """Let `status` and the next process know of it."""
        was_open = self._opened_at is not None
        if self._breaker.open or was_open:
            self._opened_at = (self._opened_at or now) if self._breaker.open else None
            probe_at = now + int(self._breaker.wait() * 1_000_000)
            self._ledger.deliveries.note_breaker(self.name, self._opened_at, probe_at)

    def _adapt(self, took: float) -> None:
        """`took`: seconds from the claim to its last result; not to the commit, which a drain may hold up."""
        if self._crew.busy or self._handler.batch_size > 1 or not self._claimed_at:
            return
        self._claimed_at = 0.0
        if took < _FAST:
            self._limit = min(2 * self._limit, _MOST_CLAIMS)
        elif took > _SLOW:
            self._limit = max(self._limit // 2, self._settings.workers)

    def _claim(self) -> bool:
        ordered = self._settings.order == "conversation"
        limit = self._breaker.allowance(self._limit)
        if not limit:
            return False
        claims = self._claimed(limit, ordered=ordered)
        fit = [claim for claim in claims if claim.attempt <= self._settings.max_attempts]
        for claim in claims:
            if claim.attempt > self._settings.max_attempts:
                self._unsettled.append(_exhausted(claim))
                self._dead.add(claim)
        reached("claimed")
        if fit:
            self._breaker.claimed(fit[0].id)
            self._claimed_at = time.monotonic()
            self._crew.give(self._chunks(fit, ordered=ordered))
        return bool(claims)

    def _claimed(self, limit: int, *, ordered: bool) -> list[Claim]:
        """A probe is one not tried before, if there is any: else a few would use up their attempts in a long outage."""
        claim = self._ledger.deliveries.claim
        untried = claim(self.name, limit, ordered=ordered, untried=True) if self._breaker.open else []
        return untried or claim(self.name, limit, ordered=ordered)

    def _chunks(self, claims: list[Claim], *, ordered: bool) -> list[Sequence[Claim]]:
        """What has to be done one after another, together. A handler of batches gets its claims as they are."""
        if self._handler.batch_size > 1:
            return [claims]
        if not ordered:
            return [[claim] for claim in claims]
        lanes: dict[str | int, list[Claim]] = {}
        for claim in claims:
            lanes.setdefault(claim.id if claim.lane is None else claim.lane, []).append(claim)
        return list(lanes.values())


def _exhausted(claim: Claim) -> Settlement:
    """A dead letter: the last attempt that it had was cut off by the end of the process."""
    return Settlement(claim.id, "dead", claim.attempt - 1, 0, "the process ended during its last attempt")
