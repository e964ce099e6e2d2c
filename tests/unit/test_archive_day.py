"""One compacted day: what ordinary tools see in it, what is read of it, and what is refused."""

from __future__ import annotations

import os
import random
import struct
import zipfile
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pytest

from sftpd_processor.archive.day import CENTRAL, END, Day, nanoseconds
from sftpd_processor.archive.notes import understood, written
from sftpd_processor.archive.packing import Packer
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.records import Noted

MTIME = 1_794_729_600_000_000_000  # 2026-11-15 08:00 UTC
NOTED = Noted("ab" * 32, MTIME + 123_456_789, MTIME // 1000 + 7, "sftp", "accepted", "größe & 100 %.json")
CHANCE = random.Random(6)
BODIES = {
    "empty.json": b"",
    "one.json": b"{",
    "event.json": b'{"type": "inboundMessage", "body": "hello hello hello"}' * 3,
    "noise": CHANCE.randbytes(2000),
    "just-small.json": b"a" * 1024,
    "large.json": b'{"a": 1}' * 50_000,
    "Größe 🎉.json": b"\xef\xbb\xbf{}\r\n",
}


def _no(error: PermanentError) -> None:
    raise error


def packed(path: Path, members: Iterable[tuple[str, bytes]], note: bytes = b"") -> Path:
    """A day with these members."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
    packer = Packer(descriptor)
    for name, raw in members:
        packer.add(name, raw, MTIME, note)
    packer.finish()
    os.close(descriptor)
    return path


def contents(path: Path) -> dict[str, bytes]:
    """What is read of a day."""
    with Day(path) as day:
        found = {member.name: day.read(member) for member in day.members()}
        assert {name: raw for name, _, _, raw in day.everything(_no)} == found
        return found


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a day is to lie."""
    return tmp_path / "15.zip"


def test_ordinary_tools_open_it(path: Path) -> None:
    """Python's zipfile finds each member with its bytes, UTF-8 name, mode 0640, date, and note."""
    packed(path, BODIES.items(), written(NOTED))
    with zipfile.ZipFile(path) as opened:
        assert opened.testzip() is None
        assert {info.filename: opened.read(info) for info in opened.infolist()} == BODIES
        for info in opened.infolist():
            assert (info.external_attr >> 16, info.create_system) == (0o100640, 3)
            assert info.date_time == (2026, 11, 15, 8, 0, 0)
            assert understood(info.comment) == NOTED


def test_each_member_is_read_by_itself_or_in_turn(path: Path) -> None:
    """Exact bytes, however they were packed and in whatever order they are asked for."""
    packed(path, BODIES.items())
    assert contents(path) == BODIES
    with Day(path) as day:
        assert (day.count, day.ordered) == (len(BODIES), True)
        for name in reversed(BODIES):
            member = day.find(name)
            assert member is not None
            assert day.read(member) == BODIES[name]
            assert nanoseconds(member.modified) == MTIME
        assert day.find("other.json") is None


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_day_made_by_hand_reads(path: Path, method: int) -> None:
    """What another tool has packed, with a folder in it and in any order, has no notes but the same bytes."""
    with zipfile.ZipFile(path, "w", method) as made:
        made.mkdir("folder")
        for name, raw in BODIES.items():
            made.writestr(name, raw)
    assert contents(path) == BODIES
    with Day(path) as day:
        assert not day.ordered
        assert {understood(member.note) for member in day.members()} == {None}


def test_more_members_than_fit_into_16_bits(path: Path) -> None:
    """65,536 members need ZIP64; zipfile and we read the same."""
    packed(path, ((f"{number}.json", b"") for number in range(65_536)))
    with Day(path) as day, zipfile.ZipFile(path) as opened:
        assert day.count == len(opened.namelist()) == 65_536
        assert [member.name for member in day.members()] == opened.namelist()


def test_more_bytes_than_fit_into_32_bits(path: Path) -> None:
    """A member beyond 4 GiB, of a sparse file, is found by zipfile and by us."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT, 0o640)
    packer = Packer(descriptor)
    packer.add("first.json", b"{}", MTIME, b"")
    packer._file.seek(5 << 30)
    packer._offset = 5 << 30
    packer.add("last.json", b"[]", MTIME, b"")
    packer.finish()
    os.close(descriptor)
    assert contents(path) == {"first.json": b"{}", "last.json": b"[]"}
    with zipfile.ZipFile(path) as opened:
        assert opened.read("last.json") == b"[]"


def test_a_torn_day_is_refused(path: Path) -> None:
    """Cut short at any length it is named, with what is wrong and what to do; never half of it is taken for all."""
    whole = packed(path, list(BODIES.items())[:3]).read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(PermanentError, match=r"15\.zip cannot be read: .* from a backup"):
            contents(path)


def test_a_day_with_another_byte_is_refused_or_the_same(path: Path) -> None:
    """Whatever single byte is turned over, no copy is read with other bytes than its sum stands for."""
    whole = packed(path, [("a.json", BODIES["event.json"]), ("b.json", b"{}")]).read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        with suppress(PermanentError), Day(path) as day:
            assert {raw for *_, raw in day.everything(lambda _: None)} <= {BODIES["event.json"], b"{}"}, at
        try:
            found = contents(path)
        except PermanentError:
            continue
        assert set(found.values()) <= {BODIES["event.json"], b"{}"}, at


def _altered(path: Path, offset: int, layout: str, value: int) -> None:
    """Put a number into the entry of the only member in the table of contents."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, data.index(b"PK\x01\x02") + offset, value)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("offset", "layout", "value", "why"),
    [
        (24, "<I", 0xFFFF_FFF0, "larger than is read"),
        (20, "<I", 0xFFFF_FFF0, "larger than is read"),
        (20, "<I", 1 << 20, "shorter than its table of contents"),
        (24, "<I", 10, "not what was packed"),
        (42, "<I", 1 << 30, "shorter than its table of contents"),
        (42, "<I", 3, "not where the table of contents says"),
        (10, "<H", 12, "method 12"),
        (8, "<H", 1, "encrypted"),
        (28, "<H", 60_000, "damaged"),
    ],
)
def test_a_hostile_table_of_contents_is_refused(path: Path, offset: int, layout: str, value: int, why: str) -> None:
    """Sizes, places and methods that lie cost no memory and give a reason."""
    packed(path, [("a.json", b"{}" * 400)])
    _altered(path, offset, layout, value)
    with pytest.raises(PermanentError, match=why):
        contents(path)


