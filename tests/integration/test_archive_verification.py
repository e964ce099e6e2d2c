"""`archive verify`: every kind of damage is found and named, and nothing that is well is called damaged."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.archive.verification import MOST_TOLD, Findings, Verification
from sftpd_processor.errors import PermanentError, StateInUse
from tests.kept_copies import WEBIO, House
from tests.ledger_samples import event, record


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """A compacted day with a, b and c; and d, which came late, and a broken file in quarantine."""
    house = House(tmp_path / "state")
    house.keep(a=event("1"), b=event("2"), c=event("3"))
    house.compact()
    house.keep(d=event("4"), broken=b"no event")
    yield house
    house.close()


def verified(house: House, *paths: str) -> Findings:
    """What is found at these paths below the state folder, or everywhere."""
    return Verification(house.state, house.ledger, [house.state / path for path in paths]).run(lambda _: None)


def test_all_is_well(house: House) -> None:
    """Copies in day folders, compacted days and quarantine; also when a crash left one in both forms."""
    (house.state / WEBIO / "a.json").write_bytes(event("1"))
    findings = verified(house)
    assert (findings.counts, findings.first, findings.bad) == ({"ok": 5}, {}, False)


def test_nothing_at_all(tmp_path: Path) -> None:
    """Neither files nor folders: nothing is found."""
    house = House(tmp_path / "empty")
    assert verified(house).counts == {}
    house.close()


def test_what_is_lost_or_damaged(house: House) -> None:
    """A copy that is gone, one with other bytes, and one that its day no longer holds."""
    (house.state / WEBIO / "d.json").unlink()
    quarantined = house.state / WEBIO.replace("archive", "quarantine") / "broken.json"
    quarantined.write_bytes(quarantined.read_bytes() + b" ")
    day = house.state / f"{WEBIO}.zip"
    with zipfile.ZipFile(day) as old:
        left = {name: old.read(name) for name in old.namelist() if name != "b.json"}
    with zipfile.ZipFile(day, "w") as new:
        for name, raw in left.items():
            new.writestr(name, raw if name == "a.json" else raw + b"\n")
    findings = verified(house)
    assert findings.counts == {"ok": 1, "missing": 2, "different": 2}
    assert findings.first["missing"] == [f"{WEBIO}/b.json", f"{WEBIO}/d.json"]
    assert findings.first["different"] == [f"{WEBIO}/c.json", f"{WEBIO.replace('archive', 'quarantine')}/broken.json"]
    assert findings.bad


def test_a_damaged_member(house: House) -> None:
    """One flipped bit in a compacted day harms that member only."""
    day = house.state / f"{WEBIO}.zip"
    raw = bytearray(day.read_bytes())
    raw[60] ^= 1
    day.write_bytes(raw)
    assert verified(house).counts == {"ok": 4, "different": 1}


def test_a_torn_day(house: House) -> None:
    """It is told once; what lay in it and nowhere else is missing."""
    day = house.state / f"{WEBIO}.zip"
    (house.state / WEBIO / "a.json").write_bytes(event("1"))
    day.write_bytes(day.read_bytes()[:-60])
    findings = verified(house)
    assert findings.counts == {"ok": 3, "torn": 1, "missing": 2}
    assert findings.first["torn"] == [f"{WEBIO}.zip"]


def test_what_the_ledger_does_not_know(house: House) -> None:
    """Files of others, wherever they lie; what a compaction that was killed left behind is not told of."""
    for path in (f"{WEBIO}/mine.json", "archive/note.txt", "archive/old/2020/01/02/x.json", f"{WEBIO}.zip.part"):
        (house.state / path).parent.mkdir(parents=True, exist_ok=True)
        (house.state / path).write_bytes(b"?")
    findings = verified(house)
    assert findings.counts == {"ok": 5, "unknown": 3}
    assert findings.first["unknown"] == ["archive/note.txt", "archive/old/2020/01/02/x.json", f"{WEBIO}/mine.json"]
    assert not findings.bad


def test_what_is_still_to_be_written(house: House) -> None:
    """Its bytes are in the ledger, so nothing is missing, also when its copy lies there already; without them it is."""
    record(house.ledger, ("e.json", event("5")), ("f.json", event("6")))
    (house.state / WEBIO / "e.json").write_bytes(event("5"))
    assert verified(house).counts == {"ok": 5, "unwritten": 2}
    house.release()
    findings = verified(house)
    assert findings.counts["missing"] == 2
    assert findings.first["missing"] == ["webio/e.json", "webio/f.json"]


def test_what_was_removed_on_purpose(house: House) -> None:
    """It is gone, not missing; if it lies there all the same, it is a leftover."""
    (number,) = house.rows("SELECT id FROM files WHERE name = 'd.json'")[0]
    house.ledger.forgetting.note({number: None})
    findings = verified(house)
    assert findings.counts == {"ok": 4, "gone": 1, "leftover": 1}
    (house.state / WEBIO / "d.json").unlink()
    assert verified(house).counts == {"ok": 4, "gone": 1}


@pytest.mark.parametrize(
    ("path", "number"),
    [
        ("archive", 4), ("archive/webio", 4), (WEBIO, 4), (f"{WEBIO}.zip", 4), (f"{WEBIO}/a.json", 1),
        ("quarantine", 1), (".", 5),
    ],
)  # fmt: skip
def test_only_some_of_it(house: House, path: str, number: int) -> None:
    """A folder, a day in either form, or one copy; no copy of anything beside it is told of."""
    assert verified(house, path).counts.total() == number


def test_a_path_where_nothing_is(house: House) -> None:
    """A slip of the pen is not taken for an archive that is well."""
    for path in ("archive/webio/2026/12", "archive/webio/2026/11/2", "archive/other"):
        with pytest.raises(PermanentError, match="check the path"):
            verified(house, path)
    (house.state / "archive/other").mkdir()
    assert verified(house, "archive/other").counts.total() == 0


def test_a_path_elsewhere(house: House, tmp_path: Path) -> None:
    """What does not lie in the state folder cannot be compared, and that is said."""
    with pytest.raises(PermanentError, match="does not lie in the state folder"):
        Verification(house.state, house.ledger, [tmp_path / "x"])


def test_compaction_at_that_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that was listed nowhere, since it moved between two looks, is looked for once more."""
    house.keep(e=event("5"))
    looked = house.ledger.holdings.of_day

    def move(source: str, day: int) -> Any:
        held = looked(source, day)
        path = house.state / WEBIO / "e.json"
        path.rename(path.with_name("e2.json"))
        again = house.ledger.holdings.again

        def back(ids: Any) -> Any:
            path.with_name("e2.json").rename(path)
            return again(ids)

        monkeypatch.setattr(house.ledger.holdings, "again", back)
        return held

    monkeypatch.setattr(house.ledger.holdings, "of_day", move)
    assert verified(house).counts == {"ok": 6}


def test_upkeep_at_that_moment(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is removed, and not yet noted as such, is no loss: the end of upkeep is waited for."""
    (house.state / WEBIO / "d.json").unlink()
    (number,) = house.rows("SELECT id FROM files WHERE name = 'd.json'")[0]

    def ended(_: Path) -> AbstractContextManager[None]:
        if not house.rows("SELECT id FROM files WHERE gone IS NOT NULL"):
            house.ledger.forgetting.note({number: None})
            raise StateInUse("it runs")
        return nullcontext()

    monkeypatch.setattr("sftpd_processor.archive.verification.turn", ended)
    assert verified(house).counts == {"ok": 4, "gone": 1}


def test_not_all_of_many_are_told(house: House) -> None:
    """The first ones of each kind; how many there are is counted."""
    for number in range(50):
        (house.state / WEBIO / f"x{number:02}.json").touch()
    findings = verified(house)
    assert findings.counts["unknown"] == 50
    assert findings.first["unknown"] == [f"{WEBIO}/x{number:02}.json" for number in range(MOST_TOLD)]
