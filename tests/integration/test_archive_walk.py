"""Copies wherever they lie: plain, compacted, both, in quarantine, or loose; in the order they were recorded."""

from __future__ import annotations

import os
import re
import shutil
import struct
import zipfile
from collections.abc import Iterator
from datetime import date
from hashlib import sha256
from pathlib import Path

import pytest

from sftpd_processor.archive.compaction import compact
from sftpd_processor.archive.copies import Copies, Copy
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.archive import Archive
from tests.ledger_samples import Clock, event, opened, record, sqlite_url

DAY = "2026/11/22"
_A_DAY = 86_400


class Place:
    """A state folder with a ledger, and what was archived in it."""

    def __init__(self, state: Path, ledger: Ledger, clock: Clock) -> None:
        self.state, self.ledger, self.clock = state, ledger, clock
        self.copies = Copies(state)

    def keep(self, source: str, *files: tuple[str, bytes]) -> None:
        """Record files and write their copies."""
        record(self.ledger, *files, source=source)
        while Archive(self.state, self.ledger).step():
            pass

    def compact(self, before: date = date(2026, 12, 24)) -> None:
        """Compact all days before that one."""
        assert not compact(self.state, self.ledger.copies.of_day, before, lambda: False).problems

    def walk(self, *paths: str, read_as: str | None = None) -> list[Copy]:
        """What is found at these paths below the state folder."""
        return list(self.copies.walk([self.state / path for path in paths], read_as))

    def names(self, *paths: str) -> list[str]:
        """Source and name of each, in order."""
        return [f"{copy.source}/{copy.name}" for copy in self.walk(*paths)]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """An empty one."""
    clock = Clock()
    with opened(sqlite_url(tmp_path), clock) as ledger:
        yield Place(tmp_path / "state", ledger, clock)


def _fill(place: Place) -> list[str]:
    """Two sources on two days; returns the order."""
    place.keep("webio", ("b.json", event("1")), ("a.json", event("2")))
    place.keep("live", ("c.json", event("3")))
    place.keep("webio", ("0.json", event("4")))
    place.clock.advance(_A_DAY)
    place.keep("webio", ("b.json", event("5")))
    return ["webio/b.json", "webio/a.json", "live/c.json", "webio/0.json", "webio/b.json"]


def test_compacted_days_come_in_the_order_recorded(place: Place) -> None:
    """Over all sources, with all that the ledger knew; however many paths name them, each comes once."""
    expected = _fill(place)
    place.compact()
    assert list(place.state.rglob("*.json")) == []
    found = place.walk("archive", "archive/webio", f"archive/webio/{DAY}.zip")
    assert [f"{copy.source}/{copy.name}" for copy in found] == expected
    assert found == sorted(found, key=lambda copy: copy.recorded_at)
    first = found[0]
    assert first.raw == event("1")
    assert (first.stored, first.origin, first.verdict) == (f"archive/webio/{DAY}/b.json", "sftp", "accepted")
    assert first.sha256 == sha256(first.raw).hexdigest()
    assert place.copies.count([place.state / "archive"]) == 5


