"""Intake when things go wrong: cut lines, a ledger that fails, hostile listings, crashes, and large folders."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import pytest

from sftpd_processor.errors import LedgerUnavailable, SourceUnavailable
from sftpd_processor.ledger.records import Batch
from sftpd_processor.sources.base import Entry
from sftpd_processor.testing.memory import MemorySource
from tests.ledger_samples import Clock, Site, arrival, batch, event, wanting


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An intake whose source deletes what is recorded, and lists two files at a time."""
    site = Site(tmp_path)
    site.source = MemorySource("webio", batch=2)
    site.restart()
    yield site
    site.ledger.close()


def _balanced(site: Site) -> bool:
    parts = ("recorded", "known", "waiting", "ignored", "vanished")
    return all(look["listed"] == sum(look[part] for part in parts) for look in site.looks())


def _fill(site: Site, count: int) -> None:
    for number in range(count):
        site.source.put(f"{number}.json", event(str(number)))


def test_a_listing_that_breaks_keeps_what_was_recorded(site: Site) -> None:
    """The error reaches the caller, the look notes it, and the next poll takes the rest; nothing is taken twice."""
    _fill(site, 6)
    site.source.fail("look", SourceUnavailable("the line was cut"), after=2)
    with pytest.raises(SourceUnavailable, match="the line was cut"):
        site.poll()
    assert site.rows("SELECT count(*) FROM files") == [(4,)]
    (look,) = site.looks()
    assert (look["listed"], look["recorded"], look["failure"]) == (4, 4, "the line was cut")
    site.poll()
    assert site.rows("SELECT count(*) FROM events") == [(6,)]
    assert site.source.files == {}


@pytest.mark.parametrize("verb", ["fetch", "remove"])
def test_a_connection_lost_in_any_verb_costs_only_time(site: Site, verb: str) -> None:
    """The next poll carries on, each event is recorded once, and nothing was removed unrecorded."""
    assert verb in ("fetch", "remove")
    _fill(site, 4)
    site.source.fail("fetch" if verb == "fetch" else "remove", SourceUnavailable("lost"))
    with pytest.raises(SourceUnavailable):
        site.poll()
    assert len(site.source.files) == 4
    site.poll()
    assert site.rows("SELECT count(*) FROM events") == [(4,)]
    assert site.source.files == {}


def test_a_removal_whose_answer_was_lost_does_no_harm(site: Site) -> None:
    """The files are gone, the ledger does not know it; another file under the same name is taken as usual."""
    site.source.put("1.json", event("1"))

    def lose() -> None:
        site.source.files.clear()
        raise SourceUnavailable("lost before the answer")

    site.source.before["remove"] = lose
    with pytest.raises(SourceUnavailable):
        site.poll()
    site.source.before.clear()
    site.source.put("1.json", event("2"))
    site.poll()
    assert site.rows("SELECT count(*) FROM events") == [(2,)]
    assert site.source.files == {}


