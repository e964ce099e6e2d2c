"""Totals: raised by the very transaction that makes them true, and the gauges beside them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger import schema
from sftpd_processor.ledger.figures import _counting
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Batch, Settlement, Sighting
from sftpd_processor.ledger.schema import deliveries, files
from tests.ledger_samples import SECOND, Clock, array, arrival, batch, entry, event, opened, record, settled, wanting


def _numbers(ledger: Ledger) -> dict[tuple[str, str, str], int]:
    return {(total.kind, total.one, total.two): total.number for total in ledger.totals.all()}


def _claimed(ledger: Ledger, limit: int = 99) -> list[int]:
    return [claim.id for claim in ledger.deliveries.claim("crm", limit, ordered=False)]


def test_files_and_events_are_counted_where_they_are_recorded(ledger: Ledger) -> None:
    """Each recorded file counts by source and verdict, each new event by type and origin; what came again does not,
    and types that are not Webio's share one name."""
    record(ledger, ("1.json", array(event("1"), event("2"))), ("2.json", event("1")), ("3.json", b"{"))
    record(ledger, ("4.json", event("9", type="fromAcme")), ("5.json", event("9", type="other")), source="second")
    assert _numbers(ledger) == {
        ("file", "webio", "accepted"): 1,
        ("file", "webio", "duplicate"): 1,
        ("file", "webio", "invalid"): 1,
        ("file", "second", "accepted"): 2,
        ("event", "inboundMessage", "sftp"): 2,
        ("event", "other", "sftp"): 2,
    }


def test_files_that_are_only_seen_are_not_counted(ledger: Ledger) -> None:
    """A file that waits is in no total, and in the gauge of its source."""
    ledger.record(batch(sightings=[Sighting(entry("half.json"), "waiting", "half-written")]), wanting)
    assert ledger.totals.all() == []
    assert ledger.figures.gauges().waiting == {"webio": 1}


def test_a_dry_run_counts_nothing(ledger: Ledger) -> None:
    """What is undone is not counted."""
    ledger.record(batch(arrival("1.json", event())), wanting, dry_run=True)
    assert ledger.totals.all() == []


def test_each_end_of_an_attempt_is_counted(ledger: Ledger) -> None:
    """Attempts count by how they ended; a claim that was given back untried did not take place."""
    record(ledger, ("1.json", array(*(event(str(number)) for number in range(5)))))
    done, skipped, dead, again, back = _claimed(ledger)
    ends = [
        settled(done),
        settled(skipped, "skipped"),
        Settlement(dead, "dead", 1, 0, "no", failed=True),
        Settlement(again, "pending", 1, 2**62, "no", failed=True),
        Settlement(back, "pending", 0, 2**62, None),
    ]
    ledger.deliveries.settle("crm", ends)
    ends_counted = {two: number for (kind, _, two), number in _numbers(ledger).items() if kind == "delivery"}
    assert ends_counted == {"done": 1, "skipped": 1, "dead": 1, "retried": 1}
    assert ledger.figures.gauges().open == {"crm": {"pending": 1, "retrying": 1, "running": 0}}


def test_a_dead_letter_put_back_stays_counted(ledger: Ledger) -> None:
    """`retry` lowers the gauge of dead letters, and leaves the total: it happened."""
    record(ledger, ("1.json", event()))
    (number,) = _claimed(ledger)
    ledger.deliveries.settle("crm", [Settlement(number, "dead", 1, 0, "no", failed=True)])
    assert ledger.figures.gauges().dead == {"crm": 1}
    ledger.retries.put_back([number])
    assert ledger.figures.gauges().dead == {}
    assert _numbers(ledger)["delivery", "crm", "dead"] == 1


def test_a_corrected_file_leaves_the_gauge_of_quarantine(ledger: Ledger) -> None:
    """The gauge counts what still needs a person; the totals count every file that ever was in quarantine."""
    recorded = record(ledger, ("1.json", b"{"), ("2.json", b"}"))
    assert ledger.figures.gauges().quarantined == {"webio": 2}
    better = arrival("1.json", event(), mtime=99)
    ledger.record(Batch("webio", "default", "replay", "UTC", 0, [better], corrects=recorded.unarchived[0].id), wanting)
    assert ledger.figures.gauges().quarantined == {"webio": 1}
    assert _numbers(ledger)["file", "webio", "invalid"] == 2
    assert _numbers(ledger)["event", "inboundMessage", "replay"] == 1


