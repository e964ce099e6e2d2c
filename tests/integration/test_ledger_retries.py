"""What a person has tried again, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.events.parse import parse
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Arrival, Recorded, Settlement
from sftpd_processor.ledger.selection import Selection
from tests.ledger_samples import SECOND, Clock, array, batch, entry, event, opened, record, rows, wanting
from tests.support import wait_until

UNKNOWN = b'{"type": "somethingNew", "communicationActionId": "n1"}'


def die(ledger: Ledger, *said: str | None, handler: str = "crm") -> list[int]:
    """Let the deliveries that are due become dead letters, each with its handler's last words."""
    claims = ledger.deliveries.claim(handler, len(said), ordered=False)
    ends = [Settlement(claim.id, "dead", 8, 0, words, failed=True) for claim, words in zip(claims, said, strict=True)]
    ledger.deliveries.settle("crm", ends)
    return [claim.id for claim in claims]


def fit(ledger: Ledger, **chosen: Any) -> list[str]:
    """The files of the dead letters that fit."""
    return [row["file"] for row in ledger.retries.dead(Selection(**chosen))]


def reread(ledger: Ledger, name: str, *, dry_run: bool = False, **rules: Any) -> Recorded:
    """Read the quarantined file of that name again, by these rules."""
    (file,) = ledger.retries.quarantined(Selection(file=name))
    raw = ledger.retries.raw(file["id"])
    arrived = Arrival(entry(name, raw, file["mtime"]), raw, parse(raw, ZoneInfo("UTC"), **rules))
    return ledger.reread(file["id"], batch(arrived), wanting, dry_run=dry_run)


def quarantine(ledger: Ledger, name: str, raw: bytes, **rules: Any) -> None:
    """Record a file by these rules, and note its copy."""
    ledger.record(batch(Arrival(entry(name, raw), raw, parse(raw, ZoneInfo("UTC"), **rules))), wanting)
    copy_all(ledger)


def copy_all(ledger: Ledger) -> None:
    """Note a copy of every file that has none."""
    ledger.files.archived([(file.id, f"{file.verdict}/{file.name}") for file in ledger.files.unarchived(99)])


def actions(ledger: Ledger) -> list[str]:
    """The ids of what is handed to the handler now."""
    claims = ledger.deliveries.claim("crm", 99, ordered=False)
    return [json.loads(claim.body)["communicationActionId"] for claim in claims]


def test_selections_of_dead_letters(ledger: Ledger, clock: Clock) -> None:
    """By handler, type, source, name, what was said and time, alone and together: all that is given must fit."""
    record(ledger, ("a.json", event("1")), ("b.json", event("2", type="messageSend")))
    record(ledger, ("c_.json", event("3")), source="other")
    die(ledger, "HTTP 500: 100% down", "Refused_!")
    clock.advance(3600)
    later = clock.now
    die(ledger, None)
    assert fit(ledger) == ["a.json", "b.json", "c_.json"]
    assert fit(ledger, handlers=("crm",)) == fit(ledger, handlers=("crm", "x")) == ["a.json", "b.json", "c_.json"]
    assert fit(ledger, handlers=("x",)) == fit(ledger, file="d.json") == fit(ledger, error="404") == []
    assert fit(ledger, types=("messageSend",)) == ["b.json"]
    assert fit(ledger, sources=("other",)) == fit(ledger, file="c_*") == fit(ledger, since=later) == ["c_.json"]
    assert fit(ledger, until=later) == fit(ledger, file="?.json") == ["a.json", "b.json"]
    assert fit(ledger, error="http 500") == fit(ledger, error="100%") == fit(ledger, error="% d") == ["a.json"]
    assert fit(ledger, error="refused_!") == fit(ledger, error="_") == fit(ledger, error="!") == ["b.json"]
    assert fit(ledger, types=("inboundMessage",), until=later, error="down", file="a*") == ["a.json"]
    assert fit(ledger, types=("messageSend",), since=later) == []


def test_a_time_is_the_first_that_fits(ledger: Ledger, clock: Clock) -> None:
    """`since` fits the very moment, `until` does not."""
    record(ledger, ("a.json", event("1")))
    die(ledger, "no")
    (at,) = [row["settled_at"] for row in ledger.retries.dead(Selection())]
    assert fit(ledger, since=at) == fit(ledger, until=at + 1) == ["a.json"]
    assert fit(ledger, since=at + 1) == fit(ledger, until=at) == []


def test_what_is_put_back_begins_anew(ledger: Ledger, url: str) -> None:
    """It is due at once with attempt 1, and its history says who did it; what handlers said before is kept."""
    record(ledger, ("a.json", event("1")))
    ids = die(ledger, "no")
    assert ledger.retries.put_back(ids) == 1
    (claim,) = ledger.deliveries.claim("crm", 9, ordered=True)
    assert (claim.id, claim.attempt) == (ids[0], 1)
    assert rows(url, "SELECT attempt, outcome, detail FROM attempts ORDER BY id") == [
        (8, "failed", "no"), (8, "put back", None),
    ]  # fmt: skip


