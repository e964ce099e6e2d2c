"""The policy: what becomes of a delivery after an attempt."""

from __future__ import annotations

from typing import Literal

import pytest

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.handlers.api import Outcome
from sftpd_processor.ledger.records import Claim
from sftpd_processor.pipeline.policy import backoff, released, settlement

NOW = 1_700_000_000_000_000
SETTINGS = DeliverySettings(max_attempts=4, backoff_seconds=2, backoff_max_seconds=60)


def claim(attempt: int) -> Claim:
    return Claim(
        id=7, lane="default/97011", attempt=attempt, organisation="default", identity="i", type="payment",
        conversation="97011", time_zone="UTC", recorded_at=NOW, body=b"{}", origin="sftp", source="webio", file=None,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("attempt", "longest"), [(1, 2), (2, 4), (3, 8), (4, 16), (5, 32), (6, 60), (7, 60), (900, 60)]
)
def test_the_pause_doubles_up_to_its_cap(attempt: int, longest: float) -> None:
    """After attempt n the pause lies between the half and the whole of backoff·2ⁿ⁻¹, and never above the cap."""
    pauses = [backoff(attempt, SETTINGS) for _ in range(500)]
    assert min(pauses) >= longest / 2
    assert max(pauses) <= longest
    assert max(pauses) - min(pauses) > longest / 4, "without jitter, retries march in step"


def test_a_failed_attempt_is_pending_again_after_the_pause() -> None:
    """A retry keeps the attempt that was counted, tells why, and is due within the pause of the policy."""
    made = settlement(claim(2), Outcome("retry", "refused"), SETTINGS, NOW)
    assert (made.id, made.state, made.attempts, made.detail) == (7, "pending", 2, "refused")
    assert NOW + 2_000_000 <= made.due_at <= NOW + 4_000_000


@pytest.mark.parametrize("after", [0.0, 1.5, 86_400.0])
def test_the_handler_may_say_when(after: float) -> None:
    """`Retry(after=…)` overrules the policy, also its cap and also with 0."""
    assert settlement(claim(1), Outcome("retry", after=after), SETTINGS, NOW).due_at == NOW + int(after * 1_000_000)


@pytest.mark.parametrize(("attempt", "state"), [(3, "pending"), (4, "dead"), (5, "dead")])
def test_the_last_attempt_makes_a_dead_letter(attempt: int, state: str) -> None:
    """At `max_attempts`, and also beyond it (after a crash), a failure is final; its reason is kept."""
    made = settlement(claim(attempt), Outcome("retry", "still refused", after=0), SETTINGS, NOW)
    assert (made.state, made.attempts, made.detail) == (state, attempt, "still refused")


@pytest.mark.parametrize("state", ["done", "skipped", "dead"])
def test_other_outcomes_are_final_at_once(state: Literal["done", "skipped", "dead"]) -> None:
    """Done, skipped and rejected are written as they are, at the first attempt already."""
    made = settlement(claim(1), Outcome(state, "because"), SETTINGS, NOW)
    assert (made.state, made.attempts, made.detail) == (state, 1, "because")


def test_no_detail_is_none() -> None:
    """An outcome without words leaves no empty text in the ledger."""
    assert settlement(claim(1), Outcome("done"), SETTINGS, NOW).detail is None


def test_a_claim_given_back_has_used_no_attempt() -> None:
    """A claim that was not begun is due at once, with the attempts it had before it was claimed."""
    made = released(claim(3), NOW)
    assert (made.id, made.state, made.attempts, made.due_at, made.detail) == (7, "pending", 2, NOW, None)


def test_one_attempt_only() -> None:
    """With max_attempts = 1 the first failure is the last."""
    assert settlement(claim(1), Outcome("retry"), DeliverySettings(max_attempts=1), NOW).state == "dead"
