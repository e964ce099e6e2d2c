"""Compaction: every byte stays, whatever happens meanwhile; and nothing goes that is not in the compacted day."""

from __future__ import annotations

import errno
import logging
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest

from sftpd_processor.archive import compaction
from sftpd_processor.archive.compaction import Compacted, compact
from sftpd_processor.archive.copies import Copies
from sftpd_processor.archive.notes import understood
from sftpd_processor.archive.turn import turn
from sftpd_processor.errors import PermanentError, TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.pipeline.archive import Archive
from sftpd_processor.points import ASIDE, VARIABLE
from sftpd_processor.reprocess.lock import alone
from tests.ledger_samples import Clock, event, opened, record, rows, sqlite_url

DAY = "2026/11/22"
FOLDER = f"archive/webio/{DAY}"
TOMORROW = date(2026, 11, 23)


class House:
    """A state folder and its ledger."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        self.state, self.ledger, self.url = folder / "state", ledger, sqlite_url(folder)
        self.folder, self.zip = self.state / FOLDER, self.state / f"{FOLDER}.zip"

    def keep(self, **files: bytes) -> None:
        """Record files, and write their copies."""
        record(self.ledger, *((f"{name}.json", raw) for name, raw in files.items()))
        self.copy()

    def copy(self) -> None:
        """Write the copies that are missing."""
        while Archive(self.state, self.ledger).step():
            pass

    def compact(self, before: date = TOMORROW) -> Compacted:
        """Compact what is older."""
        return compact(self.state, self.ledger.copies.of_day, before, lambda: False)

    def exact(self) -> bool:
        """Whether each copy that the ledger knows is there, exact, and met once by a walk."""
        noted = rows(self.url, "SELECT archive_path, sha256 FROM files WHERE archive_path IS NOT NULL")
        copies = Copies(self.state)
        walked = [(copy.stored, sha256(copy.raw).hexdigest()) for copy in copies.walk([self.state / "archive"])]
        return sorted(walked) == sorted(noted) and all(copies.read(*each) for each in noted)


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty one; it is noon."""
    with opened(sqlite_url(tmp_path), Clock()) as ledger:
        yield House(tmp_path, ledger)


@pytest.fixture
def full(house: House) -> House:
    """One with three copies."""
    house.keep(b=event("1"), a=event("2"), c=b"\xef\xbb\xbf\r\n" + event("3"))
    return house


def test_a_day_becomes_one_file(full: House) -> None:
    """Its members, in the order recorded, have the bytes and notes from which the ledger's rows could be made."""
    done = full.compact()
    assert (done.days, done.files, done.after) == (1, 3, full.zip.stat().st_size)
    assert not full.folder.exists()
    assert full.zip.stat().st_mode & 0o777 == 0o640
    with zipfile.ZipFile(full.zip) as made:
        notes = [understood(info.comment) for info in made.infolist()]
    columns = "sha256, mtime, recorded_at, origin, verdict, name"
    assert notes == rows(full.url, f"SELECT {columns} FROM files ORDER BY recorded_at, mtime")
    assert full.exact()


def test_only_older_days_are_compacted(full: House) -> None:
    """The day itself, quarantine, and what is no day stay as they are."""
    full.keep(bad=b"bad")
    (full.state / "archive/webio/2026/11/99").mkdir()
    before = sorted(full.state.rglob("*"))
    assert full.compact(date(2026, 11, 22)) == Compacted()
    assert sorted(full.state.rglob("*")) == before
    full.compact()
    assert [path.name for path in (full.state / "quarantine").rglob("*.json")] != []


def test_a_late_copy_joins_its_day(full: House) -> None:
    """It lies in a folder of its own until then; a name that the compacted day has is taken."""
    full.compact()
    full.keep(b=event("7"), d=event("8"), a=event("2"))
    paths = [path for (path,) in rows(full.url, "SELECT archive_path FROM files ORDER BY id")]
    other = f"{FOLDER}/b.{sha256(event('7')).hexdigest()[:8]}.json"
    assert paths[3:] == [other, f"{FOLDER}/d.json", f"{FOLDER}/a.json"]
    assert sorted(path.name for path in full.folder.iterdir()) == sorted(["d.json", Path(other).name])
    assert full.compact().files == 2
    with zipfile.ZipFile(full.zip) as made:
        assert made.namelist() == ["b.json", "a.json", "c.json", Path(other).name, "d.json"]
    assert not full.folder.exists()


