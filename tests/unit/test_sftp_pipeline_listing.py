"""Listing over the wire: attributes in every shape, names of any bytes, and a bounded read-ahead."""

from __future__ import annotations

import struct

import pytest

from sftpd_processor.sources.base import Entry
from sftpd_processor.sources.sftp_wire import SftpStatus
from tests.unit.scripted_sftp import (
    CLOSE,
    FAILURE,
    FOLDER,
    NO_SUCH_FILE,
    OPENDIR,
    PERMISSION_DENIED,
    READDIR,
    REGULAR,
    ScriptedSftp,
    entries,
    named,
    status,
    string,
    usual,
)

SIZE, MODE, MTIME = 5_000_000_000, REGULAR, 1_700_000_001
NANOSECONDS = 1_000_000_000


def listed(*shown: bytes) -> list[Entry]:
    """What is made of a NAME answer that holds these entries."""
    server = ScriptedSftp()
    server.listing = list(shown)
    return [entry for batch in server.pipeline().entries(FOLDER, 1000) for entry in batch]


def attributes(flags: int) -> bytes:
    """The fields that `flags` announces, in the order of the draft."""
    fields = [
        (1, struct.pack(">Q", SIZE)),
        (2, struct.pack(">II", 7, 8)),
        (4, struct.pack(">I", MODE)),
        (8, struct.pack(">II", 9, MTIME)),
        (1 << 31, struct.pack(">I", 2) + string(b"k@x") + string(b"v" * 300) + string(b"") + string(b"")),
    ]
    return struct.pack(">I", flags) + b"".join(field for flag, field in fields if flags & flag)


@pytest.mark.parametrize("extended", [0, 1 << 31])
@pytest.mark.parametrize("flags", range(16))
def test_attributes_are_read_in_every_combination(flags: int, extended: int) -> None:
    """Each set of attribute flags is parsed to its end, so that the entry behind it is read as well."""
    first, second = listed(
        named(b"a.json", attributes(flags | extended), b"-rw-r--r-- a.json"), named(b"b.json", usual(7), b"")
    )
    expected = SIZE if flags & 1 else 0, MTIME * NANOSECONDS if flags & 8 else 0
    assert first == Entry("a.json", *expected, regular=True)
    assert second == Entry("b.json", 7, 1_700_000_000 * NANOSECONDS, regular=True)


@pytest.mark.parametrize(
    ("mode", "regular"),
    [
        (0o100000, True),
        (0o100644, True),
        (0o104755, True),
        (0o040755, False),
        (0o120777, False),
        (0o010644, False),
        (0o020666, False),
        (0o060660, False),
        (0o140755, False),
        (0o000644, False),
    ],
)
def test_only_a_regular_file_is_regular(mode: int, regular: bool) -> None:
    """The permissions tell the type: folders, links, pipes, devices, sockets and what has no type are not files."""
    (entry,) = listed(named(b"a.json", usual(1, mode), b"-rw-r--r-- a.json"))
    assert entry.regular is regular


@pytest.mark.parametrize(("long_name", "regular"), [(b"-rw", True), (b"drw", False), (b"lrw", False), (b"", False)])
def test_without_permissions_the_long_name_tells_the_type(long_name: bytes, regular: bool) -> None:
    """A server that sends no permissions is read by the first letter of what `ls -l` would print."""
    (entry,) = listed(named(b"a.json", attributes(1 | 8), long_name))
    assert entry.regular is regular


def test_times_and_sizes_are_unsigned() -> None:
    """Times beyond 2038 and sizes beyond 4 GiB are read as they are."""
    (entry,) = listed(named(b"a.json", usual((1 << 63) + 5, REGULAR, 0xFFFFFFFF)))
    assert (entry.size, entry.mtime) == ((1 << 63) + 5, 0xFFFFFFFF * NANOSECONDS)


