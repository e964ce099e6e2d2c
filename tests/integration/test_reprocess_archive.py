"""Reprocessing of an archive: a lost ledger is rebuilt, and one that is there learns nothing twice."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.errors import InternalError, PermanentError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.reprocess import bringing, reading
from tests.integration.archived_items import archive, fill, packed, poll, rooms
from tests.ledger_samples import Clock, opened, sqlite_url
from tests.replay_items import Office, Told, lite

FILES = """
    SELECT source, name, mtime, size, occurrence, state, verdict, reason, origin, sha256, events, repeats,
    archive_path FROM files ORDER BY source, name, mtime, occurrence"""
WHEN = "SELECT name, recorded_at FROM files ORDER BY name, mtime"
EVENTS = """
    SELECT organisation, identity, type, conversation, position, time_zone, created_at, body, name
    FROM events e JOIN files f ON f.id = e.file_id ORDER BY identity"""
ORDER = """
    SELECT identity FROM events e JOIN files f ON f.id = e.file_id WHERE verdict = 'accepted' ORDER BY e.id"""
REPEATS = """
    SELECT f.name, r.position, e.identity, conflict FROM repeats r JOIN files f ON f.id = r.file_id
    JOIN events e ON e.id = r.event_id ORDER BY f.name, r.position"""
KEPT = (FILES, EVENTS, ORDER, REPEATS)


@pytest.fixture
def first(tmp_path: Path) -> Iterator[Office]:
    """The ledger that made the archive."""
    folder = tmp_path / "first"
    folder.mkdir()
    (tmp_path / "in").mkdir()
    clock = Clock()
    with opened(sqlite_url(folder), clock) as ledger:
        made = Office(tmp_path, ledger, sqlite_url(folder), clock)
        fill(made)
        yield made


@pytest.fixture
def second(tmp_path: Path, first: Office, ledger: Ledger, url: str, clock: Clock) -> Office:
    """Another one of each kind, which knows nothing; the archive is the same."""
    clock.now = first.clock.now
    return Office(tmp_path, ledger, url, clock)


@pytest.mark.parametrize("compacted", [False, True], ids=["plain", "compacted"])
def test_a_lost_ledger_is_rebuilt_from_its_archive(first: Office, second: Office, *, compacted: bool) -> None:
    """From plain files, compacted days and quarantine come the same files, verdicts, events in the same order,
    identities, conversations and repeats; nothing is delivered, no byte is taken in again, the next poll of a folder
    that still holds the files takes nothing, and a replay then delivers each event once, under the same keys."""
    if compacted:
        packed(first)
    plan = second.plan(paths=rooms(second), record_only=True)
    assert (plan.recorded, plan.deliveries) == (8, 0)
    assert second.rows("SELECT count(*) FROM files") == [(0,)]
    report = second.run(paths=rooms(second), record_only=True)
    assert (report.files, report.recorded, report.invalid, report.problems.total) == (8, 8, 1, 0)
    for statement in KEPT:
        assert second.rows(statement) == first.rows(statement)
    if compacted:
        assert dict(second.rows(WHEN))["a2.json"] == dict(first.rows(WHEN))["a2.json"]
    assert second.rows("SELECT count(*) FROM deliveries") == [(0,)]
    assert second.rows("SELECT count(*) FROM contents") == [(0,)]
    assert poll(second, ("crm",)) == 0
    assert second.rows("SELECT count(*) FROM deliveries") == [(0,)]
    second.run()
    first.run()
    assert [call[:3] for call in sorted(second.crm.calls)] == [call[:3] for call in sorted(first.crm.calls)]
    assert len(second.crm.calls) == 6


@lite
def test_events_are_delivered_as_they_are_rebuilt(first: Office, second: Office) -> None:
    """Without a ledger one run records and delivers; a second run over the same paths finds all done."""
    packed(first)
    plan = second.plan(paths=rooms(second))
    report = second.run(paths=rooms(second))
    assert sorted(second.crm.numbers) == [1, 2, 3, 4, 5, 6]
    assert [number for number in second.crm.numbers if number in (1, 2, 6)] == [1, 2, 6]
    assert plan.deliveries == 6
    assert report.deliveries == {"crm": {"done": 6}}
    before = second.dump(without=["replays"])
    report = second.run(paths=rooms(second))
    assert (report.recorded, report.skipped) == (0, {"done already": 6})
    assert second.dump(without=["replays"]) == before


def test_nothing_is_recorded_twice_by_a_ledger_that_is_there(first: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies, wherever their time was changed or they were compacted, are known again; `again` hands their events over
    once, whatever files they are in."""
    before = first.dump(without=["replays"])
    for path in (first.state / "archive").rglob("*.json"):
        os.utime(path, ns=(5 * 10**9, 5 * 10**9))
    first.run(paths=rooms(first), record_only=True)
    packed(first)
    report = first.run(paths=rooms(first), record_only=True)
    assert (report.files, report.recorded) == (8, 0)
    assert first.dump(without=["replays"]) == before
    first.run(paths=rooms(first))
    for most in (2000, 1):  # files of one piece
        monkeypatch.setattr(reading, "_MOST_FILES", most)
        first.crm.forget()
        plan = first.plan(paths=rooms(first), again=True)
        report = first.run(paths=rooms(first), again=True)
        assert plan.deliveries == 6
        assert sorted(first.crm.numbers) == [1, 2, 3, 4, 5, 6]
        assert report.deliveries == {"crm": {"done": 6}}