def test_only_dead_letters_are_put_back(ledger: Ledger) -> None:
    """A delivery that is done, running or not there stays as it is."""
    record(ledger, ("a.json", event("1")), ("b.json", event("2")))
    (dead,) = die(ledger, "no")
    (running,) = ledger.deliveries.claim("crm", 9, ordered=False)
    assert ledger.retries.put_back([dead, running.id, 999]) == 1
    assert ledger.retries.put_back([dead]) == 0


def test_a_conversation_keeps_its_order(ledger: Ledger) -> None:
    """What is put back goes before the later events of its conversation that are not done yet."""
    record(ledger, ("a.json", array(event("1"), event("2"), event("3"))))
    ledger.retries.put_back(die(ledger, "no"))
    claims = ledger.deliveries.claim("crm", 9, ordered=True)
    assert [json.loads(claim.body)["communicationActionId"] for claim in claims] == ["1", "2", "3"]


def at_once(url: str, table: str, *people: Callable[[], Any]) -> list[Any]:
    """What each of several people got who came while `table` was locked, so that none was done before another began."""
    engine = create_engine(url)
    with ThreadPoolExecutor(len(people)) as pool, engine.connect() as connection:
        connection.execute(text(f"UPDATE {table} SET id = id"))
        results = [pool.submit(each) for each in people]
        if connection.dialect.name == "postgresql":
            waiting = text("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")
            wait_until(lambda: connection.execute(waiting).scalar() == len(people), what="all of them")
        connection.rollback()
        got = [result.result() for result in results]
    engine.dispose()
    return got


def test_two_at_once_put_each_back_once(url: str) -> None:
    """Of two people who do it at the same time, each letter is put back by one, and noted once."""
    with opened(url) as ledger, opened(url) as other:
        record(ledger, ("a.json", array(*(event(str(number)) for number in range(20)))))
        ids = die(ledger, *["no"] * 20)
        done = at_once(url, "deliveries", *(partial(each.retries.put_back, ids) for each in (ledger, other)))
        assert sorted(done) == [0, 20]
        assert rows(url, "SELECT count(*) FROM attempts WHERE outcome = 'put back'") == [(20,)]


def test_an_invalid_file_becomes_accepted(ledger: Ledger, url: str) -> None:
    """By other rules it can be read: its events are handed on once, and its copy is due elsewhere."""
    quarantine(ledger, "a.json", UNKNOWN, accept_unknown=False)
    recorded = reread(ledger, "a.json")
    assert (recorded.verdicts, recorded.events, recorded.handlers) == ({"accepted": 1}, 1, frozenset({"crm"}))
    (file,) = ledger.files.unarchived(9)
    assert (file.verdict, file.reason, file.former_path, file.raw) == ("accepted", None, "invalid/a.json", UNKNOWN)
    copy_all(ledger)
    assert rows(url, "SELECT archive_path, former_path, events FROM files") == [("accepted/a.json", None, 1)]
    assert actions(ledger) == ["n1"]
    assert ledger.retries.quarantined(Selection()) == []


def test_a_dry_run_changes_nothing(ledger: Ledger, url: str) -> None:
    """It tells what would be, and leaves every table as it was."""
    quarantine(ledger, "a.json", UNKNOWN, accept_unknown=False)
    tables = ("files", "events", "deliveries", "repeats", "counters")
    before = [rows(url, f"SELECT * FROM {table}") for table in tables]
    assert reread(ledger, "a.json", dry_run=True).verdicts == {"accepted": 1}
    assert ledger.record(batch(Arrival(entry("b", b"x"), b"x", parse(event(), ZoneInfo("UTC")))), wanting, dry_run=True)
    assert [rows(url, f"SELECT * FROM {table}") for table in tables] == before
    assert reread(ledger, "a.json").events == 1


def test_a_partial_file_becomes_accepted(ledger: Ledger, url: str) -> None:
    """What it had brought before is neither handed on again nor taken for a repeat."""
    quarantine(ledger, "a.json", array(event("1"), UNKNOWN, event("2")), accept_unknown=False)
    assert rows(url, "SELECT verdict, events FROM files") == [("partial", 2)]
    recorded = reread(ledger, "a.json")
    assert (recorded.verdicts, recorded.events) == ({"accepted": 1}, 1)
    assert rows(url, "SELECT events, repeats, reason FROM files") == [(3, 0, None)]
    assert rows(url, "SELECT * FROM repeats") == []
    assert sorted(actions(ledger)) == ["1", "2", "n1"]
    (file,) = ledger.stories.files("a.json", None, 1)[0]
    assert [row["position"] for row in ledger.stories.events_of(file["id"], 9)[0]] == [0, 1, 2]


