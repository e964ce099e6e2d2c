"""`archive forget`: nothing of the person is left in any byte of the state folder, and everything of others is."""

from __future__ import annotations

import json
import os
import sqlite3
import warnings
import zipfile
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.archive import cutting
from sftpd_processor.archive.day import Day
from sftpd_processor.archive.forgetting import Forgetting, Forgotten
from sftpd_processor.archive.notes import understood
from sftpd_processor.archive.personal import Sought
from sftpd_processor.archive.turn import turn
from sftpd_processor.archive.verification import Verification
from sftpd_processor.errors import PermanentError, StateInUse
from sftpd_processor.ledger.records import Settlement
from sftpd_processor.ledger.selection import Selection
from tests.kept_copies import WEBIO, House
from tests.ledger_samples import array, event, record, settled

UID = "CU-4711/ä"
PHONE = "353870000001"
SECRET = "my secret complaint"
QUARANTINE = "quarantine/webio/2026/11/22"
UNTOUCHED = (f"{WEBIO}/other.json", f"{QUARANTINE}/broken.json")
BUSY = "1 event is being handled now, or was when the daemon was killed: then start it"
OTHER = event("900", "c9", customerUID="CU-1", body="of another")


def theirs(action: str, **more: Any) -> bytes:
    """An event of the person; its JSON escapes what is not ASCII."""
    return event(action, "c-theirs", **({"customerUID": UID, "body": SECRET} | more))


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    """An empty state folder."""
    house = House(tmp_path / "state")
    yield house
    house.close()


def forget(house: House, *customers: str, conversations: tuple[str, ...] = (), **how: Any) -> Forgotten:
    """Forget the person, by default by both ids."""
    sought = Sought(customers or (UID, PHONE), conversations)
    return Forgetting(house.state, house.ledger, sought, **({"patience": 0.0} | how)).run(lambda _: None)


def traces(house: House) -> list[str]:
    """Where something of the person is left."""
    return house.found(UID, json.dumps(UID)[1:-1], PHONE, SECRET, "c-theirs")


def everywhere(house: House) -> None:
    """The person's events in copies of all kinds, beside those of others."""
    house.keep(single=theirs("1"), other=OTHER, by_phone=event("2", outboundChannelAddress=PHONE, body=SECRET))
    house.keep(
        array=array(theirs("3"), event("901", "c9", customerUID="CU-2")),
        lines=event("902", "c9") + b"\r\n\n" + theirs("4") + b"\n" + event("903", "c9") + b"\n",
    )
    house.compact()
    house.keep(
        late=theirs("5", customerUID=UID).replace(b'"CU-4711/', b'"\\u0043U-4711\\/'),
        conflict=theirs("1", body=f"{SECRET} again"),
        partial=array(theirs("6"), b'{"customerUID": "x"}', event("904", "c9")),
        torn=theirs("7")[:-1],
        broken=b"no event at all",
    )


def test_nothing_of_the_person_is_left(house: House) -> None:
    """Not in copies, compacted days, quarantine, reasons, the ledger's file, its free pages or the log beside it."""
    everywhere(house)
    house.keep(large=theirs("8", body=SECRET * 3000))
    house.release()
    assert traces(house)
    done = forget(house)
    assert (done.events.total(), done.removed.total(), done.altered.total()) == (7, 6, 3)
    assert (done.unread, done.left) == ([], [])
    assert traces(house) == []


def test_in_any_database(url: str, tmp_path: Path) -> None:
    """What is forgotten, skipped, kept and told is the same on SQLite and on PostgreSQL."""
    house = House(tmp_path / "state", url)
    everywhere(house)
    house.ledger.deliveries.claim("crm", 1, ordered=True)
    done = forget(house)
    assert (done.events.total(), done.left) == (6, [BUSY])
    house.ledger.deliveries.recover()
    assert forget(house).left == []
    assert house.rows("SELECT events, files FROM forgettings") == [(6, 8)]
    assert house.rows("SELECT count(*) FROM events WHERE gone = 'forgotten' AND length(body) = 0") == [(6,)]
    assert house.rows("SELECT count(*) FROM deliveries WHERE state = 'skipped'") == [(6,)]
    assert Verification(house.state, house.ledger).run(lambda _: None).counts == {"ok": 5, "gone": 5}
    house.close()


def test_a_conversation_is_forgotten_though_its_contents_have_expired(house: House) -> None:
    """Of an event that is gone already, the conversation and what a handler said of it go, too."""
    house.keep(one=theirs("1"), other=OTHER)
    ((mine,),) = house.rows("SELECT file_id FROM events WHERE conversation = 'c-theirs'")
    claimed = house.ledger.deliveries.claim("crm", 9, ordered=False)
    house.ledger.deliveries.settle("crm", [Settlement(one.id, "dead", 1, 0, f"said {SECRET}") for one in claimed])
    house.ledger.upkeep.empty([mine])
    (house.state / f"{WEBIO}/one.json").unlink()
    assert forget(house, "nobody", conversations=("c-theirs",)).events.total() == 1
    assert house.rows("SELECT gone FROM events ORDER BY id") == [("forgotten",), (None,)]
    assert house.found("c-theirs") == []


