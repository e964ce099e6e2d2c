"""Each hostile file is read as its index says, in bounded time and memory."""

from __future__ import annotations

import pytest

from sftpd_processor.events.parse import Parsed, Rejection
from tests.fuzz.properties import check
from tests.hostile.corpus import corpus, stored

FILES = corpus()


def test_index_is_complete() -> None:
    """Every stored file is in the index, every file of the index is stored or made, and there are over 100."""
    assert stored() == {name for name, file in FILES.items() if not file.content}
    assert len(FILES) > 100
    assert sum(len(file.data) for file in FILES.values() if not file.content) < 200_000


@pytest.mark.parametrize("name", [name for name, file in FILES.items() if file.expected != "too large"])
def test_outcome(name: str) -> None:
    """The file's outcome is the expected one, by count, place and reason, and `parse` keeps all its promises."""
    file = FILES[name]
    outcome = check(file.data)
    events, rejection = (outcome.events, outcome.rejected) if isinstance(outcome, Parsed) else ((), outcome)
    assert (_verdict(outcome), len(events)) == (file.expected, file.events), str(rejection)
    if rejection is None:
        assert (file.where, file.why) == ("", "")
    else:
        first = rejection.faults[0]
        assert file.begins_at(first.where), str(first)
        assert file.why
        assert file.why in first.why, str(first)


def test_too_large_files_are_too_large() -> None:
    """The files expected to be too large are over the default limit, and all others are not."""
    assert {name for name, file in FILES.items() if len(file.data) > 1_048_576} == {
        name for name, file in FILES.items() if file.expected == "too large"
    }


def _verdict(outcome: Parsed | Rejection) -> str:
    if isinstance(outcome, Rejection):
        return "invalid"
    return "accepted" if outcome.rejected is None else "partial"
