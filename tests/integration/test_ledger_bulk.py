"""Many rows in one statement, on both databases."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, MetaData, Table, Text, select

from sftpd_processor.ledger.bulk import insert_rows
from sftpd_processor.ledger.ledger import Ledger

ODD = Table(
    "odd",
    MetaData(),
    Column("number", BigInteger),
    Column("small", Integer),
    Column("word", Text),
    Column("flag", Boolean),
    Column("raw", LargeBinary),
)
ROWS: dict[str, list[tuple[Any, ...]]] = {
    "all the same": [(7, 1, "%s ? '", True, b"")] * 5,
    "nothing else": [(7, 1, "x", True)] * 5,
    "all absent": [(None, None, None, None, b"x")] * 5,
    "alike": [(n, 1, "1", True, b"x") for n in (-(2**63), 0, 1, 2**31, 2**63 - 1)],
    "partly absent": [(n or None, None, "x" if n else None, n > 2 or None, b"%s" if n else None) for n in range(5)],
    "like numbers": [(1, n, word, n > 0, b"\0\xff") for n, word in enumerate(("1", "01", "1e0", "", " 1", "true"))],
    "no plain text": [(1, 0, word, False, word.encode()) for word in ("\N{SNOWMAN}", "\n", "'\"\\", "%(a)s", "{}")],
    "few": [(1, 1, "x", True, b"x"), (None, None, None, None, None)],
}


@pytest.mark.parametrize("kind", ROWS)
def test_rows_are_inserted_as_they_are(ledger: Ledger, kind: str) -> None:
    """Values that are the same in all rows, absent, nearly the same, or mixed arrive as they were given."""
    columns = tuple(ODD.c.keys())[: len(ROWS[kind][0])]
    with ledger._database.write() as connection:
        ODD.create(connection)
        insert_rows(connection, ODD, columns, ROWS[kind])
        found = [tuple(row) for row in connection.execute(select(*(ODD.c[name] for name in columns)))]
        ODD.drop(connection)
    assert found == ROWS[kind]
