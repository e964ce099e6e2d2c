from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from sftpd_processor.handlers.api import Handler, Item, Outcome
from sftpd_processor.handlers.sql import SqlHandler
from sftpd_processor.testing.servers import free_port
from tests.handler_items import built, item, mistakes

DONE = Outcome("done")
COLUMNS = {
    "customer": "customerUID",
    "number": "communicationActionId",
    "amount": "payment.amount",
    "said": "body",
    "created": "dateCreated",
    "more": "payment",
}
CREATE = """
create table messages (
    idempotency_key varchar(200) not null unique, customer varchar(200) not null,
    number integer check (number >= 0), amount numeric(20, 10), said text, created timestamp, more text,
    other varchar(10) unique)
"""


class Database:
    """A real database with the table in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = sa.create_engine(url)
        self.run(CREATE)

    def run(self, statement: str) -> None:
        with self.engine.begin() as connection:
            connection.execute(sa.text(statement))

    def rows(self, what: str = "*") -> list[dict[str, Any]]:
        query = sa.text(f"select {what} from messages order by idempotency_key")
        with self.engine.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def keys(self) -> list[str]:
        return [row["idempotency_key"] for row in self.rows()]


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """The table on each of the two databases in turn."""
    sqlite = request.param == "sqlite"
    there = Database(f"sqlite:///{tmp_path}/there.db" if sqlite else request.getfixturevalue("postgres_url"))
    yield there
    there.engine.dispose()


@pytest.fixture
def handler(database: Database, tmp_path: Path) -> Iterator[Handler]:
    """The `sql` handler on that table."""
    made = built("sql", tmp_path, options=options(database))
    yield made
    made.close()


def options(database: Database, **changes: Any) -> dict[str, Any]:
    return {"url": database.url, "table": "messages", "columns": COLUMNS, **changes}


def paid(number: int, amount: str = "12.50", **fields: Any) -> Item:
    claimed = item(number, **fields)
    return replace(claimed, body=claimed.body[:-1] + b', "payment": {"amount": %b}}' % amount.encode())


def test_an_event_becomes_a_row(database: Database, handler: Handler) -> None:
    """Fields go to their columns, nested ones by dots; an amount keeps every digit the column can hold."""
    assert handler.handle([paid(7, "1234567890.0123456789")]) == [DONE]
    (row,) = database.rows("idempotency_key, customer, number, said, cast(amount as varchar) as amount, more, other")
    assert row["idempotency_key"] == "key-7"
    assert row["customer"] == "C-1"
    assert row["number"] == 7
    assert row["said"] == "hello\nthere ✓"
    exact = "1234567890.0123456789"
    assert row["amount"] == exact or ("sqlite" in database.url and row["amount"].startswith(exact[:14]))
    assert row["more"] == '{"amount": "1234567890.0123456789"}'
    assert row["other"] is None


def test_a_field_that_is_absent_is_null(database: Database, handler: Handler) -> None:
    """A missing field, also inside a missing object, is NULL."""
    assert handler.handle([item(1)]) == [DONE]
    assert [(row["amount"], row["more"]) for row in database.rows()] == [(None, None)]


def test_the_same_key_again_changes_nothing(database: Database, handler: Handler) -> None:
    """A delivery that runs again after a crash is done, without a second row."""
    assert handler.handle([paid(1), paid(2)]) == [DONE, DONE]
    assert handler.handle([paid(1), paid(2), paid(3)]) == [DONE] * 3
    assert database.keys() == ["key-1", "key-2", "key-3"]


def test_a_bad_row_does_not_stop_the_others(database: Database, handler: Handler) -> None:
    """A broken constraint is a dead letter that names no value; the rest of the batch is written."""
    items = [paid(1), paid(2, customerUID=None), paid(3, communicationActionId="-44770"), paid(4)]
    outcomes = handler.handle(items)
    assert [outcome.state for outcome in outcomes] == ["done", "dead", "dead", "done"]
    assert "customer" in outcomes[1].detail
    assert all("44770" not in outcome.detail and "hello" not in outcome.detail for outcome in outcomes)
    assert database.keys() == ["key-1", "key-4"]


def test_data_of_the_wrong_kind_is_a_dead_letter(handler: Handler, database: Database) -> None:
    """PostgreSQL refuses a text where a number belongs; SQLite, which does not, keeps it."""
    (outcome,) = handler.handle([paid(1, communicationActionId="secret-word")])
    assert outcome.state == ("done" if "sqlite" in database.url else "dead")
    assert "secret-word" not in outcome.detail


def test_a_conflict_on_another_column_is_not_taken_for_a_repetition(database: Database, tmp_path: Path) -> None:
    """Only the key makes a row the same one; another unique column that clashes is a dead letter."""
    handler = built("sql", tmp_path, options=options(database, columns={**COLUMNS, "other": "customerUID"}))
    assert [outcome.state for outcome in handler.handle([paid(1), paid(2)])] == ["done", "dead"]
    assert [outcome.state for outcome in handler.handle([paid(1)])] == ["done"]
    handler.close()


def test_a_database_without_on_conflict_is_served_too(database: Database, tmp_path: Path) -> None:
    """With a plain insert, a key that is there already is found and counts as done."""
    handler = built("sql", tmp_path, options=options(database))
    assert isinstance(handler, SqlHandler)
    handler._insert = sa.insert(handler._table())
    assert handler.handle([paid(1)]) == [DONE]
    outcomes = handler.handle([paid(1), paid(2), paid(3, customerUID=None)])
    assert [outcome.state for outcome in outcomes] == ["done", "done", "dead"]
    assert database.keys() == ["key-1", "key-2"]
    handler.close()


def test_a_table_that_went_away_is_retried(database: Database, handler: Handler) -> None:
    """A person can bring it back, so nothing is lost; and no later event overtakes."""
    database.run("drop table messages")
    assert [outcome.state for outcome in handler.handle([paid(1), paid(2)])] == ["retry", "retry"]
    database.run(CREATE)
    assert handler.handle([paid(1), paid(2)]) == [DONE, DONE]


def test_lost_connections_are_replaced(postgres_url: str, tmp_path: Path) -> None:
    """A database that restarts costs no delivery: the pool tries a connection before it uses it."""
    database = Database(postgres_url)
    handler = built("sql", tmp_path, options=options(database))
    assert handler.handle([paid(1)]) == [DONE]
    database.run(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database()"
    )
    assert handler.handle([paid(2)]) == [DONE]
    handler.close()
    database.engine.dispose()


def test_a_locked_database_is_retried(tmp_path: Path) -> None:
    """Another writer that holds SQLite longer than the timeout makes it a retry."""
    database = Database(f"sqlite:///{tmp_path}/there.db")
    handler = built("sql", tmp_path, timeout=0.1, options=options(database))
    with database.engine.connect() as other:
        other.exec_driver_sql("begin immediate")
        (outcome,) = handler.handle([paid(1)])
        other.exec_driver_sql("rollback")
    assert outcome == Outcome("retry", "OperationalError: database is locked")
    assert handler.handle([paid(1)]) == [DONE]
    handler.close()
    database.engine.dispose()


def test_a_database_that_is_down_stops_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """The handler opens with a warning, answers retry, and tells neither the password nor the user."""
    url = f"postgresql+psycopg://acme:s3cret@127.0.0.1:{free_port()}/x"
    handler = built("sql", tmp_path, options={"url": url, "table": "messages", "columns": COLUMNS})
    outcomes = handler.handle([paid(1), paid(2)])
    assert [outcome.state for outcome in outcomes] == ["retry", "retry"]
    assert "OperationalError" in outcomes[0].detail
    assert "cannot look at its table yet" in caplog.text
    assert "s3cret" not in caplog.text + outcomes[0].detail
    handler.close()


def test_threads_write_at_once(database: Database, handler: Handler) -> None:
    """Batches from several threads are all written."""
    outcomes: list[Outcome] = []

    def work(start: int) -> None:
        outcomes.extend(handler.handle([paid(number) for number in range(start, start + 50)]))

    threads = [threading.Thread(target=work, args=(start,)) for start in range(0, 400, 50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert outcomes == [DONE] * 400
    assert len(database.keys()) == 400


@pytest.mark.parametrize(
    ("changes", "option", "said"),
    [
        ({"table": "massages"}, "table", "no table 'massages'"),
        ({"columns": {"nowhere": "body"}}, "columns", "has no nowhere"),
        ({"key_column": "nokey"}, "columns", "has no nokey"),
        ({"key_column": "said", "columns": {"customer": "customerUID"}}, "key_column", "unique"),
    ],
)
def test_a_table_that_does_not_fit_is_told_at_the_start(
    database: Database, tmp_path: Path, changes: dict[str, Any], option: str, said: str
) -> None:
    """A missing table or column, and a key that is not unique, are found before the first event."""
    found = mistakes(lambda: built("sql", tmp_path, options=options(database, **changes)))
    assert said in found[f"handler 'crm', options.{option}"]


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("no url", "must be a database URL"),
        ("sqlite://", "must name a file"),
        ("nosuch://x", "does not know"),
        ("oracle+cx_oracle://x", "driver that is not installed: cx_Oracle"),
    ],
)
def test_a_url_that_cannot_work_is_told(tmp_path: Path, url: str, said: str) -> None:
    """An unreadable URL, an unknown database and a missing driver are told apart."""
    wrong = {"url": url, "table": "t", "columns": {"a": "b"}}
    assert said in mistakes(lambda: built("sql", tmp_path, options=wrong))["handlers[0].options.url"]
