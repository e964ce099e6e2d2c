"""A replay in trouble: the ledger is locked, the archive cannot be read, the configuration has changed."""

from __future__ import annotations

import io
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from sftpd_processor.cli.reprocess_work import _made
from sftpd_processor.errors import LedgerUnavailable, LedgerUnusable, PermanentError
from sftpd_processor.handlers.api import DONE, Outcome
from sftpd_processor.ledger import candidates, database
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.recording import Recording, Wanting
from sftpd_processor.ledger.records import Recorded
from sftpd_processor.reprocess import bringing, patience, reading, running
from sftpd_processor.reprocess.patience import Patience
from sftpd_processor.reprocess.report import Progress
from sftpd_processor.state import StateFolder
from tests.integration.archived_items import fill, rooms
from tests.ledger_samples import Clock, opened, sqlite_url
from tests.replay_items import RETRY, Office, lite


@pytest.fixture
def office(tmp_path: Path, ledger: Ledger, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Office:
    """A ledger of each kind, read three events a page."""
    monkeypatch.setattr(candidates, "PAGE", 3)
    monkeypatch.setattr(patience, "_PAUSE", 0.01)
    (tmp_path / "in").mkdir()
    return Office(tmp_path, ledger, url, clock)


@pytest.fixture
def hasty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """A SQLite ledger that waits for no lock."""
    monkeypatch.setattr(database, "_PRAGMAS", ("PRAGMA busy_timeout = 0", *database._PRAGMAS[1:]))
    monkeypatch.setattr(candidates, "PAGE", 3)
    monkeypatch.setattr(patience, "_PAUSE", 0.01)
    (tmp_path / "in").mkdir()
    url = sqlite_url(tmp_path)
    with opened(url, clock := Clock()) as ledger:
        yield Office(tmp_path, ledger, url, clock)


def writer(office: Office) -> closing[sqlite3.Connection]:
    """Another process on the same SQLite ledger."""
    path = office.url.removeprefix("sqlite:///")
    return closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False))


def watching(office: Office, do: Callable[[], None]) -> Callable[[Progress], None]:
    """Does it once it is told that the ledger is locked."""

    def watch(so_far: Progress) -> None:
        office.told.append(so_far)
        if "database is locked" in so_far.waiting:
            do()

    return watch


@pytest.mark.parametrize("settle_seconds", [0.0, 60.0])
def test_a_locked_ledger_is_waited_for(hasty: Office, monkeypatch: pytest.MonkeyPatch, settle_seconds: float) -> None:
    """While another process holds the ledger, the results in hand are kept, and it is told what is waited for; then
    all goes on, and nothing is handed over twice."""
    monkeypatch.setattr(running, "_SETTLE_SECONDS", settle_seconds)
    monkeypatch.setattr(running, "_WATCH_SECONDS", 0.01)
    hasty.record(*(hasty.event(number, f"c{number % 4}") for number in range(1, 13)))
    with writer(hasty) as other:

        def answer(number: int) -> Outcome:
            if number == 2:
                other.execute("BEGIN IMMEDIATE")
            return DONE

        def let_go() -> None:
            if other.in_transaction:
                other.execute("ROLLBACK")

        hasty.crm.answer = answer
        report = hasty.replay(workers=1).run(watching(hasty, let_go), hasty.stop)
    assert any("database is locked" in told.waiting for told in hasty.told)
    assert (report.interrupted, report.deliveries) == (False, {"crm": {"done": 12}})
    assert sorted(hasty.crm.numbers) == list(range(1, 13))


