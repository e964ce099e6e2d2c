"""A user's database: how to reach it, and what may be told of its errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, SecretStr

from sftpd_processor.config.secrets import Secret
from sftpd_processor.extensions.text import one_line

if TYPE_CHECKING:
    from sqlalchemy import Engine


def _usable(url: SecretStr) -> SecretStr:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, NoSuchModuleError

    try:
        parts = make_url(url.get_secret_value())
        parts.get_dialect().import_dbapi()
    except NoSuchModuleError:
        raise ValueError("names a database that SQLAlchemy does not know") from None
    except (ArgumentError, ValueError):
        raise ValueError("must be a database URL, such as postgresql+psycopg://user@host/name") from None
    except ImportError as error:
        raise ValueError(f"needs a database driver that is not installed: {error.name}") from None
    if parts.get_backend_name() == "sqlite" and parts.database in {None, "", ":memory:"}:
        raise ValueError("must name a file: sqlite:// and one more / and the path")
    return url


UserDatabase = Annotated[Secret, AfterValidator(_usable)]
"""The URL of a database, as SQLAlchemy writes it, whose driver is there."""


def open_engine(url: str, timeout_seconds: float, *, pool_size: int = 5, read_only: bool = False) -> Engine:
    """A pool that tries a connection before it uses it, and gives up after the timeout.

    With `read_only` the database itself refuses to write, if it is PostgreSQL, SQLite, MySQL or MariaDB.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.engine import make_url

    database = make_url(url).get_backend_name()
    # hide_parameters: a statement's values are customers' data, and end up in no error.
    engine = create_engine(
        url,
        pool_pre_ping=True,
        pool_size=pool_size,
        pool_timeout=timeout_seconds,
        hide_parameters=True,
        connect_args=_limits(database, timeout_seconds, read_only=read_only),
    )
    if read_only and database in _READ_ONLY:
        _at_each_connection(engine, _READ_ONLY[database])
    return engine


_READ_ONLY = {
    "sqlite": "PRAGMA query_only = ON",
    "mysql": "SET SESSION TRANSACTION READ ONLY",
    "mariadb": "SET SESSION TRANSACTION READ ONLY",
}


def _at_each_connection(engine: Engine, statement: str) -> None:
    from sqlalchemy import event

    @event.listens_for(engine, "connect")
    def _connected(connection: Any, _record: object) -> None:
        cursor = connection.cursor()
        cursor.execute(statement)
        cursor.close()


def _limits(database: str, seconds: float, *, read_only: bool) -> dict[str, Any]:
    """How each driver is told to give up in time; those of other databases keep their own limits."""
    if database == "sqlite":
        return {"timeout": seconds}
    if database == "postgresql":
        milliseconds = max(1, int(seconds * 1000))
        only = " -c default_transaction_read_only=on" if read_only else ""
        return {
            "connect_timeout": max(2, int(seconds)),
            "options": f"-c statement_timeout={milliseconds}{only}",
        }
    return {}


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
    connecting = isinstance(error, OperationalError) and error.statement is None
    if connecting or type(cause).__module__ == "sqlite3":
        return f"{kind}: {one_line(str(cause))}"
    return kind
