"""RECORD: what one batch makes true, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json
from hashlib import sha256
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy.exc import DBAPIError

from sftpd_processor.errors import LedgerUnavailable, ProcessorError
from sftpd_processor.events.parse import parse
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Arrival
from tests.ledger_samples import array, arrival, batch, entry, event, record, rows, wanting


def _handed_on(ledger: Ledger) -> list[str]:
    """The message ids of all deliveries, in the order they are claimed."""
    claims = ledger.deliveries.claim("crm", 1000, ordered=False)
    return [json.loads(claim.body)["communicationActionId"] for claim in claims]


def test_a_file_is_recorded_with_its_bytes_events_and_deliveries(ledger: Ledger, url: str) -> None:
    """An accepted file leaves its exact bytes, one event with its identity, and one delivery."""
    raw = b"\xef\xbb\xbf  " + event("7") + b"\n"
    recorded = record(ledger, ("7.json", raw))
    assert (recorded.verdicts, recorded.events, recorded.handlers) == ({"accepted": 1}, 1, frozenset({"crm"}))
    assert [(file.name, file.raw, file.verdict) for file in ledger.files.unarchived(9)] == [("7.json", raw, "accepted")]
    (claim,) = ledger.deliveries.claim("crm", 9, ordered=True)
    assert (claim.identity, claim.type, claim.conversation) == ('["inboundMessage","7"]', "inboundMessage", "97011")
    assert (claim.body, claim.file, claim.source, claim.origin) == (event("7"), "7.json", "webio", "sftp")
    assert rows(url, "SELECT state, events, repeats FROM files") == [("recorded", 1, 0)]


def test_the_same_event_again_is_a_duplicate(ledger: Ledger) -> None:
    """Sent twice in one batch, in a later one, or under another name, an event is recorded and delivered once."""
    first = record(ledger, ("a.json", event()), ("b.json", event()))
    later = record(ledger, ("c.json", event()))
    assert first.verdicts == {"accepted": 1, "duplicate": 1}
    assert (later.verdicts, later.events, later.handlers) == ({"duplicate": 1}, 0, frozenset())
    assert _handed_on(ledger) == ["1"]
    assert [file.name for file in ledger.files.unarchived(9) if file.verdict == "duplicate"] == ["b.json", "c.json"]


def test_other_whitespace_and_order_of_keys_are_no_conflict(ledger: Ledger) -> None:
    """The same content written in another way is a duplicate."""
    turned = json.dumps(dict(reversed(json.loads(event()).items())), indent=3).encode()
    assert turned != event()
    record(ledger, ("a.json", event()))
    assert record(ledger, ("b.json", turned)).verdicts == {"duplicate": 1}


@pytest.mark.parametrize("together", [True, False])
def test_the_same_identity_with_other_content_is_a_conflict(ledger: Ledger, url: str, *, together: bool) -> None:
    """The later one is kept with the reason and not delivered, also when both come in one batch."""
    files = [("a.json", event()), ("b.json", event(body="something else"))]
    results = [record(ledger, *files)] if together else [record(ledger, file) for file in files]
    assert results[-1].verdicts.get("conflict") == 1
    (claim,) = ledger.deliveries.claim("crm", 9, ordered=True)
    assert claim.body == event()
    assert rows(url, "SELECT conflict FROM repeats") == [(True,)]
    (conflict,) = ledger.figures.quarantined(9)
    reason = json.loads(conflict["reason"])
    assert (conflict["name"], conflict["verdict"], reason["total"]) == ("b.json", "conflict", 1)
    assert reason["faults"][0]["where"] == "event 1"
    assert "a.json" in str(reason["faults"][0]["recorded_from"])


def test_an_array_with_some_repeats_gives_the_rest(ledger: Ledger, url: str) -> None:
    """A file of several events is accepted when one is new; only the new ones are delivered."""
    record(ledger, ("a.json", event("1")))
    recorded = record(ledger, ("b.json", array(event("2"), event("1"), event("2"), event("3"))))
    assert (recorded.verdicts, recorded.events) == ({"accepted": 1}, 2)
    assert _handed_on(ledger) == ["1", "2", "3"]
    assert rows(url, "SELECT events, repeats FROM files WHERE name = 'b.json'") == [(4, 2)]
    assert rows(url, "SELECT position, conflict FROM repeats ORDER BY position") == [(1, False), (2, False)]


def test_a_conflict_in_an_array_quarantines_the_file_but_not_its_new_events(ledger: Ledger) -> None:
    """One conflicting event gives the file its verdict; the new events beside it are delivered all the same."""
    record(ledger, ("a.json", event("1")))
    recorded = record(ledger, ("b.json", array(event("2"), event("1", body="other"))))
    assert (recorded.verdicts, recorded.events) == ({"conflict": 1}, 1)
    assert _handed_on(ledger) == ["1", "2"]
    assert json.loads(ledger.figures.quarantined(1)[0]["reason"])["faults"][0]["where"] == "event 2"


def test_an_invalid_file_is_kept_with_its_faults(ledger: Ledger) -> None:
    """A file that is no event is recorded with its bytes and the reason, without events."""
    recorded = record(ledger, ("bad.json", b'{"type": 5}'))
    assert (recorded.verdicts, recorded.events) == ({"invalid": 1}, 0)
    (file,) = ledger.files.unarchived(9)
    assert file.raw == b'{"type": 5}'
    assert json.loads(file.reason or "")["faults"][0]["where"] == "$.type"


def test_content_that_a_database_may_choke_on_is_kept(ledger: Ledger) -> None:
    """NUL and lone quotes in ids and texts, and an empty file, are recorded as any other."""
    odd = event("a\0b", "c\0d'\"\\", body="x\0y")
    record(ledger, ("odd.json", odd), ("empty.json", b""), ("bin.json", bytes(range(256))))
    (claim,) = ledger.deliveries.claim("crm", 9, ordered=True)
    assert claim.body == odd
    assert [file.raw for file in ledger.files.unarchived(9)] == [odd, b"", bytes(range(256))]


def test_events_follow_their_time_inside_a_batch(ledger: Ledger) -> None:
    """Inside a batch the order is dateCreated, then mtime, then name, then the place in the file."""

    def at(second: int, action: str) -> bytes:
        return event(action, dateCreated=f"2026-11-22 10:00:{second:02}.000")

    taken = [
        arrival("z.json", array(at(5, "5b"), at(5, "5c")), mtime=20),
        arrival("b.json", at(5, "5e"), mtime=30),
        arrival("a.json", at(5, "5d"), mtime=30),
        arrival("y.json", at(5, "5a"), mtime=10),
        arrival("x.json", at(1, "1"), mtime=99),
    ]
    ledger.record(batch(*taken), wanting)
    assert _handed_on(ledger) == ["1", "5a", "5b", "5c", "5d", "5e"]


def test_batches_keep_the_order_of_their_commits(ledger: Ledger, url: str) -> None:
    """What is committed later has greater numbers, whatever times the events carry."""
    record(ledger, ("a.json", event("late", dateCreated="2026-11-22 10:00:00.000")))
    record(ledger, ("b.json", event("early", dateCreated="2020-01-01 10:00:00.000")))
    assert _handed_on(ledger) == ["late", "early"]
    numbers = [number for (number,) in rows(url, "SELECT id FROM files UNION SELECT id FROM events ORDER BY 1")]
    assert numbers == [1, 2, 3, 4]  # files and events are counted together, without gaps


def test_only_wanting_handlers_get_deliveries(ledger: Ledger) -> None:
    """A handler that does not want a type has no delivery of it; an event nobody wants is kept nevertheless."""

    def choosy(kind: str) -> list[str]:
        return {"inboundMessage": ["crm", "log"], "payment": ["log"]}.get(kind, [])

    taken = [
        arrival("1.json", event()),
        arrival("2.json", event(None, type="payment")),
        arrival("3.json", event(None, type="setStatus")),
    ]
    recorded = ledger.record(batch(*taken), choosy)
    assert (recorded.events, recorded.handlers) == (3, frozenset({"crm", "log"}))
    assert ledger.figures.deliveries() == {"crm": {"pending": 1}, "log": {"pending": 2}}


def test_organisations_do_not_share_identities(ledger: Ledger) -> None:
    """The same event at two organisations is two events; at two sources of one organisation it is one."""
    verdicts = [
        record(ledger, ("1.json", event()), source=source, organisation=organisation).verdicts
        for source, organisation in (("north", "acme"), ("south", "acme"), ("west", "other"))
    ]
    assert verdicts == [{"accepted": 1}, {"duplicate": 1}, {"accepted": 1}]
    lanes = {claim.lane for claim in ledger.deliveries.claim("crm", 9, ordered=True)}
    assert lanes == {"acme/97011", "other/97011"}


def test_a_batch_that_breaks_is_not_there_at_all(ledger: Ledger, url: str) -> None:
    """When one row of a batch cannot be written, nothing of the batch is, and the next batch goes on without a gap."""
    same = arrival("twice.json", event("2"))
    with pytest.raises((DBAPIError, ProcessorError)):
        ledger.record(batch(arrival("1.json", event("1")), same, same), wanting)
    for table in ("files", "contents", "events", "deliveries"):
        assert rows(url, f"SELECT count(*) FROM {table}") == [(0,)], table
    record(ledger, ("1.json", event("1")))
    assert rows(url, "SELECT id FROM files") == [(1,)]


def test_a_broken_batch_shows_no_content(ledger: Ledger) -> None:
    """The error of a batch that cannot be written quotes nothing of its events: it ends up in logs."""
    same = arrival("twice.json", event("secret-id", customerUID="hunter2"))
    with pytest.raises((DBAPIError, ProcessorError)) as caught:
        ledger.record(batch(same, same), wanting)
    assert "hunter2" not in f"{caught.value!s} {caught.value!r}"
    assert sha256(same.raw).hexdigest() not in str(caught.value)


def test_a_handler_that_cannot_be_asked_breaks_the_whole_batch(ledger: Ledger, url: str) -> None:
    """Deliveries belong to the same transaction: without them there are no events and no files."""

    def broken(_kind: str) -> list[str]:
        raise ValueError("asked in vain")

    with pytest.raises(ValueError, match="asked in vain"):
        ledger.record(batch(arrival("1.json", event())), broken)
    assert rows(url, "SELECT count(*) FROM files") == [(0,)]
    assert record(ledger, ("1.json", event())).verdicts == {"accepted": 1}


def test_a_big_batch_is_one_transaction(ledger: Ledger, url: str) -> None:
    """Thousands of files, a third of them repeats, are recorded together, each event once."""
    files = [arrival(f"{n}.json", event(str(n % 2000), str(n % 100)), mtime=n) for n in range(3000)]
    recorded = ledger.record(batch(*files), wanting)
    assert (recorded.verdicts, recorded.events) == ({"accepted": 2000, "duplicate": 1000}, 2000)
    assert rows(url, "SELECT count(*) FROM contents") == [(3000,)]
    assert rows(url, "SELECT count(*) FROM deliveries") == [(2000,)]


def test_without_the_database_nothing_is_recorded(tmp_path_factory: pytest.TempPathFactory) -> None:
    """A ledger whose folder is gone says that it is unavailable."""
    folder = tmp_path_factory.mktemp("gone")
    ledger = Ledger(f"sqlite:///{folder}/away/ledger.db")
    content = event()
    lost = Arrival(entry("1.json", content), content, parse(content, ZoneInfo("UTC")))
    with pytest.raises(LedgerUnavailable, match="cannot be used now"):
        ledger.record(batch(lost), wanting)
    ledger.close()
