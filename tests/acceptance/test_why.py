"""`sftpd-processor why`: what is asked for is found, whatever it is called, and told so that it can be acted on."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.acceptance.scenes import configure
from tests.acceptance.support import Desk, event, local, put


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    """A configuration with one local source and the journal."""
    (tmp_path / "in").mkdir()
    desk.configure(local(tmp_path / "in", settle_seconds=0))
    return desk


def found(desk: Desk, what: str) -> list[str]:
    """The names of the files that are told of."""
    return [file["name"] for file in desk.run("why", what, "--json").data["files"]]


def test_without_a_ledger(desk: Desk) -> None:
    """Exit 1, in one line that says which command makes the ledger; asking makes none."""
    ran = desk.run("why", "a.json")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert "once" in ran.err
    assert not desk.state.exists()


def test_names_that_a_terminal_or_a_database_might_misread(desk: Desk) -> None:
    """Such names find their own file only, and are printed without a control or invisible character."""
    odd = ["a_b%.json", "a!b.json", "ünï\u202e😀.json", "a\u00a0b.json", 'it\'s "x".json']
    (desk.folder / "in" / "x\x1b[31my.json").write_bytes(event(9))
    put(desk.folder / "in", {name: event(number) for number, name in enumerate(odd)})
    desk.run("once")
    for name in odd:
        ran = desk.run("why", name)
        assert (ran.code, ran.err) == (0, ""), name
        assert ran.out.count("first listed") == 1, name
        assert ran.out.replace("\n", "").isprintable(), name
    for name in ("x\x1b[31my.json", "x\\x1b[31my.json"):
        ran = desk.run("why", name)
        assert "ignored: its name holds a control character" in ran.out
        assert ran.out.replace("\n", "").isprintable()


def test_what_is_no_text(desk: Desk) -> None:
    """Bytes that are no UTF-8, and an empty name, are just not found."""
    desk.run("once")
    for what in ("a\udcff.json", "", "local/", "*", "9" * 40):
        ran = desk.run("why", what)
        assert (ran.code, ran.err) == (1, ""), what
        assert "no file of that name was ever listed" in ran.out


def test_what_was_never_listed(desk: Desk) -> None:
    """It says when each source was last looked at, whether that failed, and what would become of such a file."""
    desk.configure(local(desk.folder / "in"), local(desk.folder / "gone", name="second"))
    desk.run("once")
    lines = desk.run("why", "a.txt").out.splitlines()
    assert re.fullmatch(r"  source local: not there at the last look, at 2\d{3}-\d\d-\d\d \d\d:\d\d:\d\d UTC", lines[1])
    assert lines[2] == "    such a file would be ignored: its name does not match `include`"
    assert "FAILED: the folder" in lines[3]
    assert [told["source"] for told in desk.run("why", "local/a.json", "--json").data["never_listed"]] == ["local"]
    assert desk.run("why", "local/a.json").out.splitlines()[2] == "    such a file would be taken"
    desk.configure(local(desk.folder / "in", name="new"))
    assert "source new: not looked at yet" in desk.run("why", "a.json").out


def test_a_name_of_digits_is_a_file_first(desk: Desk) -> None:
    """A number is the file of that name; else both the event of that number and the message with that id."""
    desk.configure(local(desk.folder / "in", settle_seconds=0, include=["*"]))
    put(desk.folder / "in", {"4711": event(1, communicationActionId="3")})
    desk.run("once")
    (number,) = desk.rows("SELECT id FROM events")[0]
    put(desk.folder / "in", {"b": event(2, communicationActionId=str(number))})
    desk.run("once")
    assert found(desk, "4711") == ["4711"]
    data = desk.run("why", str(number), "--json").data
    assert [each["identity"] for each in data["events"]] == ['["inboundMessage","3"]', f'["inboundMessage","{number}"]']


def test_by_the_key_that_a_handler_was_given(desk: Desk) -> None:
    """The idempotency key from another system's log leads to the event and its file."""
    put(desk.folder / "in", {"a.json": event(1), "b.json": event(2)})
    desk.run("once")
    for line in desk.lines():
        (told,) = desk.run("why", line["delivery"]["key"], "--json").data["events"]
        assert told["file"] == f"local/{line['delivery']['file']}"