def test_a_ledger_that_fails_disposes_of_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What could not be recorded stays on the server, and the next poll carries on."""
    _fill(site, 6)
    real, calls = site.ledger.record, []

    def fail(taken: Batch, wanted: object) -> object:
        calls.append(len(taken.arrivals))
        if len(calls) == 2:
            raise LedgerUnavailable("the disk is full")
        return real(taken, wanting)

    monkeypatch.setattr(site.ledger, "record", fail)
    with pytest.raises(LedgerUnavailable, match="disk is full"):
        site.poll()
    assert len(site.source.files) == 6
    assert site.looks()[0]["failure"] == "the disk is full"
    site.poll()
    assert site.source.files == {}
    assert site.rows("SELECT count(*) FROM events") == [(6,)]


def test_a_crash_between_recording_and_disposal_costs_a_look(site: Site) -> None:
    """A new process finds the files recorded and only disposes of them."""
    _fill(site, 2)
    taken = [arrival(name, site.source.files[name].data, site.source.files[name].mtime) for name in site.source.files]
    site.ledger.record(batch(*taken, look=site.ledger.files.begin_look("webio")), wanting)
    site.restart()
    site.poll()
    assert [verb for verb, names in site.source.calls if names] == ["remove"]
    assert site.source.files == {}
    assert site.rows("SELECT count(*) FROM files") == [(2,)]


def test_a_file_listed_twice_in_one_look_is_taken_once(site: Site) -> None:
    """Beside itself or batches later: one row, accounted for, and not disposed of by that look."""
    _fill(site, 3)
    twice = [site.source.entry(name) for name in ("0.json", "2.json", "2.json", "1.json")]
    site.source.also = list(twice)
    site.source.before["fetch"] = site.source.also.clear
    site.intake.poll()
    assert site.rows("SELECT name FROM files ORDER BY name") == [("0.json",), ("1.json",), ("2.json",)]
    assert site.looks()[0]["disposed"] == 0
    assert _balanced(site)


def test_files_that_are_always_listed_twice_are_taken_once(site: Site) -> None:
    """Also when each look lists them again while their first batch is being recorded."""
    entries = [site.source.put(f"{number}.json", event(str(number))) for number in range(7)]
    site.restart(after="keep")
    site.source.also = [*entries, *reversed(entries)]
    site.poll()
    assert site.rows("SELECT count(*) FROM files") == [(7,)]
    assert _balanced(site)


def test_an_ignored_file_listed_twice_does_not_break_the_poll(site: Site) -> None:
    """A listing may repeat itself while a folder changes: also for what is ignored, and for what waits."""
    folder = Entry("folder", 0, 0, regular=False)
    unsafe = Entry("a\nb", 1, 1, regular=True)
    site.source.put("half.json", b"{")
    half = site.source.entry("half.json")
    site.source.also = [folder, folder, folder, folder, unsafe, folder, unsafe, half, folder, half, half]
    for _ in range(3):
        site.poll()
    assert site.rows("SELECT name FROM files ORDER BY name") == [("a\\nb",), ("folder",), ("half.json",)]
    assert _balanced(site)


@pytest.mark.parametrize(
    "odd",
    [
        Entry("big.json", 2**64 - 1, 1, regular=True),
        Entry("late.json", 2, (2**32 - 1) * 10**9, regular=True),
        Entry("early.json", 2, -(10**9), regular=True),
        Entry("minus.json", -1, 1, regular=True),
    ],
)
def test_odd_numbers_in_a_listing_do_not_break_the_poll(site: Site, odd: Entry) -> None:
    """Sizes are 64 bits without a sign in SFTP, times 32 bits; whatever comes, the other files are taken."""
    _fill(site, 3)
    site.source.also = [odd]
    for _ in range(2):
        site.poll()
    assert site.rows("SELECT count(*) FROM events") == [(3,)]
    assert _balanced(site)


def test_the_same_file_put_again_after_disposal_is_taken_again(site: Site) -> None:
    """Same name, size and time: it was disposed of, so this is another one; a duplicate when it says the same."""
    first = site.source.put("1.json", event("1"))
    site.poll()
    site.source.put("1.json", event("1"), mtime=first.mtime)
    site.poll()
    site.source.put("1.json", event("2"), mtime=first.mtime)
    site.poll()
    assert site.rows("SELECT occurrence, verdict FROM files ORDER BY id") == [
        (0, "accepted"),
        (1, "duplicate"),
        (2, "accepted"),
    ]
    assert site.source.files == {}


def test_a_stop_ends_the_poll_after_its_batch(site: Site) -> None:
    """What was fetched is recorded, nothing more is fetched, the look says that it was stopped."""
    _fill(site, 10)
    site.source.before["fetch"] = site.intake.stop
    site.poll()
    assert site.rows("SELECT count(*) FROM files") == [(2,)]
    (look,) = site.looks()
    assert (look["recorded"], look["failure"]) == (2, "stopped before its end")
    assert len(site.source.files) == 10


def test_a_stopped_look_makes_nothing_vanish(site: Site) -> None:
    """Files that wait but were not reached by the stopped look wait still."""
    site.source.put("1.json", event("1"))
    site.source.put("2.json", event("2"))
    site.source.put("half.json", b"{")
    site.poll()
    assert site.state("half.json") == ("waiting", None)
    site.intake.stop()
    site.poll()
    assert site.state("half.json") == ("waiting", None)


def test_large_files_are_fetched_in_portions(tmp_path: Path) -> None:
    """A batch of large files is fetched and committed in parts of some 4 MB; each is taken once."""
    site = Site(tmp_path, max_file_bytes=8 << 20)
    for number in range(7):
        site.source.put(f"{number}.json", event(str(number), body="x" * (3 << 19)))
    site.poll()
    fetches = [len(names) for verb, names in site.source.calls if verb == "fetch" and names]
    assert sum(fetches) == 7
    assert max(fetches) == 2
    assert site.rows("SELECT count(*) FROM events") == [(7,)]
    assert site.source.files == {}
    assert _balanced(site)
    site.ledger.close()


class _Body(bytes):
    """Bytes that can be counted while they are alive."""

    alive = 0
    most = 0

    def __new__(cls, data: bytes) -> Self:
        cls.alive += 1
        cls.most = max(cls.most, cls.alive)
        return super().__new__(cls, data)

    def __del__(self) -> None:
        type(self).alive -= 1


def test_bodies_are_let_go_of_once_they_are_recorded(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many files there are, only those of the batch being recorded and of the one being fetched are held."""
    _fill(site, 60)
    read = site.source.fetch
    monkeypatch.setattr(
        site.source,
        "fetch",
        lambda entries: [(entry, _Body(bytes(data))) for entry, data in read(entries)],  # type: ignore[arg-type]
    )
    site.poll()
    gc.collect()
    assert site.rows("SELECT count(*) FROM events") == [(60,)]
    assert 2 <= _Body.most <= 8  # of batches of two
    assert _Body.alive == 0


def test_a_clock_set_back_costs_time_not_files(site: Site) -> None:
    """When this machine's clock is set back, files settle later, and none is lost or removed unread."""
    site.source.put("half.json", b"{")
    site.source.put("1.json", event("1"))
    site.poll()
    assert isinstance(site.clock, Clock)
    site.clock.advance(-3600)
    site.source.put("2.json", event("2"))
    site.poll()
    assert site.state("2.json") == ("recorded", "accepted")
    assert site.state("half.json") == ("waiting", None)
    site.poll(after=3620)
    assert site.state("half.json") == ("recorded", "invalid")
    assert site.source.files == {}