def test_one_file_of_the_archive_alone(first: Office) -> None:
    """A path of one copy, also of one that is compacted by now, is that file's events alone."""
    path = next((first.state / "archive").rglob("a2.json"))
    first.run(paths=(str(path),))
    assert sorted(first.crm.numbers) == [1, 2, 3]
    packed(first)
    first.crm.forget()
    first.run(paths=(str(path),), again=True, conversations=("b",))
    assert first.crm.numbers == [3]


def test_the_same_file_twice_in_an_archive(first: Office, second: Office) -> None:
    """A file that came back after it was disposed of has a copy on each day; both are read, and its events once."""
    (day,) = (first.state / "archive" / "webio" / "2026").glob("*/24")
    shutil.copy2(next((first.state / "archive").rglob("a1.json")), day / "a1.json")
    report = second.run(paths=rooms(second))
    assert report.files == 9
    assert sorted(second.crm.numbers) == [1, 2, 3, 4, 5, 6]
    assert second.run(paths=rooms(second)).recorded == 0


@lite
def test_selections_reach_into_an_archive(first: Office, second: Office) -> None:
    """Type, customer, file and source choose among what the files bring; everything else stays undelivered."""
    chosen: list[tuple[dict[str, Any], list[int]]] = [
        ({"customers": ("c1",)}, [4]),
        ({"file": "b?.json"}, [4, 5]),
        ({"conversations": ("a",)}, [1, 2, 6]),
        ({"sources": ("other",)}, []),
        ({"verdicts": ("partial",)}, [5]),
    ]
    packed(first)
    for selection, numbers in chosen:
        second.run(paths=rooms(second), again=True, **selection)
        assert sorted(second.crm.numbers) == numbers, selection
        second.crm.forget()


@lite
def test_loose_files_are_read_as_those_of_a_source(second: Office, tmp_path: Path) -> None:
    """Files that lie in no archive need a source; their bytes are kept and archived like any other file's."""
    loose = tmp_path / "loose"
    loose.mkdir()
    (loose / "x.json").write_bytes(second.event(20, "x"))
    with pytest.raises(PermanentError, match="give --as SOURCE"):
        second.run(paths=(str(loose),))
    report = second.run(paths=(str(loose),), read_as="webio")
    assert (report.recorded, second.crm.numbers) == (1, [20])
    assert second.rows("SELECT raw FROM contents") == [((loose / "x.json").read_bytes(),)]
    archive(second)
    ((path,),) = second.rows("SELECT archive_path FROM files")
    assert (second.state / path).read_bytes() == (loose / "x.json").read_bytes()
    assert second.run(paths=(str(loose),), read_as="webio").recorded == 0
    assert second.crm.numbers == [20]
    (loose / "y.json").write_bytes(second.event(1, "other content"))
    second.run(paths=(*rooms(second), str(loose)), read_as="webio")
    assert dict(second.rows("SELECT name, verdict FROM files"))["y.json"] == "conflict"  # the archive goes first


@lite
def test_what_cannot_be_read_is_told_and_the_rest_goes_on(first: Office, second: Office) -> None:
    """A compacted day that is cut off, and a copy that cannot be opened, are told; other days are recorded."""
    packed(first, date(2026, 11, 23))
    (day,) = (first.state / "archive").rglob("*.zip")
    day.write_bytes(day.read_bytes()[:-30])
    os.truncate(next((first.state / "archive").rglob("c1.json")), (1 << 30) + 1)
    plan = second.plan(paths=rooms(second))
    report = second.run(paths=rooms(second))
    assert plan.problems == report.problems
    assert report.problems.total == 2
    assert "22.zip cannot be read: its end is cut off" in report.problems.first[0]
    assert "c1.json cannot be read: it is larger than is read" in report.problems.first[1]
    assert sorted(second.crm.numbers) == [1, 4, 5]
    assert report.unwell()


