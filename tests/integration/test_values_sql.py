"""The provider `sql` on real databases."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from sftpd_processor.measures import Measures
from sftpd_processor.testing.servers import free_port
from sftpd_processor.values.api import ProviderFailed, Query, Reachable
from sftpd_processor.values.asking import Asker
from sftpd_processor.values.registry import Providers
from tests.handler_items import mistakes
from tests.support import wait_until
from tests.values_items import ANN, STRANGER, UNKNOWN, ask, build, noted, opened, settings

TABLE = """\
create table account (uid varchar(20), phone varchar(20), balance numeric(12, 2), due_date date, raw {binary});
insert into account values ('C-1', '447700900001', 12.75, '2026-01-31', null);
insert into account values ('C-2', '447700900002', null, null, null);
insert into account values ('twin', '1', 1, null, null);
insert into account values ('twin', '2', 2, null, null);
"""
QUERY = 'select balance, due_date as "dueDate" from account where uid = :customerUID'


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database of each kind, with some accounts."""
    sqlite = request.param == "sqlite"
    where = f"sqlite:///{tmp_path}/accounts.db" if sqlite else str(request.getfixturevalue("postgres_url"))
    engine = create_engine(where)
    with engine.begin() as connection:
        for statement in TABLE.format(binary="blob" if sqlite else "bytea").split(";\n")[:-1]:
            connection.execute(text(statement))
    engine.dispose()
    yield where


def sql(url: str, **options: Any) -> Any:
    return settings("sql", options={"url": url, **(options or {"query": QUERY})})


def reach(providers: Providers, words: list[str]) -> None:
    (entry,) = providers
    assert isinstance(entry.provider, Reachable)
    entry.provider.reach(words)


def test_one_query_gives_many_values(url: str, tmp_path: Path) -> None:
    """Its columns are the words, in any case; no row, NULL and an absent column are no value."""
    with opened(tmp_path, sql(url)) as providers:
        assert providers.unanswered(["anything"]) == []
        answer = ask(providers, ("balance", "DUEDATE", "absent"))
        assert answer.values == {"balance": "12.75", "DUEDATE": "2026-01-31", "absent": None}
        for query in (UNKNOWN, STRANGER, Query("C-2", None), Query("' or 1=1 --", None)):
            answer = ask(providers, ("balance", "dueDate"), query)
            assert (answer.found, answer.failed) == (0, False)


