"""The poller: one poll when started, then one for every reason there is."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.poller import Poller
from sftpd_processor.sources import directory
from sftpd_processor.sources.base import Entry, Miss
from sftpd_processor.sources.directory import DirectorySource
from tests.support import wait_until

EVENT = b'{"type": "inboundMessage", "communicationActionId": "%d"}'


class Shaky(DirectorySource):
    """A local folder whose next looks fail as the test says."""

    def __init__(self, settings: DirectorySourceSettings) -> None:
        super().__init__(settings)
        self.failures: list[Exception] = []
        self.looks = 0
        self.closed = False

    def look(self) -> Iterator[list[Entry]]:
        self.looks += 1
        if self.failures:
            raise self.failures.pop(0)
        return super().look()

    def close(self) -> None:
        self.closed = True


class Room:
    """A poller over a real folder and a real ledger."""

    def __init__(self, folder: Path, settle_seconds: float = 10.0, longest_pause: float = 300.0) -> None:
        self.folder = folder / "in"
        self.folder.mkdir()
        settings = DirectorySourceSettings(
            name="local",
            type="directory",
            folder=self.folder,
            settle_seconds=settle_seconds,
            poll_seconds=longest_pause,
            after="delete",
        )
        self.ledger = Ledger(f"sqlite:///{folder}/ledger.db")
        self.ledger.open()
        self.source = Shaky(settings)
        intake = Intake(self.source, settings, self.ledger, lambda _: (), lambda _: None)
        self.poller = Poller(self.source, intake, settings)

    def put(self, name: str, number: int = 1) -> None:
        part = self.folder / f".{name}"
        part.write_bytes(EVENT % number)
        part.rename(self.folder / name)

    def close(self) -> None:
        self.poller.stop()
        assert self.poller.join(10)
        self.poller.close()
        self.ledger.close()


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    """A poller that is not started yet."""
    made = Room(tmp_path)
    yield made
    made.close()


def test_it_polls_at_once_and_when_woken(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """A started poller takes what is there; woken, it takes what has come since, and says so."""
    caplog.set_level(logging.INFO)
    room.put("a.json", 1)
    room.poller.start()
    wait_until(lambda: not list(room.folder.iterdir()), what="the first file to be taken")
    wait_until(lambda: "recorded 1, disposed of 1 files" in caplog.text, what="the log")
    room.put("b.json", 2)
    room.poller.wake()
    wait_until(lambda: not list(room.folder.iterdir()), what="the second file to be taken")
    assert room.poller.intake.tally.recorded == 2
    assert room.poller.source_name == "local"


def test_each_file_counts_as_getting_on(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within one batch the poll gets on with every file; at its end, with what intake did last."""
    seen: list[float] = []
    read = directory._read

    def noting(path: Path, entry: Entry) -> bytes | Miss:
        seen.append(room.poller.moved_at)
        return read(path, entry)

    monkeypatch.setattr(directory, "_read", noting)
    for number in range(3):
        room.put(f"{number}.json", number)
    room.poller.step()
    assert len(seen) == 3
    assert 0 < seen[0] < seen[1] < seen[2] < room.poller.moved_at == room.poller.intake.moved_at


