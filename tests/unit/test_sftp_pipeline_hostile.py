"""What no lawful server does ends the session with a clear error: never a hang, never a wrong result."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable

import pytest

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Move, Moved, Removed
from sftpd_processor.sources.sftp_pipeline import Pipeline
from tests.unit.scripted_sftp import (
    ATTRS,
    DATA,
    FOLDER,
    HANDLE,
    LSTAT,
    NAME,
    OPEN,
    OPENDIR,
    READ,
    READDIR,
    REMOVE,
    RENAME,
    STATUS,
    ScriptedSftp,
    entries,
    packet,
    string,
)

FILES = {"a.json": b"{}", "b.json": b"[]"}


def fetch(server: ScriptedSftp) -> object:
    """A session that reads two files."""
    return server.pipeline().fetch(FOLDER, entries(FILES))


@pytest.mark.parametrize(
    "greeting",
    [
        pytest.param(b"Welcome! This service allows sftp connections only.\r\n", id="a text"),
        pytest.param(struct.pack(">IBI", 5, STATUS, 3), id="another message"),
        pytest.param(struct.pack(">IB", 1, 2), id="no version number"),
        pytest.param(b"\xff" * 64, id="a length of 4 GiB"),
        pytest.param(b"\x00" * 64, id="a length of zero"),
    ],
)
def test_a_greeting_that_is_not_sftp_is_told(greeting: bytes) -> None:
    """A server that does not greet as SFTP does is told apart from one that is away."""
    server = ScriptedSftp()
    server.greeting = greeting
    with pytest.raises(SourceUnavailable, match="broke the SFTP protocol"):
        server.pipeline()


@pytest.mark.parametrize("version", [0, 2, 4, 6])
def test_another_version_than_the_one_asked_for_is_told(version: int) -> None:
    """Only version 3 is understood, and it was asked for: another number means other messages, so it is refused."""
    server = ScriptedSftp()
    server.greeting = struct.pack(">IBI", 5, 2, version)
    with pytest.raises(SourceUnavailable, match="version"):
        server.pipeline()


def test_a_greeting_may_carry_extensions() -> None:
    """The pairs of names and data behind the version number are passed over."""
    server = ScriptedSftp(FILES)
    body = struct.pack(">BI", 2, 3) + string(b"posix-rename@openssh.com") + string(b"1")
    server.greeting = struct.pack(">I", len(body)) + body
    server.piece = 3
    assert len(server.pipeline().fetch(FOLDER, entries(FILES))) == 2


Answer = Callable[[int], bytes]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(lambda n: packet(HANDLE, n + 1000, string(b"h1")), id="to nothing asked"),
        pytest.param(lambda n: packet(HANDLE, n, string(b"h")) * 2, id="the same twice"),
        pytest.param(lambda n: struct.pack(">IBI", 1 << 21, HANDLE, n) + b"x" * 100, id="over-long"),
        pytest.param(lambda n: struct.pack(">IBI", 0xFFFFFFFF, HANDLE, n), id="4 GiB"),
        pytest.param(lambda n: struct.pack(">IBI", 4, HANDLE, n) + b"x" * 100, id="shorter than its head"),
        pytest.param(lambda n: b"\x00" * 100, id="zeros"),
        pytest.param(lambda n: packet(STATUS, n, b""), id="a status without a code"),
        pytest.param(lambda n: packet(STATUS, n, b"\x00\x00"), id="half a code"),
    ],
)
@pytest.mark.parametrize("kind", [OPEN, READ])
def test_an_answer_against_the_rules_ends_the_session(kind: int, answer: Answer) -> None:
    """What breaks the protocol is told as such, at once."""
    server = ScriptedSftp(FILES)
    server.rules[kind] = lambda number, _: answer(number)
    with pytest.raises(SourceUnavailable, match="the server broke the SFTP protocol: "):
        fetch(server)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(struct.pack(">I", 1), id="no entry"),
        pytest.param(struct.pack(">I", 1) + string(b"a.json"), id="a name alone"),
        pytest.param(struct.pack(">I", 1) + string(b"a.json") + string(b""), id="no attributes"),
        pytest.param(
            struct.pack(">I", 1) + string(b"a.json") + string(b"") + struct.pack(">II", 0xF, 1), id="cut attributes"
        ),
        pytest.param(struct.pack(">I", 1) + struct.pack(">I", 1 << 30) + b"a.json", id="a name longer than all"),
        pytest.param(struct.pack(">I", 0xFFFFFFFF) + string(b"a") + string(b"") + struct.pack(">I", 0), id="4 billion"),
        pytest.param(
            struct.pack(">I", 1) + string(b"a") + string(b"") + struct.pack(">II", 1 << 31, 0xFFFFFFFF), id="extensions"
        ),
    ],
)
def test_a_cut_listing_ends_the_session(body: bytes) -> None:
    """A NAME answer that is shorter than it says is told, quickly, and gives no made-up entry as a whole batch."""
    server = ScriptedSftp()
    server.rules[READDIR] = lambda number, _: packet(NAME, number, body)
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="a message shorter than it says"):
        list(server.pipeline().entries(FOLDER, 1000))
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("kind", [REMOVE, RENAME])
@pytest.mark.parametrize("answered", [HANDLE, DATA, NAME, ATTRS])
def test_an_answer_of_another_type_is_no_success(kind: int, answered: int) -> None:
    """Only a STATUS says that a file was removed or moved; four zero bytes of any other type do not."""
    server = ScriptedSftp(FILES)
    server.rules[kind] = lambda number, _: packet(answered, number, b"\x00" * 4)
    results: list[object] = []
    try:
        if kind == REMOVE:
            results += [result for _, result in server.pipeline().remove(FOLDER, entries(FILES))]
        else:
            moves = [Move(entry, "x") for entry in entries(FILES)]
            results += [result for _, result in server.pipeline().move(FOLDER, "/out", moves)]
    except SourceUnavailable:
        results = []
    assert not [result for result in results if isinstance(result, Removed | Moved)]


@pytest.mark.parametrize("answered", [HANDLE, NAME, ATTRS])
def test_a_read_answered_by_another_type_gives_no_content(answered: int) -> None:
    """An answer that is neither DATA nor STATUS is never taken for the end of an empty file."""
    server = ScriptedSftp({"a.json": b""})
    server.rules[READ] = lambda number, _: packet(answered, number, struct.pack(">I", 1))
    try:
        results = server.pipeline().fetch(FOLDER, entries({"a.json": b""}))
    except SourceUnavailable:
        return
    assert results[0][1] != b""


def test_a_folder_handle_of_another_type_is_told() -> None:
    """OPENDIR must be answered by a handle."""
    server = ScriptedSftp()
    server.rules[OPENDIR] = lambda number, _: packet(ATTRS, number, struct.pack(">I", 0))
    with pytest.raises(SourceUnavailable, match="answer of type 105"):
        list(server.pipeline().entries(FOLDER, 1000))


@pytest.mark.parametrize("kind", [OPEN, READ, LSTAT, READDIR])
def test_a_server_that_falls_silent_is_given_up(kind: int) -> None:
    """When an owed answer does not come, the session ends with how long it was waited for."""
    server = ScriptedSftp(FILES)
    server.rules[kind] = lambda _number, _body: b""
    pipeline = server.pipeline()
    with pytest.raises(SourceUnavailable, match=r"^the server did not answer within 5 s($|; it is not known)"):
        if kind == READDIR:
            list(pipeline.entries(FOLDER, 1000))
        elif kind == LSTAT:
            pipeline.move(FOLDER, "/out", [Move(entry, "x") for entry in entries(FILES)])
        else:
            pipeline.fetch(FOLDER, entries(FILES))
    assert max(server.timeouts) <= 5.0


class _Dripping(ScriptedSftp):
    """Sends a message of 1 MiB, one byte every 5 ms."""

    def recv(self, nbytes: int) -> bytes:
        del nbytes
        time.sleep(min(0.005, self.timeouts[-1]))
        if self.timeouts[-1] < 0.005:
            raise TimeoutError
        return b"\x00\x10\x00\x00"[len(self.timeouts) - 2 :][:1] or b"\x02"


def test_a_server_that_drips_is_given_up_too() -> None:
    """The time for an answer runs from the question, so single bytes that come in time do not prolong it."""
    began = time.monotonic()
    with pytest.raises(SourceUnavailable, match="did not answer"):
        Pipeline(_Dripping(), in_flight=1, timeout=0.2)
    assert time.monotonic() - began < 2


class _Broken(ScriptedSftp):
    """Fails as a paramiko channel does."""

    def __init__(self, error: Exception | None, *, sending: bool) -> None:
        super().__init__(FILES)
        self._error = error
        self._sending = sending

    def send(self, data: bytes) -> int:
        if self._sending and self._error is not None and self.asked:
            raise self._error
        return super().send(data)

    def recv(self, nbytes: int) -> bytes:
        if self._sending or len(self.asked) < 2:
            return super().recv(nbytes)
        if self._error is None:
            return b""
        raise self._error


@pytest.mark.parametrize("sending", [True, False])
@pytest.mark.parametrize("error", [OSError("Socket is closed"), EOFError(), ConnectionResetError(), TimeoutError()])
def test_a_lost_connection_is_unavailable(error: Exception, sending: bool) -> None:
    """Whatever the channel raises, the source counts as unavailable."""
    with pytest.raises(SourceUnavailable):
        fetch(_Broken(error, sending=sending))


def test_a_closed_channel_is_unavailable() -> None:
    """No bytes from the channel means that the other side has closed it."""
    with pytest.raises(SourceUnavailable, match="closed the connection"):
        fetch(_Broken(None, sending=False))
