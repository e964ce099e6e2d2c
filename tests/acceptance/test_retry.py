"""`sftpd-processor retry`: dead letters and quarantined files once more, beside a running daemon or without one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.support import Desk, event, local, put
from tests.support import wait_until

HANDLER = """
import json
from pathlib import Path

from sftpd_processor import InboundMessage, handler

HERE = Path(__file__).parent


@handler(InboundMessage, name="crm")
def crm(event, delivery):
    if (HERE / "down").exists():
        raise ConnectionError("503")
    with (HERE / "done").open("a") as file:
        file.write(json.dumps([delivery.idempotency_key, delivery.attempt, event.communication_action_id]) + "\\n")
"""
UNKNOWN = b'{"type": "somethingNew", "communicationActionId": "n1"}'


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    """A configuration with one local source and a handler that fails while there is a file `down`."""
    (tmp_path / "in").mkdir()
    desk.module("my_handlers", HANDLER)
    configure(desk)
    return desk


def configure(desk: Desk, handler: str = "my_handlers", **changes: Any) -> None:
    """Deliveries have two attempts."""
    desk.configure(
        local(desk.folder / "in", **({"settle_seconds": 0} | changes)),
        handlers=[{"name": "mine", "use": handler}],
        delivery={"max_attempts": 2, "backoff_seconds": 0.01},
    )


def die(desk: Desk, **files: bytes) -> None:
    """Let the deliveries of these files become dead letters."""
    (desk.folder / "down").touch()
    put(desk.folder / "in", {f"{name}.json": data for name, data in files.items()})
    desk.run("once")
    while desk.rows("SELECT 1 FROM deliveries WHERE state = 'pending'"):
        desk.run("once")
    (desk.folder / "down").unlink()


def done(desk: Desk) -> list[list[Any]]:
    """What the handler did: key, attempt, id."""
    path = desk.folder / "done"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def everything(desk: Desk) -> list[Any]:
    """All rows of the ledger."""
    return [desk.rows(f"SELECT * FROM {table}") for table in ("files", "events", "deliveries", "attempts", "repeats")]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ([], "or --all"),
        (["--since", "yesterday"], "is no time; give for example"),
        (["--since", "1h", "--until", "2h"], "--until is not later than --since"),
        (["--file", ""], "is empty"),
        (["--all", "--error", ""], "is empty"),
        (["--source", "a", "--file", "b/c.json"], "given twice"),
        (["--quarantined", "--handler", "crm"], "choose files by --file or --source"),
        (["--quarantined", "--corrected", "x", "--all"], "give one of them"),
    ],
)
def test_mistakes(desk: Desk, arguments: list[str], why: str) -> None:
    """Exit 2 and one line that says what is wrong; nothing is opened."""
    ran = desk.run("retry", *arguments)
    assert (ran.code, ran.out) == (2, "")
    (line,) = [line for line in ran.err.splitlines() if line.startswith("Error: ")]
    assert why in line
    assert not desk.state.exists()


def test_nothing_fits(desk: Desk) -> None:
    """Exit 0, and says so; a corrected file needs one that it corrects."""
    desk.run("once")
    assert (desk.run("retry", "--all").code, desk.run("retry", "--all").out) == (0, "no dead letter fits\n")
    assert desk.run("retry", "--all", "--quarantined").out == "no file in quarantine fits\n"
    ran = desk.run("retry", "--file", "a.json", "--corrected", "x")
    assert (ran.code, len(ran.err.splitlines())) == (1, 1)
    assert "why NAME" in ran.err


def test_a_running_daemon_goes_on_by_itself(desk: Desk) -> None:
    """Put back while `run` runs: done within seconds, with the same keys, in order, and attempts from 1 again."""
    die(desk, a=b"[" + event(1) + b"," + event(2) + b"]", b=event(3, "other"))
    daemon = desk.daemon()
    before = everything(desk)
    dry = desk.run("retry", "--file", "local/a.json", "--dry-run", "--json")
    assert (dry.data["found"], dry.data["put_back"], everything(desk)) == (2, 0, before)
    ran = desk.run("retry", "--file", "local/a.json")
    assert ran.out.startswith("2 dead letters put back, to be tried again\n  2 × crm, inboundMessage: Connection")
    wait_until(lambda: len(done(desk)) == 2, what="the deliveries")
    assert [(attempt, action) for _, attempt, action in done(desk)] == [(1, "m1"), (1, "m2")]
    story = desk.run("why", "a.json")
    assert story.out.count("put back by `retry` after 2 attempts") == 2
    assert daemon.stop() == 0
    assert desk.run("retry", "--all", "--json").data["put_back"] == 1
    assert desk.run("once").code == 0
    assert [action for _, _, action in done(desk)] == ["m1", "m2", "m3"]
    assert desk.run("why", done(desk)[2][0], "--json").data["events"][0]["file"] == "local/b.json"


def test_a_handler_that_is_gone(desk: Desk) -> None:
    """Its dead letters are counted and left alone; nobody would ever take them."""
    die(desk, a=event(1))
    configure(desk, handler="log")
    ran = desk.run("retry", "--all")
    assert ran.out == "0 dead letters put back, to be tried again\n" + (
        "1 dead letter of crm left alone: it is no handler in the configuration\n"
    )
    assert desk.run("retry", "--all", "--json").data["without_handler"] == {"crm": 1}
    assert desk.rows("SELECT state FROM deliveries") == [("dead",)]


@pytest.mark.parametrize("point", ["copied", "copies-noted", ""])
def test_a_quarantined_file_is_taken_after_all(desk: Desk, point: str) -> None:
    """By other settings: delivered once, its only copy in the archive, also when the next run is killed on the way."""
    configure(desk, unknown_events="quarantine", partial="reject")
    raw = b"[" + event(1) + b"," + UNKNOWN + b"," + event(2) + b"]"
    put(desk.folder / "in", {"a.json": raw})
    assert desk.run("once").code == 3
    configure(desk)
    before = everything(desk)
    dry = desk.run("retry", "--all", "--quarantined", "--dry-run")
    assert dry.out.splitlines()[0] == "local/a.json: is invalid, would be accepted, 3 new events"
    assert everything(desk) == before
    assert desk.run("retry", "--all", "--quarantined").out.splitlines()[0] == (
        "local/a.json: was invalid, is accepted now, 3 new events"
    )
    if point:
        assert desk.run("once", SFTPD_PROCESSOR_KILL_AT=point).code == -9
    assert desk.run("once").code == 0
    assert sorted({action for _, _, action in done(desk)}) == ["m1", "m2"]
    assert desk.archived() == {"a.json": raw}
    assert desk.quarantined() == {}
    assert "read again by `retry --quarantined`: accepted, 3 events" in desk.run("why", "a.json").out


def test_a_corrected_file(desk: Desk) -> None:
    """It is taken in place of the broken one: only what is new is delivered, and `status` shows it no more."""
    put(desk.folder / "in", {"a.json": b"[" + event(1) + b", 5]", "b.json": b"{", "c.json": b"{"})
    desk.run("once")
    mended, bad = desk.work / "mended", desk.work / "bad"
    mended.write_bytes(b"[" + event(1) + b"," + event(2) + b"]")
    bad.write_bytes(b"[" + event(7) + b", 6]")
    before = everything(desk)
    for arguments, why in (
        (["--file", "a.json", "--corrected", str(bad)], "still holds something that is no event: $[1]: "),
        (["--file", "nix.json", "--corrected", str(mended)], "no file in quarantine fits"),
        (["--file", "?.json", "--corrected", str(mended)], "3 files in quarantine fit; name exactly one"),
        (["--file", "a.json", "--corrected", str(desk.work / "x")], "x cannot be read: it is not there"),
    ):
        ran = desk.run("retry", *arguments)
        assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
        assert why in ran.err
    assert everything(desk) == before
    ran = desk.run("retry", "--file", "a.json", "--corrected", str(mended))
    assert ran.out.startswith("local/a.json: was replaced; the corrected one is accepted, 1 new event\n")
    assert desk.run("retry", "--file", "a.json", "--corrected", str(mended)).code == 1
    assert desk.run("once").code == 0
    assert [action for _, _, action in done(desk)] == ["m1", "m2"]
    told = desk.run("status", "--json").data
    assert [row["name"] for row in told["quarantine"]] == ["c.json", "b.json"]
    source = told["sources"]["local"]
    assert (source["listed"], source["recorded"], source["corrected"], source["unarchived"]) == (3, 3, 1, 0)
    assert source["recorded"] == sum(source["verdicts"].values())
    assert "put in the place of files in quarantine, by `retry`: 1" in desk.run("status").out


def test_on_postgresql(desk: Desk, postgres_url: str) -> None:
    """`why` and `retry` do the same there."""
    configure(desk, unknown_events="quarantine")
    desk.config.write_text(
        "".join(line for line in desk.config.read_text().splitlines(keepends=True) if not line.startswith("state"))
        + f'state = {{dir = "{desk.state}", database = "{postgres_url}"}}\n'
    )
    (desk.folder / "down").touch()
    put(desk.folder / "in", {"a.json": event(1), "u.json": UNKNOWN})
    desk.run("once")
    desk.run("once")
    (desk.folder / "down").unlink()
    assert "DEAD LETTER" in desk.run("why", "m1").out
    assert "unknown" in desk.run("why", "u*").out
    assert desk.run("retry", "--error", "503", "--json").data["put_back"] == 1
    desk.config.write_text(
        desk.config.read_text().replace('unknown_events = "quarantine"', 'unknown_events = "accept"')
    )
    assert desk.run("retry", "--quarantined", "--all", "--json").data["files"][0]["verdict"] == "accepted"
    assert desk.run("once").code == 0
    assert [action for _, _, action in done(desk)] == ["m1"]
    assert set(desk.archived()) == {"a.json", "u.json"}