def test_a_bomb_is_cut_off(path: Path) -> None:
    """A member that unpacks to more than it says is refused after so many bytes."""
    packed(path, [("a.json", b"x" * 3_000_000)])
    _altered(path, 24, "<I", 1000)
    with Day(path) as day, pytest.raises(PermanentError, match="not what was packed"):
        day.read(next(day.members()))
    packed(path.with_name("16.zip"), [("a.json", b"x" * 3_000_000)])
    with Day(path.with_name("16.zip"), 1000) as day, pytest.raises(PermanentError, match="larger than is read"):
        day.read(next(day.members()))


def test_a_number_of_members_that_lies_is_refused(path: Path) -> None:
    """An end that promises more members than its table can hold."""
    packed(path, [("a.json", b"{}")])
    data = bytearray(path.read_bytes())
    at = data.rindex(b"PK\x05\x06")
    assert END.size == 22
    assert CENTRAL.size == 46
    struct.pack_into("<HH", data, at + 8, 60_000, 60_000)
    path.write_bytes(data)
    with pytest.raises(PermanentError, match="not where its end says"):
        contents(path)


def test_members_in_folders_are_refused(path: Path) -> None:
    """The message says how to pack them."""
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("15/a.json", b"{}")
    with pytest.raises(PermanentError, match="zip -j"):
        contents(path)


def test_only_a_regular_file_is_opened(path: Path, tmp_path: Path) -> None:
    """No link, no pipe; one that is not there is told apart."""
    with pytest.raises(FileNotFoundError):
        Day(path)
    (tmp_path / "other").write_bytes(b"")
    path.symlink_to("other")
    with pytest.raises(PermanentError, match="cannot be read"):
        Day(path)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(PermanentError, match="no regular file"):
        Day(path)


def test_notes_come_back() -> None:
    """Any listed name does; what was not written here is no note."""
    for name in ("a.json", "a b.json", "100%25.json", "Größe 🎉.json", "zero\u200bwidth.json"):
        assert understood(written(NOTED._replace(name=name))) == NOTED._replace(name=name)
    broken = [b"", b"sftpd1", b"sftpd2 " + written(NOTED)[7:], written(NOTED) + b" x", b"sftpd1 a b c d e f"]
    broken += [written(NOTED)[:-20] + end for end in (b"%ff", b"%00", b"a%2Fb", b"\xff", b"a/b")]
    broken += [written(NOTED._replace(mtime=mtime)) for mtime in (10**40, 1 << 63)]
    broken += [written(NOTED._replace(recorded_at=at)) for at in (-1, 10**19)]
    broken += [written(NOTED._replace(origin="x")), written(NOTED._replace(verdict="x"))]
    broken += [written(NOTED._replace(sha256=sha256)) for sha256 in ("x", "\x1b" * 64)]
    assert [understood(note) for note in broken] == [None] * len(broken)
