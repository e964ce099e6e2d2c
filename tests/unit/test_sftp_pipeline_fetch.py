"""Reading files over the wire: whatever a lawful server does, the bytes are exact or the file is named as missed."""

from __future__ import annotations

import random
import struct

import pytest

from sftpd_processor.sources.base import Entry, Miss
from sftpd_processor.sources.sftp_jobs import IN_PIECES
from tests.unit.scripted_sftp import (
    CLOSE,
    DATA,
    EOF,
    FAILURE,
    FOLDER,
    OPEN,
    PERMISSION_DENIED,
    READ,
    ScriptedSftp,
    entries,
    packet,
    status,
    string,
    taken,
)

SIZES = (0, 1, 300, 32_767, 32_768, 32_769, 65_535, 65_536, 65_537, 100_000)
FILES = {f"{size}.json": random.Random(size).randbytes(size) for size in SIZES}


def fetched(server: ScriptedSftp, files: dict[str, bytes], in_flight: int = 64) -> dict[str, bytes | Miss]:
    """What a session with `server` reads, by name."""
    results = server.pipeline(in_flight).fetch(FOLDER, entries(files))
    assert len(results) == len(files)
    return {entry.name: content for entry, content in results}


def many(count: int) -> dict[str, bytes]:
    """Small files, no two alike."""
    return {f"{n}.json": b'{"n": %d}' % n for n in range(count)}


@pytest.mark.parametrize(("read_limit", "longest"), [(1, 60), (100, 300), (512, 1 << 20), (32_768, 1 << 20)])
def test_short_reads_are_continued(read_limit: int, longest: int) -> None:
    """A server may give fewer bytes than were asked for; the rest is asked for until the file is whole."""
    files = {name: data for name, data in FILES.items() if len(data) <= longest} | {"60.json": b"x" * 60}
    assert fetched(ScriptedSftp(files, read_limit=read_limit), files) == files


@pytest.mark.parametrize("read_limit", [1, 100, 200])
def test_a_file_in_tiny_pieces_costs_a_bounded_number_of_requests(read_limit: int) -> None:
    """64 answers are free, then each must have brought 512 bytes on average: so a file costs at most as many READs."""
    files = {"a.json": b"x" * 60_000, "b.json": b"{}"}
    server = ScriptedSftp(files)

    def tiny(number: int, body: bytes) -> bytes | None:
        return packet(DATA, number, string(b"x" * read_limit)) if taken(body)[0] == b"h1" else None

    server.rules[READ] = tiny
    assert fetched(server, files) == {"a.json": IN_PIECES, "b.json": b"{}"}
    assert 64 < server.count(READ) <= 64 + 2 + 60_000 // 512


def test_no_read_asks_for_more_than_every_server_must_give() -> None:
    """A file over 32 KiB is read in pieces: the draft obliges servers to serve packets of up to 34,000 bytes only."""
    server, asked = ScriptedSftp(FILES), list[int]()

    def watched(_number: int, body: bytes) -> None:
        asked.append(struct.unpack_from(">QI", body, taken(body)[1])[1])

    server.rules[READ] = watched
    assert fetched(server, FILES) == FILES
    assert max(asked) <= 32_768


def test_a_small_file_costs_three_requests() -> None:
    """A file that is as long as it was listed takes one OPEN, one READ and one CLOSE, and no look or end-of-file."""
    files = {"a.json": b"{}"}
    server = ScriptedSftp(files)
    assert fetched(server, files) == files
    assert server.count(OPEN) == server.count(READ) == 1
    assert set(server.asked[1:]) <= {OPEN, READ, CLOSE}


def test_answers_may_come_in_any_order() -> None:
    """Answers are told apart by their request numbers, so their order does not matter."""
    files, shuffled = many(300), random.Random(1)
    server = ScriptedSftp(files | FILES)
    server.turn = lambda answers: shuffled.sample(answers, len(answers))
    assert fetched(server, files | FILES) == files | FILES


@pytest.mark.parametrize("piece", [1, 2, 3, 4, 5, 8, 9, 10, 13])
def test_answers_may_be_split_anywhere(piece: int) -> None:
    """The channel is a stream: an answer may arrive in pieces of any length, down to single bytes."""
    files = many(30)
    server = ScriptedSftp(files)
    server.piece = piece
    assert fetched(server, files) == files


def test_every_single_boundary_is_a_good_place_to_split() -> None:
    """Whatever byte the first piece ends at, what follows is understood."""
    files = {"a.json": b'{"type": "x"}', "b.json": b""}
    for first in range(1, 130):
        server = ScriptedSftp(files)
        server.turn = lambda answers: [b"".join(answers)]
        server.piece = first
        assert fetched(server, files) == files


@pytest.mark.parametrize("in_flight", [1, 2, 8, 64, 1024])
def test_no_more_files_are_open_than_in_flight_says(in_flight: int) -> None:
    """`in_flight` is the most files that are open at once, and all of them come, however small it is."""
    files = many(1500)
    server = ScriptedSftp(files)
    assert fetched(server, files, in_flight) == files
    assert server.most_open <= in_flight


def test_the_window_grows_to_in_flight() -> None:
    """A server that refuses nothing soon has as many files under way as `in_flight` allows."""
    files = many(500)
    server = ScriptedSftp(files)
    fetched(server, files)
    assert server.most_open == 64


@pytest.mark.parametrize("handles", [1, 2, 3, 8, 20])
def test_a_server_short_of_handles_gives_every_file(handles: int) -> None:
    """An OPEN that fails while others are open is tried again with a smaller window, so none is missed."""
    files = many(2000)
    server = ScriptedSftp(files, handles=handles)
    got = fetched(server, files)
    assert [name for name, content in got.items() if content != files[name]] == []
    assert server.most_open <= handles


