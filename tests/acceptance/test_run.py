"""`sftpd-processor run`: the daemon, its signals, its death, and servers that come and go."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, events, local, put
from tests.support import ServedFolder, wait_until


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder on this machine that is a source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


@pytest.fixture
def gate(desk: Desk, tmp_path: Path) -> Path:
    """The handler `mine:wait` notes in `begun` that it began, and waits until this file is there."""
    path = tmp_path / "gate"
    desk.module(
        "mine",
        f"""
import os, time

def wait(event):
    open({str(tmp_path / "begun")!r}, "a").write(event.body)
    while not os.path.exists({str(path)!r}):
        time.sleep(0.01)
""",
    )
    return path


WAIT = {"name": "slow", "use": "mine:wait"}


def test_it_takes_what_arrives_while_it_runs(desk: Desk, openssh: ServedFolder) -> None:
    """Ready in one line that names sources and handlers; files are taken at the next poll; SIGTERM ends it with 0."""
    openssh.write({"first.json": event(1)})
    desk.configure(openssh.source(poll_seconds=0.2))
    daemon = desk.daemon()
    assert f"ready: sources webio; handlers journal; configuration {desk.config}" in daemon.log
    wait_until(lambda: len(desk.keys()) == 1, what="the file that was there")
    openssh.write({"second.json": event(2)})
    wait_until(lambda: len(desk.keys()) == 2, what="the file that arrived")
    wait_until(lambda: openssh.names() == ["processed"], what="both to be moved aside")
    assert daemon.stop() == 0
    assert daemon.log.splitlines()[-1].endswith("stopped")
    assert "Traceback" not in daemon.log
    assert set(desk.archived()) == {"first.json", "second.json"}


def test_a_local_folder_is_taken_at_once(desk: Desk, inbox: Path) -> None:
    """With a poll once an hour, a file put into a local folder is delivered right away: the folder is watched."""
    desk.configure(local(inbox, poll_seconds=3600))
    daemon = desk.daemon()
    for number in range(3):
        put(inbox, {f"{number}.json": event(number)})
        wait_until(lambda: len(desk.keys()) == number + 1, what="the file put there")  # noqa: B023
    assert daemon.stop() == 0


def test_a_half_written_file_is_taken_when_it_is_whole(desk: Desk, inbox: Path) -> None:
    """What is written in two pieces arrives as one whole event, and nothing is put into quarantine."""
    desk.configure(local(inbox, poll_seconds=0.1, settle_seconds=30))
    daemon = desk.daemon()
    whole = event(1)
    with (inbox / "a.json").open("wb", buffering=0) as file:
        file.write(whole[:30])
        wait_until(lambda: desk.rows("SELECT 1 FROM files WHERE state = 'waiting'"), what="the half to be seen")
        file.write(whole[30:])
    wait_until(lambda: desk.archived() == {"a.json": whole}, what="the whole")
    wait_until(lambda: len(desk.keys()) == 1, what="its delivery")
    assert desk.quarantined() == {}
    assert daemon.stop() == 0


def test_a_broken_file_is_told_apart_by_standing_still(desk: Desk, inbox: Path) -> None:
    """A file that stays unreadable is quarantined after `settle_seconds`, without another poll."""
    desk.configure(local(inbox, poll_seconds=3600, settle_seconds=0.3))
    daemon = desk.daemon()
    put(inbox, {"bad.json": b'{"type": "inb'})
    wait_until(lambda: "bad.json" in desk.quarantined(), what="the quarantine")
    assert daemon.stop() == 0


def test_a_crontab_line_is_a_schedule(desk: Desk, openssh: ServedFolder) -> None:
    """With `cron` the daemon starts, polls once at once, and stops."""
    openssh.write({"a.json": event(1)})
    desk.configure(openssh.source(cron="*/5 8-18 * * mon-fri"))
    daemon = desk.daemon()
    wait_until(lambda: desk.keys(), what="the first poll")
    assert daemon.stop() == 0


def test_sigterm_lets_what_runs_end(desk: Desk, inbox: Path, gate: Path) -> None:
    """A delivery that runs at SIGTERM is done, not cut off; then the exit code is 0."""
    desk.configure(local(inbox), handlers=[WAIT])
    put(inbox, {"a.json": event(1)})
    daemon = desk.daemon()
    wait_until((desk.folder / "begun").exists, what="the running delivery")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("stopping")
    gate.touch()
    assert daemon.ended() == 0
    assert desk.rows("SELECT state, attempts FROM deliveries") == [("done", 1)]


def test_a_second_sigterm_ends_it_at_once(desk: Desk, inbox: Path, gate: Path) -> None:
    """Asked twice it does not wait for a handler that hangs: exit 130, and the delivery runs again after a start."""
    desk.configure(local(inbox), handlers=[WAIT])
    put(inbox, {"a.json": event(1)})
    daemon = desk.daemon()
    wait_until((desk.folder / "begun").exists, what="the running delivery")
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("stopping")
    began = time.monotonic()
    daemon.signal(signal.SIGTERM)
    assert daemon.ended() == 130
    assert time.monotonic() - began < 20
    gate.touch()
    again = desk.run("once")
    assert again.code == 0
    assert desk.rows("SELECT state, attempts FROM deliveries") == [("done", 2)]


def test_killed_in_a_drain_it_loses_nothing(desk: Desk, openssh: ServedFolder) -> None:
    """SIGKILL in the middle, twice: in the end every file is recorded, archived and delivered; only what was in
    flight was delivered again, under the same key."""
    files = events(4000)
    openssh.write(files)
    desk.configure(openssh.source(poll_seconds=1))
    for share in (1, 2500):
        daemon = desk.start("run")
        wait_until(lambda: len(desk.keys()) >= share, 30, "some deliveries")  # noqa: B023
        daemon.signal(signal.SIGKILL)
        assert daemon.ended() == -signal.SIGKILL
        assert set(openssh.names()) - {"processed"}, "it was killed after the work"
    last = desk.daemon()
    wait_until(lambda: openssh.names() == ["processed"], 30, "the folder to be empty")
    wait_until(lambda: len(set(desk.keys())) == 4000, 30, "every delivery")
    wait_until(lambda: len(desk.archived()) == 4000, 30, "every copy")
    assert last.stop() == 0
    assert desk.archived() == files
    assert {path.name: path.read_bytes() for path in (openssh.folder / "processed").iterdir()} == files
    assert desk.rows("SELECT state, verdict, count(*) FROM files GROUP BY 1, 2") == [("recorded", "accepted", 4000)]
    assert desk.rows("SELECT state, count(*) FROM deliveries GROUP BY 1") == [("done", 4000)]
    assert len(desk.keys()) - 4000 <= 2 * 1000, "more came again than two batches that were in flight"
    assert max(attempts for (attempts,) in desk.rows("SELECT attempts FROM deliveries")) <= 3


def test_a_server_that_restarts(desk: Desk, openssh: ServedFolder) -> None:
    """While the server is away that is told once; when it is back the daemon goes on by itself and says so."""
    desk.configure(openssh.source(poll_seconds=0.2, reconnect_max_seconds=0.5))
    daemon = desk.daemon()
    openssh.write({"a.json": event(1)})
    wait_until(lambda: len(desk.keys()) == 1, what="the first file")
    openssh.server.stop()
    daemon.wait_for("ERROR")
    openssh.write({"b.json": event(2)})
    openssh.server.start()
    daemon.wait_for("source webio: works again")
    wait_until(lambda: len(desk.keys()) == 2, what="the second file")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log
    assert daemon.log.count("ERROR") <= 3  # a connection that broke, and one that is refused


def test_it_starts_while_the_server_is_down(desk: Desk, openssh: ServedFolder) -> None:
    """A server that is down at the start is no reason to give up: it is tried until it answers."""
    openssh.server.stop()
    desk.configure(openssh.source(poll_seconds=0.2, reconnect_max_seconds=0.5))
    openssh.write({"a.json": event(1)})
    daemon = desk.daemon()
    daemon.wait_for("ERROR")
    openssh.server.start()
    wait_until(lambda: desk.keys(), what="the file")
    assert daemon.stop() == 0


def test_a_handler_that_hangs_does_not_stop_intake(desk: Desk, inbox: Path, gate: Path) -> None:
    """While one handler hangs, files go on being taken, archived, disposed of, and delivered to the other one."""
    journal = {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}}
    desk.configure(local(inbox), handlers=[WAIT, journal])
    daemon = desk.daemon()
    put(inbox, {"first.json": event(1)})
    wait_until((desk.folder / "begun").exists, what="the handler that hangs")
    put(inbox, events(300))
    wait_until(lambda: len(desk.keys()) == 300, 20, "the other handler")  # e00001.json repeats the first event
    wait_until(lambda: len(desk.archived()) + len(desk.quarantined()) // 2 == 301, what="the copies")
    wait_until(lambda: not list(inbox.glob("*.json")), what="the folder to be empty")
    gate.touch()
    assert daemon.stop() == 0


def test_a_second_daemon_is_refused(desk: Desk, inbox: Path) -> None:
    """Two daemons never work on one state folder: the second one ends with one line that names the first."""
    desk.configure(local(inbox))
    daemon = desk.daemon()
    second = desk.run("run")
    assert second.code == 1
    assert f"process {daemon.process.pid}" in second.err
    assert daemon.stop() == 0


def test_it_stops_right_after_the_start(desk: Desk, openssh: ServedFolder) -> None:
    """A SIGTERM in the first moment, with a drain under way, ends it cleanly; the next run does the rest."""
    openssh.write(events(500))
    desk.configure(openssh.source())
    daemon = desk.daemon()
    assert daemon.stop() == 0
    assert desk.run("once").code == 0
    assert len(desk.keys()) == len(set(desk.keys())) == 500
