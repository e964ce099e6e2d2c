"""SQLite under the ledger: its settings are in force, its indexes are used, its faults are told in words."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from sqlalchemy import event as listening

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import LookCounts
from tests.ledger_samples import arrival, batch, event, opened, record, rows, settled, sqlite_url, wanting


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """An empty ledger in a file."""
    with opened(sqlite_url(tmp_path)) as ledger:
        yield ledger


@pytest.fixture
def statements() -> Iterator[list[tuple[str, Any]]]:
    """Every statement that any engine runs during the test, with its parameters."""
    seen: list[tuple[str, Any]] = []

    def keep(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_rest: Any) -> None:
        seen.append((statement, parameters))

    listening.listen(Engine, "before_cursor_execute", keep)
    yield seen
    listening.remove(Engine, "before_cursor_execute", keep)


def _plan(folder: Path, statement: str, parameters: Any) -> str:
    connection = sqlite3.connect(folder / "ledger.db")
    try:
        return "\n".join(row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {statement}", parameters))
    finally:
        connection.close()


@pytest.mark.parametrize("how", ["read", "write"])
def test_the_settings_that_make_commits_durable_are_in_force(tmp_path: Path, how: str) -> None:
    """Every connection has WAL, a full sync at each commit, foreign keys, and waits for others."""
    database = Database(sqlite_url(tmp_path))
    found = {}
    with getattr(database, how)() as connection:
        for pragma in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout"):
            found[pragma] = connection.exec_driver_sql(f"PRAGMA {pragma}").scalar()
    database.close()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 10_000}


def test_a_commit_is_seen_by_another_connection(ledger: Ledger, tmp_path: Path) -> None:
    """What `record` returned from is committed: another connection reads it at once."""
    record(ledger, ("1.json", event()))
    assert rows(sqlite_url(tmp_path), "SELECT name FROM files") == [("1.json",)]


@pytest.mark.parametrize("ordered", [True, False])
def test_claims_use_the_partial_indexes(
    ledger: Ledger, tmp_path: Path, statements: list[tuple[str, Any]], *, ordered: bool
) -> None:
    """A claim walks the pending deliveries of its handler in order and looks lanes up, without a scan or a sort."""
    record(ledger, *[(f"{number}.json", event(str(number))) for number in range(50)])
    statements.clear()
    ledger.deliveries.claim("crm", 10, ordered=ordered)
    (query,) = [found for found in statements if found[0].lstrip().startswith("SELECT") and "body" in found[0]]
    plan = _plan(tmp_path, *query)
    assert "USING INDEX deliveries_pending" in plan
    assert ("INDEX deliveries_open" in plan) == ordered
    assert "SCAN" not in plan
    assert "TEMP B-TREE" not in plan


def test_a_start_finds_what_was_running_by_an_index(
    ledger: Ledger, tmp_path: Path, statements: list[tuple[str, Any]]
) -> None:
    """However many deliveries are pending, those cut off by a crash are found without reading the others."""
    record(ledger, *[(f"{number}.json", event(str(number))) for number in range(50)])
    ledger.deliveries.claim("crm", 2, ordered=True)
    statements.clear()
    ledger.deliveries.recover()
    about = [found for found in statements if "deliveries" in found[0]]
    assert len(about) == 3  # counted, noted as cut off, and made pending
    for statement, parameters in about:
        assert "deliveries_running" in _plan(tmp_path, statement, parameters)


def test_every_question_of_a_running_daemon_uses_an_index(
    ledger: Ledger, tmp_path: Path, statements: list[tuple[str, Any]]
) -> None:
    """What is asked at each look, batch and attempt never scans a table that grows."""
    taken = [arrival(f"{number}.json", event(str(number))) for number in range(5)]
    ledger.record(batch(*taken), wanting)
    statements.clear()
    look = ledger.files.begin_look("webio")
    ledger.files.known("webio", [file.entry for file in taken])
    ledger.record(batch(*[arrival(f"again{number}.json", event(str(number))) for number in range(5)]), wanting)
    ledger.files.end_look("webio", look, LookCounts())
    ledger.files.disposed([(1, "deleted")], 1)
    ledger.files.archived((file.id, "x") for file in ledger.files.unarchived(2))
    ledger.files.knows("webio", "1.json", "x")
    ledger.deliveries.settle("crm", [settled(claim.id) for claim in ledger.deliveries.claim("crm", 9, ordered=True)])
    ledger.deliveries.next_due("crm", 0)
    ledger.deliveries.recover()
    asked = [found for found in statements if found[0].split()[0] in ("SELECT", "UPDATE", "DELETE")]
    scans = {text: plan for text, values in asked if "SCAN " in (plan := _plan(tmp_path, text, values))}
    growing = {
        text: plan
        for text, plan in scans.items()
        if any(f"SCAN {table}" in line and "USING" not in line for line in plan.splitlines() for table in _GROWING)
    }
    assert len(asked) >= 12
    assert growing == {}


_GROWING = ("files", "contents", "events", "repeats", "deliveries", "looks")


def test_a_ledger_locked_by_another_process_is_unavailable(tmp_path: Path) -> None:
    """Somebody else's exclusive lock is waited for; when it stays, the ledger is unavailable, and works afterwards."""
    database = Database(sqlite_url(tmp_path))
    database.open()
    other = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with database.read() as connection:  # the pool hands the same connection out again
        connection.exec_driver_sql("PRAGMA busy_timeout = 10")
    with pytest.raises(LedgerUnavailable, match="database is locked"), database.write():
        pass
    other.execute("COMMIT")
    other.close()
    with database.write() as connection:
        connection.exec_driver_sql("SELECT 1")
    database.close()


