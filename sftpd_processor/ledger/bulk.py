"""Many rows in one statement.

The sqlite3 module lets go of Python's lock around every step of a statement, so a thousand single-row statements
are a thousand chances to wait for another thread. One statement of many rows is a single step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import BigInteger, Connection, Integer, Table

_MOST_VALUES = 8000  # in one statement; SQLite takes 32,766, PostgreSQL 65,535

Rows = Sequence[tuple[Any, ...]]


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Rows, *, conflict: str = ""
) -> None:
    """Insert `rows`, values in the order of `columns`; `conflict` is what SQL says after ON CONFLICT."""
    tail = f" ON CONFLICT {conflict}" if conflict else ""
    for part in _parts(rows, len(columns)):
        values = _values(len(part), len(columns), _mark(connection))
        _run(connection, f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES {values}{tail}", part)  # noqa: S608


def update_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Rows) -> None:
    """Set `columns` of the rows whose `id` comes first in each of `rows`."""
    settings = ", ".join(f"{name} = {_cast(table, name, f'v.column{n}')}" for n, name in enumerate(columns, 2))
    where = f"{table.name}.id = CAST(v.column1 AS BIGINT)"
    for part in _parts(rows, len(columns) + 1):
        values = _values(len(part), len(columns) + 1, _mark(connection))
        _run(connection, f"UPDATE {table.name} SET {settings} FROM (VALUES {values}) AS v WHERE {where}", part)  # noqa: S608


def select_in(connection: Connection, query: str, before: tuple[Any, ...], values: Sequence[Any]) -> Sequence[Any]:
    """Run `query`, in which each `?` stands for a value of `before` in turn and `(*)` for all of `values`."""
    mark = _mark(connection)
    text = query.replace("?", mark).replace("(*)", _values(1, len(values), mark))
    return connection.exec_driver_sql(text, (*before, *values)).fetchall()


def _parts(rows: Rows, width: int) -> Iterator[Rows]:
    size = _MOST_VALUES // width
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


@lru_cache(64)
def _values(rows: int, width: int, mark: str) -> str:
    row = f"({', '.join([mark] * width)})"
    return ", ".join([row] * rows)


def _run(connection: Connection, statement: str, rows: Rows) -> None:
    connection.exec_driver_sql(statement, tuple(value for row in rows for value in row))


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


def _cast(table: Table, column: str, value: str) -> str:
    """PostgreSQL takes values that stand in no column for text."""
    return f"CAST({value} AS BIGINT)" if isinstance(table.c[column].type, BigInteger | Integer) else value