def test_the_folder_itself_is_not_listed() -> None:
    """`.` and `..` are left out; other names that begin with dots are not."""
    names = [b".", b"..", b"...", b".a", b"a"]
    assert [entry.name for entry in listed(*(named(name, usual(1)) for name in names))] == ["...", ".a", "a"]


def test_names_that_are_not_utf8_are_kept_apart() -> None:
    """Bytes that are not UTF-8 are surrogate-escaped, so that no two names become the same."""
    names = [b"\xff.json", b"\xfe.json", "ü😀.json".encode(), b"\xc3.json"]
    entries = listed(*(named(name, usual(1)) for name in names))
    assert [entry.name.encode(errors="surrogateescape") for entry in entries] == names


def test_batches_are_full_but_for_the_last() -> None:
    """A listing comes in batches of the size asked for, each entry once and in the server's order."""
    server = ScriptedSftp()
    server.listing = [named(b"%d.json" % n, usual(n)) for n in range(2_350)]
    server.per_answer = 7
    batches = list(server.pipeline().entries(FOLDER, 1000))
    assert [len(batch) for batch in batches] == [1000, 1000, 350]
    assert [entry.name for batch in batches for entry in batch] == [f"{n}.json" for n in range(2_350)]


def test_an_empty_folder_gives_no_batch() -> None:
    """A folder without entries is an empty listing, and its handle is closed."""
    server = ScriptedSftp()
    pipeline = server.pipeline()
    assert list(pipeline.entries(FOLDER, 1000)) == []
    pipeline.fetch(FOLDER, entries({"a.json": b""}))
    assert server.count(CLOSE) == server.count(OPENDIR) == 1


def test_a_listing_reads_ahead_by_a_bounded_number() -> None:
    """A consumer that stops early has not made the server send the whole folder."""
    server = ScriptedSftp()
    server.listing = [named(b"%d.json" % n, usual(n)) for n in range(200_000)]
    listing = server.pipeline().entries(FOLDER, 1000)
    next(listing)
    assert server.count(READDIR) <= 2 * 1000 / 100 + 16


def test_a_consumer_that_stops_early_can_go_on_with_the_session() -> None:
    """Answers to a listing that nobody wants any more disturb neither a fetch nor the next listing."""
    files = {f"{n}.json": b"%d" % n for n in range(50)}
    server = ScriptedSftp(files)
    server.listing = [named(b"%d.json" % n, usual(n)) for n in range(10_000)]
    pipeline = server.pipeline()
    listing = pipeline.entries(FOLDER, 1000)
    assert isinstance(next(listing), list)
    del listing
    assert dict(pipeline.fetch(FOLDER, entries(files))) == dict(zip(entries(files), files.values(), strict=True))
    assert len(next(pipeline.entries(FOLDER, 1000))) == 1000
    assert server.count(CLOSE) == len(files) + 1


def test_files_are_fetched_in_the_middle_of_a_listing() -> None:
    """Requests of other kinds between two batches leave the listing complete."""
    files = {f"{n}.json": b"%d" % n for n in range(3_000)}
    server = ScriptedSftp(files)
    server.listing = [named(name.encode(), usual(len(data))) for name, data in files.items()]
    pipeline = server.pipeline()
    got = {e.name: body for batch in pipeline.entries(FOLDER, 500) for e, body in pipeline.fetch(FOLDER, batch)}
    assert got == files


@pytest.mark.parametrize("kind", [OPENDIR, READDIR])
@pytest.mark.parametrize("code", [NO_SUCH_FILE, PERMISSION_DENIED, FAILURE])
def test_a_folder_that_cannot_be_listed_says_why(kind: int, code: int) -> None:
    """A refused listing raises the server's status code and words."""
    server = ScriptedSftp()
    server.rules[kind] = lambda number, _: status(number, code, b"because")
    with pytest.raises(SftpStatus, match=r"^because$") as caught:
        list(server.pipeline().entries(FOLDER, 1000))
    assert caught.value.code == code
