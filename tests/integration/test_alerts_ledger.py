"""What alerts ask of the ledger: when events came, and what was told."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.event import listen

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger.alerts import Noted
from sftpd_processor.ledger.ledger import Ledger
from tests.ledger_samples import NOON, SECOND, Clock, array, event, opened, record, sqlite_url

TEN_MINUTES = 600 * SECOND
_SMALL = ("totals", "breakers", "alerts", "anon_1", "CONSTANT ROW", "counters")
"""What may be walked through: some rows for each source, handler and type, or those of a stretch."""


def test_the_rhythm_of_events(ledger: Ledger, clock: Clock) -> None:
    """Every event is counted once, in its slice of time and by its type, in stretches of any length."""
    for number in range(40):
        clock.advance(97)
        kind = "payment" if number % 3 else "ourOwn"
        record(ledger, (f"{number}.json", array(event(f"a{number}", type=kind), event(f"b{number}"))))
    for limit in (1, 7, 1000):
        found: dict[tuple[str, int], int] = {}
        at = 0
        while (stretch := ledger.rhythm.after(at, limit, TEN_MINUTES)).numbers:
            assert sum(number for _, _, number in stretch.numbers) <= limit
            at = stretch.last
            for kind, part, number in stretch.numbers:
                found[kind, part] = found.get((kind, part), 0) + number
        assert {kind: sum(n for (each, _), n in found.items() if each == kind) for kind, _ in found} == {
            "inboundMessage": 40, "payment": 26, "ourOwn": 14,
        }  # fmt: skip
        assert {part for _, part in found} == {(NOON + 97 * SECOND * n) // TEN_MINUTES for n in range(1, 41)}
    assert ledger.rhythm.after(at, 10, TEN_MINUTES).last == at


def test_where_a_time_is(ledger: Ledger, clock: Clock) -> None:
    """Walking on from there meets every event since that time, and hardly any from before."""
    assert ledger.rhythm.before(NOON) == 0
    for number in range(200):
        clock.advance(random.Random(number).choice([0, 1, 500]))
        record(ledger, (f"{number}.json", event(str(number))))
    engine = create_engine(ledger._database._url)
    with engine.connect() as connection:
        times = [row[0] for row in connection.execute(text("SELECT recorded_at FROM events ORDER BY id"))]
    engine.dispose()
    for time in (0, NOON, times[3], times[100] + 1, times[-1], times[-1] + 1):
        stretch = ledger.rhythm.after(ledger.rhythm.before(time), 1000, 1)
        met = [at for _, at, _ in stretch.numbers]
        later = [at for at in times if at >= time]
        assert set(later) <= set(met)
        assert len(met) <= len(later) + 1


def test_what_was_told_is_kept(ledger: Ledger) -> None:
    """Notes of a machine are put in the place of its former ones; only those that are open are shown as open."""
    rows = [Noted("a", "source", "webio", 5, 6), Noted("a", "quarantine", "", None, 7), Noted("b", "disk", "", 3, 4)]
    ledger.alerts.note("", rows)
    ledger.alerts.note("other", rows[:1])
    assert sorted(ledger.alerts.all("")) == sorted(rows, key=lambda row: (row.alert, row.cause))
    assert ledger.alerts.open("") == [rows[2], rows[0]]
    ledger.alerts.note("", [])
    assert ledger.alerts.all("") == []
    assert ledger.alerts.open() == rows[:1]


def test_a_ledger_that_is_not_open(url: str) -> None:
    """Before it is open, what was told cannot be read: that is no empty answer."""
    closed = Ledger(url)
    with pytest.raises(LedgerUnavailable, match="not open yet"):
        closed.alerts.all("")
    closed.close()


def test_whether_something_is_left(ledger: Ledger) -> None:
    """By source and handler, whether anything is in quarantine or dead."""
    assert not ledger.alerts.in_quarantine("webio")
    record(ledger, ("bad.json", b"{"))
    assert ledger.alerts.in_quarantine("webio")
    assert not ledger.alerts.in_quarantine("other")
    assert not ledger.alerts.dead("crm")


def test_no_question_walks_through_what_grows(tmp_path: Path) -> None:
    """Whatever is asked at each look is answered from an index, however many events there are."""
    asked: list[str] = []
    with opened(sqlite_url(tmp_path)) as ledger:
        listen(ledger._database._engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
        ledger.totals.all()
        ledger.figures.breakers()
        ledger.alerts.all("")
        ledger.alerts.in_quarantine("webio")
        ledger.alerts.dead("crm")
        ledger.rhythm.after(0, 10, TEN_MINUTES)
        ledger.rhythm.before(NOON)
        record(ledger, ("1.json", event("1")))
        ledger.rhythm.before(NOON)
        selects = [each for each in asked if each.startswith("SELECT")]
        assert len(selects) > 7
        with ledger._database.read() as connection:
            for statement in selects:
                marks = (1,) * statement.count("?")
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", marks).all()
                walks = [step for *_, step in plan if step.startswith("SCAN")]
                assert [step for step in walks if not step.endswith(_SMALL)] == [], statement
