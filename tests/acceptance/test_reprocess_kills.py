"""Killed without warning while archived events are handled again, and while days are compacted: nothing is lost.

`REPROCESS_KILLS=50` in the environment makes so many random kills of each kind; `REPROCESS_FILES` sets the files.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator
from itertools import chain

import pytest

from sftpd_processor.points import ASIDE, POINTS
from tests.acceptance.replay_kills import DAYS, HANDLERS, Kill, Ordeal, kills
from tests.acceptance.support import Desk

KILLS = int(os.environ.get("REPROCESS_KILLS", "1"))
SIZE = int(os.environ.get("REPROCESS_FILES", "150")) // len(DAYS)
COMMAND = ["reprocess", "--yes"]
REPLAY = [point for point in {**POINTS, **ASIDE} if point.startswith("replay-")]
REPLAY += ["committing", "handing-over", "handled"]
COMPACTION = [point for point in ASIDE if not point.startswith("replay-")]


@pytest.fixture
def ordeal(desk: Desk) -> Ordeal:
    """An archive of three days, and no ledger."""
    return Ordeal(desk, SIZE)


def endlessly(points: list[str], span: float) -> Iterator[Kill]:
    """Each point once, and then whatever chance chooses."""
    return chain(map(Kill, points), kills(random.Random(6), points, span))


def undisturbed(ordeal: Ordeal, *arguments: str) -> float:
    """Run it to its end; how many seconds that takes."""
    began = time.monotonic()
    ordeal.whole(*arguments)
    return time.monotonic() - began


def orders(ordeal: Ordeal) -> dict[str, dict[str, list[str]]]:
    """The order of each conversation at each handler."""
    return {handler: ordeal.in_order(handler) for handler in HANDLERS}


@pytest.mark.timeout(900)
def test_a_replay_killed_anywhere_ends_like_one_that_was_not(ordeal: Ordeal) -> None:
    """Killed at each point and at random, and resumed, a rebuilding replay ends with the same ledger as an
    undisturbed one; what was settled is never handed over again, and each conversation is in order."""
    command, copies = [*COMMAND, str(ordeal.archive)], ordeal.hashes()
    ends = endlessly(REPLAY, undisturbed(ordeal, *command))
    truth, order = ordeal.truth(), orders(ordeal)
    number = len(DAYS) * (SIZE + 3)
    assert {row[3] for row in truth["deliveries"]} == {"done"}
    assert (len(truth["events"]), len(truth["deliveries"])) == (number, number * len(HANDLERS))
    while ordeal.deaths < len(REPLAY) + KILLS:
        ordeal.forget()
        deaths = ordeal.replay(command, ends, len(REPLAY) + KILLS - ordeal.deaths)
        ordeal.demand_none_twice(deaths)
        assert (ordeal.truth(), orders(ordeal), ordeal.unfinished()) == (truth, order, 0)
    assert ordeal.hashes() == copies


@pytest.mark.timeout(900)
def test_compaction_killed_anywhere_loses_no_byte(ordeal: Ordeal) -> None:
    """Killed at each point and at random, every copy is readable with its bytes at any moment; the next upkeep does
    the rest, and the archive is as the ledger knows it."""
    ordeal.whole(*COMMAND, str(ordeal.archive), "--record-only")
    copies, command = ordeal.hashes(), ("archive", "upkeep")
    ends = endlessly(COMPACTION, undisturbed(ordeal, *command))
    ordeal.lay_out()
    while ordeal.deaths < len(COMPACTION) + KILLS:
        if not ordeal.killed(command, next(ends)):
            assert ordeal.days() == [f"{day}.zip" for day in DAYS]
            ordeal.lay_out()
        assert ordeal.hashes() == copies
    ordeal.whole(*command)
    assert (ordeal.hashes(), ordeal.days()) == (copies, [f"{day}.zip" for day in DAYS])
    ordeal.whole("archive", "verify")


@pytest.mark.timeout(900)
def test_a_lost_ledger_and_doing_it_again(ordeal: Ordeal) -> None:
    """From compacted days a lost ledger comes back as it was, and what is done is done again exactly once, however
    often either is killed."""
    ordeal.whole(*COMMAND, str(ordeal.archive))
    ordeal.whole("archive", "upkeep")
    truth, order = ordeal.truth(), orders(ordeal)
    ordeal.forget()
    for number, command in enumerate([[str(ordeal.archive)], ["--all", "--again"]], 1):
        ordeal.begin_notes()
        deaths = ordeal.replay([*COMMAND, *command], kills(random.Random(number), REPLAY, 1.0), -(-KILLS // 2))
        ordeal.demand_none_twice(deaths)
        assert (ordeal.truth(), orders(ordeal), ordeal.unfinished()) == (truth, order, 0)
    assert ordeal.desk.rows("SELECT count(*), count(DISTINCT replay) FROM replayed WHERE state = 'done'") == [
        (len(truth["deliveries"]), 1)
    ]
