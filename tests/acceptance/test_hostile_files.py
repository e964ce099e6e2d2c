"""Every hostile file at once, in the folder of a real source, through the real command."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sftpd_processor.events.parse import Parsed, parse
from tests.acceptance.support import Desk, events, local, put
from tests.fuzz.properties import copied
from tests.hostile.corpus import HostileFile, corpus

FILES = corpus()
NEIGHBOURS = events(60)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """All hostile files among ordinary neighbours, after two runs of `once`."""
    folder = tmp_path_factory.mktemp("hostile")
    (incoming := folder / "incoming").mkdir()
    made = Desk(folder)
    put(incoming, {name: file.data for name, file in FILES.items()} | NEIGHBOURS)
    made.configure(local(incoming, settle_seconds=0))
    first = made.run("once", "--json", timeout=100)
    assert first.code == 3, first.err
    assert made.run("once").code == 0
    return made


def test_verdicts(desk: Desk) -> None:
    """The ledger's verdict of each file is the expected one; what is too large was never read and still lies there."""
    told = dict(desk.rows("select name, coalesce(verdict, state) from files"))
    expected = {name: _verdict(file) for name, file in FILES.items()}
    assert {name: (told[name], verdict) for name, verdict in expected.items() if told[name] != verdict} == {}
    left = {path.name for path in (desk.folder / "incoming").iterdir() if path.is_file()}
    assert left == {name for name, file in FILES.items() if file.expected == "too large"}


def test_deliveries(desk: Desk) -> None:
    """Every good event of every file, and every neighbour, was delivered once; nothing else was."""
    expected = {name: len(_identities(file)) for name, file in FILES.items()} | dict.fromkeys(NEIGHBOURS, 1)
    delivered = Counter(line["delivery"]["file"] for line in desk.lines())
    assert delivered == {name: count for name, count in expected.items() if count}
    assert len(set(desk.keys())) == len(desk.keys())


def test_local_copies(desk: Desk) -> None:
    """What is good is in the archive, what is not, even partly, in quarantine; each with exactly the bytes it had."""
    kept = {name: file.data for name, file in FILES.items() if file.expected == "accepted"} | NEIGHBOURS
    assert desk.archived() == kept
    copies = {name: data for name, data in desk.quarantined().items() if not name.endswith(".reason.json")}
    assert copies == {name: file.data for name, file in FILES.items() if file.expected in ("partial", "invalid")}


def test_reasons(desk: Desk) -> None:
    """The reason beside each file in quarantine names the first fault's place, and repeats nothing of the file."""
    copies = desk.quarantined()
    for name, file in FILES.items():
        if file.expected in ("partial", "invalid"):
            note: dict[str, Any] = json.loads(copies[f"{name}.reason.json"])
            first = note["problems"][0]
            assert file.begins_at(first["where"]), name
            assert file.why in first["why"], name
            assert note["problems_in_all"] >= len(note["problems"])
            for problem in note["problems"]:
                assert not copied(f"{problem['where']}: {problem['why']}", file.data), name


def _verdict(file: HostileFile) -> str:
    return "ignored" if file.expected == "too large" else file.expected


def _identities(file: HostileFile) -> set[str]:
    if file.expected == "too large":
        return set()
    outcome = parse(file.data, ZoneInfo("UTC"))
    return {event.identity for event in outcome.events} if isinstance(outcome, Parsed) else set()
