"""Quarantined files once more: what becomes of the file, its events and its copies."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.archive.forgetting import Forgetting
from sftpd_processor.archive.personal import Sought
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.records import Arrival
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.pipeline import archive
from sftpd_processor.pipeline.archive import Archive
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.pipeline.rereading import Reread, Rereader
from tests.ledger_samples import Clock, array, batch, entry, event, opened, rows, sqlite_url, wanting

UNKNOWN = b'{"type": "somethingNew", "communicationActionId": "n1"}'
STRICT = {"unknown_events": "quarantine"}


class Crash(BaseException):
    """The process ends here."""


class Room:
    """A ledger with an archive, and a source by whose settings files are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = sqlite_url(folder)
        self._opened = opened(self.url, Clock())
        self.ledger = self._opened.__enter__()

    def close(self) -> None:
        self._opened.__exit__(None, None, None)

    def settings(self, **rules: Any) -> Settings:
        source = {"name": "webio", "type": "directory", "folder": "/srv/webio"} | rules
        return Settings.model_validate({"state": {"dir": str(self.folder)}, "sources": [source]})

    def take(self, name: str, raw: bytes, **rules: Any) -> None:
        """Record a file by these rules, and write its copy."""
        result = reader(self.settings(**rules).sources[0])(raw)
        self.ledger.record(batch(Arrival(entry(name, raw), raw, result)), wanting)
        self.copy()

    def copy(self) -> None:
        Archive(self.folder, self.ledger).step()

    def retry(self, name: str = "a.json", *, dry_run: bool = False, settings: Settings | None = None) -> Reread:
        """Read it again; by the source's usual rules unless told otherwise."""
        return self.rereader(dry_run=dry_run, settings=settings).take(self.row(name))

    def rereader(self, *, dry_run: bool = False, settings: Settings | None = None) -> Rereader:
        return Rereader(settings or self.settings(), self.ledger, wanting, dry_run=dry_run)

    def row(self, name: str = "a.json") -> dict[str, Any]:
        (row,) = self.ledger.retries.quarantined(Selection(file=name))
        return row

    def copies(self) -> dict[str, bytes]:
        """Every copy by its place."""
        found = [path for room in ("archive", "quarantine") for path in (self.folder / room).rglob("*")]
        return {str(path.relative_to(self.folder)): path.read_bytes() for path in found if path.is_file()}

    def noted(self) -> list[tuple[Any, ...]]:
        return rows(self.url, "SELECT verdict, archive_path, former_path FROM files")


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A new one."""
    made = Room(tmp_path)
    yield made
    made.close()


DAY = "webio/2026/11/22"


def test_the_copy_moves_to_the_archive(room: Room) -> None:
    """What can be read now leaves the quarantine: one exact copy, and neither the old one nor its reason."""
    room.take("a.json", UNKNOWN, **STRICT)
    assert set(room.copies()) == {f"quarantine/{DAY}/a.json", f"quarantine/{DAY}/a.json.reason.json"}
    done = room.retry()
    assert (done.verdict, done.events, done.wrong) == ("accepted", 1, "")
    room.copy()
    assert room.copies() == {f"archive/{DAY}/a.json": UNKNOWN}
    assert room.noted() == [("accepted", f"archive/{DAY}/a.json", None)]


def test_the_reason_beside_the_copy_is_the_new_one(room: Room) -> None:
    """A file that is better but not good keeps its place, with what is still wrong."""
    raw = array(event("1"), UNKNOWN, b"5")
    room.take("a.json", raw, partial="reject", **STRICT)
    done = room.retry()
    assert (done.verdict, done.events) == ("partial", 2)
    assert done.wrong.startswith("$[2]: ")
    room.copy()
    copies = room.copies()
    reason = json.loads(copies.pop(f"quarantine/{DAY}/a.json.reason.json"))
    assert (reason["verdict"], reason["problems_in_all"]) == ("partial", 1)
    assert copies == {f"quarantine/{DAY}/a.json": raw}
    assert room.noted() == [("partial", f"quarantine/{DAY}/a.json", None)]


@pytest.mark.parametrize("point", ["copy-begun", "copied", "copies-noted"])
@pytest.mark.parametrize("better", ["accepted", "partial"])
def test_a_crash_while_the_copy_moves(room: Room, monkeypatch: pytest.MonkeyPatch, point: str, better: str) -> None:
    """Wherever it ends, the next start leaves the same single copy."""
    raw = array(event("1"), UNKNOWN) if better == "accepted" else array(event("1"), UNKNOWN, b"5")
    room.take("a.json", raw, partial="reject", **STRICT)
    assert room.retry().verdict == better

    def crash(at: str) -> None:
        if at == point:
            raise Crash

    monkeypatch.setattr(archive, "reached", crash)
    with pytest.raises(Crash):
        room.copy()
    monkeypatch.undo()
    room.copy()
    place = f"archive/{DAY}/a.json" if better == "accepted" else f"quarantine/{DAY}/a.json"
    reasons = [] if better == "accepted" else [f"{place}.reason.json"]
    assert sorted(room.copies()) == [place, *reasons]
    assert room.copies()[place] == raw
    assert room.noted() == [(better, place, None)]


def test_a_namesake_keeps_its_copy(room: Room) -> None:
    """Of two quarantined files of one name, the other's copy and reason stay."""
    room.take("a.json", b"{")
    room.take("a.json", UNKNOWN, **STRICT)
    file = next(row for row in room.ledger.retries.quarantined(Selection()) if row["size"] == len(UNKNOWN))
    assert room.rereader().take(file).verdict == "accepted"
    room.copy()
    assert {name: raw for name, raw in room.copies().items() if not name.endswith(".reason.json")} == {
        f"archive/{DAY}/a.json": UNKNOWN, f"quarantine/{DAY}/a.json": b"{",
    }  # fmt: skip
    assert f"quarantine/{DAY}/a.json.reason.json" in room.copies()