@lite
def test_a_quarantined_file_that_passes_now_moves_into_the_archive(second: Office) -> None:
    """Its event is recorded as of its day and delivered; the usual archivist writes the copy where it belongs, and
    removes the one in quarantine with its reason."""
    (day := second.state / "quarantine/webio/2026/11/21").mkdir(parents=True)
    (day / "ok.json").write_bytes(second.event(7))
    (day / "ok.json.reason.json").write_bytes(b"{}")
    report = second.run(paths=(str(day),))
    assert (report.recorded, second.crm.numbers) == (1, [7])
    archive(second)
    assert [path.name for path in day.iterdir()] == []
    assert (second.state / "archive/webio/2026/11/21/ok.json").read_bytes() == second.event(7)
    assert second.rows("SELECT verdict, archive_path, former_path FROM files") == [
        ("accepted", "archive/webio/2026/11/21/ok.json", None)
    ]


@lite
def test_a_plan_counts_an_event_once_however_many_files_bring_it(
    first: Office, second: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where these files are read in different pieces, and nothing of the plan is kept in between."""
    monkeypatch.setattr(reading, "_MOST_FILES", 1)
    plan = second.plan(paths=rooms(second))
    assert plan.deliveries == second.run(paths=rooms(second)).deliveries["crm"]["done"] == 6
    assert second.rows("SELECT verdict, count(*) FROM files GROUP BY verdict ORDER BY verdict") == first.rows(
        "SELECT verdict, count(*) FROM files GROUP BY verdict ORDER BY verdict"
    )


@lite
def test_a_source_that_is_not_configured_is_named(first: Office, second: Office) -> None:
    """Nobody knows how its files are to be read."""
    (first.state / "archive" / "webio").rename(first.state / "archive" / "former")
    with pytest.raises(PermanentError, match="source 'former' cannot be read: it is not in the configuration"):
        second.run(paths=rooms(second))
    assert second.rows("SELECT count(*) FROM events") == [(0,)]


def test_many_files_are_brought_by_another_process(first: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which does the same; what goes wrong there is told here, also when it dies."""
    monkeypatch.setattr(bringing, "_WORTH_A_PROCESS", 5)
    packed(first, date(2026, 11, 23))
    url = first.settings().state.ledger_url()
    with opened(url) as ledger:
        second = Office(first.folder, ledger, url, first.clock)
        second.run(paths=rooms(second))
        for statement in KEPT:
            assert second.rows(statement) == first.rows(statement)
        assert sorted(second.crm.numbers) == [1, 2, 3, 4, 5, 6]
        (first.state / "archive" / "webio").rename(first.state / "archive" / "former")
        with pytest.raises(PermanentError, match="source 'former' cannot be read"):
            second.run(paths=rooms(second))
        monkeypatch.setattr(sys, "executable", "/bin/false")
        with pytest.raises(InternalError, match="the process that reads the archive ended"):
            second.run(paths=rooms(second))


def test_an_expired_body_comes_back_from_the_file_and_a_forgotten_one_does_not(first: Office) -> None:
    """What the ledger does not hold any more is taken from the archive, with `again`, since nobody knows whether it was
    handled before; never what is to be forgotten."""
    connection = sqlite3.connect(first.url.removeprefix("sqlite:///"))
    connection.execute("UPDATE events SET body = x'', gone = 'expired' WHERE identity LIKE '%m2%'")
    connection.execute("UPDATE events SET body = x'', gone = 'forgotten' WHERE identity LIKE '%m3%'")
    connection.commit()
    connection.close()
    report = first.run(paths=rooms(first))
    assert sorted(first.crm.numbers) == [1, 4, 5, 6]
    assert sorted(report.skipped.values()) == [1, 1]
    first.crm.forget()
    report = first.run(paths=rooms(first), again=True)
    assert sorted(first.crm.numbers) == [1, 2, 4, 5, 6]
    assert report.skipped == {"its content is not kept any more": 1}


def test_quarantined_files_are_read_again(first: Office) -> None:
    """With today's rules: what passes is recorded and delivered, the rest keeps its reason."""
    other = Told("other")
    first.handlers = (first.crm, other)
    before = first.rows("SELECT name, verdict, reason FROM files WHERE verdict IN ('invalid', 'conflict')")
    report = first.run(quarantine=True, handlers=("crm",))
    assert first.crm.numbers == [5]
    assert other.numbers == []
    assert report.files == 3
    assert first.rows("SELECT name, verdict, reason FROM files WHERE verdict IN ('invalid', 'conflict')") == before
