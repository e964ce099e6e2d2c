"""A ledger that cannot be used: locked by somebody else, damaged, or not a ledger at all; with the real command."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, events, local, put
from tests.support import not_here, wait_until


@pytest.fixture
def desk() -> Iterator[Desk]:
    """Not in pytest's own folder: each pytest that starts on this machine closes that to other accounts."""
    with tempfile.TemporaryDirectory() as folder:
        made = Desk(Path(folder))
        yield made
        made.close()


@pytest.fixture
def inbox(desk: Desk) -> Path:
    """A local source, and the configuration that reads it."""
    folder = desk.folder / "in"
    folder.mkdir()
    desk.configure(local(folder, poll_seconds=0.3, settle_seconds=0))
    return folder


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Somebody else writes to the ledger, and does not end."""
    other = sqlite3.connect(path, isolation_level=None, timeout=30)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


def _refused(desk: Desk, inbox: Path, *said: str) -> None:
    """`once` and `run` both end with 1 and one line, and no file of the source is touched."""
    before = sorted(path.name for path in inbox.iterdir())
    for verb in ("once", "run"):
        ran = desk.run(verb)
        assert ran.code == 1, ran.err
        (line,) = ran.err.splitlines()
        assert all(text in line for text in said), line
    assert sorted(path.name for path in inbox.iterdir()) == before


def test_locked_by_another_process(desk: Desk, inbox: Path, tmp_path: Path) -> None:
    """A ledger that another process has locked for longer than 10 s, at the start or in the middle of a drain, is
    waited for: that is said once, the daemon goes on by itself, and nothing is lost or done twice."""
    (tmp_path / "second").mkdir()
    late = Desk(tmp_path / "second")  # another daemon, with a ledger that is locked from the start
    late.configure(local(late.work))
    assert late.run("once").code == 0
    files = events(1500)
    try:
        with _locked(late.state / "ledger.db"):
            waiting = late.start("run")
            _locked_in_a_drain(desk, inbox, files)
            waiting.wait_for("ledger.db cannot be used now: database is locked; tried again every 5 s")
        waiting.wait_for("the ledger works again")
        assert waiting.stop() == 0
    finally:
        late.close()
    assert desk.archived() == files


def _locked_in_a_drain(desk: Desk, inbox: Path, files: dict[str, bytes]) -> None:
    names = list(files)
    put(inbox, {name: files[name] for name in names[:1000]})
    daemon = desk.daemon()
    wait_until(lambda: desk.keys(), 20, "the drain")
    with _locked(desk.state / "ledger.db"):
        put(inbox, {name: files[name] for name in names[1000:]})
        daemon.wait_for("cannot be used now: database is locked\n", 40)
        touched = 1500 - len(list(inbox.glob("*.json")))
        assert touched <= desk.rows("SELECT count(*) FROM files WHERE state = 'recorded'")[0][0] <= 1000
    wait_until(lambda: not list(inbox.glob("*.json")), 40, "the folder to be empty")
    done = "SELECT count(*) FROM deliveries WHERE state = 'done'"
    wait_until(lambda: desk.rows(done) == [(1500,)], 40, "the deliveries")
    wait_until(lambda: daemon.log.count("works again") == daemon.log.count("ERROR"), 40, "the good news")
    wait_until(lambda: len(desk.archived()) == 1500, 40, "the archive")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    assert len(set(desk.keys())) == len(desk.keys()) == 1500


def test_a_short_lock_is_waited_for(desk: Desk, inbox: Path) -> None:
    """`once` that meets a lock which goes away within 10 s (a backup, say) neither fails nor says anything."""
    assert desk.run("once").code == 0
    put(inbox, events(3))
    with _locked(desk.state / "ledger.db"):
        started = desk.start("once")
        begun = time.monotonic()
        wait_until(lambda: time.monotonic() > begun + 2 or started.process.poll() is not None, what="two seconds")
    assert started.ended() == 0
    assert started.log == ""
    assert len(desk.keys()) == 3


def test_garbage_in_its_place(desk: Desk, inbox: Path) -> None:
    """A file of something else is refused in one line, and left as it is."""
    put(inbox, events(3))
    desk.state.mkdir()
    ledger = desk.state / "ledger.db"
    ledger.write_bytes(os.urandom(50_000))
    before = ledger.read_bytes()
    _refused(desk, inbox, "ledger.db cannot be used: file is not a database")
    assert ledger.read_bytes() == before


def test_a_ledger_cut_short(desk: Desk, inbox: Path) -> None:
    """A ledger of which half is missing is refused as damaged; what came meanwhile stays at the source."""
    put(inbox, events(500))
    assert desk.run("once").code == 0
    put(inbox, {"new.json": event(9999)})
    ledger = desk.state / "ledger.db"
    with closing(sqlite3.connect(ledger)) as connection:  # what is in the log beside it would not be missing
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    os.truncate(ledger, ledger.stat().st_size // 2 // 4096 * 4096)
    _refused(desk, inbox, "ledger.db cannot be used: database disk image is malformed")


def test_a_folder_in_its_place(desk: Desk, inbox: Path) -> None:
    """`once` tells a folder in the ledger's place in one line; `run` waits until somebody has taken it away."""
    put(inbox, events(3))
    (desk.state / "ledger.db").mkdir(parents=True)
    ran = desk.run("once")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "ledger.db cannot be used now: unable to open database file" in ran.err
    daemon = desk.start("run")
    daemon.wait_for("tried again every")
    (desk.state / "ledger.db").rmdir()
    daemon.wait_for("ready: ")
    wait_until(lambda: len(desk.keys()) == 3, what="the deliveries")
    assert daemon.stop() == 0


