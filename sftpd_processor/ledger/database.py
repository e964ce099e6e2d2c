"""The database under the ledger: opening, migrating, transactions. The one place where SQLite and PostgreSQL differ."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import sqlalchemy
from sqlalchemy import Connection, CursorResult, Engine, Row, Select, create_engine, event, func, make_url, select, text
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError

from sftpd_processor.collector import give_back
from sftpd_processor.errors import LedgerUnavailable, LedgerUnusable
from sftpd_processor.ledger.schema import REVISION, counters, create, metadata

_MOST_BYTES = 16 << 20

MIGRATIONS = Path(__file__).with_name("migrations")

_INCREMENTAL = 2
_PRAGMAS = (
    "PRAGMA busy_timeout = 10000",  # first, since those below may have to wait for another process
    "PRAGMA journal_mode = WAL",
    "PRAGMA synchronous = FULL",  # each commit is on the disk when it returns
    "PRAGMA foreign_keys = ON",
    "PRAGMA cache_size = -8000",  # KiB
    "PRAGMA wal_autocheckpoint = 4000",  # pages
    "PRAGMA secure_delete = FAST",  # what is removed does not stay in pages in use; `archive forget` sees to free ones
)


class Spare(NamedTuple):
    """What a SQLite file holds of empty pages."""

    pages: int
    bytes: int
    shrinks: bool
    """Whether they can be cut off; a file made by an older version only uses them again."""


class Database:
    """Transactions on one database; safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Opens nothing yet. `url` is SQLAlchemy's; it may hold a password and is never shown."""
        self._url = make_url(url)
        self._writing = threading.Lock()  # SQLite has one writer: waiting here is fairer than its busy loop
        self._lite = self._url.get_backend_name() == "sqlite"
        self._engine = _engine(self._url)
        self._opened = False

    @property
    def label(self) -> str:
        """Where the ledger is, without the password."""
        return self._url.set(query={}).render_as_string(hide_password=True)  # the query may hold one, too

    def open(self) -> None:
        """Make or migrate the tables.

        Raises `LedgerUnusable` for a ledger of a newer version, or a database that is not a ledger.
        """
        with self.write() as connection:
            self.one_at_a_time(connection, "opening")
            found = _revision(connection)
            if found is None:
                _refuse_foreign(connection, self.label)
                create(connection)
                connection.execute(counters.insert().values(name="rows", value=0))
                connection.exec_driver_sql("CREATE TABLE alembic_version (version_num VARCHAR(32) PRIMARY KEY)")
                connection.execute(text("INSERT INTO alembic_version VALUES (:revision)"), {"revision": REVISION})
            elif found != REVISION:
                _migrate(connection, found, self.label)
        self._opened = True

    def demand_opened(self) -> None:
        """Raise `LedgerUnavailable` unless `open` has succeeded."""
        if not self._opened:
            raise LedgerUnavailable(f"the ledger {self.label} is not open yet; the log says what it waits for")

    def check(self) -> None:
        """Raise `LedgerUnusable` unless the tables are those of this version; changes nothing."""
        with self.read() as connection:
            found = _revision(connection)
        if found != REVISION:
            raise LedgerUnusable(
                f"the ledger {self.label} is of another version of sftpd-processor (its revision is {found}, this one "
                f"knows {REVISION}); an older one is led forward when `run` or `once` starts"
            )

    def rest(self) -> None:
        """Close the connections that nobody uses now. Each remembers up to 8 MB of a SQLite database."""
        self._engine.dispose()
        give_back()

    def close(self) -> None:
        """Give all connections back."""
        self._engine.dispose()

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection for reading; sees what is committed when each statement starts."""
        with self._explained(), self._engine.connect() as connection:
            yield connection.execution_options(isolation_level="AUTOCOMMIT") if self._lite else connection

    def rows(self, statement: Select[Any]) -> list[dict[str, Any]]:
        """What the database answers, a dictionary for each row."""
        with self.read() as connection:
            return [dict(row) for row in connection.execute(statement).mappings()]

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """One transaction: committed at the end, durable then; rolled back on any exception."""
        with self._writing, self._explained(), self._engine.begin() as connection:
            yield connection

    def spare(self) -> Spare | None:
        """The room in the file that holds nothing; None where there is no such file: PostgreSQL sees to it itself."""
        if not self._lite:
            return None
        with self.read() as connection:
            free, size, mode = (
                int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
                for name in ("freelist_count", "page_size", "auto_vacuum")
            )
        return Spare(free, free * size, shrinks=mode == _INCREMENTAL)

    def shrink(self, pages: int) -> None:
        """Cut up to so many empty pages off the file, in one short transaction."""
        from sqlite3 import OperationalError as Refused

        with self._writing, self.read() as connection, contextlib.closing(connection.connection.cursor()) as cursor:
            try:
                # Not `execute`: it takes one step of a statement that has no rows, and each step frees one page.
                cursor.executescript(f"PRAGMA incremental_vacuum({pages:d})")
            except Refused as error:
                raise LedgerUnavailable(f"the ledger {self.label} cannot be made smaller now: {error}") from error

    def checkpoint(self) -> None:
        """Bring the write-ahead log into the file and cut it short, unless others are at work just now."""
        with self.read() as connection:
            connection.exec_driver_sql("PRAGMA busy_timeout = 0")
            try:
                connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").close()
            finally:
                connection.exec_driver_sql(_PRAGMAS[0])

    def one_at_a_time(self, connection: Connection, what: str) -> None:
        """Wait until no other transaction does `what`, also on another machine; until the end of this transaction."""
        if not self._lite:  # SQLite has a single writer anyway
            connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(what))))

    @contextlib.contextmanager
    def hold(self, what: str) -> Iterator[bool]:
        """Keep `what` to this process, among all machines that share the database; whether nobody else has it.

        A SQLite database is on one machine, where a lock of the state folder does it: there it is always so.
        """
        if self._lite:
            yield True
            return
        with self._explained(), self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            lock = func.hashtext(what)
            mine = bool(connection.execute(select(func.pg_try_advisory_lock(lock))).scalar())
            try:
                yield mine
            finally:
                if mine:
                    connection.execute(select(func.pg_advisory_unlock(lock)))

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError) as error:
            raise LedgerUnavailable(f"the ledger {self.label} cannot be used now: {_said(error)}") from error
        except DatabaseError as error:
            if isinstance(error, sqlalchemy.exc.IntegrityError | sqlalchemy.exc.ProgrammingError):
                raise
            raise LedgerUnusable(f"the ledger {self.label} cannot be used: {_said(error)}") from error


def within(rows: CursorResult[Any], column: int) -> list[Row[Any]]:
    """The first of `rows` whose values in `column` fit into memory together; at least one."""
    taken: list[Row[Any]] = []
    total = 0
    for part in rows.partitions(100):
        for row in part:
            total += len(row[column])
            if taken and total > _MOST_BYTES:
                rows.close()
                return taken
            taken.append(row)
    return taken


_PATIENCE = {
    "connect_timeout": 10,  # seconds
    "tcp_user_timeout": 30_000,  # milliseconds
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}
"""Of libpq: a database that says nothing any more is given up within half a minute; by itself it takes minutes, while
every loop stands still. What the URL says goes first."""


def _engine(url: sqlalchemy.URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        limits = {key: value for key, value in _PATIENCE.items() if key not in url.query}
        return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=limits)
    engine = create_engine(
        url, hide_parameters=True, connect_args={"isolation_level": None, "check_same_thread": False}
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        patience, *others = _PRAGMAS
        connection.execute(patience)
        if connection.execute("PRAGMA page_count").fetchone() == (0,):  # only then does a file heed this
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        for pragma in others:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads first and writes later can fail when another one wrote in between.
        if connection.get_execution_options().get("isolation_level") != "AUTOCOMMIT":
            connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine


def _refuse_foreign(connection: Connection, label: str) -> None:
    if taken := sorted(set(metadata.tables) & set(sqlalchemy.inspect(connection).get_table_names())):
        raise LedgerUnusable(
            f"the database {label} is not a ledger: it has tables of another program ({', '.join(taken)}); name a "
            "database of its own"
        )


def _revision(connection: Connection) -> str | None:
    if not sqlalchemy.inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found)


def _migrate(connection: Connection, found: str, label: str) -> None:
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from alembic.util.exc import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        ScriptDirectory.from_config(config).get_revision(found)
    except CommandError:
        raise LedgerUnusable(
            f"the ledger {label} was written by a newer version of sftpd-processor (its revision is {found}, this one "
            f"knows up to {REVISION}); install that version again, or a newer one"
        ) from None
    command.upgrade(config, "head")


def _said(error: DatabaseError | InterfaceError) -> str:
    return " ".join(str(error.orig).split())[:300]