def test_a_poll_is_one_line_with_its_counts(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Duplicates and quarantined files are told among those recorded, and each count is a field."""
    caplog.set_level(logging.INFO, "sftpd_processor.pipeline")
    for name, number in {"a": 1, "b": 1, "c": 1, "d": 2}.items():
        room.put(f"{name}.json", number)
    room.put("e.json")
    (room.folder / "e.json").write_bytes(b'{"type": "inboundMessage", "communicationActionId": "1", "body": "x"}')
    room.poller.step()
    (record,) = caplog.records
    assert record.getMessage() == "source local: recorded 5 (2 duplicates, 1 quarantined), disposed of 5 files"
    told = ("source", "recorded", "duplicates", "quarantined", "events", "disposed")
    assert [record.__dict__[name] for name in told] == ["local", 5, 2, 1, 2, 5]


def test_a_poll_that_breaks_off_tells_what_it_did(
    room: Room, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was recorded before the line broke is in the log, before the failure."""
    caplog.set_level(logging.INFO, "sftpd_processor.pipeline")
    monkeypatch.setattr(room.poller, "pause", lambda _error: 0.01)
    room.put("a.json")
    look = room.source.look

    def breaking() -> Iterator[list[Entry]]:
        yield from look()
        raise SourceUnavailable("source local: gone")

    monkeypatch.setattr(room.source, "look", breaking)
    room.poller.start()
    wait_until(lambda: "gone" in caplog.text, what="the failure")
    told = [record.getMessage() for record in caplog.records][:2]
    assert told == ["source local: recorded 1, disposed of 0 files", "source local: gone"]
    assert [record.__dict__["source"] for record in caplog.records[:2]] == ["local", "local"]


def test_a_poll_that_finds_nothing_is_silent(room: Room, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing new is not worth a line in the log."""
    caplog.set_level(logging.INFO, "sftpd_processor")
    assert room.poller.step() is None
    assert not [record for record in caplog.records if record.name.startswith("sftpd_processor")]


def test_it_comes_back_for_a_file_that_settles(tmp_path: Path) -> None:
    """A half-written file makes it look again by itself after `settle_seconds`, without being woken."""
    room = Room(tmp_path, settle_seconds=0.05)
    try:
        (room.folder / "half.json").write_bytes(b'{"type": "inb')
        room.poller.start()
        wait_until(lambda: room.poller.intake.tally.verdicts["invalid"], what="the settled file to be judged")
    finally:
        room.close()


def test_a_source_that_is_away_is_tried_again(
    room: Room, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the source fails it is told once, the poller tries again by itself, and says when it works again."""
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(room.poller, "pause", lambda _error: 0.01)
    room.source.failures = [SourceUnavailable("source local: no answer")] * 3
    room.put("a.json")
    room.poller.start()
    wait_until(lambda: room.poller.intake.tally.recorded, what="the file to be taken after all")
    wait_until(lambda: "works again" in caplog.text, what="the good news")
    assert caplog.text.count("no answer") == 1


def test_pauses_double_up_to_the_longest(room: Room) -> None:
    """Each failure in a row doubles the pause, with jitter, up to the longest; a good poll starts over."""
    error = SourceUnavailable("away")
    for longest in (2, 4, 8, 16, 32, 64, 128, 256, 300, 300):
        assert longest / 2 <= room.poller.pause(error) <= longest
    room.poller.step()
    assert room.poller.pause(error) <= 2


def test_what_a_person_must_mend_waits_longest_at_once(room: Room) -> None:
    """A refused login is not tried every few seconds: accounts are locked for that."""
    assert room.poller.pause(SourceRefused("login refused")) == 300


def test_stop_ends_it_during_the_pause_after_a_failure(room: Room) -> None:
    """A poller that waits for a dead server stops at once, and closing it closes its source."""
    room.source.failures = [SourceRefused("login refused")] * 9
    room.poller.start()
    wait_until(lambda: room.poller.failure is not None, what="the failure")
    room.poller.stop()
    assert room.poller.join(5)
    room.poller.close()
    assert room.source.closed


def test_a_wake_does_not_shorten_the_pause_after_a_failure(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The schedule wakes it on; a server that refused us is left alone all the same."""
    room.source.failures = [SourceRefused("login refused")] * 9
    monkeypatch.setattr(room.poller, "pause", lambda _error: 0.3)
    began = time.monotonic()
    room.poller.start()

    def tried_again() -> bool:
        room.poller.wake()
        return room.source.looks > 1

    wait_until(tried_again, what="the second try")
    assert time.monotonic() - began >= 0.3
