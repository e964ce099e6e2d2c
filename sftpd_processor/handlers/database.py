"""A user's database as the `sql` handler writes to it: what is unique in it, and an insert that repeats nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlalchemy import Insert, Inspector, TableClause


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


def is_statement_error(error: BaseException) -> bool:
    from sqlalchemy.exc import StatementError

    return isinstance(error, StatementError)
