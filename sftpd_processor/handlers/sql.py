"""The built-in `sql`: inserts one row per event, repeatable by the idempotency key."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field, model_validator

from sftpd_processor.config.kinds import Line
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.database import UserDatabase, describe, open_engine
from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome
from sftpd_processor.handlers.database import insert_once, is_statement_error, unique_sets
from sftpd_processor.handlers.wanted import Wanted

if TYPE_CHECKING:
    from sqlalchemy import Engine, Insert, Select, TableClause

logger = logging.getLogger(__name__)

Row = dict[str, str | None]


class Options(BuiltinOptions):
    """`url`: the database, as SQLAlchemy writes it. `table`: where to insert, `schema.table` too. `columns`:
    for each column, the event's field that goes into it, with dots for nested ones. `key_column`: takes the
    idempotency key and must be unique."""

    url: UserDatabase
    table: Line
    columns: Annotated[dict[Line, Line], Field(min_length=1)]
    key_column: Line = "idempotency_key"

    @model_validator(mode="after")
    def _key_is_ours(self) -> Options:
        if self.key_column in self.columns:
            raise ValueError(f"columns must not hold the key column {self.key_column!r}: it takes the key")
        return self


class SqlHandler:
    """One transaction per batch; when that fails, one per event, so that a bad row stops no other.

    A row the database refuses (wrong data, a broken constraint) is a dead letter; everything else is retried.
    Values are given to the database as text and it makes of them what the column is, so an amount is never
    rounded on the way; nested values are given as JSON.
    """

    batch_size = 500

    def __init__(self, name: str, wanted: Wanted, options: Options, timeout_seconds: float) -> None:
        self.name = name
        self._wanted = wanted
        self._options = options
        self._timeout = timeout_seconds
        self._paths = {column: tuple(field.split(".")) for column, field in options.columns.items()}
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._insert: Insert | None = None

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        """Check the table. A database that is down now is checked with the first events instead."""
        from sqlalchemy.exc import SQLAlchemyError

        self._engine = open_engine(self._options.url.get_secret_value(), self._timeout)
        try:
            self._prepared()
        except SQLAlchemyError as error:
            text, fields = "handler %s: cannot look at its table yet: %s", {"handler": self.name}
            logger.warning(text, self.name, describe(error), extra=fields)

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            insert = self._prepared()
        except (SQLAlchemyError, ConfigurationError) as error:
            why = describe(error) if isinstance(error, SQLAlchemyError) else str(error)
            return [Outcome("retry", why)] * len(items)
        rows = [self._row(item) for item in items]
        try:
            self._write(insert, rows)
        except (SQLAlchemyError, UnicodeError):
            return self._one_by_one(insert, rows)
        return [DONE] * len(items)

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()
            self._engine = None

    def capture(self, item: Item) -> Captured:
        return Captured(DONE, {"kind": "sql", "table": self._options.table, "row": self._row(item)})

    def _prepared(self) -> Insert:
        with self._lock:
            if self._insert is None:
                assert self._engine is not None, "open() comes first"  # noqa: S101
                self._check_table(self._engine)
                self._insert = insert_once(self._engine.dialect.name, self._table(), self._options.key_column)
            return self._insert

    def _check_table(self, engine: Engine) -> None:
        from sqlalchemy import inspect

        schema, name = _split(self._options.table)
        inspector = inspect(engine)
        if not (inspector.has_table(name, schema=schema)):
            raise self._mistake("table", f"there is no table {self._options.table!r}; create it first")
        there = {column["name"] for column in inspector.get_columns(name, schema=schema)}
        absent = [column for column in (*self._paths, self._options.key_column) if column not in there]
        if absent:
            raise self._mistake("columns", f"the table {self._options.table!r} has no {', '.join(absent)}")
        if [self._options.key_column] not in unique_sets(inspector, name, schema):
            key = self._options.key_column
            why = f"{key!r} of {self._options.table!r} must be unique: add a unique constraint on it alone"
            raise self._mistake("key_column", why)

    def _mistake(self, option: str, why: str) -> ConfigurationError:
        return ConfigurationError([Problem(f"handler {self.name!r}, options.{option}", why)])

    def _table(self) -> TableClause:
        # Columns without types: the database, not SQLAlchemy, makes of a text what the column is.
        from sqlalchemy import column, table

        schema, name = _split(self._options.table)
        return table(name, *map(column, (self._options.key_column, *self._paths)), schema=schema)

    def _row(self, item: Item) -> Row:
        fields = json.loads(item.body, parse_int=str, parse_float=str, parse_constant=str)
        row: Row = {column: _text(_at(fields, path)) for column, path in self._paths.items()}
        row[self._options.key_column] = item.delivery.idempotency_key
        return row

    def _write(self, insert: Insert, rows: Sequence[Row]) -> None:
        assert self._engine is not None, "open() comes first"  # noqa: S101
        with self._engine.begin() as connection:
            connection.execute(insert, rows)

    def _one_by_one(self, insert: Insert, rows: Sequence[Row]) -> Sequence[Outcome]:
        """Each row in its own transaction. After one that is to be retried no other is tried: what is down is
        down, and no later event of its conversation may overtake it."""
        outcomes: list[Outcome] = []
        for row in rows:
            if outcomes and outcomes[-1].state == "retry":
                outcomes.append(outcomes[-1])
            else:
                outcomes.append(self._single(insert, row))
        return outcomes

    def _single(self, insert: Insert, row: Row) -> Outcome:
        from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, SQLAlchemyError

        try:
            self._write(insert, [row])
        except IntegrityError as error:
            return self._if_there(row) or Outcome("dead", describe(error))
        except (DataError, UnicodeError) as error:
            return Outcome("dead", describe(error))
        except SQLAlchemyError as error:
            dead = not isinstance(error, DBAPIError) and is_statement_error(error)
            return Outcome("dead" if dead else "retry", describe(error))
        return DONE

    def _if_there(self, row: Row) -> Outcome | None:
        """Done when the key is in the table already: an earlier attempt wrote the row."""
        from sqlalchemy import column, select
        from sqlalchemy.exc import SQLAlchemyError

        assert self._engine is not None, "open() comes first"  # noqa: S101
        key = self._options.key_column
        query: Select[Any] = select(column(key)).select_from(self._table()).where(column(key) == row[key])
        try:
            with self._engine.connect() as connection:
                return DONE if connection.execute(query).first() else None
        except SQLAlchemyError as error:
            return Outcome("retry", describe(error))


def _split(table: str) -> tuple[str | None, str]:
    schema, _, name = table.rpartition(".")
    return schema or None, name


def _at(fields: Any, path: Sequence[str]) -> Any:
    for part in path:
        if not isinstance(fields, Mapping):
            return None
        fields = fields.get(part)
    return fields


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def build(name: str, wanted: Wanted, options: Options, context: HandlerContext) -> SqlHandler:
    return SqlHandler(name, wanted, options, context.timeout_seconds)
