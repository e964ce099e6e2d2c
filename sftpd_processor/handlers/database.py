"""A user's database as the `sql` handler sees it: how to reach it, what is unique in it, what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sftpd_processor.handlers.api import one_line

if TYPE_CHECKING:
    from sqlalchemy import Engine, Insert, Inspector, TableClause


def open_engine(url: str, timeout_seconds: float) -> Engine:
    """A pool that tries a connection before it uses it, and gives up after the timeout."""
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    # hide_parameters: a statement's values are customers' data, and end up in no error.
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=timeout_seconds,
        hide_parameters=True,
        connect_args=_limits(make_url(url).get_backend_name(), timeout_seconds),
    )


def _limits(database: str, seconds: float) -> dict[str, Any]:
    """How each driver is told to give up in time; those of other databases keep their own limits."""
    if database == "sqlite":
        return {"timeout": seconds}
    if database == "postgresql":
        milliseconds = max(1, int(seconds * 1000))
        return {
            "connect_timeout": max(2, int(seconds)),
            "options": f"-c statement_timeout={milliseconds}",
        }
    return {}


def insert_once(database: str, table: TableClause, key_column: str) -> Insert:
    """An insert that does nothing when the key is there; where a database lacks that, a plain one."""
    if database == "postgresql":
        from sqlalchemy.dialects import postgresql

        return postgresql.insert(table).on_conflict_do_nothing(index_elements=[key_column])
    if database == "sqlite":
        from sqlalchemy.dialects import sqlite

        return sqlite.insert(table).on_conflict_do_nothing(index_elements=[key_column])
    from sqlalchemy import insert

    return insert(table)


def unique_sets(inspector: Inspector, name: str, schema: str | None) -> list[list[str | None]]:
    """The column lists that are unique in a table: its primary key, constraints and indexes."""
    sets: list[list[str | None]] = [[*inspector.get_pk_constraint(name, schema=schema)["constrained_columns"]]]
    sets += [[*it["column_names"]] for it in inspector.get_unique_constraints(name, schema=schema)]
    # SQLite's constraints are read from the text of the table, which misses some: its own indexes tell all.
    indexes = inspector.get_indexes(name, schema=schema, include_auto_indexes=True)
    return sets + [[*it["column_names"]] for it in indexes if it["unique"]]


def describe(error: BaseException) -> str:
    """What the database says, without the values of the row: PostgreSQL quotes them in its messages, so only
    the parts that name things are taken; of an unknown driver only the kind of error, unless it is about the
    connection."""
    from sqlalchemy.exc import DBAPIError, OperationalError

    if not isinstance(error, DBAPIError):
        return type(error).__name__
    cause = error.orig
    kind, diag = type(cause).__name__, getattr(cause, "diag", None)
    if diag is not None and diag.sqlstate:
        names = (diag.sqlstate, diag.table_name, diag.column_name, diag.constraint_name)
        return " ".join([kind, *filter(None, names)])
    if isinstance(error, OperationalError) or type(cause).__module__ == "sqlite3":
        return f"{kind}: {one_line(str(cause))}"
    return kind


def is_statement_error(error: BaseException) -> bool:
    from sqlalchemy.exc import StatementError

    return isinstance(error, StatementError)
