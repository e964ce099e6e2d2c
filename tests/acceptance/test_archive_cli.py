"""`sftpd-processor archive …`: what people type, and what they are told."""

from __future__ import annotations

import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpd_processor.archive.turn import turn
from tests.acceptance.support import Desk, event, local, put

UID = "CU-4711"
_DAY = "2026/01/15"
_ANY_DAY = re.compile(r"\d{4}/\d\d/\d\d")


@pytest.fixture
def desk(desk: Desk, tmp_path: Path) -> Desk:
    """Three files taken, one of them broken, one of a customer."""
    (tmp_path / "in").mkdir()
    desk.configure(local(tmp_path / "in", name="webio", settle_seconds=0))
    files = {"a.json": event(1), "b.json": event(2, "c2", customerUID=UID), "c.json": b"no event"}
    put(tmp_path / "in", files)
    assert desk.run("once").code == 3
    return desk


def test_looking_into_the_archive(desk: Desk) -> None:
    """`list` tells where each copy lies, `cat` gives its exact bytes, also by what an event is known by."""
    ran = desk.run("archive", "list")
    assert (ran.code, ran.err) == (0, "")
    *lines, total = ran.out.splitlines()
    assert total.startswith("3 files, 2 events, ")
    day = _ANY_DAY.findall(ran.out)[0]
    assert sorted(line.split("UTC  ")[1].split("  ")[2] for line in lines) == [
        f"archive/webio/{day}/a.json", f"archive/webio/{day}/b.json", f"quarantine/webio/{day}/c.json",
    ]  # fmt: skip
    data = desk.run("archive", "list", "--customer", UID, "--limit", "5", "--json").data
    assert [file["name"] for file in data["files"]] == ["b.json"]
    assert (data["total"]["files"], data["more"]) == (1, False)
    assert desk.run("archive", "list", "--limit", "1").out.endswith("bytes; there are more\n")
    assert desk.run("archive", "cat", "c.json").out.encode() == b"no event"
    assert desk.run("archive", "cat", "m2").out.encode() == event(2, "c2", customerUID=UID)


def test_bytes_that_are_not_what_was_recorded(desk: Desk) -> None:
    """`verify` and `cat` end with 1 and say what to do; `cat` writes nothing of it."""
    (copy,) = desk.state.rglob("archive/**/a.json")
    copy.write_bytes(event(3))
    ran = desk.run("archive", "cat", "webio/a.json")
    assert (ran.code, ran.out) == (1, "")
    assert "its SHA-256 is another" in ran.err
    ran = desk.run("archive", "verify")
    assert ran.code == 1
    assert "1 copy DIFFERENT from what was recorded" in ran.out
    assert "what to do: put them back from a backup" in ran.out
    data = desk.run("archive", "verify", str(desk.state / "quarantine"), "--json").data
    assert (data["ok"], data["counts"]["ok"], sum(data["counts"].values())) == (True, 1, 1)


def test_forgetting(desk: Desk) -> None:
    """Asked for by a file, so that no process list shows the id; it is in no output, and in no file afterwards."""
    ids = desk.folder / "ids"
    ids.write_text(f"{UID}\n")
    ran = desk.run("archive", "forget", "--customer-file", str(ids))
    assert (ran.code, ran.out) == (2, "")
    assert "--dry-run" in ran.err
    ran = desk.run("archive", "forget", "--customer-file", str(ids), "--yes")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("removed 1 event from the ledger, 1 copy; 0 written anew without them")
    assert UID not in ran.out + ran.err
    assert not [path for path in desk.state.rglob("*") if path.is_file() and UID.encode() in path.read_bytes()]
    assert "`archive forget` removed it" in desk.run("archive", "cat", "b.json").err
    told = desk.run("why", "b.json").out
    assert "its copy is not kept any more: `archive forget` removed it" in told
    assert "what was in it is not kept any more" in told


def test_upkeep_by_hand(desk: Desk) -> None:
    """What it compacts is found, read, told of and verified as before; a second time there is nothing to do."""
    _long_ago(desk)
    ran = desk.run("archive", "upkeep", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert (ran.data["released"], ran.data["days_compacted"], ran.data["errors"]) == (3, 1, [])
    place = f"archive/webio/{_DAY}.zip (member a.json)"
    assert desk.run("archive", "list", "--file", "a.json").out.splitlines()[0].endswith(place)
    assert f"its copy: {place}" in desk.run("why", "a.json").out
    assert desk.run("archive", "cat", "a.json").out.encode() == event(1)
    assert desk.run("archive", "verify").out == "3 copies as they were recorded\n"
    assert desk.run("archive", "upkeep").out.startswith("nothing to do; ")


def test_upkeep_while_another_one_runs(desk: Desk) -> None:
    """It is refused in one line."""
    with turn(desk.state):
        ran = desk.run("archive", "upkeep")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (1, "", 1)
    assert "try again when it has ended" in ran.err


def _long_ago(desk: Desk) -> None:
    """Let everything have been recorded on a day long ago."""
    connection = sqlite3.connect(desk.state / "ledger.db")
    at = int(datetime.strptime(_DAY, "%Y/%m/%d").replace(tzinfo=UTC).timestamp()) * 1_000_000
    for path in ("archive", "quarantine"):
        (folder,) = (desk.state / path / "webio").glob("*/*/*")
        (desk.state / path / "webio" / _DAY).parent.mkdir(parents=True, exist_ok=True)
        folder.rename(desk.state / path / "webio" / _DAY)
        connection.execute(
            "UPDATE files SET recorded_at = ?, archive_path = replace(archive_path, ?, ?)",
            (at, str(folder.relative_to(desk.state / path / "webio")), _DAY),
        )
    connection.execute("UPDATE events SET recorded_at = ?", (at,))
    connection.commit()
    connection.close()


def test_names_that_several_files_have(desk: Desk) -> None:
    """They are told apart by where their copies lie, and that is taken as a name."""
    put(desk.folder / "in", {"a.json": event(9)})
    desk.run("once")
    ran = desk.run("archive", "cat", "a.json")
    assert (ran.code, ran.out) == (1, "")
    places = [line.split(": ")[0].strip() for line in ran.err.splitlines()[1:]]
    assert len(places) == 2
    assert {desk.run("archive", "cat", place).out.encode() for place in places} == {event(1), event(9)}


def test_what_cannot_be_meant(desk: Desk) -> None:
    """It is refused in words, and nothing is changed."""
    for arguments, said in (
        (("forget",), "--customer"),
        (("forget", "--customer", ""), "empty"),
        (("forget", "--customer", " "), "no letter or digit"),
        (("cat", "nothing.json"), "no file of that name"),
        (("verify", "/etc"), "does not lie in the state folder"),
    ):
        ran = desk.run("archive", *arguments)
        assert ran.code in (1, 2), arguments
        assert said in ran.err