_SCRIPT = """
import sys
from datetime import date
from pathlib import Path
from sftpd_processor.archive.compaction import compact
from sftpd_processor.ledger.records import Noted
noted = {f"{n}.json": Noted("00" * 32, 1, 1795348800000000, "sftp", "accepted", f"{n}.json") for n in "abc"}
compact(Path(sys.argv[1]), lambda *_: noted, date(2026, 11, 23), lambda: False)
"""


@pytest.mark.parametrize("point", [*(each for each in ASIDE if "replay" not in each), "original-removed:2"])
def test_killed_at_any_point_nothing_is_lost(full: House, point: str) -> None:
    """After SIGKILL every copy is there once, exact; the next pass ends it, and leaves nothing else behind."""
    environment = os.environ | {VARIABLE: point}
    ended = subprocess.run([sys.executable, "-c", _SCRIPT, str(full.state)], env=environment, check=False)
    assert ended.returncode == -9
    assert full.exact()
    full.compact()
    assert full.exact()
    assert [path for path in full.state.rglob("*") if path.is_file()] == [full.zip]


@pytest.mark.parametrize(("where", "number"), [("fsync", errno.ENOSPC), ("open", errno.EACCES)])
def test_a_disk_that_refuses_changes_nothing(
    full: House, monkeypatch: pytest.MonkeyPatch, where: str, number: int
) -> None:
    """The error says that nothing is lost and what to do; no remnant stays, and the next pass does it."""
    before = sorted(full.state.rglob("*"))
    real = getattr(os, where)

    def refuse(path: object, *arguments: object, **named: object) -> object:
        if where == "open" and not str(path).endswith(".part"):
            return real(path, *arguments, **named)
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as refusing:
        refusing.setattr(os, where, refuse)
        (problem,) = full.compact().problems
    assert isinstance(problem, TransientError)
    assert f"cannot be compacted: {os.strerror(number)}; nothing is lost" in str(problem)
    assert sorted(full.state.rglob("*")) == before
    assert full.compact().files == 3


def _at(monkeypatch: pytest.MonkeyPatch, point: str, act: object) -> None:
    """Do something when compaction comes to a point."""
    monkeypatch.setattr(compaction, "reached", lambda name: act() if name == point and callable(act) else None)


