"""Fuzzing: the stored seeds still keep every promise, and a short guided run finds nothing new."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sftpd_processor.events.parse import Parsed, Rejection
from tests.fuzz import properties
from tests.fuzz.properties import check

SEEDS = sorted((Path(__file__).parents[1] / "fuzz" / "seeds").iterdir())


def test_seeds() -> None:
    """What the fuzzer once found interesting keeps every promise; some of it is accepted, some partly, some not."""
    outcomes = [check(seed.read_bytes(), most_events=50) for seed in SEEDS]
    accepted = [outcome for outcome in outcomes if isinstance(outcome, Parsed)]
    assert sum(outcome.rejected is None for outcome in accepted) >= 10
    assert sum(outcome.rejected is not None for outcome in accepted) >= 10
    assert sum(isinstance(outcome, Rejection) for outcome in outcomes) >= 10
    assert sum(seed.stat().st_size for seed in SEEDS) < 300_000


def test_short_run() -> None:
    """Five seconds of guided fuzzing break no promise. It needs atheris, which the dev extra brings on Linux."""
    command = [sys.executable, "-m", "tests.fuzz.fuzz_parse", "--seconds", "5"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "Done " in ran.stderr


def test_a_broken_promise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault that repeats what is in the file, as a careless one would, does not pass the check."""
    assert properties.copied("$.body: Mrs Doyle calls back", b'{"body": "Mrs Doyle calls"}')
    assert not properties.copied("$.communicationActionId: must be a text", b'{"communicationActionId": []}')
    monkeypatch.setattr(properties, "parse_event", lambda body, zone: None)
    with pytest.raises(AssertionError):
        check(b'{"type": "payment"}')