def test_a_name_in_two_sources_and_two_sizes(desk: Desk) -> None:
    """Every file of the name is told, oldest first; `source/name` tells those of one source."""
    (desk.folder / "other").mkdir()
    here = local(desk.folder / "in", settle_seconds=0, after="delete")
    desk.configure(here, local(desk.folder / "other", name="other"))
    for number in range(2):
        put(desk.folder / "in", {"a.json": event(number, body="x" * number)})
        desk.run("once")
    put(desk.folder / "other", {"a.json": event(5)})
    desk.run("once")
    data = desk.run("why", "a.json", "--json").data
    assert [file["source"] for file in data["files"]] == ["local", "local", "other"]
    assert data["files"][0]["bytes"] + 1 == data["files"][1]["bytes"]
    assert found(desk, "other/a.json") == ["a.json"]


def test_what_waited_and_what_came_back(desk: Desk) -> None:
    """A half-written file waits, with the reason; it vanishes, comes back complete, and is told as two files."""
    desk.configure(local(desk.folder / "in", after="delete"))
    put(desk.folder / "in", {"a.json": event(1)[:30]})
    desk.run("once")
    assert "now  waiting: it may be half-written" in desk.run("why", "a.json").out
    (desk.folder / "in" / "a.json").unlink()
    desk.run("once")
    assert "now  vanished: it was gone, or had changed, at the next look" in desk.run("why", "a.json").out
    put(desk.folder / "in", {"a.json": event(1)})
    desk.run("once")
    out = desk.run("why", "a.json").out
    assert out.index("vanished") < out.index("accepted, 1 event")
    put(desk.folder / "in", {"b.jsonl": event(2) + b"\n" + event(3)})
    desk.configure(local(desk.folder / "in", include=["*"], settle_seconds=1))
    desk.run("once")
    desk.configure(local(desk.folder / "in", include=["*"], settle_seconds=0))
    desk.run("once")
    out = desk.run("why", "b.jsonl").out
    assert "had to wait: it holds JSON Lines" in out
    assert "accepted, 2 events" in out


def test_the_same_file_back_again(desk: Desk) -> None:
    """A file that is there again after it was moved is told with how often it had been there."""
    desk.configure(local(desk.folder / "in", after="delete", settle_seconds=0))
    for _ in range(2):
        path = desk.folder / "in" / "a.json"
        path.write_bytes(event(1))
        os.utime(path, (1_700_000_000, 1_700_000_000))
        desk.run("once")
    assert "such a file had been here 1 time before" in desk.run("why", "a.json").out


def test_a_very_large_file_is_told_in_short(desk: Desk) -> None:
    """Of a thousand events, of more than twenty files, the first are told, and how many more there are."""
    many = b"[" + b",".join(event(number) for number in range(1000)) + b"]"
    put(desk.folder / "in", {"many.json": many, **{f"e{number:02}.json": event(number) for number in range(30)}})
    desk.run("once")
    out = desk.run("why", "many.json").out
    assert out.splitlines()[-1].strip() == "and 980 more events"
    assert len(out.splitlines()) < 80
    out = desk.run("why", "e*.json").out
    assert out.splitlines()[-1] == "and 10 more older files of that name"
    assert out.count("first listed") == 20
    put(desk.folder / "in", {"again.json": many})
    desk.run("once")
    assert "  and 980 more items that came before" in desk.run("why", "again.json").out.splitlines()


def test_why_a_delivery_waits(desk: Desk) -> None:
    """A delivery behind another one names it, and one of a failing handler says so."""
    configure(desk)
    (desk.folder / "crm-is-down").touch()
    desk.config.write_text(
        desk.config.read_text().replace("max_attempts = 2", "max_attempts = 9, breaker_failures = 1")
    )
    put(desk.folder / "in", {"a.json": b"[" + event(1) + b"," + event(2) + b"]"})
    desk.run("once")
    lines = [line.strip() for line in desk.run("why", "a.json").out.splitlines()]
    (first, _) = desk.rows("SELECT id FROM events ORDER BY id")
    assert f"event {first[0]} of its conversation comes first" in lines
    assert any(line.startswith("the handler has been failing since 2") for line in lines)
    assert any(line.startswith("handler crm: to be tried again at 2") for line in lines)
    assert "handler crm: not tried yet" in lines
    assert re.search(r"FAILING since .*\n  next try: 2", desk.run("status").out)


def test_nobody_is_quoted(desk: Desk) -> None:
    """No content of an event is in a story: neither as text nor as JSON, of good and of bad files."""
    secret = "Frau Müller, +49 170 1234567"
    good, bad = event(1, body=secret, customerUID=secret), json.dumps({"type": "payment", "amount": [secret]}).encode()
    put(desk.folder / "in", {"good.json": good, "conflict.json": event(1, body=secret + "!"), "bad.json": bad + b","})
    desk.run("once")
    for form in ([], ["--json"]):
        ran = desk.run("why", "*", *form)
        assert ran.code == 0
        assert "1234567" not in ran.out
        assert "ller" not in ran.out
