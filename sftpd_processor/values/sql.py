"""The built-in `sql`: values from a database, which is only read."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Awaitable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from sftpd_processor.config.kinds import Line, Whole
from sftpd_processor.extensions.database import UserDatabase, describe, open_engine
from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.extensions.text import nearest
from sftpd_processor.values.api import ProviderContext, ProviderFailed, Query
from sftpd_processor.values.threads import Threads
from sftpd_processor.values.words import find

if TYPE_CHECKING:
    from sqlalchemy import Connection, CursorResult, Engine, TextClause

logger = logging.getLogger(__name__)

_PARAMETERS = ("customerUID", "outboundChannelAddress")
_CLOSE_SECONDS = 1.0


@lru_cache(maxsize=256)
def _parsed(statement: str) -> tuple[TextClause, tuple[str, ...]]:
    """The statement, and the parameters in it."""
    from sqlalchemy import text

    clause = text(statement)
    return clause, tuple(clause.compile().params)


def _statement(text: str) -> str:
    for name in _parsed(text)[1]:
        if name not in _PARAMETERS:
            hint = nearest(name, _PARAMETERS) or f"; there are :{' and :'.join(_PARAMETERS)}"
            raise ValueError(f"there is no parameter :{name}{hint}")
    if not text.strip():
        raise ValueError("must be a SELECT")
    return text


Statement = Annotated[str, AfterValidator(_statement)]


class Options(BuiltinOptions):
    """`url`: the database, as SQLAlchemy writes it. Either `query`: its columns are the words; or `queries`: one for
    each word, which gives one column. `pool_size`: connections, and threads."""

    url: UserDatabase
    query: Statement | None = None
    queries: Annotated[dict[Line, Statement], Field(min_length=1)] | None = None
    pool_size: Annotated[Whole, Field(ge=1, le=100)] = 4

    @model_validator(mode="after")
    def _one_or_many(self) -> Options:
        if (self.query is None) == (self.queries is None):
            raise ValueError("give either `query` or `queries`")
        return self


class SqlProvider:
    """Each question is one transaction in a thread, read-only where the database can, and always rolled back."""

    def __init__(self, name: str, options: Options, deadline_seconds: float) -> None:
        self.name = name
        self.words = None if options.queries is None else frozenset(options.queries)
        self._options = options
        self._deadline = deadline_seconds
        self._threads = Threads(name, options.pool_size)
        self._lock = threading.Lock()
        self._engine: Engine | None = None
        self._closed = False
        self._looking: threading.Thread | None = None

    def open(self) -> None:
        """Make the pool. Its first connection is tried in a thread, so that a database that is down stops nothing."""
        self._closed = False
        self._pool()
        self._looking = threading.Thread(target=self._first_look, name=f"values-{self.name}-open", daemon=True)
        self._looking.start()

    def ask(self, query: Query, words: Sequence[str]) -> Awaitable[Mapping[str, object]]:
        return self._threads.run(lambda: self._answer(query, words))

    def reach(self, words: Collection[str]) -> None:
        """Connect, and run the queries without a customer, to see their columns. Raises ProviderFailed."""
        try:
            with self._connection() as connection:
                for statement in (self._options.queries or {}).values():
                    _run(connection, statement, Query(None, None)).close()
                if self._options.query is not None:
                    _look_for(words, _run(connection, self._options.query, Query(None, None)))
        finally:
            self.close()

    def close(self) -> None:
        self._threads.close()
        if self._looking is not None:
            self._looking.join(_CLOSE_SECONDS)
        with self._lock:
            self._closed = True
            if self._engine is not None:
                self._engine.dispose()
                self._engine = None

    def _first_look(self) -> None:
        try:
            with self._connection():
                return
        except ProviderFailed as error:
            text, fields = "values %s: cannot reach its database yet: %s", {"provider": self.name}
            logger.warning(text, self.name, error, extra=fields)

    def _pool(self) -> Engine:
        with self._lock:
            if self._closed:  # a question that had waited for its thread
                raise ProviderFailed("the listener is ending")
            if self._engine is None:
                url, size = self._options.url.get_secret_value(), self._options.pool_size
                self._engine = open_engine(url, self._deadline, pool_size=size, read_only=True)
            return self._engine

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        """Whatever is done with it is rolled back. Raises ProviderFailed for whatever the database or driver raises."""
        try:
            with self._pool().connect() as connection:
                try:
                    yield connection
                finally:
                    if self._closed:
                        connection.invalidate()  # its pool is gone, and nobody else would close it
        except ProviderFailed:
            raise
        except Exception as error:  # noqa: BLE001 (drivers raise what they like)
            raise ProviderFailed(_why(error)) from None

    def _answer(self, query: Query, words: Sequence[str]) -> Mapping[str, object]:
        with self._connection() as connection:
            if self._options.query is not None:
                return _columns(_run(connection, self._options.query, query), words)
            return {word: self._single(connection, word, query) for word in words}

    def _single(self, connection: Connection, word: str, query: Query) -> object:
        """The one value of one query; where it fails, the others may still be had."""
        from sqlalchemy.exc import SQLAlchemyError

        assert self._options.queries is not None, "words are those of the queries"  # noqa: S101
        try:
            row = _only_row(_run(connection, self._options.queries[word], query))
        except SQLAlchemyError as error:
            connection.rollback()
            return ProviderFailed(_why(error))
        except ProviderFailed as error:
            return error
        if row is None or len(row) == 1:
            return row and row[0]
        return ProviderFailed(f"the query of {word!r} gave {len(row)} columns, where one is expected")


def _why(error: Exception) -> str:
    """What the database says. But in a question about somebody, SQLite may quote a part of what it searches for or
    takes for a path, in errors that have no code of their own."""
    cause = getattr(error, "orig", None)
    asked = any(getattr(error, "params", None) or ())
    if asked and isinstance(cause, sqlite3.Error) and getattr(cause, "sqlite_errorcode", 1) == sqlite3.SQLITE_ERROR:
        return f"{type(cause).__name__}: the query failed for this customer"
    return describe(error)


def _run(connection: Connection, statement: str, query: Query) -> CursorResult[Any]:
    clause, parameters = _parsed(statement)
    values = dict(zip(_PARAMETERS, query, strict=True))
    result = connection.execute(clause, {name: values[name] for name in parameters})
    if not result.returns_rows:
        raise ProviderFailed("its query gives no rows: it must be a SELECT")
    return result


def _columns(result: CursorResult[Any], words: Sequence[str]) -> Mapping[str, object]:
    row = _only_row(result)
    if row is None:
        return {}
    by_column = dict(zip(result.keys(), row, strict=True))
    return {word: find(by_column, word) for word in words}


def _look_for(words: Collection[str], result: CursorResult[Any]) -> None:
    columns = {column: column for column in [*result.keys()]}
    result.close()
    absent = [repr(word) for word in words if find(columns, word) is None]
    if absent:
        raise ProviderFailed(f"its query has no column {', '.join(absent)}")


def _only_row(result: CursorResult[Any]) -> Any:
    """The row, None when there is none. Raises ProviderFailed when there are several."""
    rows = result.fetchmany(2)
    if len(rows) > 1:
        raise ProviderFailed("gave more than one row")
    return rows[0] if rows else None


def build(name: str, options: Options, context: ProviderContext, where: str) -> SqlProvider:  # noqa: ARG001
    return SqlProvider(name, options, context.deadline_seconds)
