"""What upkeep does in the ledger, on SQLite and on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.ledger import upkeep as module
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Settlement
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.ledger.upkeep import DAY, Kept
from tests.ledger_samples import NOON, Clock, array, arrival, batch, event, opened, record, rows, settled, sqlite_url

TODAY = NOON // DAY
LATER = NOON + 400 * DAY
EVERYTHING = Selection()


def archived(ledger: Ledger) -> list[int]:
    """The copies of all files are written; their numbers."""
    done = [(file.id, f"archive/webio/{file.name}") for file in ledger.files.unarchived(1000)]
    ledger.files.archived(done)
    return [number for number, _ in done]


def deliver(ledger: Ledger, *states: str) -> None:
    """Settle the deliveries that are due, one for each state; the others stay running."""
    claims = ledger.deliveries.claim("crm", 100, ordered=False)
    for claim, state in zip(claims, states, strict=False):
        ledger.deliveries.settle("crm", [settled(claim.id, state)])


def expire(ledger: Ledger, numbers: Sequence[int]) -> None:
    """As the upkeep does it."""
    while ledger.upkeep.empty(numbers):
        pass
    ledger.upkeep.expire(numbers)


def change(url: str, statement: str) -> None:
    """Change the ledger from outside."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_raw_bytes_go_only_after_the_copy(ledger: Ledger, url: str) -> None:
    """A file that is not archived, or not before the given moment, keeps its bytes."""
    record(ledger, ("1.json", event("1")))
    (first,) = archived(ledger)
    before = ledger.clock()
    record(ledger, ("2.json", event("2")), ("3.json", event("3")))
    second = ledger.files.unarchived(1)[0].id
    ledger.files.archived([(second, "archive/webio/2.json")])
    (found,) = ledger.upkeep.copied(before, 0)
    assert (found.id, found.path, found.bytes) == (first, "archive/webio/1.json", len(event("1")))
    assert ledger.upkeep.release([first, second, second + 1], before) == 1
    assert rows(url, "SELECT file_id FROM contents ORDER BY file_id") == [(second,), (second + 1,)]
    assert ledger.upkeep.first_unarchived() == second + 1


