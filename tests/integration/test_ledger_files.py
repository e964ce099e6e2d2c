"""What the ledger knows of files: sightings, looks, disposal, and files that come back."""

from __future__ import annotations

import time
from dataclasses import asdict
from hashlib import sha256

from sqlalchemy import create_engine, text

from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Known, LookCounts, Sighting
from sftpd_processor.sources.base import Entry
from tests.ledger_samples import (
    Clock,
    arrival,
    batch,
    entry,
    event,
    record,
    rows,
    wanting,
)


def _see(ledger: Ledger, seen: Entry, state: str, reason: str, *, source: str = "webio") -> int:
    """One look that meets the file and leaves it; returns the look's number."""
    look = ledger.files.begin_look(source)
    known = ledger.files.known(source, [seen]).get(seen)
    ledger.record(batch(source=source, look=look, sightings=[Sighting(seen, state, reason, known)]), wanting)
    ledger.files.end_look(source, look, LookCounts(listed=1))
    return look


def _known(ledger: Ledger, asked: Entry, source: str = "webio") -> Known:
    return ledger.files.known(source, [asked])[asked]


def test_a_file_is_known_at_its_exact_size_and_time(ledger: Ledger) -> None:
    """A file of the same name with another size or another time is another file; so is one of another source."""
    raw = event()
    same = Entry("1.json", len(raw), 10**9, regular=True)
    ledger.record(batch(arrival(same.name, raw, same.mtime)), wanting)
    others = [same._replace(size=len(raw) + 1), same._replace(mtime=10**9 + 1), same._replace(name="1.jsoN")]
    assert set(ledger.files.known("webio", [same, *others])) == {same}
    assert ledger.files.known("other", [same]) == {}
    assert ledger.files.known("webio", []) == {}


def test_a_waiting_file_keeps_its_first_sighting(ledger: Ledger, clock: Clock) -> None:
    """However often it is seen waiting, and when it is recorded, the moment it was first seen stays."""
    raw = event()
    seen = entry("1.json", raw)
    _see(ledger, seen, "waiting", "half")
    first = _known(ledger, seen).first_seen
    clock.advance(5)
    look = _see(ledger, seen, "waiting", "still half")
    known = _known(ledger, seen)
    assert (known.state, known.first_seen, known.look, known.reason) == ("waiting", first, look, "still half")
    clock.advance(5)
    ledger.record(batch(arrival("1.json", raw, known=known), look=look + 1), wanting)
    known = _known(ledger, seen)
    assert (known.state, known.first_seen, known.occurrence) == ("recorded", first, 0)
    assert ledger.figures.sources()["webio"].states == {"recorded": 1}


def test_an_ignored_file_can_be_taken_later(ledger: Ledger) -> None:
    """A file that was ignored is recorded once the rules admit it, and is then no longer shown as ignored."""
    raw = event()
    seen = entry("1.txt", raw)
    _see(ledger, seen, "ignored", "its name does not match `include`")
    assert [file["name"] for file in ledger.figures.ignored(9)] == ["1.txt"]
    ledger.record(batch(arrival("1.txt", raw, known=_known(ledger, seen)), look=2), wanting)
    assert ledger.figures.ignored(9) == []
    assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}


def test_what_waited_and_is_not_listed_any_more_has_vanished(ledger: Ledger) -> None:
    """A complete look shows it; of that source alone, and not a look that was cut off."""
    gone, there = entry("gone.json"), entry("there.json")
    _see(ledger, gone, "waiting", "half")
    _see(ledger, there, "waiting", "half", source="other")
    look = ledger.files.begin_look("webio")
    ledger.files.end_look("webio", look, LookCounts(), "the line was cut")
    assert _known(ledger, gone).state == "waiting"
    ledger.files.end_look("webio", ledger.files.begin_look("webio"), LookCounts())
    assert _known(ledger, gone).state == "vanished"
    assert _known(ledger, there, "other").state == "waiting"
    assert [file["name"] for file in ledger.figures.waiting(9)] == ["there.json"]


def test_a_waiting_file_that_is_still_listed_has_not_vanished(ledger: Ledger) -> None:
    """The look that meets it again carries it over."""
    seen = entry("1.json")
    for _ in range(3):
        _see(ledger, seen, "waiting", "half")
        assert _known(ledger, seen).state == "waiting"


def test_a_file_that_comes_back_after_disposal_is_a_new_occurrence(ledger: Ledger, url: str) -> None:
    """The same name, size and time again is recorded beside the first one, and the newest is what is known."""
    raw = event()
    for occurrence in range(3):
        seen = entry("1.json", raw)
        known = ledger.files.known("webio", [seen]).get(seen)
        ledger.record(batch(arrival("1.json", raw, known=known)), wanting)
        known = _known(ledger, seen)
        assert (known.occurrence, known.disposed_look) == (occurrence, None)
        ledger.files.disposed([(known.id, "deleted")], occurrence)
        assert _known(ledger, seen).disposed_look is not None
    assert rows(url, "SELECT occurrence, verdict, disposal FROM files ORDER BY id") == [
        (0, "accepted", "deleted"),
        (1, "duplicate", "deleted"),
        (2, "duplicate", "deleted"),
    ]