def test_an_empty_file_is_a_new_ledger(desk: Desk, inbox: Path) -> None:
    """A crash in the very first moment can leave a ledger of no bytes: it is made anew."""
    put(inbox, events(3))
    desk.state.mkdir()
    (desk.state / "ledger.db").touch()
    assert desk.run("once").code == 0
    assert len(desk.keys()) == 3


def test_a_ledger_of_a_newer_version(desk: Desk, inbox: Path) -> None:
    """It is refused in one line that says what to install, and nothing of it is changed."""
    assert desk.run("once").code == 0
    put(inbox, events(3))
    connection = sqlite3.connect(desk.state / "ledger.db")
    connection.execute("UPDATE alembic_version SET version_num = '0999'")
    connection.commit()
    connection.close()
    _refused(desk, inbox, "was written by a newer version of sftpd-processor", "0999", "install that version again")
    assert desk.rows("SELECT version_num FROM alembic_version") == [("0999",)]


@contextmanager
def _as_nobody(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run the command as an account without rights; pytest itself is root."""
    if os.geteuid() != 0 or shutil.which("setpriv") is None:
        not_here("a second account to run as: setpriv, and root to use it", "util-linux")
    account = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    monkeypatch.setattr("tests.acceptance.support.COMMAND", (*account, *_command()))
    for path in (desk.folder, *desk.folder.parents):
        if path.stat().st_mode & 0o005 != 0o005:
            path.chmod(path.stat().st_mode | 0o005)
    for path in (desk.folder, *desk.folder.rglob("*")):
        shutil.chown(path, 65534, 65534)
    yield


def _give(inbox: Path, files: dict[str, bytes]) -> None:
    """Put files that belong to the account: the system may forbid to link others' files, which a move does."""
    for name, data in files.items():
        (inbox / f".{name}").write_bytes(data)
        shutil.chown(inbox / f".{name}", 65534)
        (inbox / f".{name}").rename(inbox / name)


def _command() -> tuple[str, ...]:
    from tests.acceptance import support

    return support.COMMAND


def test_a_state_folder_that_may_not_be_written(desk: Desk, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without the right to write is told so in one line, with what to do, and the source stays as it is."""
    put(inbox, events(3))
    desk.state.mkdir()
    with _as_nobody(desk, monkeypatch):
        desk.state.chmod(0o500)
        _refused(desk, inbox, "state cannot be used: Permission denied; set state.dir to a folder that this user may")
        desk.state.chmod(0o700)
        assert desk.run("once").code == 0
        (desk.state / "ledger.db").chmod(0o400)
        put(inbox, {"new.json": event(99)})
        ran = desk.run("once")
    assert ran.code == 1
    assert "ledger.db cannot be used now: attempt to write a readonly database" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert (inbox / "new.json").exists()


def test_an_archive_that_loses_its_rights(desk: Desk, inbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the archive may not be written any more intake and delivery go on; with the right back it is completed."""
    with _as_nobody(desk, monkeypatch):
        _give(inbox, {"first.json": event(0)})
        daemon = desk.daemon()
        wait_until(lambda: desk.archived(), what="the first copy")
        day = next((desk.state / "archive").rglob("first.json")).parent
        day.chmod(0o500)
        files = {f"e{number}.json": event(number, "c") for number in range(1, 30)}
        _give(inbox, files)
        daemon.wait_for("cannot be written: Permission denied; nothing is lost, the bytes are in the ledger")
        wait_until(lambda: len(desk.keys()) == 30, what="the deliveries")
        wait_until(lambda: not list(inbox.glob("*.json")), what="the folder to be empty")
        day.chmod(0o700)
        daemon.wait_for("archive: works again")
        wait_until(lambda: desk.archived() == files | {"first.json": event(0)}, what="the copies")
        assert daemon.stop() == 0
    assert daemon.log.count("cannot be written") == 1


@pytest.mark.parametrize("blocked", ["archive", "archive/local", "quarantine"])
def test_a_file_in_the_way_of_the_archive(desk: Desk, inbox: Path, blocked: str) -> None:
    """A file where a folder should be is told; intake and delivery go on, and the copies follow when it is gone."""
    put(inbox, events(20) | {"bad.json": b"{"})
    path = desk.state / blocked
    path.parent.mkdir(parents=True)
    path.write_bytes(b"in the way")
    ran = desk.run("once")
    assert ran.code == 1
    (line,) = ran.err.splitlines()
    assert "archive: the archive in" in line
    assert "cannot be written: " in line
    assert len(desk.keys()) == 20
    assert not list(inbox.glob("*.json"))
    path.unlink()
    assert desk.run("once").code == 0
    assert len(desk.archived()) == 20
    assert desk.quarantined()["bad.json"] == b"{"


def test_a_second_one_beside_a_daemon(desk: Desk, inbox: Path) -> None:
    """`once` beside `run` is refused with the daemon's number, also while that is stopping; afterwards it works."""
    gate = desk.folder / "gate"
    code = (
        f"import os, time\ndef wait(event):\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n"
    )
    desk.module("mine", code)
    desk.configure(local(inbox), handlers=[{"name": "slow", "use": "mine:wait"}])
    put(inbox, {"a.json": event(1)})
    daemon = desk.daemon()
    for verb in ("once", "run"):
        second = desk.run(verb)
        assert second.code == 1
        (line,) = second.err.splitlines()
        assert f"another sftpd-processor (process {daemon.process.pid}) works on {desk.state}" in line
    wait_until(lambda: desk.rows("SELECT 1 FROM deliveries WHERE state = 'running'"), what="the running delivery")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("stopping")
    assert f"process {daemon.process.pid}" in desk.run("once").err
    gate.touch()
    assert daemon.ended() == 0
    assert desk.run("once").code == 0
