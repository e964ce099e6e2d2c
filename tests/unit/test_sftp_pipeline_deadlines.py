"""No verb goes on for ever: not with a server that is slow, nor with one that only just keeps talking."""

from __future__ import annotations

import struct

import pytest

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources import sftp_jobs, sftp_pipeline
from sftpd_processor.sources.base import Move
from sftpd_processor.sources.sftp_pipeline import OutOfTime, Pipeline
from tests.unit.scripted_sftp import (
    CLOSE,
    DATA,
    EOF,
    FOLDER,
    NAME,
    OPEN,
    READ,
    READDIR,
    ScriptedSftp,
    entries,
    named,
    packet,
    status,
    string,
    taken,
    usual,
)

TIMEOUT = 5.0  # seconds that `ScriptedSftp.pipeline` waits for an answer
FILES = {f"{n}.json": b"{}" for n in range(10)}
SLOWLY = "^the server answers too slowly"


class Slow(ScriptedSftp):
    """Gives one answer at a time, each that holds `marked` after `pause` seconds of its own clock."""

    def __init__(self, files: dict[str, bytes] | None = None) -> None:
        super().__init__(files)
        self.now = 1000.0
        self.pause = 0.0
        self.marked = b""

    def monotonic(self) -> float:
        return self.now

    def recv(self, nbytes: int) -> bytes:
        del nbytes
        self.answers = [answer for answer in self.answers if answer]
        pause = self.pause if self.answers and self.marked in self.answers[0] else 0.0
        if not self.answers or pause > self.timeouts[-1]:
            self.now += self.timeouts[-1]
            raise TimeoutError
        self.now += pause
        return self.answers.pop(0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Slow:
    """A slow server, by whose clock the pipeline lives."""
    made = Slow(FILES)
    for module in (sftp_pipeline, sftp_jobs):
        monkeypatch.setattr(module, "time", made)
    return made


def session(server: Slow, pause: float) -> Pipeline:
    """A session that becomes slow after the greeting; its time begins at 0."""
    pipeline = server.pipeline()
    server.now, server.pause = 0.0, pause
    return pipeline


def test_a_slow_server_is_waited_for(server: Slow) -> None:
    """Three answers a file, one every 0.4 s: slow, but each file in about its second, so all come."""
    assert len(session(server, 0.4).fetch(FOLDER, entries(FILES))) == len(FILES)


def test_a_thin_line_is_waited_for(server: Slow) -> None:
    """A megabyte at 16 KiB a second is given its 64 seconds."""
    files = {"a.json": b"x" * (1 << 20)}
    server.files = {b"/in/a.json": files["a.json"]}
    assert session(server, 1.9).fetch(FOLDER, entries(files))[0][1] == files["a.json"]


def test_a_fetch_ends_when_its_time_is_used_up(server: Slow) -> None:
    """An answer every 4 s keeps no silence, but the batch may take 5 s and one for each file: what came is kept."""
    pipeline = session(server, 4.0)
    with pytest.raises(OutOfTime, match=SLOWLY):
        pipeline.fetch(FOLDER, entries(FILES))
    assert server.now <= TIMEOUT + len(FILES) + 0.1


def test_what_came_in_time_is_kept(server: Slow) -> None:
    """One file that drips is given up soon after all others are whole, and they are handed out with the failure."""
    server.files[b"/in/5.json"] = b"x" * 30_000
    listed = [entry._replace(size=30_000) if entry.name == "5.json" else entry for entry in entries(FILES)]
    pipeline, server.marked = session(server, 3.0), b"x" * 600

    def drips(number: int, body: bytes) -> bytes | None:
        mine = server.open[taken(body)[0]] == b"/in/5.json"
        return packet(DATA, number, string(server.marked)) if mine else None

    server.rules[READ] = drips
    with pytest.raises(OutOfTime, match=SLOWLY) as caught:
        pipeline.fetch(FOLDER, listed)
    whole = {entry.name: data for entry, data in caught.value.results}
    assert whole == {name: data for name, data in FILES.items() if name != "5.json"}
    assert caught.value.hung == [listed[5]]
    assert server.now <= 3.0 + TIMEOUT + 1 + 30_000 / 16_384 + 0.1  # the others were whole after 3 s


@pytest.mark.parametrize("in_order", [False, True])
def test_the_files_to_blame_are_told(server: Slow, in_order: bool) -> None:
    """Those that later requests overtook hang; where nothing is overtaken, the one that waits longest does."""

    def hang(_number: int, body: bytes) -> bytes | None:
        if server.open[taken(body)[0]] not in (b"/in/3.json", b"/in/7.json"):
            return None
        if in_order:
            server.rules = dict.fromkeys((OPEN, READ, CLOSE), lambda _number, _body: b"")
        return b""

    server.rules[READ] = hang
    with pytest.raises(OutOfTime, match=r"did not answer within 5 s") as caught:
        session(server, 0.01).fetch(FOLDER, entries(FILES))
    assert [entry.name for entry in caught.value.hung] == (["3.json"] if in_order else ["3.json", "7.json"])
    assert len(caught.value.results) == (3 if in_order else 8)


def test_a_single_request_is_not_prolonged_by_other_answers(server: Slow) -> None:
    """Answers to CLOSE that trickle in do not count as one to the request that is waited for."""
    pipeline = session(server, 0.0)
    pipeline.fetch(FOLDER, entries(FILES))
    began, server.pause = server.now, 4.0
    with pytest.raises(OutOfTime, match=SLOWLY):
        pipeline.make_folder("/out")
    assert server.now <= began + TIMEOUT + 1.1


@pytest.mark.parametrize("verb", ["moved", "deleted"])
def test_what_became_of_changes_is_not_guessed(server: Slow, verb: str) -> None:
    """When the time of a move or a removal is used up, the failure says that only the next look can tell."""
    pipeline = session(server, 4.0)
    with pytest.raises(SourceUnavailable, match=rf"{SLOWLY}; it is not known whether the last \d+ files were {verb}: "):
        if verb == "moved":
            pipeline.move(FOLDER, "/out", [Move(entry, "x") for entry in entries(FILES)])
        else:
            pipeline.remove(FOLDER, entries(FILES))
    assert server.now <= TIMEOUT + len(FILES) + 0.1


def test_a_listing_may_take_a_second_for_each_name(server: Slow) -> None:
    """A server that gives one name every 0.5 s is slow, and read to its end."""
    server.listing = [named(b"%d.json" % n, usual(n)) for n in range(40)]
    server.per_answer = 1
    listing = session(server, 0.5).entries(FOLDER, 1000)
    assert len(next(listing)) == 40


@pytest.mark.parametrize("names", [0, 1])
def test_a_listing_that_drips_is_given_up(server: Slow, names: int) -> None:
    """Answers every 4 s with a name or with none would go on for ever: a batch has its time, too."""
    server.rules[READDIR] = lambda number, _: packet(NAME, number, struct.pack(">I", names) + named(b"a", usual(1)))
    with pytest.raises(OutOfTime, match=SLOWLY):
        list(session(server, 4.0).entries(FOLDER, 1000))
    assert server.now <= 2 * TIMEOUT + 2


def test_empty_answers_that_come_at_once_are_no_listing(server: Slow) -> None:
    """A server that answers READDIR with no names, quickly and for ever, is given up, too."""
    server.rules[READDIR] = lambda number, _: packet(NAME, number, struct.pack(">I", 0))
    with pytest.raises(OutOfTime, match=SLOWLY):
        list(session(server, 0.01).entries(FOLDER, 1000))
    assert server.now <= 2 * TIMEOUT


class Dripping(Slow):
    """Lets one byte through at a time."""

    def recv(self, nbytes: int) -> bytes:
        if self.now < 1000:
            self.now += 0.0005
            return b"\x00"
        return super().recv(nbytes)

    def send(self, data: bytes) -> int:
        if self.now < 1000:
            self.now += 1.0
            return super().send(data[:1])
        return super().send(data)


@pytest.fixture
def dripping(monkeypatch: pytest.MonkeyPatch) -> Dripping:
    """A server that drips, by whose clock the pipeline lives."""
    made = Dripping(FILES)
    monkeypatch.setattr(sftp_pipeline, "time", made)
    return made


def test_bytes_that_keep_coming_are_no_answer(dripping: Dripping) -> None:
    """Bytes of an answer that is never whole end the session in time, however quickly they follow each other."""
    pipeline = session(dripping, 0.0)
    dripping.send = lambda data: len(data)  # type: ignore[method-assign]
    pipeline._incoming = struct.pack(">IBI", 1 << 20, DATA, 1)
    with pytest.raises(OutOfTime):
        pipeline.fetch(FOLDER, entries(FILES))
    assert dripping.now <= TIMEOUT + 0.1


def test_a_server_that_takes_single_bytes_is_given_up(dripping: Dripping) -> None:
    """Sending has the same end as receiving: a window of one byte at a time does not hold it up."""
    with pytest.raises(OutOfTime):
        session(dripping, 0.0).fetch(FOLDER, entries(FILES))
    assert dripping.now <= TIMEOUT + 1.1


def test_a_session_may_idle(server: Slow) -> None:
    """Time runs from each verb's own beginning: a session that was not used for long is not late."""
    server.listing = [named(b"%d.json" % n, usual(n)) for n in range(5_000)]
    pipeline = session(server, 0.0)
    listing = pipeline.entries(FOLDER, 1000)
    next(listing)
    server.now += 1000
    assert len(pipeline.fetch(FOLDER, entries(FILES))) == len(FILES)
    server.now += 1000
    assert len(next(listing)) == 1000
    server.now += 1000
    pipeline.make_folder("/out")
    server.now += 1000
    del listing
    assert pipeline.fetch(FOLDER, []) == []
    server.now += 1000
    pipeline.close()


def test_a_farewell_is_short(server: Slow) -> None:
    """Answers to CLOSE that nobody needs are waited for two seconds altogether."""
    pipeline = session(server, 0.0)
    pipeline.fetch(FOLDER, entries(FILES))
    began, server.pause = server.now, 1.9
    with pytest.raises(OutOfTime):
        pipeline.close()
    assert server.now <= began + 2.1


def test_an_end_of_file_before_the_size_is_told_at_once(server: Slow) -> None:
    """A file that is shorter than listed costs no waiting: the server says so."""
    server.rules[READ] = lambda number, _: status(number, EOF)
    assert len(session(server, 0.1).fetch(FOLDER, entries(FILES))) == len(FILES)