def test_looks_are_numbered_upwards_and_only_the_last_thousand_are_kept(ledger: Ledger, url: str) -> None:
    """Old looks go, each source's own, so that the ledger does not grow with time."""
    other = ledger.files.begin_look("other")
    first = ledger.files.begin_look("webio")
    assert first > other
    engine = create_engine(url)
    columns = list(asdict(LookCounts()))
    with engine.begin() as connection:
        connection.execute(
            text(
                f"INSERT INTO looks (id, source, started_at, {', '.join(columns)})"
                f" VALUES (:id, 'webio', 0{', 0' * len(columns)})"
            ),
            [{"id": first + number} for number in range(1, 1500)],
        )
        if engine.dialect.name == "postgresql":
            connection.execute(text("SELECT setval('looks_id_seq', (SELECT max(id) FROM looks))"))
    engine.dispose()
    last = ledger.files.begin_look("webio")
    ledger.files.end_look("webio", last, LookCounts())
    kept = rows(url, "SELECT min(id), max(id), count(*) FROM looks WHERE source = 'webio'")
    assert kept == [(last - 999, last, 1000)]
    assert rows(url, "SELECT id FROM looks WHERE source = 'other'") == [(other,)]


def test_the_figures_tell_the_last_look(ledger: Ledger) -> None:
    """The balance of the last look is shown, with its failure; and when the last good one ended."""
    look = ledger.files.begin_look("webio")
    ledger.files.end_look("webio", look, LookCounts(listed=3, recorded=2, ignored=1))
    good = ledger.figures.sources()["webio"].last_good_look
    ledger.files.end_look("webio", ledger.files.begin_look("webio"), LookCounts(listed=1), "the line was cut")
    ledger.files.begin_look("webio")  # runs still
    figures = ledger.figures.sources()["webio"]
    assert figures.last_look is not None
    assert (figures.last_look["listed"], figures.last_look["failure"]) == (1, "the line was cut")
    assert figures.last_good_look == good


def test_the_figures_count_by_state_verdict_and_copy(ledger: Ledger) -> None:
    """Files are counted by state and verdict, and those whose local copy is still missing."""
    record(ledger, ("1.json", event("1")), ("2.json", event("1")), ("3.json", b"{"))
    _see(ledger, entry("4.json"), "waiting", "half")
    ledger.files.archived([(1, "archive/webio/1.json")])
    figures = ledger.figures.sources()["webio"]
    assert figures.states == {"recorded": 3, "waiting": 1}
    assert figures.verdicts == {"accepted": 1, "duplicate": 1, "invalid": 1}
    assert figures.unarchived == 2


def test_copies_still_to_be_written_come_oldest_first_and_fit_into_memory(ledger: Ledger) -> None:
    """Not more than some 16 MB of bodies come at once, but always at least one."""
    raw = b'{"type": "payment", "pad": "' + b"x" * (6 << 20) + b'"}'
    record(ledger, *[(f"{number}.json", raw) for number in range(4)])
    assert [file.name for file in ledger.files.unarchived(100)] == ["0.json", "1.json"]
    assert [file.name for file in ledger.files.unarchived(1)] == ["0.json"]
    ledger.files.archived((file.id, "x") for file in ledger.files.unarchived(100))
    assert [file.name for file in ledger.files.unarchived(100)] == ["2.json", "3.json"]


def test_a_file_is_known_by_its_content(ledger: Ledger) -> None:
    """Whether a file of that name at that source had some content can be asked, by its SHA-256."""
    record(ledger, ("1.json", event()))
    digest = sha256(event()).hexdigest()
    assert ledger.files.knows("webio", "1.json", digest)
    assert not ledger.files.knows("webio", "1.json", sha256(b"").hexdigest())
    assert not ledger.files.knows("webio", "2.json", digest)
    assert not ledger.files.knows("other", "1.json", digest)


def test_a_name_with_thousands_of_versions_is_looked_up_at_once(ledger: Ledger, url: str) -> None:
    """A name that is used again and again costs what its newest version costs, not what all of them do."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(_VERSIONS))
    engine.dispose()
    newest, single = Entry("latest.json", 5, 50_000, regular=True), Entry("single.json", 5, 0, regular=True)
    assert _known(ledger, newest).id == 50_000
    assert _known(ledger, newest).occurrence == 0
    assert _cost(ledger, newest) < 10 * _cost(ledger, single)


def _cost(ledger: Ledger, entry: Entry) -> float:
    """The least seconds that looking it up takes."""

    def once() -> float:
        began = time.perf_counter()
        _known(ledger, entry)
        return time.perf_counter() - began

    return min(once() for _ in range(20))


_VERSIONS = """
    WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 50000)
    INSERT INTO files
        (id, source, name, mtime, size, occurrence, state, origin, look, first_seen, events, repeats)
    SELECT n, 'webio', 'latest.json', n, 5, 0, 'recorded', 'sftp', 1, 0, 1, 0 FROM numbers
    UNION ALL SELECT 50001, 'webio', 'single.json', 0, 5, 0, 'recorded', 'sftp', 1, 0, 1, 0"""
