"""The inspection passes a world in which all is well, and finds each thing that can be wrong with it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.certify_world import KILLED, World

Spoil = Callable[[World], object]

PLACE = "each file is in its one place on the server, with its size"
STRANGERS = "nothing else is there"
RECORDS = "each file has one record, with its SHA-256"
VERDICTS = "each file has the verdict that it must have"
EVENTS = "each event is recorded once, whatever files it came in"
COPIES = "each local copy holds the bytes that were sent, in the right folder"
ONE_COPY = "each file has one local copy, and its reason where it is in quarantine"
DELIVERIES = "each handler has one delivery of each event that it asked for, and none else"
DONE = "each delivery is done, and dead letters are exactly those that were rejected"
EFFECTS = "each (event, handler) pair had its effect"
NEVER_AGAIN = "what was done at an earlier end of a run never ran again"
TWICE = "what ran twice was running when the process was killed"
KEYS = "every attempt at a delivery has the same idempotency key, and no two deliveries share one"
ORDER = "the events of each conversation came to each handler in the order recorded"
BALANCE = "the balance of each complete look closes"
TORN = "only kills tore lines of the journals, one each at most"
ENDS = "each run that was not killed ended by itself and left nothing running"
SAMPLE = "files on the server still hold the bytes that were sent (a sample)"
SOUND = "the ledger's own integrity check is good"
LEFT_OVER = "no file is left over in the state folder"
MISTAKES = "the program reported no mistake of its own"


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_all_is_well(world: World) -> None:
    """Nothing fails in a good world, and every check has looked at something where there was something."""
    found = world.look()
    assert [title for title, check in found.items() if not check.passed] == []
    assert [title for title, check in found.items() if not check.examined] == [TORN]
    assert {check.examined for title, check in found.items() if title in (PLACE, RECORDS, COPIES, SAMPLE)} == {6}


SPOILS: dict[str, tuple[Spoil, list[str]]] = {
    "gone from the server": (lambda w: (w.server / "a.json").unlink(), [PLACE]),
    "still where it was": (lambda w: (w.server / "a.json").rename(w.server.parent / "a.json"), [PLACE]),
    "in two places": (lambda w: os.link(w.server / "a.json", w.server.parent / "a.json"), [PLACE]),
    "of another size": (lambda w: (w.server / "a.json").write_bytes(b"?"), [PLACE, SAMPLE]),
    "with other bytes": (lambda w: (w.server / "a.json").write_bytes(b"THE BYTES OF a.json"), [SAMPLE]),
    "a second copy by another name": (
        lambda w: os.link(w.server / "a.json", w.server / "a.1234.json"),
        [STRANGERS],
    ),
    "an upload that stayed": (lambda w: (w.server.parents[1] / "upload" / "x").write_bytes(b"x"), [STRANGERS]),
    "not recorded": (lambda w: w.ledger("UPDATE files SET state = 'waiting' WHERE id = 6"), [RECORDS, COPIES]),
    "recorded twice": (
        lambda w: w.ledger(
            "INSERT INTO files SELECT 9, name, state, verdict, sha256, 0, NULL, 1 FROM files WHERE id = 6"
        ),
        [RECORDS, COPIES],
    ),
    "recorded with another SHA-256": (lambda w: w.ledger("UPDATE files SET sha256 = 'x' WHERE id = 6"), [RECORDS]),
    "another verdict": (lambda w: w.ledger("UPDATE files SET verdict = 'accepted' WHERE id = 2"), [VERDICTS]),
    "a conflict taken for a duplicate": (
        lambda w: w.ledger("UPDATE files SET verdict = 'duplicate' WHERE id = 3"),
        [VERDICTS, COPIES],
    ),
    "an event lost": (
        lambda w: w.ledger("DELETE FROM events WHERE id = 7"),
        [VERDICTS, EVENTS, DELIVERIES],
    ),
    "an event recorded twice": (
        lambda w: w.ledger("INSERT INTO events VALUES (8, 2, 0, 'A')"),
        [VERDICTS, EVENTS],
    ),
    "no archive file": (lambda w: w.copy("a.json").unlink(), [COPIES]),
    "an archive file cut short": (lambda w: w.copy("a.json").write_bytes(b"the"), [COPIES]),
    "an archive file too many": (lambda w: w.copy("a.json").with_name("x").write_bytes(b""), [ONE_COPY]),
    "no reason": (lambda w: w.copy("f.json").with_name("f.json.reason.json").unlink(), [ONE_COPY]),
    "a delivery lost": (lambda w: w.ledger("DELETE FROM deliveries WHERE handler = 'flaky'"), [DELIVERIES]),
    "a delivery twice": (
        lambda w: w.ledger("INSERT INTO deliveries VALUES (99, 7, 'journal', 'done', 30)"),
        [DELIVERIES, ORDER],
    ),
    "a delivery that nobody asked for": (
        lambda w: w.ledger("INSERT INTO deliveries VALUES (99, 1, 'flaky', 'done', 30)"),
        [DELIVERIES],
    ),
    "a delivery undone": (lambda w: w.ledger("UPDATE deliveries SET state = 'pending' WHERE id = 3"), [DONE]),
    "a dead letter too many": (lambda w: w.ledger("UPDATE deliveries SET state = 'dead' WHERE id = 3"), [DONE]),
    "a rejected one that is done": (lambda w: w.ledger("UPDATE deliveries SET state = 'done' WHERE id = 11"), [DONE]),
    "no effect": (lambda w: w.edit("flaky", "e 2", "f 2"), [EFFECTS]),
    "no trace at all": (lambda w: w.stage.journal("flaky").unlink(), [EFFECTS]),
    "an effect of what was rejected": (lambda w: w.edit("picky", "r 7", "e 7"), [EFFECTS]),
    "a done delivery that ran again": (
        lambda w: w.mark("journal", "b 1", "e 1").ran(3, 0),
        [NEVER_AGAIN, TWICE],
    ),
    "an effect twice in one run": (lambda w: w.mark("lines", "e 7").ran(2, 0), [TWICE]),
    "another key for the second attempt": (lambda w: w.rekey("flaky"), [KEYS]),
    "out of order": (
        lambda w: w.ledger("UPDATE events SET conversation = 'A' WHERE id = 7").swap("lines"),
        [ORDER],
    ),
    "an unbalanced look": (
        lambda w: w.ledger("INSERT INTO looks VALUES (2, 8, 6, 0, 1, 0, 0, 5, NULL)").ran(3, 0),
        [BALANCE],
    ),
    "a line torn without a kill": (lambda w: w.tear("flaky").ran(3, 0), [TORN]),
    "an end with an error": (lambda w: w.ran(3, 1), [ENDS]),
    "running after an orderly end": (
        lambda w: w.ledger("UPDATE deliveries SET state = 'running' WHERE id = 9").ran(3, 0),
        [DONE, ENDS],
    ),
    "a file left over": (lambda w: (w.stage.state / "tmp123").write_bytes(b""), [LEFT_OVER]),
    "an internal error": (lambda w: w.stage.log.write_text("archive: internal error; please report it\n"), [MISTAKES]),
    "a traceback": (lambda w: w.stage.log.write_text("Traceback (most recent call last):\n"), [MISTAKES]),
}


@pytest.mark.parametrize("what", SPOILS)
def test_what_is_wrong_is_found(world: World, what: str) -> None:
    """Each thing that is spoilt fails the checks that are about it, and no others."""
    spoil, expected = SPOILS[what]
    spoil(world)
    assert world.failing() == expected


def test_a_kill_may_tear_a_line(world: World) -> None:
    """One line torn in a run that was killed is no fault; the next run ended it and went on."""
    world.tear("journal")
    world.ran(3, KILLED)
    with world.stage.journal("journal").open("a") as journal:
        journal.write("\n")
    world.ran(4, 0)
    assert world.failing() == []


@pytest.mark.parametrize("after", ["keep", "delete"])
def test_where_files_must_be_depends_on_the_setting(world: World, after: str) -> None:
    """With `after = "keep"` they stay where they came, with `delete` they are gone; elsewhere they are misplaced."""
    for path in list(world.server.iterdir()):
        if after == "delete":
            path.unlink()
        else:
            path.rename(world.server.parent / path.name)
    assert world.failing(after) == []


@pytest.mark.parametrize("after", ["keep", "delete"])
def test_moved_files_fail_where_they_should_not_be_moved(world: World, after: str) -> None:
    """Every moved file is at fault when the setting is another."""
    check = world.look(after)[PLACE]
    assert (check.faults, check.kind, check.passed) == (6, "lost", False)
    assert len(check.examples) == 5


def test_no_ledger_fails(world: World) -> None:
    """Where there is no ledger to ask, the proof does not pass."""
    world.stage.ledger.unlink()
    found = world.look()
    assert found[SOUND].examples == ("there is no ledger",)
    assert not found[RECORDS].passed


def test_a_damaged_ledger_fails(world: World) -> None:
    """What SQLite's own integrity check says of a damaged ledger is told."""
    world.ledger("PRAGMA writable_schema = ON", "CREATE INDEX by_event ON events (id)")
    world.ledger("PRAGMA writable_schema = ON", "DELETE FROM sqlite_master WHERE name = 'by_event'")
    assert world.failing() == [SOUND]