def test_a_copy_that_is_named_like_a_reason_is_forgotten(house: House) -> None:
    """In quarantine, where notes of that name lie beside the copies."""
    record(house.ledger, ("x.reason.json", theirs("7")[:-1]), ("y.json", theirs("8")[:-1]))
    while house.archive.step():
        pass
    forget(house)
    assert [path for path in (house.state / "quarantine").rglob("*") if path.is_file()] == []


def test_two_members_of_one_name_are_not_mixed_up(house: House) -> None:
    """In a day that a person has packed: nothing of it is cut, and it is told."""
    path = house.state / f"{WEBIO}.zip"
    path.parent.mkdir(parents=True)
    with zipfile.ZipFile(path, "w") as made, warnings.catch_warnings(action="ignore"):
        for raw in (OTHER, theirs("1")):
            made.writestr("a.json", raw)
    before = path.read_bytes()
    (told,) = forget(house).unread
    assert "holds two copies of one name" in told
    assert path.read_bytes() == before


def test_what_is_of_others_stays_as_it_was(house: House) -> None:
    """Their copies, also in files that are written anew; the ledger knows the SHA-256 of each, and so does the zip."""
    everywhere(house)
    before = house.tree()
    forget(house)
    tree = house.tree()
    assert {path: tree[path] for path in UNTOUCHED} == {path: before[path] for path in UNTOUCHED}
    assert json.loads(tree[f"{WEBIO}/array.json"]) == [json.loads(event("901", "c9", customerUID="CU-2"))]
    assert tree[f"{WEBIO}/lines.json"] == event("902", "c9") + b"\r\n\n" + event("903", "c9") + b"\n"
    assert len(json.loads(tree[f"{QUARANTINE}/partial.json"])) == 2
    assert tree.keys() == {*UNTOUCHED, f"{WEBIO}/array.json", f"{WEBIO}/lines.json", f"{QUARANTINE}/partial.json"}
    findings = Verification(house.state, house.ledger).run(lambda _: None)
    assert findings.counts == {"ok": 5, "gone": 5}
    with Day(house.state / f"{WEBIO}.zip") as day:
        for member in day.members():
            note = understood(member.note)
            assert note is not None
            assert note.sha256 == sha256(day.read(member)).hexdigest()
    note = json.loads((house.state / f"{QUARANTINE}/partial.json.reason.json").read_text())
    assert note["sha256"] == sha256(tree[f"{QUARANTINE}/partial.json"]).hexdigest()


def test_bytes_that_the_ledger_still_has(house: House) -> None:
    """They go with the copies; those of others stay."""
    everywhere(house)
    forget(house)
    assert traces(house) == []
    kept = house.rows("SELECT name FROM files JOIN contents ON file_id = files.id ORDER BY name")
    assert kept == [("broken.json",), ("other.json",)]


def test_a_trace_of_the_deed_but_not_of_the_person(house: House) -> None:
    """One row says how many; a second time nothing is found, and no row is written."""
    everywhere(house)
    forget(house)
    again = forget(house)
    assert (again.events.total(), again.removed.total(), again.altered.total()) == (0, 0, 0)
    assert house.rows("SELECT events, files FROM forgettings") == [(6, 8)]


def test_the_same_event_coming_again_is_not_handled_again(house: House) -> None:
    """Its identity stays: it is a duplicate, and makes no delivery."""
    house.keep(single=theirs("1"))
    forget(house)
    recorded = record(house.ledger, ("again.json", theirs("1")))
    assert recorded.verdicts == {"duplicate": 1}
    assert house.rows("SELECT count(*) FROM deliveries") == [(1,)]


def test_deliveries_that_were_still_to_be_made(house: House) -> None:
    """Open ones and dead letters are skipped: no handler gets them, and `retry` does not bring them back."""
    house.keep(first=theirs("1"), second=theirs("2"), other=OTHER)
    first, *_ = house.ledger.deliveries.claim("crm", 1, ordered=True)
    house.ledger.deliveries.settle("crm", [Settlement(first.id, "dead", 1, 0, f"said {SECRET}", failed=True)])
    forget(house)
    assert traces(house) == []
    states = "SELECT state, detail, lane FROM deliveries WHERE state = 'skipped'"
    assert house.rows(states) == [("skipped", "forgotten", None)] * 2
    assert house.ledger.retries.dead(Selection()) == []
    assert [claim.identity for claim in house.ledger.deliveries.claim("crm", 9, ordered=True)] == [
        '["inboundMessage","900"]'
    ]


def test_what_handlers_said_is_forgotten_too(house: House) -> None:
    """Also of deliveries that are done; that these were made stays."""
    house.keep(first=theirs("1"))
    (claim,) = house.ledger.deliveries.claim("crm", 1, ordered=True)
    house.ledger.deliveries.settle("crm", [Settlement(claim.id, "pending", 1, 0, f"first {SECRET}", failed=True)])
    (claim,) = house.ledger.deliveries.claim("crm", 1, ordered=True)
    house.ledger.deliveries.settle("crm", [Settlement(claim.id, "done", 2, 0, f"then {SECRET}")])
    forget(house)
    assert traces(house) == []
    assert house.rows("SELECT state, attempts FROM deliveries") == [("done", 2)]


