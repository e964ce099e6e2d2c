"""`sftpd-processor once`: one poll of every source, deliveries, and the exit code."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from sftpd_processor.testing.servers import free_port
from tests.acceptance.support import Desk, event, events, local
from tests.support import ServedFolder, wait_until


def test_files_are_taken_archived_delivered_and_moved(desk: Desk, openssh: ServedFolder) -> None:
    """The main job: exit 0, a line for source and handler, every file in the archive, in the journal, moved aside."""
    files = events(50)
    openssh.write(files)
    desk.configure(openssh.source())
    ran = desk.run("once")
    assert (ran.code, ran.err) == (0, "")
    told = ran.out.splitlines()
    assert told[:2] == ["source webio: 50 files recorded (50 accepted)", "handler journal: 50 done"]
    assert told[2].startswith("in ")
    assert len(told) == 3
    assert desk.archived() == files
    assert len(set(desk.keys())) == len(desk.keys()) == 50
    assert openssh.names() == ["processed"]
    assert {path.name: path.read_bytes() for path in (openssh.folder / "processed").iterdir()} == files
    again = desk.run("once")
    assert again.out.splitlines()[:2] == ["source webio: nothing new", "handler journal: nothing to deliver"]
    assert len(desk.keys()) == 50


def test_json(desk: Desk, openssh: ServedFolder) -> None:
    """`--json` prints one object with the same counts, and nothing else, on stdout or stderr."""
    files = events(3) | {"x.txt": b"hello"}
    openssh.write(files | {"again.json": event(1, "c1"), "other.json": event(2, "c2", body="changed")})
    desk.configure(openssh.source())
    ran = desk.run("once", "--json")
    assert (ran.code, ran.err) == (3, "")
    source = ran.data["sources"]["webio"]
    counts = {word: source[word] for word in ("recorded", "accepted", "duplicate", "conflict", "invalid", "ignored")}
    assert counts == {"recorded": 5, "accepted": 3, "duplicate": 1, "conflict": 1, "invalid": 0, "ignored": 1}
    assert (source["disposed"], source["waiting"], source["failure"]) == (5, 0, None)
    assert ran.data["handlers"]["journal"]["done"] == 3
    assert ran.data["interrupted"] is False


@pytest.mark.parametrize(("after", "left"), [("delete", []), ("keep", ["e00000.json", "e00001.json"])])
def test_after(desk: Desk, openssh: ServedFolder, after: str, left: list[str]) -> None:
    """`delete` leaves nothing on the server, `keep` leaves all as it was, and neither takes a file twice."""
    openssh.write(events(2))
    desk.configure(openssh.source(after=after))
    assert desk.run("once").code == 0
    assert openssh.names() == left
    assert desk.run("once").code == 0
    assert len(desk.keys()) == 2


def test_what_cannot_be_taken_is_quarantined(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 3: the bad file is in quarantine with its reason beside it, the good one is delivered all the same."""
    openssh.write({"good.json": event(1), "bad.json": b"<html>502</html>"})
    desk.configure(openssh.source(settle_seconds=0))
    ran = desk.run("once")
    assert ran.code == 3
    assert "1 accepted, 1 invalid" in ran.out
    assert set(desk.quarantined()) == {"bad.json", "bad.json.reason.json"}
    assert desk.quarantined()["bad.json"] == b"<html>502</html>"
    assert len(desk.keys()) == 1


def test_a_half_written_file_waits(desk: Desk, openssh: ServedFolder) -> None:
    """Half a file is left alone, exit 0; when it is whole, the next run takes it."""
    whole = event(1)
    openssh.write({"a.json": whole[:20]})
    desk.configure(openssh.source())
    ran = desk.run("once")
    assert ran.code == 0
    assert "source webio: nothing new; 1 waiting" in ran.out
    assert openssh.names() == ["a.json"]
    openssh.write({"a.json": whole})
    assert "1 accepted" in desk.run("once").out
    assert desk.archived() == {"a.json": whole}


