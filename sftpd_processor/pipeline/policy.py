"""What becomes of a delivery after an attempt: the one place that decides on retries and dead letters."""

from __future__ import annotations

import random

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.handlers.api import Outcome
from sftpd_processor.ledger.records import Claim, Settlement


def settlement(claim: Claim, outcome: Outcome, settings: DeliverySettings, now: int) -> Settlement:
    """How `outcome` is written: a `retry` becomes pending again, or a dead letter after the last attempt."""
    detail = outcome.detail or None
    if outcome.state != "retry":
        return Settlement(claim.id, outcome.state, claim.attempt, now, detail, failed=outcome.state == "dead")
    if claim.attempt >= settings.max_attempts:
        return Settlement(claim.id, "dead", claim.attempt, now, detail, failed=True)
    pause = outcome.after if outcome.after is not None else backoff(claim.attempt, settings)
    return Settlement(claim.id, "pending", claim.attempt, now + int(pause * 1_000_000), detail, failed=True)


def released(claim: Claim, now: int) -> Settlement:
    """A claim given back untried: the attempt that was counted for it did not take place."""
    return Settlement(claim.id, "pending", claim.attempt - 1, now, None)


def backoff(attempt: int, settings: DeliverySettings) -> float:
    """Seconds to wait after a failed attempt: doubling, bounded, and spread so that retries do not march in step."""
    longest = min(settings.backoff_seconds * 2.0 ** min(attempt - 1, 60), settings.backoff_max_seconds)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreading, not secrecy