@lite
def test_files_are_brought_again_when_that_has_failed(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that brings files and cannot be committed is made again with all of them: those that the ledger
    knows, and those that are new."""
    fill(office)
    *earlier, last = sorted((office.state / "archive" / "webio" / "2026").glob("*/*"))
    (elsewhere := office.folder / "elsewhere").mkdir()
    url = sqlite_url(elsewhere)
    failing = [LedgerUnavailable("no room")]
    run = Recording.run

    def once(self: Recording, wanting: Wanting) -> Recorded:
        done = run(self, wanting)
        while failing:
            raise failing.pop()
        return done

    with opened(url, office.clock) as ledger:
        second = Office(office.folder, ledger, url, office.clock)
        second.run(paths=tuple(map(str, earlier)), record_only=True)
        monkeypatch.setattr(Recording, "run", once)
        report = second.run(paths=(*map(str, earlier), str(last)))
        assert not failing
        assert report.interrupted is False
        assert sorted(second.crm.numbers) == [1, 2, 3, 4, 6]


def test_another_process_tells_what_it_waits_for() -> None:
    """What it says is told here, until it goes on; and when there was a stop meanwhile, nobody waits any longer."""
    stream = io.BytesIO()
    bringing._send(stream, ("waiting", "the ledger is locked"))
    bringing._send(stream, ("waiting", ""))
    bringing._send(stream, (3, 2, 1, [], []))
    bringing._send(stream, ("waiting", "no room"))
    stream.seek(0)
    told: list[str] = []
    waiting = Patience(threading.Event(), told.append)
    received = bringing._received(stream, waiting)
    assert next(received)[0].files == 3
    assert told == ["the ledger is locked", ""]
    waiting.stop.set()
    with pytest.raises(LedgerUnavailable, match="no room"):
        next(received)


def test_a_process_whose_asker_has_died_brings_nothing(hasty: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It sees that its parent is another one, and ends before it touches the ledger."""
    fill(hasty)
    monkeypatch.setattr("os.getpid", lambda: 1)
    replay = hasty.replay(paths=rooms(hasty))
    told = bringing._Elsewhere(replay._request(), sqlite_url(hasty.folder / "nowhere"))._told
    ran = subprocess.run([sys.executable, "-P", "-m", bringing.__name__], input=told, capture_output=True, check=False)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, b"", b"")


def test_what_has_ended_is_written_though_the_rest_cannot_be_read(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the archive cannot be read any further, what was handed over is settled, and a resumed replay does not hand
    it over again."""
    monkeypatch.setattr(reading, "_MOST_FILES", 1)
    fill(office)
    *_, day = sorted((office.state / "archive" / "webio" / "2026").glob("*/*"))
    former = office.state / "archive" / "former" / "2026" / "11" / day.name
    former.parent.mkdir(parents=True)
    day.rename(former)
    with pytest.raises(PermanentError, match="'former' cannot be read"):
        office.run(paths=rooms(office))
    assert len(office.crm.numbers) > 2
    done = sorted(number for number, state in office.states().items() if state.state == "done")
    assert done == sorted(office.crm.numbers)
    first = list(office.crm.numbers)
    former.rename(day)
    former.parent.rmdir()
    office.run(paths=rooms(office), resumed=1)
    assert sorted(office.crm.numbers) == [1, 2, 3, 4, 5, 6]
    assert office.crm.numbers[: len(first)] == first


@lite
def test_an_event_of_several_files_is_delivered_once_by_one_run(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `again`, what this very run has delivered for the first time is not run again when a later file repeats
    it, however much later."""
    monkeypatch.setattr(reading, "_MOST_FILES", 1)
    fill(office)
    report = office.run(paths=rooms(office), again=True)
    assert sorted(office.crm.numbers) == [1, 2, 3, 4, 5, 6]
    assert report.deliveries == {"crm": {"done": 6}}


@lite
def test_new_keys_are_for_what_was_done_before(office: Office) -> None:
    """What is missing or has failed keeps its key, under which the daemon may try it the next time."""
    office.record(*(office.event(number) for number in (1, 2)), wanting=lambda _type: ("crm",))
    office.crm.answers = {2: [RETRY]}
    office.deliver()
    office.record(office.event(3))
    before = {call.number: call.key for call in office.crm.calls}
    office.crm.forget()
    office.run(again=True, new_keys=True)
    now = {call.number: call.key for call in office.crm.calls}
    office.crm.forget()
    office.run(again=True)
    usual = {call.number: call.key for call in office.crm.calls}
    assert now[1] != before[1] == usual[1]
    assert now[2] == before[2]
    assert now[3] == usual[3]


@lite
def test_a_handler_that_has_gone_is_named(office: Office) -> None:
    """A replay for a handler that is not configured any more does not end as if all were done."""
    office.record(office.event(1))
    with pytest.raises(PermanentError, match="there is no handler 'erp' in the configuration"):
        office.run(handlers=("erp",), resumed=1)


def test_a_ledger_of_another_version_is_not_changed_under_a_running_daemon(tmp_path: Path) -> None:
    """An older one is led forward only when nobody works with it."""
    url = sqlite_url(tmp_path)
    with opened(url):
        pass
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other, other:
        other.execute("UPDATE alembic_version SET version_num = '0004'")
    daemon = StateFolder(tmp_path)
    daemon.hold()
    with pytest.raises(LedgerUnusable, match="of another version"), _made(url, tmp_path):
        pass
    daemon.release()
    with closing(sqlite3.connect(tmp_path / "ledger.db")) as other:
        assert other.execute("SELECT version_num FROM alembic_version").fetchone() == ("0004",)