@pytest.mark.parametrize(
    ("raw", "took", "now", "wrong"),
    [
        (b"{", {}, {}, "cut short"),
        (UNKNOWN, STRICT, STRICT, "$.type"),
        (array(b"1", b"2", b"3"), {}, {}, "(and 2 more)"),
        (array(event("1"), b"5"), {}, {"partial": "reject"}, "$[1]"),
    ],
)  # fmt: skip
def test_what_is_still_wrong_stays(room: Room, raw: bytes, took: Any, now: Any, wrong: str) -> None:
    """A file that still cannot be read is left as it is, with the reason."""
    room.take("a.json", raw, **took)
    before = room.noted(), room.copies()
    done = room.retry(settings=room.settings(**now))
    assert (done.events, done.verdict) == (0, room.noted()[0][0])
    assert wrong in done.wrong
    room.copy()
    assert (room.noted(), room.copies()) == before


def test_a_source_that_is_not_configured(room: Room) -> None:
    """Nobody knows by which rules to read its files: they are left as they are, or refused."""
    room.take("a.json", b"{")
    other = room.settings(name="other")
    assert "'webio' is not in the configuration" in room.retry(settings=other).wrong
    with pytest.raises(PermanentError, match="'webio' is not in the configuration"):
        room.rereader(settings=other).correct(room.row(), room.folder / "x")


def test_a_copy_that_is_still_to_be_written(room: Room) -> None:
    """A file is only read again once its first copy is there, or the archive might note the place of the wrong one."""
    raw = UNKNOWN
    result = reader(room.settings(**STRICT).sources[0])(raw)
    room.ledger.record(batch(Arrival(entry("a.json", raw), raw, result)), wanting)
    assert "still to be written" in room.retry().wrong
    room.copy()
    assert room.retry().verdict == "accepted"


def test_a_conflict_is_for_a_person(room: Room) -> None:
    """Rules do not settle a conflict; it says so."""
    room.take("a.json", event("1"))
    room.take("b.json", event("1", body="other"))
    done = room.retry("b.json")
    assert (done.verdict, done.events) == ("conflict", 0)
    assert "for a person to say" in done.wrong


def test_more_events_are_allowed(room: Room) -> None:
    """A file refused for `max_file_events` is taken when more are allowed; a dry run says so first."""
    room.take("a.json", array(event("1"), event("2")), max_file_events=1)
    for dry_run in (True, False):
        done = room.retry(dry_run=dry_run)
        assert (done.verdict, done.events) == ("accepted", 2)
    assert room.noted()[0][0] == "accepted"


def correct(room: Room, raw: bytes, *, dry_run: bool = False, settings: Settings | None = None) -> Reread:
    """Put a file with these bytes in the place of a.json."""
    path = room.folder / "mended"
    path.write_bytes(raw)
    return room.rereader(dry_run=dry_run, settings=settings).correct(room.row(), path)