def test_an_invalid_file_becomes_partial(ledger: Ledger) -> None:
    """Its good events are handed on; it stays in quarantine with what is still wrong."""
    quarantine(ledger, "a.json", array(event("1"), b"5"), accept_partial=False)
    assert reread(ledger, "a.json").verdicts == {"partial": 1}
    copy_all(ledger)
    (file,) = ledger.retries.quarantined(Selection())
    assert (file["verdict"], json.loads(file["reason"])["total"]) == ("partial", 1)
    assert actions(ledger) == ["1"]


def test_what_came_meanwhile_in_another_file_is_a_duplicate(ledger: Ledger) -> None:
    """A file whose events another one has brought since is read again as a duplicate."""
    quarantine(ledger, "a.json", UNKNOWN, accept_unknown=False)
    record(ledger, ("b.json", UNKNOWN))
    assert reread(ledger, "a.json").verdicts == {"duplicate": 1}
    assert actions(ledger) == ["n1"]


@pytest.mark.parametrize("second", [event("1"), event("1", body="other")], ids=["duplicate", "conflict"])
def test_what_comes_twice_in_the_file_still_does(ledger: Ledger, url: str, second: bytes) -> None:
    """A repeat or conflict with the file's own first event is not forgotten when it is read again."""
    raw = array(event("1"), second, UNKNOWN)
    quarantine(ledger, "a.json", raw, accept_unknown=False)
    before = rows(url, "SELECT * FROM repeats")
    assert len(before) == 1
    assert reread(ledger, "a.json").events == 1
    assert rows(url, "SELECT * FROM repeats") == before
    conflict = second != event("1")
    assert rows(url, "SELECT verdict, repeats FROM files") == [("conflict" if conflict else "accepted", 1)]


def test_a_conflict_stays_one(ledger: Ledger, url: str) -> None:
    """Reading it again finds the same; its copy stays where it is."""
    record(ledger, ("a.json", event("1")))
    quarantine(ledger, "b.json", event("1", body="other"))
    assert reread(ledger, "b.json").verdicts == {"conflict": 1}
    assert ledger.files.unarchived(9) == []
    assert rows(url, "SELECT archive_path, repeats FROM files WHERE name = 'b.json'") == [("conflict/b.json", 1)]


def test_two_at_once_read_a_file_again_once(url: str) -> None:
    """When two people do it at the same time, its events are handed on once, and its verdict is right."""
    with opened(url) as ledger, opened(url) as other:
        quarantine(ledger, "a.json", array(event("1"), event("2"), b"5"), accept_partial=False)
        done = at_once(url, "files", *(partial(reread, each, "a.json") for each in (ledger, other)))
        assert sorted(recorded.events for recorded in done) == [0, 2]
        assert rows(url, "SELECT verdict, events, repeats FROM files") == [("partial", 2, 0)]


def test_a_corrected_file_counts_apart(ledger: Ledger) -> None:
    """It takes the place of the broken one, which is shown no more; nobody listed it, so it is in no balance."""
    quarantine(ledger, "a.json", b"{")
    (broken,) = ledger.retries.quarantined(Selection())
    made = batch(Arrival(entry("a.json", event(), 7), event(), parse(event(), ZoneInfo("UTC"))))
    made.origin, made.corrects = "replay", broken["id"]
    ledger.record(made, wanting)
    assert ledger.retries.quarantined(Selection()) == ledger.figures.quarantined(9) == []
    figures = ledger.figures.sources()["webio"]
    assert (figures.states, figures.verdicts, figures.corrected) == ({"recorded": 1}, {"invalid": 1}, 1)
    assert figures.unarchived == 1


def test_selections_of_quarantined_files(ledger: Ledger, clock: Clock) -> None:
    """By source, name, reason and time of recording."""
    quarantine(ledger, "a.json", b"{")
    clock.advance(60)
    quarantine(ledger, "b.json", array(event(), b"5"))

    def names(**chosen: Any) -> list[str]:
        return [row["name"] for row in ledger.retries.quarantined(Selection(**chosen))]

    assert names() == ["a.json", "b.json"]
    assert names(error="CUT SHORT") == names(until=clock.now - 30 * SECOND) == ["a.json"]
    assert names(file="b*") == names(since=clock.now - 30 * SECOND) == ["b.json"]
    assert names(sources=("webio",), file="c") == names(sources=("other",)) == []


def test_many_at_once(ledger: Ledger) -> None:
    """Two thousand dead letters, more than go into one statement, are found and put back within seconds."""
    record(ledger, ("a.json", array(*(event(str(number), None) for number in range(2000)))))
    die(ledger, *["no"] * 2000)
    began = time.monotonic()
    found = ledger.retries.dead(Selection(error="no"))
    assert ledger.retries.put_back([row["id"] for row in found]) == 2000
    assert time.monotonic() - began < 5
    assert not ledger.retries.dead(Selection())