def test_one_query_for_each_value(url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """They are asked in one transaction; one that is wrong does not take the others with it."""
    queries = {
        "wrong": "select it from nowhere",
        "balance": "select balance from account where phone = :outboundChannelAddress",
        "wide": "select 1, 2",
        "dueDate": "select due_date from account where uid = :customerUID and phone = :outboundChannelAddress",
    }
    with opened(tmp_path, sql(url, queries=queries)) as providers:
        assert providers.unanswered(["balance", "x"]) == ["x"]
        answer = ask(providers, ("wrong", "balance", "wide", "dueDate"))
        assert answer.values == {"wrong": None, "balance": "12.75", "wide": None, "dueDate": "2026-01-31"}
        assert answer.failed
        assert ask(providers, ("balance", "dueDate"), STRANGER).values == {"balance": "12.75", "dueDate": None}
    assert "the query of 'wide' gave 2 columns, where one is expected" in caplog.text


@pytest.mark.parametrize(
    ("query", "customer", "said"),
    [
        (QUERY, "twin", "gave more than one row"),
        ("select raw from account where uid = :customerUID union select cast('x' as {binary})", "", "is no text"),
        ("select balance from accounts", "C-1", ""),
    ],
)
def test_what_cannot_be_answered_is_a_failure(
    url: str, tmp_path: Path, query: str, customer: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Several rows, binary data, a missing table: the log tells it without the customer."""
    query = query.format(binary="blob" if url.startswith("sqlite") else "bytea")
    with opened(tmp_path, sql(url, query=query)) as providers:
        answer = ask(providers, ("raw", "balance"), Query(customer, "447700900001"))
    assert (answer.found, answer.failed) == (0, True)
    assert said in caplog.text
    assert "447700900001" not in caplog.text


@pytest.mark.parametrize("returning", ["", " returning balance"])
def test_the_database_refuses_to_write(
    url: str, tmp_path: Path, returning: str, caplog: pytest.LogCaptureFixture
) -> None:
    """A query that changes something fails, and nothing has changed."""
    query = f"update account set balance = 0 where uid = :customerUID{returning}"
    with opened(tmp_path, sql(url, query=query)) as providers:
        assert ask(providers, ("balance",)).failed
    assert ("readonly" if url.startswith("sqlite") else "ReadOnlySqlTransaction") in caplog.text
    with opened(tmp_path, sql(url)) as providers:
        assert ask(providers, ("balance",)).values == {"balance": "12.75"}


def test_a_query_ends_at_the_deadline_and_the_pool_works_on(postgres_url: str, tmp_path: Path) -> None:
    """`pg_sleep(60)` is ended by the server, so that its thread and connection are free again."""
    query = "select pg_sleep(case when :customerUID = 'C-1' then 60 else 0 end)::text as slept, 1 as one"
    measures = Measures()

    async def main(providers: Providers) -> None:
        asker = Asker(providers, 0.5, measures)
        started = time.monotonic()
        late = await asyncio.gather(*(asker.ask(ANN, ("one",)) for _ in range(8)))
        assert time.monotonic() - started < 20
        assert [it.found for it in late] == [0] * 8
        assert any(it.late for it in late)

    with opened(tmp_path, sql(postgres_url, query=query, pool_size=2), deadline=0.5) as providers:
        asyncio.run(main(providers))
        wait_until(lambda: ask(providers, ("one",), UNKNOWN).values == {"one": "1"}, 20)
    assert noted(measures)["values_answers", "late"] > 0


def test_a_database_that_is_down_does_not_stop_the_start(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is told, each question fails, and when the database is there questions are answered."""
    path = tmp_path / "absent" / "accounts.db"
    down = settings("sql", options={"url": f"sqlite:///{path}", "query": "select 1 as one"})
    with opened(tmp_path, down) as providers:
        wait_until(lambda: "values accounts: cannot reach its database yet: OperationalError" in caplog.text)
        assert ask(providers, ("one",)).failed
        path.parent.mkdir()
        assert ask(providers, ("one",)).values == {"one": "1"}


def test_check_can_reach_the_database(url: str, tmp_path: Path) -> None:
    """It connects and looks at the columns without a customer; what is wrong is told without the URL."""
    reach(build(tmp_path, sql(url)), ["balance", "duedate"])
    reach(build(tmp_path, sql(url, queries={"a": "select 1"})), ["a"])
    with pytest.raises(ProviderFailed, match="its query has no column 'balanse'"):
        reach(build(tmp_path, sql(url)), ["balance", "balanse"])
    for options in ({"query": "select it from nowhere"}, {"queries": {"a": "select it from nowhere"}}):
        with pytest.raises(ProviderFailed, match=r"nowhere|Undefined"):
            reach(build(tmp_path, sql(url, **options)), [])
    down = sql(f"postgresql+psycopg://u:s3cret@127.0.0.1:{free_port()}/d")
    with pytest.raises(ProviderFailed) as caught:
        reach(build(tmp_path, down), [])
    assert "s3cret" not in str(caught.value)


def test_mistakes_in_the_options(tmp_path: Path) -> None:
    """Each at its path, before anything is connected."""
    good = {"url": "sqlite:////tmp/x.db"}
    wrong: list[tuple[dict[str, Any], str, str]] = [
        ({"query": "select :customerUid"}, ".query", "there is no parameter :customerUid; did you mean 'customerUID'?"),
        ({"queries": {"a": "select :x"}}, ".queries.a", "there is no parameter :x; there are :customerUID and"),
        ({"query": " "}, ".query", "must be a SELECT"),
        ({"queries": {}}, ".queries", "at least 1"),
        ({}, "", "give either `query` or `queries`"),
        ({"query": "select 1", "queries": {"a": "select 1"}}, "", "give either `query` or `queries`"),
        ({"query": "select 1", "pool_size": 0}, ".pool_size", "greater than or equal to 1"),
        ({"query": "select 1", "url": "sqlite://"}, ".url", "must name a file"),
        ({"query": "select 1", "url": "mysql+pymysql://h/d"}, ".url", "driver that is not installed: pymysql"),
    ]
    for options, where, said in wrong:
        found = mistakes(lambda: build(tmp_path, settings("sql", options={**good, **options})))  # noqa: B023
        assert said in found[f"values[0].options{where}"]
    named = settings("sql", options={**good, "queries": {"balance": "select 1"}}, names={"x": "balanse"})
    assert mistakes(lambda: build(tmp_path, named)) == {
        "values[0].names.x": "it has no 'balanse'; did you mean 'balance'?"
    }
    colons = settings("sql", options={**good, "query": r"select '12:30', x::text, '\:y' from t where a = :customerUID"})
    assert len(build(tmp_path, colons)) == 1