def test_what_is_read_back_otherwise_replaces_nothing(full: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A single byte that the disk gives back as another one ends it, and the originals stay."""
    part = full.zip.with_name("22.zip.part")

    def damage() -> None:
        data = bytearray(part.read_bytes())
        data[50] ^= 1
        part.write_bytes(data)

    _at(monkeypatch, "day-written", damage)
    assert len(full.compact().problems) == 1
    assert not full.zip.exists()
    assert len(list(full.folder.iterdir())) == 3
    assert not part.exists()


def test_an_original_that_changes_is_not_removed(
    full: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What was written after the comparison stays, beside what was compacted; both are read, and it is told."""
    _at(monkeypatch, "day-in-place", lambda: (full.folder / "a.json").write_bytes(b"changed"))
    with caplog.at_level(logging.WARNING):
        full.compact()
    assert [path.name for path in full.folder.iterdir()] == ["a.json"]
    assert "stayed out of the compacted day (a.json)" in caplog.text
    found = [copy.raw for copy in Copies(full.state).walk([full.state / "archive"])]
    assert b"changed" in found
    assert event("2") in found
    monkeypatch.undo()
    assert full.compact().days == 0
    assert (full.folder / "a.json").read_bytes() == b"changed"


def test_what_is_no_copy_stays_and_is_named(full: House, caplog: pytest.LogCaptureFixture) -> None:
    """Links, folders and what came this minute from elsewhere are not ours to remove; names are shown safely."""
    (full.folder / "link").symlink_to("a.json")
    (full.folder / "sub\n\x1b[2J").mkdir()
    (full.folder / "new.json").write_bytes(b"{")
    full.compact()
    assert sorted(path.name for path in full.folder.iterdir()) == ["link", "new.json", "sub\n\x1b[2J"]
    (told,) = [record.getMessage() for record in caplog.records]
    assert told.startswith(f"3 in {full.folder} stayed")
    assert told.isprintable()


def test_a_damaged_day_is_not_added_to(full: House) -> None:
    """Nor replaced: a person must look. Other days are compacted all the same."""
    full.compact()
    full.zip.write_bytes(full.zip.read_bytes()[:-40])
    full.keep(d=event("8"))
    record(full.ledger, ("x.json", event("9")), source="zenith")
    full.copy()
    damaged = full.zip.read_bytes()
    done = full.compact()
    assert (done.days, done.files) == (1, 1)
    (problem,) = done.problems
    assert isinstance(problem, PermanentError)
    assert "22.zip cannot be read" in str(problem)
    assert full.zip.read_bytes() == damaged
    assert (full.folder / "d.json").exists()


def test_what_root_compacts_is_given_to_the_daemon(full: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The account that owns the archive can read the day afterwards."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, *owner: given.append(owner))
    full.compact()
    status = full.zip.parent.stat()
    assert given == [(status.st_uid, status.st_gid)]


def test_what_root_locks_is_given_to_the_daemon(full: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both locks, of upkeep and of a replay: else the daemon could never take them again."""
    given: list[tuple[int, int]] = []
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda _, *owner: given.append(owner))
    with turn(full.state), alone(full.state, full.ledger):
        status = full.state.stat()
    assert given == [(status.st_uid, status.st_gid)] * 2


def test_a_late_copy_leaves_no_day_open(full: House) -> None:
    """The daemon holds neither the table of contents nor, when a person was forgotten, the former bytes."""
    full.compact()
    archive = Archive(full.state, full.ledger)
    record(full.ledger, ("d.json", event("8")))
    assert archive.step() == 1
    assert full.zip not in [path.resolve() for path in Path("/proc/self/fd").iterdir()]


def test_it_can_be_stopped(full: House) -> None:
    """Before a day, or within one: then that is as if it had not been begun."""
    for after in range(3):
        asked = iter([False] * after + [True] * 9)
        compact(full.state, full.ledger.copies.of_day, TOMORROW, lambda asked=asked: next(asked))  # type: ignore[misc]
        assert [path.name for path in full.zip.parent.iterdir()] == ["22"]
    assert full.compact().files == 3


def test_copies_have_the_time_that_was_listed(full: House) -> None:
    """So that name, size and time tell the file; also when the process was killed before it was set."""
    listed = {f"{name}": mtime for name, mtime in rows(full.url, "SELECT name, mtime FROM files")}
    found = {path.name: path.stat().st_mtime_ns for path in full.folder.iterdir()}
    assert found == listed
    record(full.ledger, ("d.json", event("9")))
    (full.folder / "d.json").write_bytes(event("9"))
    full.copy()
    assert (full.folder / "d.json").stat().st_mtime_ns < 10**18


def test_the_ledger_describes_one_day_of_one_source(full: House) -> None:
    """By the names of the copies, without quarantined ones and without those that are gone."""
    full.keep(bad=b"bad", b=event("11"))
    noted = full.ledger.copies.of_day("webio", date(2026, 11, 22))
    assert {each.name for each in noted.values()} == {"a.json", "b.json", "c.json"}
    assert set(noted) == {"a.json", "b.json", "c.json", f"b.{sha256(event('11')).hexdigest()[:8]}.json"}
    assert full.ledger.copies.of_day("webio", TOMORROW) == full.ledger.copies.of_day("web", date(2026, 11, 22)) == {}
    assert len(full.ledger.retries.quarantined(Selection())) == 1