def test_a_dead_letter_is_exit_3(desk: Desk, openssh: ServedFolder) -> None:
    """A delivery that is rejected for good is counted and makes the exit code 3."""
    desk.module("mine", "from sftpd_processor import Reject\ndef no(event):\n    raise Reject('unknown customer')\n")
    desk.configure(openssh.source(), handlers=[{"name": "crm", "use": "mine:no"}])
    openssh.write({"a.json": event(1)})
    ran = desk.run("once")
    assert ran.code == 3
    assert "handler crm: 1 dead" in ran.out


def test_a_server_that_is_down(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 4 with one line that names the source and the address; no traceback."""
    port = free_port()
    desk.configure(openssh.source(port=port))
    ran = desk.run("once")
    assert ran.code == 4
    assert ran.err.startswith(f"sftpd-processor: source webio: 127.0.0.1:{port}: ")
    assert len(ran.err.splitlines()) == 1


def test_a_host_key_that_is_not_known(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 4 with one line that shows the server's fingerprint and what to add where; nothing is taken."""
    openssh.write(events(1))
    desk.configure(openssh.source(host_keys=["SHA256:" + "A" * 43]))
    ran = desk.run("once")
    assert ran.code == 4
    assert len(ran.err.splitlines()) == 1
    assert f'add host_keys = ["{openssh.server.host_key_fingerprint}"] to the source' in ran.err
    assert openssh.names() == ["e00000.json"]


def test_one_source_down_does_not_stop_the_other(desk: Desk, openssh: ServedFolder) -> None:
    """The source that answers is taken and delivered; the other one is told, and makes the exit code 4."""
    openssh.write(events(5))
    desk.configure(openssh.source(name="dead", port=free_port()), openssh.source())
    ran = desk.run("once")
    assert ran.code == 4
    assert "source dead: 127.0.0.1" in ran.err
    assert "source webio: 5 files recorded (5 accepted)" in ran.out
    assert len(desk.keys()) == 5


def test_mistakes_are_told_all_at_once(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 2 with every mistake of the configuration, each with its place; no state folder is made."""
    desk.configure(openssh.source(pol_seconds=3, after="burn", port="22"), delivery={"workers": 0})
    ran = desk.run("once")
    assert ran.code == 2
    for where in ("sources[0].pol_seconds", "sources[0].after", "sources[0].port", "delivery.workers"):
        assert where in ran.err
    assert "Traceback" not in ran.err
    assert not desk.state.exists()


def test_a_state_folder_that_cannot_be_made(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 1 with one line that names the folder and the setting."""
    desk.state = desk.config / "state"
    desk.configure(openssh.source())
    ran = desk.run("once")
    assert ran.code == 1
    assert len(ran.err.splitlines()) == 1
    assert "state.dir" in ran.err


def test_odd_names_end_in_the_archive_byte_for_byte(desk: Desk, openssh: ServedFolder) -> None:
    """Spaces, quotes, emoji, a leading dash and 255 bytes are names like any other."""
    names = [
        "with space.json",
        "'quotes\" $(x) `y`.json",
        "żółć 🎉.json",
        "-rf.json",
        "%s {0}.json",
        "é" * 125 + ".json",
    ]
    assert max(len(name.encode()) for name in names) == 255
    files = {name: event(number) for number, name in enumerate(names)}
    openssh.write(files)
    desk.configure(openssh.source())
    ran = desk.run("once")
    assert (ran.code, ran.err) == (0, "")
    assert desk.archived() == files
    assert {line["delivery"]["file"] for line in desk.lines()} == set(names)
    assert openssh.names() == ["processed"]
    assert sorted(path.name for path in (openssh.folder / "processed").iterdir()) == sorted(names)


def test_names_that_are_refused_are_counted_with_their_reason(desk: Desk, openssh: ServedFolder) -> None:
    """Links, folders, control characters, other endings and too large files stay, ignored, each with its reason."""
    openssh.write({"a.json": event(1), "b\n.json": event(2), "c.txt": b"", "d\\e.json": b"{}", "big.json": b" " * 300})
    (openssh.folder / "link.json").symlink_to("/etc/passwd")
    (openssh.folder / "folder.json").mkdir()
    os.write(fd := os.open(os.fsencode(openssh.folder) + b"/\xff.json", os.O_CREAT | os.O_WRONLY), b"{}")
    os.close(fd)
    desk.configure(openssh.source(max_file_bytes=200))
    ran = desk.run("once", "--json")
    assert ran.code == 0
    assert (ran.data["sources"]["webio"]["recorded"], ran.data["sources"]["webio"]["ignored"]) == (1, 7)
    reasons = dict(desk.rows("SELECT name, reason FROM files WHERE state = 'ignored'"))
    assert len(reasons) == 7
    assert all(reasons.values())
    assert "max_file_bytes" in reasons["big.json"]
    assert "link" in reasons["link.json"]
    assert len(openssh.names()) == 8  # these seven and `processed`


def test_nothing_is_written_outside_the_state_folder(desk: Desk, openssh: ServedFolder) -> None:
    """Home, the current folder, the temporary folder and the configuration's are as they were."""

    def tree() -> list[str]:
        return sorted(str(path) for path in desk.folder.rglob("*") if desk.state not in [path, *path.parents])

    openssh.write(events(5) | {"bad.json": b"?"})
    desk.configure(openssh.source(settle_seconds=0), handlers=[{"name": "log", "use": "log"}])
    before = tree()
    assert desk.run("once").code == 3
    assert desk.state.exists()
    assert tree() == before


def test_what_it_keeps_is_not_for_others(desk: Desk, openssh: ServedFolder) -> None:
    """No file or folder below the state folder can be read by others than its owner and group."""
    openssh.write(events(2) | {"bad.json": b"?"})
    desk.configure(openssh.source(settle_seconds=0))
    desk.run("once")
    open_to_all = [path for path in [desk.state, *desk.state.rglob("*")] if path.stat().st_mode & 0o007]
    assert open_to_all == []


def test_a_second_one_at_the_same_time_is_refused(desk: Desk, tmp_path: Path) -> None:
    """While one works on the state folder another one ends at once, exit 1, and names its process id."""
    gate = tmp_path / "gate"
    desk.module(
        "mine",
        f"import os, time\ndef wait(event):\n    while not os.path.exists({str(gate)!r}):\n        time.sleep(0.01)\n",
    )
    inbox = tmp_path / "in"
    inbox.mkdir()
    (inbox / "a.json").write_bytes(event(1))
    desk.configure(local(inbox), handlers=[{"name": "crm", "use": "mine:wait"}])
    first = desk.start("once")
    wait_until((inbox / "processed" / "a.json").exists, what="the first one to be at work")
    second = desk.run("once")
    assert second.code == 1
    assert f"process {first.process.pid}" in second.err
    assert len(second.err.splitlines()) == 1
    gate.touch()
    assert first.ended() == 0
    assert desk.run("once").code == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_ends_and_the_next_one_completes(
    desk: Desk, openssh: ServedFolder, number: signal.Signals
) -> None:
    """Interrupted in the middle it exits with 130; the next run does the rest, and each event is delivered once."""
    files = events(3000)
    openssh.write(files)
    desk.module("slow", "import time\n\ndef slow(event):\n    time.sleep(0.01)\n")
    journal = {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}}
    desk.configure(openssh.source(), handlers=[journal, {"name": "slow", "use": "slow:slow"}])
    first = desk.start("once")
    wait_until(lambda: desk.journal.exists() and desk.journal.stat().st_size, 30, "the first delivery")
    first.signal(number)
    assert first.ended() == 130
    assert "Traceback" not in first.log
    assert "interrupted after" in first.out
    assert desk.rows("SELECT count(*) FROM deliveries WHERE state != 'done'") != [(0,)]
    assert desk.run("once").code == 0
    assert len(desk.keys()) == len(set(desk.keys())) == 3000
    assert desk.archived() == files
    assert openssh.names() == ["processed"]