def test_few_raw_bytes_are_dropped_at_once(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """One piece holds so many bytes that no transaction is long, but always a file."""
    monkeypatch.setattr(module, "_MOST_BYTES", 150)
    record(ledger, *[(f"{n}.json", event(str(n))) for n in range(4)])
    numbers = archived(ledger)
    assert [file.id for file in ledger.upkeep.copied(LATER, 0)] == numbers[:1]
    assert [file.id for file in ledger.upkeep.copied(LATER, numbers[2])] == numbers[3:]


def test_a_file_read_again_has_its_bytes_again(ledger: Ledger) -> None:
    """When the copy is due to be written anew, the bytes for it are in the ledger, though they had been released."""
    record(ledger, ("1.json", b'{"type": 5}'))
    (number,) = archived(ledger)
    ledger.upkeep.release([number], LATER)
    ledger.reread(number, batch(arrival("1.json", event("1"))), lambda _kind: ["crm"])
    (due,) = ledger.files.unarchived(10)
    assert (due.id, due.raw, due.former_path) == (number, event("1"), "archive/webio/1.json")


def test_what_is_settled_goes_with_the_contents(ledger: Ledger, url: str) -> None:
    """Done and skipped deliveries and replays of an expired event are removed, a dead letter stays for its own time."""
    record(ledger, ("1.json", array(event("1"), event("2"), event("3"))))
    numbers = archived(ledger)
    deliver(ledger, "done", "skipped", "dead")
    change(url, "INSERT INTO replays (id, started_at, job) VALUES (1, 1, '{}')")
    change(url, "INSERT INTO replayed SELECT 1, 'crm', id, 'done', 1, 1, NULL FROM events")
    expire(ledger, numbers)
    assert set(rows(url, "SELECT length(body), gone FROM events")) == {(0, "expired")}
    assert rows(url, "SELECT state FROM deliveries") == [("dead",)]
    assert rows(url, "SELECT * FROM replayed") == []
    assert rows(url, "SELECT gone, archive_path FROM files") == [("expired", None)]
    assert rows(url, "SELECT * FROM contents") == []
    assert ledger.upkeep.empty(numbers) == 0
    assert ledger.files.unarchived(10) == []


def test_an_open_delivery_keeps_its_event(ledger: Ledger, url: str) -> None:
    """An event that is still to be delivered keeps its contents, and its file its place; the others of it go."""
    record(ledger, ("1.json", array(event("1"), event("2"))))
    numbers = archived(ledger)
    deliver(ledger, "done")
    expire(ledger, numbers)
    assert rows(url, "SELECT gone FROM events ORDER BY id") == [("expired",), (None,)]
    assert rows(url, "SELECT gone FROM files") == [(None,)]
    deliveries = rows(url, "SELECT id FROM deliveries")
    ledger.deliveries.settle("crm", [Settlement(deliveries[0][0], "done", 1, 0, None)])
    expire(ledger, numbers)
    assert rows(url, "SELECT gone FROM files") == [("expired",)]


def test_what_is_gone_comes_again_as_a_repeat(ledger: Ledger) -> None:
    """With an expired event nothing can be compared: the same identity is a duplicate, never a conflict, nor new."""
    record(ledger, ("1.json", event("1")))
    numbers = archived(ledger)
    deliver(ledger, "done")
    expire(ledger, numbers)
    recorded = record(ledger, ("2.json", event("1", body="other")))
    assert (recorded.verdicts, recorded.events) == ({"duplicate": 1}, 0)


def test_what_is_gone_is_not_handled_again(ledger: Ledger, url: str) -> None:
    """A dead letter without contents is not offered for another try, cannot be put back, and is never claimed."""
    record(ledger, ("1.json", event("1")))
    numbers = archived(ledger)
    deliver(ledger, "dead")
    (dead,) = ledger.retries.dead(EVERYTHING)
    expire(ledger, numbers)
    assert ledger.retries.dead(EVERYTHING) == []
    assert ledger.retries.put_back([dead["id"]]) == 0
    change(url, "UPDATE deliveries SET state = 'pending'")
    assert ledger.deliveries.claim("crm", 10, ordered=True) == []


def test_what_left_the_quarantine_is_not_counted(ledger: Ledger) -> None:
    """An expired file of the quarantine is in no list of it, nor in a figure, nor does an alert see it."""
    record(ledger, ("1.json", b"?"), ("2.json", b"?"))
    first, _ = archived(ledger)
    ledger.upkeep.expire([first])
    assert [row["name"] for row in ledger.retries.quarantined(EVERYTHING)] == ["2.json"]
    assert [row["name"] for row in ledger.figures.quarantined(10)] == ["2.json"]
    assert ledger.figures.gauges().quarantined == {"webio": 1}
    assert ledger.alerts.in_quarantine("webio")
    ledger.upkeep.expire([first + 1])
    assert not ledger.alerts.in_quarantine("webio")
    assert ledger.figures.gauges().quarantined == {}


def test_old_dead_letters_go(ledger: Ledger, url: str) -> None:
    """Dead letters that died before a time are removed with their attempts; how many there ever were stays."""
    record(ledger, ("1.json", array(event("1"), event("2"))))
    first, second = ledger.deliveries.claim("crm", 10, ordered=False)
    ledger.deliveries.settle("crm", [Settlement(first.id, "dead", 1, 0, "no", failed=True)])
    between = ledger.clock()
    ledger.deliveries.settle("crm", [Settlement(second.id, "dead", 1, 0, "no", failed=True)])
    assert ledger.upkeep.drop_dead(between) == 1
    assert ledger.upkeep.drop_dead(between) == 0
    assert rows(url, "SELECT id FROM deliveries") == [(second.id,)]
    assert rows(url, "SELECT delivery_id FROM attempts") == [(second.id,)]
    assert [total.number for total in ledger.totals.all() if total.kind == "delivery"] == [2]


def test_identities_are_forgotten_in_the_end(ledger: Ledger, url: str) -> None:
    """An expired event goes with its repeats and its file; then it would be new. What has contents stays."""
    record(ledger, ("1.json", event("1")), ("kept.json", event("2")))
    first, kept = archived(ledger)
    record(ledger, ("again.json", event("1")))
    (again,) = archived(ledger)
    deliver(ledger, "done", "done")
    expire(ledger, [first])
    change(url, "UPDATE files SET disposed_look = 1")
    assert ledger.upkeep.forget_events([first, kept, again], NOON) == 0
    assert ledger.upkeep.forget_events([first, kept, again], LATER) == 1
    assert ledger.upkeep.forget_files([first, kept, again]) == 1
    assert rows(url, "SELECT name FROM files ORDER BY id") == [("kept.json",), ("again.json",)]
    assert rows(url, "SELECT * FROM repeats") == []
    assert record(ledger, ("2.json", event("1"))).events == 1


@pytest.mark.parametrize(("origin", "look", "left"), [("sftp", "NULL", 1), ("sftp", "7", 0), ("http", "NULL", 0)])
def test_a_file_still_listed_is_known_for_ever(ledger: Ledger, url: str, origin: str, look: str, left: int) -> None:
    """With `after = "keep"` a file is listed at each look: its row stays, or it would be taken as new."""
    record(ledger, ("1.json", event("1")))
    numbers = archived(ledger)
    deliver(ledger, "done")
    expire(ledger, numbers)
    change(url, f"UPDATE files SET origin = '{origin}', disposed_look = {look}")
    assert ledger.upkeep.forget_events(numbers, LATER) == 1
    ledger.upkeep.forget_files(numbers)
    assert rows(url, "SELECT count(*) FROM files") == [(left,)]


def test_an_identity_with_a_dead_letter_stays(ledger: Ledger, url: str) -> None:
    """As long as a dead letter is kept, so are its event and its file."""
    record(ledger, ("1.json", event("1")))
    numbers = archived(ledger)
    deliver(ledger, "dead")
    expire(ledger, numbers)
    assert ledger.upkeep.forget_events(numbers, LATER) == 0
    assert rows(url, "SELECT count(*) FROM events") == [(1,)]


def test_days_with_open_ends_are_held(ledger: Ledger, clock: Clock) -> None:
    """A source's day with an open delivery, or a copy still to be written, is told; days that are too young are not."""
    record(ledger, ("1.json", event("1")))
    archived(ledger)
    clock.advance(86_400)
    record(ledger, ("2.json", event("2")), source="other")
    archived(ledger)
    deliver(ledger, "done", "done")
    assert ledger.upkeep.held(TODAY + 9) == set()
    record(ledger, ("3.json", event("3")))
    archived(ledger)
    clock.advance(86_400)
    record(ledger, ("4.json", b"?"), source="other")
    assert ledger.upkeep.held(TODAY + 9) == {("webio", TODAY + 1), ("other", TODAY + 2)}
    assert ledger.upkeep.held(TODAY + 2) == {("webio", TODAY + 1)}


def test_pages_hold_each_file_once(ledger: Ledger, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files recorded at one moment are on pages of their own, in order; other days and rooms are on others."""
    monkeypatch.setattr(module, "AT_ONCE", 2)
    record(ledger, *[(f"{n}.json", event(str(n))) for n in range(5)], ("bad.json", b"?"))
    numbers = archived(ledger) + archived(ledger)
    clock.advance(3 * 86_400)
    record(ledger, ("late.json", event("late")))
    found: list[list[int]] = []
    after: Kept | None = None
    while page := ledger.upkeep.kept(TODAY, after, quarantined=False):
        found.append([file.id for file in page])
        after = page[-1]
    assert found == [numbers[:2], numbers[2:4], numbers[4:5]]
    assert [file.id for file in ledger.upkeep.kept(TODAY, None, quarantined=True)] == numbers[5:]
    assert list(ledger.upkeep.days(TODAY + 9)) == [TODAY, TODAY + 3]
    assert list(ledger.upkeep.days(TODAY + 3)) == [TODAY]


def test_when_it_was_done_is_known_by_machine(ledger: Ledger) -> None:
    """Each machine has its own last time, which is no total."""
    assert ledger.upkeep.last("a:/state") is None
    ledger.upkeep.done("a:/state")
    first = ledger.upkeep.last("a:/state")
    ledger.upkeep.done("a:/state")
    assert first is not None
    assert (ledger.upkeep.last("a:/state") or 0) > first
    assert ledger.upkeep.last("b:/state") is None
    assert ledger.totals.all() == []


def test_the_file_of_a_new_ledger_gets_smaller(tmp_path: Path) -> None:
    """Empty pages are cut off in small pieces, until none is left."""
    with opened(sqlite_url(tmp_path)) as ledger:
        record(ledger, *[(f"{n}.json", event(str(n), body="x" * 9000)) for n in range(500)])
        numbers = archived(ledger)
        ledger.upkeep.release(numbers, LATER)
        ledger.upkeep.checkpoint()
        before = (tmp_path / "ledger.db").stat().st_size
        given = list(iter(ledger.upkeep.shrink, 0))
        ledger.upkeep.checkpoint()
        assert len(given) > 1
        assert before - (tmp_path / "ledger.db").stat().st_size >= sum(given) > 4_000_000
        assert (tmp_path / "ledger.db-wal").stat().st_size == 0
        assert ledger.upkeep.wasted() == 0


def test_a_ledger_of_an_older_version_says_what_it_wastes(tmp_path: Path) -> None:
    """It cannot get smaller by itself, until it was rewritten once as the documentation tells."""
    made = sqlite3.connect(tmp_path / "ledger.db")
    made.execute("PRAGMA journal_mode = WAL")
    made.close()
    with opened(sqlite_url(tmp_path)) as ledger:
        record(ledger, ("1.json", event("1", body="x" * 100_000)))
        ledger.upkeep.release(archived(ledger), LATER)
        assert ledger.upkeep.shrink() == 0
        assert ledger.upkeep.wasted() > 90_000
    made = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    made.executescript("PRAGMA auto_vacuum = INCREMENTAL; VACUUM")
    made.close()
    with opened(sqlite_url(tmp_path)) as ledger:
        assert (ledger.upkeep.shrink(), ledger.upkeep.wasted()) == (0, 0)
        record(ledger, ("2.json", event("2", body="x" * 100_000)))
        ledger.upkeep.release(archived(ledger), LATER)
        assert ledger.upkeep.shrink() > 90_000


def test_postgresql_sees_to_its_room_itself(postgres_url: str, clock: Clock) -> None:
    """There is no file to be made smaller, and none that is wasted."""
    with opened(postgres_url, clock) as ledger:
        ledger.upkeep.checkpoint()
        assert (ledger.upkeep.shrink(), ledger.upkeep.wasted()) == (0, 0)