def test_a_refusal_while_others_are_open_halves_the_window() -> None:
    """After failures for want of handles fewer files are under way: less than one OPEN per file is in vain."""
    files = many(2000)
    server = ScriptedSftp(files, handles=20)
    fetched(server, files)
    refused_in_vain = server.count(OPEN) - len(files)
    assert 0 < refused_in_vain < len(files)


def test_a_failure_when_alone_is_the_files_own() -> None:
    """FAILURE on the only file under way cannot be for want of handles: it is refused, with the server's words."""
    files = {"a.json": b"{}"}
    assert fetched(ScriptedSftp(files, handles=0), files) == {
        "a.json": Miss("refused", "the server said: too many open files")
    }


def test_a_file_that_always_fails_does_not_harm_the_others() -> None:
    """One file that cannot be opened is refused in the end; all others are read."""
    files = many(500)
    server = ScriptedSftp(files)

    def broken(number: int, body: bytes) -> bytes | None:
        return status(number, FAILURE, b"bad sector") if taken(body)[0].endswith(b"/250.json") else None

    server.rules[OPEN] = broken
    got = fetched(server, files)
    assert got.pop("250.json") == Miss("refused", "the server said: bad sector")
    del files["250.json"]
    assert got == files


def test_each_kind_of_miss_stands_beside_the_others() -> None:
    """A file that vanished, grew, shrank or may not be read is named so; the others are read."""
    now = {"good.json": b"{}", "grew.json": b"12345", "shrank.json": b"1", "emptied.json": b"", "locked.json": b"x"}
    listed = {**now, "grew.json": b"1234", "shrank.json": b"12", "emptied.json": b"1", "vanished.json": b"1"}
    server = ScriptedSftp(now)

    def locked(number: int, body: bytes) -> bytes | None:
        return status(number, PERMISSION_DENIED, b"no way") if taken(body)[0].endswith(b"locked.json") else None

    server.rules[OPEN] = locked
    assert fetched(server, listed) == {
        "good.json": b"{}",
        "grew.json": Miss("changed", "it grew while it was read; it was listed with 4 bytes"),
        "shrank.json": Miss("changed", "it shrank while it was read; it was listed with 2 bytes"),
        "emptied.json": Miss("changed", "it shrank while it was read; it was listed with 1 bytes"),
        "locked.json": Miss("refused", "the server said: no way"),
        "vanished.json": Miss("vanished", "it was gone when its turn came"),
    }


def test_growth_between_two_reads_of_a_long_file_is_seen() -> None:
    """A file that grows by one byte behind its listed end has changed, also when it is read in several pieces."""
    for size in (32_767, 32_768, 65_536):
        listed, now = {"a.json": b"x" * size}, {"a.json": b"x" * (size + 1)}
        missed = fetched(ScriptedSftp(now), listed)["a.json"]
        assert missed == Miss("changed", f"it grew while it was read; it was listed with {size} bytes")


def test_a_read_that_fails_is_refused() -> None:
    """A file that opens but cannot be read is refused, with the server's words."""
    files = {"a.json": b"{}", "b.json": b"[]"}
    server = ScriptedSftp(files)

    def bad(number: int, body: bytes) -> bytes | None:
        return status(number, FAILURE, b"input/output error") if taken(body)[0] == b"h1" else None

    server.rules[READ] = bad
    assert fetched(server, files) == {"a.json": Miss("refused", "the server said: input/output error"), "b.json": b"[]"}


@pytest.mark.parametrize("end", [lambda n: packet(DATA, n, string(b"")), lambda n: status(n, EOF)])
def test_an_empty_answer_is_an_end_and_not_asked_for_again(end: object) -> None:
    """A READ answered by no bytes ends the file, whether the server says so by EOF or by empty data."""
    assert callable(end)
    files = {"a.json": b"{}"}
    server = ScriptedSftp(files)
    server.rules[READ] = lambda number, _: end(number)
    assert isinstance(fetched(server, files)["a.json"], Miss)
    assert server.count(READ) == 1


def test_names_go_over_the_wire_as_they_came() -> None:
    """A name that is not UTF-8 goes back to the server as the same bytes."""
    server = ScriptedSftp()
    server.files[b"/in/\xff\xfe.json"] = b"{}"
    (result,) = server.pipeline().fetch(FOLDER, [Entry("\udcff\udcfe.json", 2, 0, regular=True)])
    assert result[1] == b"{}"


def test_one_session_serves_batch_after_batch() -> None:
    """Results of one batch never appear in the next one."""
    first, second = many(100), {f"x{n}.json": b"%d" % n for n in range(100)}
    pipeline = ScriptedSftp(first | second).pipeline()
    for files in (first, second, first):
        assert {entry.name: content for entry, content in pipeline.fetch(FOLDER, entries(files))} == files


def test_nothing_to_do_asks_nothing() -> None:
    """An empty batch makes no request and waits for nothing."""
    server = ScriptedSftp()
    pipeline = server.pipeline()
    assert (pipeline.fetch(FOLDER, []), pipeline.remove(FOLDER, []), pipeline.move(FOLDER, "/out", [])) == ([], [], [])
    assert server.count(OPEN) == 0


def test_no_file_is_left_open_on_the_server() -> None:
    """When a batch is done all its files are closed, whether they were read, had changed or failed."""
    now = {"good.json": b"{}", "grew.json": b"12345", "bad.json": b"1"}
    server = ScriptedSftp(now)

    def bad(number: int, body: bytes) -> bytes | None:
        return status(number, FAILURE) if taken(body)[0] == b"h3" else None

    server.rules[READ] = bad
    fetched(server, {**now, "grew.json": b"1", "vanished.json": b"1"})
    assert server.count(OPEN) == 4
    assert server.open == {}
