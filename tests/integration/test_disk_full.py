"""A disk that fills up under the state folder: at the ledger, the archive, the quarantine, a handler's file."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, local
from tests.small_disk import SmallDisk, small_disk
from tests.support import wait_until

GOOD = {f"e{n:03d}.json": event(n, f"c{n % 20}", body="x" * 1500) for n in range(240)}
BAD = {f"bad{n:02d}.json": b'{"broken": ' + b"y" * 600 + str(n).encode() for n in range(60)}
FILES = GOOD | BAD
FULL = ("cannot be used now: ", "cannot be written: ")


@pytest.fixture
def disk(desk: Desk) -> Iterator[SmallDisk]:
    """The small disk under the state folder."""
    with small_disk(desk.state, 24) as made:
        yield made
        desk.close()


@pytest.fixture
def inbox(desk: Desk) -> Path:
    """A source on another disk; files come into it in one moment."""
    folder = desk.folder / "in"
    folder.mkdir()
    (desk.folder / "new").mkdir()
    desk.configure(local(folder, poll_seconds=0.3, settle_seconds=0))
    return folder


def _arrive(desk: Desk, inbox: Path) -> None:
    for name, data in FILES.items():
        (desk.folder / "new" / name).write_bytes(data)
    for name in FILES:
        (desk.folder / "new" / name).rename(inbox / name)


def _nothing_lost(desk: Desk, inbox: Path) -> bool:
    """Whatever is no longer in the folder is recorded, with its bytes; seen from outside, at any moment."""
    gone = FILES.keys() - {path.name for path in inbox.iterdir()}
    recorded = dict(desk.rows("SELECT name, raw FROM files JOIN contents ON id = file_id")) if gone else {}
    assert {name for name in gone if recorded.get(name) != FILES[name]} == set()
    return True


def _complete(desk: Desk, inbox: Path) -> bool:
    return (
        not list(inbox.glob("*.json"))
        and len(desk.keys()) == len(GOOD)
        and desk.rows("SELECT count(*) FROM files WHERE archived_at IS NOT NULL") == [(len(FILES),)]
        and desk.rows("SELECT count(*) FROM deliveries WHERE state = 'done'") == [(len(GOOD),)]
    )


def _all_is_right(desk: Desk, inbox: Path) -> None:
    """Each file has one verdict and one true copy, each event one line, and the ledger is whole."""
    assert {path.name: path.read_bytes() for path in (inbox / "processed").iterdir()} == FILES
    verdicts = desk.rows("SELECT verdict, count(*) FROM files WHERE state = 'recorded' GROUP BY 1 ORDER BY 1")
    assert verdicts == [("accepted", len(GOOD)), ("invalid", len(BAD))]
    assert desk.archived() == GOOD
    quarantined = desk.quarantined()
    assert {name: data for name, data in quarantined.items() if name in BAD} == BAD
    reasons = {name: json.loads(data) for name, data in quarantined.items() if name not in BAD}
    assert reasons.keys() == {f"{name}.reason.json" for name in BAD}
    assert all(reason["problems"] for reason in reasons.values())
    assert len(desk.keys()) == len(set(desk.keys())) == len(GOOD)
    assert desk.rows("SELECT state, attempts, count(*) FROM deliveries GROUP BY 1, 2") == [("done", 1, len(GOOD))]
    assert desk.rows("PRAGMA integrity_check") == [("ok",)]


@pytest.mark.parametrize("left", [0, 500, 1300, 2300])
def test_the_daemon_waits_for_room_and_goes_on(desk: Desk, disk: SmallDisk, inbox: Path, left: int) -> None:
    """With so many KiB left a drain gets stuck somewhere: it says so once, touches nothing unrecorded, and when there
    is room again it says that too, and ends as if nothing had been."""
    daemon = desk.daemon()
    disk.fill(left)
    _arrive(desk, inbox)
    wait_until(lambda: _nothing_lost(desk, inbox) and any(text in daemon.log for text in FULL), 20, "the full disk")
    disk.fill()
    tries = time.monotonic() + 1.5
    wait_until(lambda: _nothing_lost(desk, inbox) and time.monotonic() > tries, what="some more tries")
    assert daemon.log.count("ERROR") <= 3, daemon.log
    disk.relieve()
    wait_until(lambda: _nothing_lost(desk, inbox) and _complete(desk, inbox), 30, "everything to be done")
    wait_until(lambda: daemon.log.count("works again") == daemon.log.count("ERROR"), what="the good news")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    _all_is_right(desk, inbox)


@pytest.mark.parametrize("left", [0, 1200, 2000])
def test_once_ends_with_a_readable_line(desk: Desk, disk: SmallDisk, inbox: Path, left: int) -> None:
    """`once` on a full disk exits with 1 and a line for each part that failed; the next run does the rest."""
    _arrive(desk, inbox)
    disk.fill(left)
    ran = desk.run("once")
    assert ran.code == 1, ran.out + ran.err
    said = ran.err.splitlines()
    assert 1 <= len(said) <= 3
    assert all(any(text in line for text in FULL) for line in said), ran.err
    _nothing_lost(desk, inbox)
    disk.relieve()
    again = desk.run("once")
    assert (again.code, again.err) in ((0, ""), (3, ""))
    assert _complete(desk, inbox)
    _all_is_right(desk, inbox)


def test_a_daemon_starts_on_a_full_disk(desk: Desk, disk: SmallDisk, inbox: Path) -> None:
    """`run` does not give up at the start: it says once what is wrong, waits, and works when there is room."""
    disk.fill()
    _arrive(desk, inbox)
    daemon = desk.start("run")
    daemon.wait_for("cannot be used now: database or disk is full; tried again every 5 s")
    assert len(list(inbox.glob("*.json"))) == len(FILES)
    disk.relieve()
    daemon.wait_for("the ledger works again")
    daemon.wait_for("ready: ")
    wait_until(lambda: _complete(desk, inbox), 30, "everything to be done")
    assert daemon.log.count("ERROR") == 1
    assert daemon.stop() == 0
    _all_is_right(desk, inbox)


def test_a_daemon_that_waits_for_room_can_be_stopped(desk: Desk, disk: SmallDisk, inbox: Path) -> None:
    """SIGTERM while the ledger cannot be opened ends `run` at once, with exit code 0; until then it is the only one."""
    assert desk.run("once").code == 0
    disk.fill()
    daemon = desk.start("run")
    daemon.wait_for("tried again every")
    assert f"another sftpd-processor (process {daemon.process.pid}) works on" in desk.run("once").err
    assert daemon.stop() == 0
    assert daemon.log.splitlines()[-1].endswith("stopped")
    assert "ready" not in daemon.log


def test_stopped_while_the_disk_is_full(desk: Desk, disk: SmallDisk, inbox: Path) -> None:
    """SIGTERM on a full disk ends the daemon within its 20 s; the next start does the rest, and nothing twice."""
    daemon = desk.daemon()
    disk.fill(900)
    _arrive(desk, inbox)
    wait_until(lambda: any(text in daemon.log for text in FULL), 20, "the full disk")
    disk.fill()
    assert daemon.stop() == 0
    _nothing_lost(desk, inbox)
    disk.relieve()
    assert desk.run("once").code in (0, 3)
    assert not list(inbox.glob("*.json"))
    assert len(set(desk.keys())) == len(GOOD)
    again = desk.rows("SELECT count(*) FROM attempts WHERE outcome = 'cut off'")[0][0]
    assert len(desk.keys()) <= len(GOOD) + again
    assert desk.archived() == GOOD


def test_a_disk_that_is_read_only(desk: Desk, disk: SmallDisk, inbox: Path) -> None:
    """`once` on a disk that may not be written any more exits with 1 and one line, and touches no file."""
    assert desk.run("once").code == 0
    disk.read_only(True)
    _arrive(desk, inbox)
    ran = desk.run("once")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "Read-only file system" in ran.err
    assert len(list(inbox.glob("*.json"))) == len(FILES)
    disk.read_only(False)
    assert desk.run("once").code == 3
    _all_is_right(desk, inbox)


def test_a_handlers_file_on_a_full_disk(desk: Desk, disk: SmallDisk) -> None:
    """`jsonl` on a full disk is retried without dead letters or torn lines; intake goes on, and later each line is
    there once."""
    state, inbox = desk.folder / "elsewhere", desk.folder / "in"
    inbox.mkdir()
    (desk.folder / "new").mkdir()
    journal = disk.folder / "out.jsonl"
    handlers = [{"name": "journal", "use": "jsonl", "options": {"path": str(journal)}}]
    desk.state, desk.journal = state, journal
    delivery = {"backoff_seconds": 0.2, "breaker_max_seconds": 0.5}
    desk.configure(local(inbox, poll_seconds=0.3, settle_seconds=0), handlers=handlers, delivery=delivery)
    daemon = desk.daemon()
    disk.fill(100)
    _arrive(desk, inbox)
    daemon.wait_for("handler journal: 10 deliveries in a row failed")
    wait_until(lambda: len(desk.archived()) == len(GOOD), what="the archive, on another disk")
    assert len(journal.read_bytes().splitlines()) == len(desk.lines())
    disk.relieve()
    wait_until(lambda: len(desk.keys()) == len(GOOD), 20, "every line")
    daemon.wait_for("handler journal: a delivery succeeded; the others go on")
    wait_until(lambda: desk.rows("SELECT DISTINCT state FROM deliveries") == [("done",)], what="the ledger to know")
    assert daemon.stop() == 0
    assert len(set(desk.keys())) == len(desk.lines()) == len(GOOD)


def test_a_handlers_file_on_a_disk_that_is_full_at_the_start(desk: Desk, disk: SmallDisk) -> None:
    """A torn last line and no room to end it is nothing that a person must mend in the configuration: it is retried."""
    inbox = desk.folder / "in"
    inbox.mkdir()
    (inbox / "a.json").write_bytes(event(1))
    journal = disk.folder / "out.jsonl"
    journal.write_bytes(b"x" * 4096)
    disk.fill()
    desk.state, desk.journal = desk.folder / "elsewhere", journal
    handlers = [{"name": "journal", "use": "jsonl", "options": {"path": str(journal)}}]
    desk.configure(local(inbox), handlers=handlers, delivery={"backoff_seconds": 0.5})
    ran = desk.run("once")
    assert (ran.code, ran.err) == (0, "")
    assert "handler journal: 1 to be retried" in ran.out
    disk.relieve()
    wait_until(lambda: "handler journal: 1 done" in desk.run("once").out, what="the retry to be due")
    assert [line[:2] for line in journal.read_bytes().splitlines()] == [b"xx", b'{"']