def test_plain_copies_come_day_by_day(place: Place) -> None:
    """Within their day, with the time that was listed, and without what only the ledger knows."""
    _fill(place)
    found = place.walk("archive")
    assert sorted(copy.stored or "" for copy in found[:4]) == sorted(
        [f"archive/webio/{DAY}/{name}.json" for name in "0ab"] + [f"archive/live/{DAY}/c.json"]
    )
    assert found[4].stored == "archive/webio/2026/11/23/b.json"
    assert all(copy.mtime < 10**15 and copy.sha256 is copy.origin is None for copy in found)
    assert [copy.recorded_at // (_A_DAY * 10**6) for copy in found] == [20_779] * 4 + [20_780]
    assert place.copies.count([place.state / "archive"]) == 5


def test_a_name_in_both_counts_once_unless_the_bytes_differ(place: Place) -> None:
    """As after a crash between compacting and removing; nothing is hidden, and nothing is doubled."""
    place.keep("webio", ("a.json", event("1")), ("b.json", event("2")))
    shutil.copytree(place.state / "archive", place.state / "saved")
    place.compact()
    shutil.copytree(place.state / "saved", place.state / "archive", dirs_exist_ok=True)
    assert place.names("archive") == ["webio/a.json", "webio/b.json"]
    other = place.state / f"archive/webio/{DAY}/b.json"
    other.write_bytes(b"other")
    found = [copy.raw for copy in place.walk(f"archive/webio/{DAY}")]
    assert sorted(found) == sorted([event("1"), event("2"), b"other"])
    assert place.copies.read(f"archive/webio/{DAY}/b.json") == b"other"
    assert place.copies.read(f"archive/webio/{DAY}/b.json", sha256(event("2")).hexdigest()) == event("2")


def test_single_copies_are_found_where_they_lie_now(place: Place) -> None:
    """A path of the day's folder goes on working when the day is compacted; a name that is nowhere is an error."""
    place.keep("webio", ("a.json", event("1")), ("b.json", event("2")))
    stored = f"archive/webio/{DAY}/a.json"
    assert place.copies.where(stored) == stored
    assert place.names(stored) == ["webio/a.json"]
    place.compact()
    assert place.copies.where(stored) == f"archive/webio/{DAY}.zip (member a.json)"
    assert place.copies.read(stored) == event("1")
    assert place.names(stored) == ["webio/a.json"]
    assert place.copies.count([place.state / stored]) == 1
    assert place.names(f"archive/webio/{DAY}") == ["webio/a.json", "webio/b.json"]
    missing = f"archive/webio/{DAY}/c.json"
    assert place.copies.where(missing) is None
    for attempt in (lambda: place.copies.read(missing), lambda: place.walk(missing), lambda: place.walk("nowhere")):
        with pytest.raises(PermanentError, match=r"missing; put it back|is not there"):
            attempt()


def test_no_place_outside_the_archive_is_read(place: Place, tmp_path: Path) -> None:
    """What the ledger calls a place has a fixed form; nothing leads out of it."""
    place.keep("webio", ("a.json", event("1")))
    (tmp_path / "secret").write_bytes(b"secret")
    (place.state / f"archive/webio/{DAY}/link.json").symlink_to(tmp_path / "secret")
    for stored in ("ledger.db", f"archive/../{DAY}/a.json", f"archive/webio/{DAY}/..", f"/archive/webio/{DAY}/a.json"):
        with pytest.raises(PermanentError, match="is no place in the archive"):
            place.copies.read(stored)
    with pytest.raises(PermanentError, match=r"link\.json cannot be read"):
        place.copies.read(f"archive/webio/{DAY}/link.json")
    with pytest.raises(PermanentError, match="no regular file"):
        place.walk(f"archive/webio/{DAY}/link.json")


def test_only_regular_files_are_read(place: Place) -> None:
    """Links, pipes, folders and what was never finished are passed over, and do not hold anything up."""
    place.keep("webio", ("a.json", event("1")))
    folder = place.state / f"archive/webio/{DAY}"
    os.mkfifo(folder / "pipe.json")
    (folder / "link.json").symlink_to("a.json")
    (folder / "sub").mkdir()
    (folder.parent / "copy.part").write_bytes(b"{")
    (folder.parent / "23.zip.part").write_bytes(b"PK")
    assert place.names("archive") == ["webio/a.json"]
    assert place.copies.count([place.state / "archive"]) == 1


def test_quarantine_is_read_without_its_reasons(place: Place) -> None:
    """A file that only is named like a reason is read."""
    place.keep("webio", ("bad.json", b"bad"), ("x.reason.json", b"worse"))
    found = place.walk("quarantine")
    assert [(copy.stored, copy.raw) for copy in found] == [
        (f"quarantine/webio/{DAY}/bad.json", b"bad"),
        (f"quarantine/webio/{DAY}/x.reason.json", b"worse"),
    ]
    assert place.copies.count([place.state / "quarantine"]) == 2


def test_loose_files_need_a_source(place: Place, tmp_path: Path) -> None:
    """Files, folders and ZIP files from anywhere else; they count as recorded when they were changed."""
    place.keep("webio", ("a.json", event("1")))
    loose = tmp_path / "loose"
    (loose / "deep").mkdir(parents=True)
    for number, name in enumerate(("b.json", "deep/c.json")):
        (loose / name).write_bytes(event(name))
        os.utime(loose / name, (10**9 - number * 10**6,) * 2)
    with zipfile.ZipFile(loose / "d.zip", "w") as made:
        made.writestr("d.json", event("d"))
    with pytest.raises(PermanentError, match=r"lies in no archive folder.*--as SOURCE"):
        place.walk(str(loose))
    found = place.walk(str(loose), "archive", read_as="old")
    assert [(copy.source, copy.name) for copy in found if copy.name != "d.json"] == [
        ("old", "c.json"), ("old", "b.json"), ("webio", "a.json"),
    ]  # fmt: skip
    assert {copy.stored for copy in found if copy.source == "old"} == {None}
    assert (found[1].recorded_at, found[1].mtime) == (10**15, 10**18)
    assert place.copies.count([loose]) == 3


def test_an_archive_that_was_copied_away_keeps_its_sources(place: Place, tmp_path: Path) -> None:
    """Also without the state folder the path tells source and day; the place is no longer one of the ledger's."""
    expected = _fill(place)
    place.compact(date(2026, 11, 23))
    shutil.copytree(place.state / "archive", tmp_path / "backup")
    found = Copies(tmp_path / "empty").walk([tmp_path / "backup"])
    assert [(f"{copy.source}/{copy.name}", copy.stored) for copy in found] == [(name, None) for name in expected]


def test_an_archive_on_another_disk_is_known(place: Place, tmp_path: Path) -> None:
    """When `archive` is a link to a folder elsewhere, its copies have their places nevertheless."""
    place.keep("webio", ("a.json", event("1")))
    (place.state / "archive").rename(tmp_path / "disk")
    (place.state / "archive").symlink_to(tmp_path / "disk")
    assert [copy.stored for copy in place.walk("archive")] == [f"archive/webio/{DAY}/a.json"]


def test_days_compacted_while_they_are_read_lose_nothing(place: Place) -> None:
    """A walk that began with plain copies ends with the compacted ones, in the same order."""
    place.keep("webio", *((f"{number:03}.json", event(str(number))) for number in range(50)))
    expected = sorted(place.names("archive"))
    walk = place.copies.walk([place.state / "archive"])
    found = [next(walk).name]
    place.compact()
    found += [copy.name for copy in walk]
    assert sorted(f"webio/{name}" for name in found) == expected


def test_what_cannot_be_read_is_named(place: Place) -> None:
    """A copy over the limit, and a torn day: the error says which; `problem` hears of it and the others go on."""
    place.keep("webio", ("a.json", event("1")), ("b.json", event("2", body="x" * 5000)))
    small = Copies(place.state, 4000)
    with pytest.raises(PermanentError, match=r"b\.json cannot be read: it is larger"):
        list(small.walk([place.state / "archive"]))
    problems: list[PermanentError] = []
    assert [copy.name for copy in small.walk([place.state / "archive"], None, problems.append)] == ["a.json"]
    assert len(problems) == 1
    place.compact()
    missing = [place.state / f"archive/webio/{DAY}/{name}.json" for name in ("nowhere", "a")]
    assert [copy.name for copy in place.copies.walk(missing, None, problems.append)] == ["a.json"]
    assert "nowhere.json is not there" in str(problems[1])
    (place.state / f"archive/webio/{DAY}.zip").write_bytes(b"PK")
    with pytest.raises(PermanentError, match=r"22\.zip cannot be read"):
        place.walk("archive")


def test_a_broken_member_costs_itself_alone(place: Place) -> None:
    """Of a compacted day that is read as a whole; so does one that claims to be large, or packed in another way."""
    place.keep("webio", *((f"{name}.json", event(name)) for name in "abcde"))
    place.compact()
    path = place.state / f"archive/webio/{DAY}.zip"
    raw = bytearray(path.read_bytes())
    entries = [found.start() for found in re.finditer(b"PK\x01\x02", bytes(raw))]
    raw[raw.index(b"b.json") + 12] ^= 0xFF
    struct.pack_into("<I", raw, entries[2] + 24, 0xFFFF_FFF0)
    struct.pack_into("<H", raw, entries[3] + 10, 12)
    path.write_bytes(raw)
    problems: list[PermanentError] = []
    assert [copy.name for copy in place.copies.walk([path], None, problems.append)] == ["a.json", "e.json"]
    assert [str(one).partition("cannot be read: ")[2][:8] for one in problems] == ["'b.json'", "'c.json'", "'d.json'"]
    with pytest.raises(PermanentError, match=r"'b\.json'"):
        place.walk("archive")