def test_a_delivery_that_runs_at_that_moment(house: House) -> None:
    """Its event is left alone and told of; when the delivery has ended, the next run forgets it."""
    house.keep(first=theirs("1"))
    (claim,) = house.ledger.deliveries.claim("crm", 1, ordered=True)
    assert forget(house).left == [BUSY]
    assert house.rows("SELECT gone FROM events") == [(None,)]
    house.ledger.deliveries.settle("crm", [settled(claim.id)])
    assert forget(house).left == []
    assert traces(house) == []


def test_a_copy_that_is_still_to_be_written(house: House) -> None:
    """It is not raced with: its bytes stay, and it is told; once it is written it is forgotten."""
    record(house.ledger, ("first.json", theirs("1")))
    assert forget(house).left == ["1 copy is still to be written by the daemon, or by `once`"]
    house.archive.step()
    assert forget(house).left == []
    assert traces(house) == []


@pytest.mark.parametrize("at", [1, 3, 4, 5, 7, 8, 10])
def test_killed_at_any_step(house: House, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """What is left then is whole; the next run ends it."""

    class Killed(BaseException):
        pass

    steps = iter(range(1, 100))

    def dying(function: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if next(steps) == at:
                raise Killed
            return function(*arguments, **named)

        return call

    everywhere(house)
    before = house.tree()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", dying(Path.replace))
        patch.setattr(Path, "unlink", dying(Path.unlink))
        patch.setattr("sftpd_processor.archive.forgetting.cut_day", dying(cutting.cut_day))
        with pytest.raises(Killed):
            forget(house)
    assert {path: house.tree()[path] for path in UNTOUCHED} == {path: before[path] for path in UNTOUCHED}
    assert forget(house).left == []
    assert traces(house) == []
    assert Verification(house.state, house.ledger).run(lambda _: None).counts == {"ok": 5, "gone": 5}


def test_by_conversation(house: House) -> None:
    """Only that conversation, whoever the customer is."""
    house.keep(first=event("1", "c1", body=SECRET), second=event("2", "c2"))
    assert forget(house, "nobody", conversations=("c1",)).events.total() == 1
    assert house.found(SECRET) == []
    assert list(house.tree()) == [f"{WEBIO}/second.json"]


def test_what_replays_were_asked_for(house: House) -> None:
    """The id in a replay's job stands for nobody from then on."""
    connection = sqlite3.connect(house.state / "ledger.db")
    job = json.dumps({"selection": {"customers": [UID, "CU-1"]}})
    connection.execute("INSERT INTO replays (started_at, job) VALUES (1, ?)", (job,))
    connection.commit()
    connection.close()
    assert forget(house).replays == 1
    assert traces(house) == []
    assert "CU-1" in str(house.rows("SELECT job FROM replays"))


def test_a_dry_run_changes_nothing(house: House) -> None:
    """It counts what a real one does, and every byte stays."""
    everywhere(house)
    house.release()
    before = house.tree()
    counted = forget(house, dry_run=True)
    assert house.tree() == before
    done = forget(house)
    assert (counted.events, counted.removed, counted.altered) == (done.events, done.removed, done.altered)


def test_a_damaged_day_is_told(house: House) -> None:
    """What cannot be read cannot be looked into: that is said, and the rest is done."""
    everywhere(house)
    path = house.state / f"{WEBIO}.zip"
    path.write_bytes(path.read_bytes()[:-40])
    done = forget(house)
    assert len(done.unread) == 1
    assert path.exists()
    assert done.events.total() == 6


def test_one_at_a_time(house: House) -> None:
    """While upkeep holds the archive it is refused, before anything is changed."""
    everywhere(house)
    with turn(house.state), pytest.raises(StateInUse):
        forget(house)
    assert house.rows("SELECT count(*) FROM events WHERE gone IS NOT NULL") == [(0,)]


def test_a_full_disk(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told where and what to do; nothing of others is harmed."""
    everywhere(house)

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device", "15.zip.part")

    before = house.tree()
    with monkeypatch.context() as patch:
        patch.setattr("os.fsync", full)
        with pytest.raises(PermanentError, match="No space left on device; mend that and run this again"):
            forget(house)
    assert house.tree()[f"{WEBIO}/other.json"] == before[f"{WEBIO}/other.json"]
    forget(house)
    assert traces(house) == []


def test_what_root_makes_belongs_to_the_account(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock, copies and days written anew are given to the owner of the folder, or the daemon could not go on."""
    everywhere(house)
    given: set[str] = set()
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr(
        "os.fchown", lambda file, *_: given.add(os.readlink(f"/proc/self/fd/{file}").rpartition("/")[2])
    )
    forget(house)
    assert given == {"upkeep.lock", "22.zip.part", "copy.part"}
