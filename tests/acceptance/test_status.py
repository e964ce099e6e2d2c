"""`sftpd-processor status`: what the ledger says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, events, local, put
from tests.support import wait_until


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    """A configuration with one local source and the journal."""
    (tmp_path / "in").mkdir()
    desk.configure(local(tmp_path / "in", settle_seconds=0))
    return desk


def all_sorts(desk: Desk) -> None:
    """Twelve files: eight good, one again, one in conflict, one broken, one ignored."""
    again = event(3, "c3")
    odd = {"again.json": again, "other.json": event(4, "c4", body="changed"), "bad.json": b"?", "x.txt": b""}
    put(desk.folder / "in", events(8))
    desk.run("once")
    put(desk.folder / "in", odd)
    desk.run("once")


def numbers(line: str) -> list[int]:
    return [int(number.replace(",", "")) for number in re.findall(r"(?<![\d:-])\d[\d,]*(?= )", line)]


def test_before_any_run(desk: Desk) -> None:
    """Exit 1, in one line that says which command makes the ledger; asking makes none."""
    ran = desk.run("status")
    assert ran.code == 1
    assert ran.out == ""
    assert len(ran.err.splitlines()) == 1
    assert "once" in ran.err
    assert not desk.state.exists()


def test_after_a_run(desk: Desk) -> None:
    """Files by state and verdict, deliveries by state, and what is in quarantine; the balance adds up."""
    all_sorts(desk)
    ran = desk.run("status")
    assert (ran.code, ran.err) == (0, "")
    (balance,) = [line for line in ran.out.splitlines() if "files ever listed" in line]
    listed, *parts = numbers(balance.split(":", 1)[1] + " ")
    assert listed == sum(parts) == 12
    assert "recorded files: 8 accepted, 1 duplicate, 1 invalid, 1 conflict" in ran.out
    assert "handler journal: 8 done" in ran.out
    assert "bad.json" in ran.out
    assert "other.json" in ran.out
    assert "x.txt: its name does not match `include`" in ran.out


def test_json(desk: Desk) -> None:
    """The same as data; for every source listed = recorded + waiting + ignored + vanished."""
    all_sorts(desk)
    put(desk.folder / "in", {"late.txt": b""})
    ran = desk.run("status", "--json")
    assert ran.code == 0
    lists = ("alerts", "quarantine", "waiting", "ignored", "dead", "replays")
    assert set(ran.data) == {"state", "sources", "handlers", *lists}
    source = ran.data["sources"]["local"]
    assert source["listed"] == source["recorded"] + source["waiting"] + source["ignored"] + source["vanished"] == 12
    assert source["verdicts"] == {"accepted": 8, "duplicate": 1, "partial": 0, "invalid": 1, "conflict": 1}
    assert source["recorded"] == sum(source["verdicts"].values())
    assert source["unarchived"] == 0
    look = source["last_look"]
    parts = sum(look[word] for word in ("recorded", "known", "waiting", "ignored", "vanished"))
    assert look["listed"] == parts == 1
    assert look["failure"] is None
    assert ran.data["handlers"]["journal"]["done"] == 8
    assert {row["name"] for row in ran.data["quarantine"]} == {"bad.json", "other.json"}
    reasons = {row["name"]: row["reason"] for row in ran.data["ignored"]}
    assert reasons == {"x.txt": "its name does not match `include`"}


def test_a_failed_look_is_told(desk: Desk) -> None:
    """When the last look failed, its reason is shown."""
    desk.run("once")
    (desk.folder / "in").rmdir()
    assert desk.run("once").code == 4
    ran = desk.run("status")
    assert ran.code == 0
    assert "FAILED" in ran.out
    assert "cannot be listed" in ran.out


def test_while_the_daemon_runs(desk: Desk) -> None:
    """It may be asked while `run` works on the same state, and sees what has been done so far."""
    daemon = desk.daemon()
    put(desk.folder / "in", events(3))
    wait_until(lambda: len(desk.keys()) == 3, what="the deliveries")
    ran = desk.run("status", "--json")
    assert ran.code == 0
    assert ran.data["sources"]["local"]["recorded"] == 3
    assert daemon.stop() == 0


def test_what_waits_and_why(desk: Desk) -> None:
    """A half-written file is shown with the reason for which it waits."""
    desk.configure(local(desk.folder / "in"))
    put(desk.folder / "in", {"half.json": b'{"type": '})
    desk.run("once")
    (line,) = [line for line in desk.run("status").out.splitlines() if "half.json" in line]
    assert "half-written" in line


def test_a_handler_taken_out_of_the_configuration_is_still_shown(desk: Desk) -> None:
    """What was delivered under a name that is no longer configured does not vanish from the figures."""
    all_sorts(desk)
    desk.configure(local(desk.folder / "in"), handlers=[{"name": "new", "use": "log"}])
    told = desk.run("status").out
    assert "handler journal: 8 done" in told
    assert "handler new: no deliveries yet" in told


def test_a_partial_file_and_a_failing_handler(desk: Desk) -> None:
    """A file of which a part was taken is in quarantine; a handler with an open breaker is told, and the next try."""
    failing = {"name": "crm", "use": "command", "options": {"argv": ["false"]}}
    delivery = {"breaker_failures": 1, "backoff_seconds": 60}
    desk.configure(local(desk.folder / "in", settle_seconds=0), handlers=[failing], delivery=delivery)
    put(desk.folder / "in", {"part.json": b"[" + event(1) + b", 5]"})
    assert desk.run("once").code == 3
    lines = desk.run("status").out.splitlines()
    assert "  recorded files: 1 partial" in lines
    assert any(line.startswith("  local: part.json (partial): $[1]: ") for line in lines)
    at = lines.index("handler crm: 1 retrying")
    assert re.fullmatch(r"  FAILING since 2.* UTC: one delivery at a time is tried, and the others wait", lines[at + 1])
    assert re.fullmatch(r"  next try: 2.* UTC", lines[at + 2])
    breaker = desk.run("status", "--json").data["handlers"]["crm"]["breaker"]
    assert breaker["open_since"] < breaker["next_try"]