def test_a_file_read_again_counts_its_new_events_only(ledger: Ledger) -> None:
    """`retry` of a quarantined file adds the events that it now brings, and no file."""
    recorded = record(ledger, ("1.json", b"{"))
    ledger.reread(recorded.unarchived[0].id, batch(arrival("1.json", event())), wanting)
    assert _numbers(ledger) == {("file", "webio", "invalid"): 1, ("event", "inboundMessage", "sftp"): 1}


def test_the_time_is_that_of_the_last(ledger: Ledger, clock: Clock) -> None:
    """A total tells when it was last raised, by the ledger's clock."""
    record(ledger, ("1.json", event("1")))
    clock.advance(60)
    before = clock.now
    record(ledger, ("2.json", event("2")))
    (last_at,) = {total.last_at for total in ledger.totals.all()}
    assert before < last_at < before + SECOND


def test_lags_are_those_of_new_events_that_tell_their_time(ledger: Ledger, clock: Clock) -> None:
    """A batch tells how old its new events were, when they tell it; one from the future is of age 0."""
    made = [
        event("1", dateCreated="2026-11-22 11:59:50.000"),
        event("2", dateCreated="2026-11-23 12:00:00.000"),
        event("3"),
        event("1", dateCreated="2026-11-22 11:59:50.000"),
    ]
    lags = record(ledger, ("1.json", array(*made))).lags
    assert sorted(round(lag, 3) for lag in lags) == [0, 10]


def test_totals_of_several_machines_add_up(url: str) -> None:
    """Several processes that record and settle at once neither lose a count nor wait for each other for ever."""

    def work(machine: int) -> None:
        with opened(url) as ledger:
            for number in range(10):
                name = f"{machine}-{number}"
                kinds = [event(f"{name}a"), event(f"{name}b", type="payment")]
                record(ledger, (f"{name}.json", array(*(kinds if machine % 2 else kinds[::-1]))))
                ledger.deliveries.settle("crm", [settled(each) for each in _claimed(ledger, 3)])

    with opened(url) as ledger:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        ledger.deliveries.settle("crm", [settled(each) for each in _claimed(ledger)])
        assert _numbers(ledger) == {
            ("file", "webio", "accepted"): 40,
            ("event", "inboundMessage", "sftp"): 40,
            ("event", "payment", "sftp"): 40,
            ("delivery", "crm", "done"): 80,
        }


def test_the_probe_writes_and_is_in_no_total(ledger: Ledger) -> None:
    """A probe is a real write, and nothing that is counted."""
    ledger.totals.probe()
    assert ledger.totals.all() == []


def test_a_ledger_that_is_not_open_says_so(url: str) -> None:
    """Before the ledger is open, neither the probe nor the totals pretend that it is there."""
    ledger = Ledger(url)
    for ask in (ledger.totals.probe, ledger.totals.all):
        with pytest.raises(LedgerUnavailable, match="not open yet"):
            ask()
    ledger.close()


_GAUGES = {
    "files_quarantined": (files.c.source, schema.IN_QUARANTINE),
    "files_waiting": (files.c.source, schema.UNTAKEN),
    "deliveries_dead": (deliveries.c.handler, schema.DEAD),
    "deliveries_retrying": (deliveries.c.handler, schema.RETRYING),
    "deliveries_running": (deliveries.c.handler, schema.RUNNING),
}


@pytest.mark.parametrize("index", _GAUGES)
def test_gauges_are_counted_in_their_own_index(url: str, index: str) -> None:
    """Neither kind of database walks through a whole table to count what is open, dead or in quarantine."""
    with opened(url) as ledger:
        record(ledger, *((f"{number}.json", event(str(number))) for number in range(500)))
    engine = create_engine(url)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":
            connection.execute(text("ANALYZE"))
        explain = "EXPLAIN QUERY PLAN" if engine.dialect.name == "sqlite" else "EXPLAIN"
        question = _counting(*_GAUGES[index]).compile(engine)
        plan = [str(row) for row in connection.exec_driver_sql(f"{explain} {question}")]
    engine.dispose()
    assert index in "".join(plan), plan
