"""Many rows in one statement.

The sqlite3 module lets go of Python's lock around every step of a statement, so a thousand single-row statements
are a thousand chances to wait for another thread. One statement of many rows is a single step.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any

from sqlalchemy import BigInteger, Boolean, Connection, Integer, Table

_MOST_VALUES = 8000  # in one statement; SQLite takes 32,766, PostgreSQL 65,535

_ASKED_AT_ONCE = 500
_FEW = 4  # rows that are not worth the trouble

Rows = Sequence[tuple[Any, ...]]


def insert_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Rows, *, conflict: str = ""
) -> None:
    """Insert `rows`, values in the order of `columns`; `conflict` is what SQL says after ON CONFLICT.

    Binding a value takes longer than storing it, so one that is the same in all rows is bound only once.
    """
    tail = f" ON CONFLICT {conflict}" if conflict else ""
    head = f"INSERT INTO {table.name} ({', '.join(columns)})"
    for part in _parts(rows, len(columns)):
        if len(part) < _FEW:
            _run(connection, f"{head} VALUES {_values(len(part), len(columns), _mark(connection))}{tail}", (), part)
        else:
            _insert_many(connection, table, columns, part, head, tail)


def _insert_many(
    connection: Connection, table: Table, columns: tuple[str, ...], rows: Rows, head: str, tail: str
) -> None:
    mark = _mark(connection)
    same: list[Any] = []
    other: list[tuple[Any, ...]] = []
    chosen: list[str] = []
    for name, values in zip(columns, zip(*rows, strict=True), strict=True):
        last = not other and len(chosen) + 1 == len(columns)  # a row of VALUES cannot be empty
        if values.count(values[0]) == len(values) and not isinstance(values[0], bytes) and not last:
            same.append(values[0])
            chosen.append(mark if mark == "?" else _cast(table, name, mark))
        else:
            other.append(values)
            value = f"v.column{len(other)}"
            chosen.append(value if mark == "?" else _cast(table, name, value))
    values_text = _values(len(rows), len(other), mark)
    # Without WHERE, SQLite would take ON for the beginning of a join's condition.
    statement = f"{head} SELECT {', '.join(chosen)} FROM (VALUES {values_text}) AS v WHERE true{tail}"  # noqa: S608
    _run(connection, statement, tuple(same), list(zip(*other, strict=True)))


def update_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Rows) -> None:
    """Set `columns` of the rows whose `id` comes first in each of `rows`."""
    settings = ", ".join(f"{name} = {_cast(table, name, f'v.column{n}')}" for n, name in enumerate(columns, 2))
    where = f"{table.name}.id = CAST(v.column1 AS BIGINT)"
    for part in _parts(rows, len(columns) + 1):
        values = _values(len(part), len(columns) + 1, _mark(connection))
        _run(connection, f"UPDATE {table.name} SET {settings} FROM (VALUES {values}) AS v WHERE {where}", (), part)  # noqa: S608


def select_in(connection: Connection, query: str, before: tuple[Any, ...], values: Sequence[Any]) -> Sequence[Any]:
    """Run `query`, in which each `?` stands for a value of `before` in turn and `(*)` for all of `values`."""
    mark = _mark(connection)
    text = query.replace("?", mark).replace("(*)", _values(1, len(values), mark))
    return connection.exec_driver_sql(text, (*before, *values)).fetchall()


def portions(values: Sequence[Any]) -> Iterator[Sequence[Any]]:
    """As many of `values` at once as `select_in` is given best."""
    for at in range(0, len(values), _ASKED_AT_ONCE):
        yield values[at : at + _ASKED_AT_ONCE]


def _parts(rows: Rows, width: int) -> Iterator[Rows]:
    size = _MOST_VALUES // width
    for at in range(0, len(rows), size):
        yield rows[at : at + size]


@lru_cache(64)
def _values(rows: int, width: int, mark: str) -> str:
    row = f"({', '.join([mark] * width)})"
    return ", ".join([row] * rows)


def _run(connection: Connection, statement: str, before: tuple[Any, ...], rows: Rows) -> None:
    connection.exec_driver_sql(statement, (*before, *chain.from_iterable(rows)))


def _mark(connection: Connection) -> str:
    return "?" if connection.dialect.name == "sqlite" else "%s"


def _cast(table: Table, column: str, value: str) -> str:
    """PostgreSQL takes values that stand in no column for text."""
    kind = table.c[column].type
    if isinstance(kind, BigInteger | Integer):
        return f"CAST({value} AS BIGINT)"
    return f"CAST({value} AS BOOLEAN)" if isinstance(kind, Boolean) else value