def test_a_corrected_file(room: Room) -> None:
    """It is recorded as a file of its own, whose new events alone are handed on; the broken one keeps its copy."""
    room.take("a.json", array(event("1"), b"5"))
    mended = array(event("1"), event("2"))
    assert correct(room, mended, dry_run=True).events == 1
    done = correct(room, mended)
    assert (done.verdict, done.events, done.wrong) == ("accepted", 1, "")
    room.copy()
    assert rows(room.url, "SELECT verdict, origin FROM files ORDER BY id") == [
        ("partial", "sftp"), ("accepted", "replay"),
    ]  # fmt: skip
    assert list(room.copies().values()).count(mended) == 1
    assert room.ledger.retries.quarantined(Selection()) == []


def test_a_corrected_conflict(room: Room) -> None:
    """In place of a file in conflict a good one counts as good."""
    room.take("first.json", event("1"))
    room.take("a.json", event("1", body="other"))
    done = correct(room, event("2"))
    assert (done.verdict, done.wrong) == ("accepted", "")


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"{", "cut short"),
        (array(event("2"), b"5"), "$[1]"),
        (b"", "is empty"),
        (event("2") + b" " * 2000, "larger than its source takes"),
    ],
)  # fmt: skip
def test_a_corrected_file_that_is_not_right(room: Room, raw: bytes, why: str) -> None:
    """One that still holds something bad is refused as a whole, and nothing is changed."""
    room.take("a.json", b"{")
    before = rows(room.url, "SELECT * FROM files"), rows(room.url, "SELECT * FROM events")
    with pytest.raises(PermanentError, match="nothing was changed") as refused:
        correct(room, raw, settings=room.settings(max_file_bytes=1024))
    assert why in str(refused.value)
    assert (rows(room.url, "SELECT * FROM files"), rows(room.url, "SELECT * FROM events")) == before


def test_what_is_no_file(room: Room) -> None:
    """A folder, a device and nothing at all are refused before they are read."""
    room.take("a.json", b"{")
    for path, why in ((room.folder, "no file"), (Path("/dev/zero"), "no file"), (room.folder / "x", "not there")):
        with pytest.raises(PermanentError, match=why):
            room.rereader().correct(room.row(), path)


def _let_go(room: Room) -> None:
    """The bytes leave the ledger, as they do when the copy is known to be on disk."""
    engine = create_engine(room.url)
    with engine.begin() as connection:
        assert connection.execute(text("DELETE FROM contents")).rowcount == 1
    engine.dispose()


def test_a_file_whose_bytes_have_left_the_ledger_is_read_from_its_copy(room: Room) -> None:
    """It is taken, and moves to the archive, just as if the ledger had them."""
    room.take("a.json", UNKNOWN, **STRICT)
    _let_go(room)
    assert room.retry().verdict == "accepted"
    room.copy()
    assert room.copies() == {f"archive/{DAY}/a.json": UNKNOWN}


@pytest.mark.parametrize(("left", "why"), [(None, "is missing"), (event("2"), "its SHA-256 is another")])
def test_only_the_very_bytes_that_were_recorded_are_read(room: Room, left: bytes | None, why: str) -> None:
    """A copy that is gone, or was altered, is nothing to go by: the file stays as it was, and the reason is told."""
    room.take("a.json", UNKNOWN, **STRICT)
    _let_go(room)
    copy = room.folder / f"quarantine/{DAY}/a.json"
    copy.unlink() if left is None else copy.write_bytes(left)
    done = room.retry()
    assert (done.verdict, done.events) == ("invalid", 0)
    assert why in done.wrong
    assert "from a backup" in done.wrong


def test_after_one_was_forgotten_the_others_are_not_new(room: Room) -> None:
    """A file in quarantine that was written anew without its first event: the second has another position in it now."""
    bad = b'{"customerUID": "x"}'
    room.take("a.json", array(event("1", customerUID="theirs"), event("2"), event("3"), bad))
    Forgetting(room.folder, room.ledger, Sought(["theirs"], []), patience=0.0).run(lambda _: None)
    assert room.retry().events == 0
    assert rows(room.url, "SELECT repeats, verdict FROM files") == [(0, "partial")]
    assert rows(room.url, "SELECT count(*) FROM repeats") == [(0,)]