def test_readers_do_not_wait_for_a_writer(ledger: Ledger, tmp_path: Path) -> None:
    """`status` is answered while a batch is being written, from what was committed before."""
    record(ledger, ("1.json", event("1")))
    writer = sqlite3.connect(tmp_path / "ledger.db", isolation_level=None)
    writer.execute("BEGIN IMMEDIATE")
    writer.execute("UPDATE files SET verdict = 'invalid'")
    assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}
    writer.execute("ROLLBACK")
    writer.close()


def test_a_full_disk_leaves_the_ledger_as_it_was(ledger: Ledger, tmp_path: Path) -> None:
    """When the database may not grow, nothing of the batch is there, the error says so, and later it works again."""
    record(ledger, ("1.json", event("1")))
    big = event("2", body="x" * 3_000_000)
    limited = Database(sqlite_url(tmp_path))
    with limited.read() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    other = Ledger(sqlite_url(tmp_path))
    other._database = other._recorder._database = limited  # the one connection with the limit
    with pytest.raises(LedgerUnavailable, match="full"):
        record(other, ("2.json", big))
    other.close()
    assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}
    assert record(ledger, ("2.json", big)).verdicts == {"accepted": 1}


def test_one_ledger_serves_many_threads(ledger: Ledger) -> None:
    """Recording, reading and claiming from several threads at once neither fails nor loses anything."""
    failures: list[BaseException] = []

    def take(source: str) -> None:
        try:
            for number in range(20):
                record(ledger, (f"{number}.json", event(f"{source}{number}")), source=source)
                ledger.figures.sources()
                ledger.deliveries.settle(
                    "crm", [settled(claim.id) for claim in ledger.deliveries.claim("crm", 5, ordered=False)]
                )
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=take, args=(f"s{number}",)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert failures == []
    assert {name: figures.verdicts for name, figures in ledger.figures.sources().items()} == {
        f"s{number}": {"accepted": 20} for number in range(6)
    }
    assert sum(ledger.figures.deliveries()["crm"].values()) == 120


def test_the_ledger_is_not_open_to_other_users(tmp_path: Path) -> None:
    """Under the usual umask of a service (027) the database, which holds message texts, is not readable by others."""
    before = os.umask(0o027)
    try:
        with opened(sqlite_url(tmp_path)) as ledger:
            record(ledger, ("1.json", event()))
            modes = {path.name: path.stat().st_mode & 0o007 for path in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes
    assert set(modes.values()) == {0}
