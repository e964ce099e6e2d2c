"""The ledger's tables: made at once or by migrations, and what is said when they are not ours to use."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text

from sftpd_processor.errors import LedgerUnavailable, LedgerUnusable
from sftpd_processor.ledger import database
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.schema import REVISION, create, metadata
from tests.ledger_samples import event, opened, record, rows, sqlite_url

_LATER = f"{int(REVISION) + 1:04}"
_NEXT = f'''
"""A later migration."""
import sqlalchemy as sa
from alembic import op
revision = "{_LATER}"
down_revision = "{REVISION}"
def upgrade() -> None:
    op.add_column("files", sa.Column("note", sa.Text()))
'''


_FIRST = """
INSERT INTO looks (id, source, started_at, finished_at, listed, recorded, known, waiting, ignored, vanished, disposed)
    VALUES (1, 'webio', 10, 20, 4, 3, 0, 1, 0, 0, 0), (2, 'webio', 30, 40, 4, 0, 3, 1, 0, 0, 2);
INSERT INTO files (id, source, name, mtime, size, occurrence, state, verdict, reason, origin, look, first_seen,
        recorded_at, sha256, events, repeats, archive_path, archived_at, disposal, disposed_at)
    VALUES (1, 'webio', 'a.json', 1, 2, 0, 'recorded', 'accepted', NULL, 'sftp', 1, 11, 12, 'aa', 3, 0,
            'archive/webio/2026/11/22/a.json', 13, 'moved to processed/a.json', 31),
        (2, 'webio', 'again.json', 2, 2, 0, 'recorded', 'duplicate', NULL, 'sftp', 1, 11, 12, 'bb', 1, 1,
            NULL, NULL, 'deleted', 32),
        (3, 'webio', 'bad.json', 3, 1, 0, 'recorded', 'invalid', '{"faults": [], "total": 1}', 'sftp', 1, 11, 12,
            'cc', 0, 0, NULL, NULL, NULL, NULL),
        (4, 'webio', 'half.json', 4, 1, 0, 'waiting', NULL, 'it may be half-written', 'sftp', 2, 11, NULL, NULL, 0, 0,
            NULL, NULL, NULL, NULL);
INSERT INTO contents (file_id, raw) SELECT id, '{}' FROM files WHERE state = 'recorded';
INSERT INTO events (id, organisation, identity, type, conversation, file_id, position, time_zone, created_at,
        recorded_at, body)
    VALUES (5, 'default', 'one', 'payment', 'c', 1, 0, 'UTC', 9, 12, '{}'),
        (6, 'default', 'two', 'payment', 'c', 1, 1, 'UTC', 9, 12, '{}'),
        (7, 'default', 'three', 'ourOwn', 'd', 1, 2, 'UTC', 9, 12, '{}');
INSERT INTO repeats (file_id, position, event_id, conflict) VALUES (2, 0, 5, FALSE);
INSERT INTO deliveries (id, event_id, handler, lane, state, attempts, due_at, settled_at, detail)
    VALUES (1, 5, 'crm', 'default/c', 'done', 1, 12, 14, NULL),
        (2, 6, 'crm', 'default/c', 'running', 2, 12, NULL, 'no'),
        (3, 7, 'crm', 'default/d', 'dead', 8, 12, 15, 'never');
UPDATE counters SET value = 7
"""
"""What a ledger of the first revision may hold."""


_FIRST_TOTALS = {
    ("file", "webio", "accepted", 1, 12),
    ("file", "webio", "duplicate", 1, 12),
    ("file", "webio", "invalid", 1, 12),
    ("event", "payment", "sftp", 2, 12),
    ("event", "other", "sftp", 1, 12),
    ("delivery", "crm", "done", 1, 14),
    ("delivery", "crm", "dead", 1, 15),
}
"""What the migrations count in it."""

_SECOND = """
INSERT INTO attempts (id, delivery_id, attempt, outcome, ended_at, detail)
    VALUES (1, 1, 1, 'failed', 13, 'no'), (2, 2, 1, 'failed', 16, 'no'), (3, 3, 8, 'failed', 15, 'never'),
        (4, 2, 2, 'failed', 17, 'no'), (5, 2, 2, 'put back', 18, NULL)
"""
"""What a ledger of the second revision may hold beside it: one attempt was retried, one ended in a dead letter that
was put back, one in a dead letter, and one before a good end was retried."""


def _script(connection: Connection | None = None, folder: Path = database.MIGRATIONS) -> Config:
    config = Config()
    config.set_main_option("script_location", str(folder))
    config.attributes["connection"] = connection
    return config


def _upgraded(engine: Engine) -> None:
    with engine.begin() as connection:
        command.upgrade(_script(connection), "head")


def _described(engine: Engine) -> dict[str, dict[str, Any]]:
    """All that the database itself says of its tables, but for Alembic's own."""
    inspector = inspect(engine)
    questions = {
        "columns": inspector.get_columns,
        "key": inspector.get_pk_constraint,
        "unique": inspector.get_unique_constraints,
        "indexes": inspector.get_indexes,
        "foreign": inspector.get_foreign_keys,
        "checks": inspector.get_check_constraints,
    }
    found: dict[str, dict[str, Any]] = {}
    for table in sorted(set(inspector.get_table_names()) - {"alembic_version"}):
        found[table] = {what: _plain(ask(table)) for what, ask in questions.items()}
    return found


def _plain(answer: Any) -> Any:
    if isinstance(answer, list):
        return sorted((_plain(item) for item in answer), key=str)
    if isinstance(answer, dict):
        return {key: _plain(value) for key, value in answer.items()}
    return str(answer)


def test_migrations_make_the_tables_of_the_schema(url: str) -> None:
    """`alembic upgrade head` on an empty database gives what `create_all` gives, down to the names and predicates."""
    engine = create_engine(url)
    _upgraded(engine)
    migrated = _described(engine)
    with engine.begin() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
        for table in reversed(metadata.sorted_tables):
            connection.execute(text(f"DROP TABLE {table.name}"))
        create(connection)
    created = _described(engine)
    engine.dispose()
    assert set(migrated) == set(metadata.tables)
    assert migrated == created
    partial = {index["name"] for table in migrated.values() for index in table["indexes"] if "_where" in str(index)}
    deliveries = {f"deliveries_{which}" for which in ("pending", "open", "running", "retrying", "dead")}
    assert partial == {"files_unarchived", "files_waiting", "files_quarantined"} | deliveries


def test_a_ledger_made_by_migrations_works(url: str) -> None:
    """A ledger whose tables were made by the migrations is complete: it records, also from the first batch on."""
    engine = create_engine(url)
    _upgraded(engine)
    engine.dispose()
    with opened(url) as ledger:
        record(ledger, ("1.json", event()))
        assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}


def test_the_last_migration_is_the_schemas_revision() -> None:
    """`schema.REVISION` is the only head of the migrations."""
    assert ScriptDirectory.from_config(_script()).get_heads() == [REVISION]


def test_a_ledger_is_opened_again(url: str) -> None:
    """Opening a ledger that exists leaves what is in it."""
    with opened(url) as ledger:
        record(ledger, ("1.json", event()))
    with opened(url) as ledger:
        assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}
    assert rows(url, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_an_older_ledger_is_migrated(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ledger of an older revision is led to the newest when it is opened, and keeps what is in it."""
    with opened(url) as ledger:
        record(ledger, ("1.json", event()))
    folder = tmp_path / "100% migrations"  # a percent sign means something to Alembic's configuration
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "versions" / f"{_LATER}_note.py").write_text(_NEXT)
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(database, "REVISION", _LATER)
    with opened(url) as ledger:
        assert ledger.figures.sources()["webio"].verdicts == {"accepted": 1}
    assert rows(url, "SELECT version_num FROM alembic_version") == [(_LATER,)]
    assert rows(url, "SELECT name, note FROM files") == [("1.json", None)]


def test_a_ledger_of_the_first_revision_is_led_on(url: str) -> None:
    """A ledger of revision 0001 with all kinds of rows keeps them, is like a new one in its tables, and goes on
    working: what was cut off runs again, copies are written, and the next file gets the next number."""
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(_script(connection), "0001")
        for statement in _FIRST.strip().split(";"):
            connection.execute(text(statement))
        if engine.dialect.name == "postgresql":  # the numbers given above are taken
            for table in ("looks", "deliveries"):
                connection.execute(text(f"SELECT setval('{table}_id_seq', 10)"))
        kept = {table: _rows(connection, table) for table in ("looks", "contents", "events", "repeats", "deliveries")}
    with opened(url) as ledger, engine.connect() as connection:
        assert rows(url, "SELECT version_num FROM alembic_version") == [(REVISION,)]
        assert {table: _rows(connection, table, before) for table, before in kept.items()} == kept
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), metadata) == []
        disposed = "SELECT id, disposed_look, waited, former_path, reread_at, corrected_by FROM files ORDER BY id"
        assert [row[:2] for row in rows(url, disposed)] == [(1, 1), (2, 1), (3, None), (4, None)]
        assert {row[2:] for row in rows(url, disposed)} == {(None, None, None, None)}
        assert [file.name for file in ledger.files.unarchived(9)] == ["again.json", "bad.json"]
        assert ledger.deliveries.recover() == {"crm": 1}
        assert rows(url, "SELECT delivery_id, attempt, outcome FROM attempts") == [(2, 2, "cut off")]
        assert [(claim.id, claim.attempt) for claim in ledger.deliveries.claim("crm", 9, ordered=True)] == [(2, 3)]
        assert ledger.figures.breakers() == {}
        assert _counted(ledger) == _FIRST_TOTALS
        record(ledger, ("new.json", event()))
        assert rows(url, "SELECT id FROM files WHERE name = 'new.json'") == [(8,)]
    engine.dispose()


def test_what_was_counted_nowhere_is_counted_by_the_migration(url: str) -> None:
    """A ledger of revision 0002 gets its totals: dead letters that were put back are among them, and attempts that
    were retried are those that failed and did not end in one."""
    engine = create_engine(url)
    with engine.begin() as connection:
        command.upgrade(_script(connection), "0001")
        for statement in _FIRST.strip().split(";"):
            connection.execute(text(statement))
        command.upgrade(_script(connection), "0002")
        connection.execute(text(_SECOND))
    engine.dispose()
    with opened(url) as ledger:
        more = {("delivery", "crm", "dead", 2, 15), ("delivery", "crm", "retried", 2, 17)}
        assert _counted(ledger) == _FIRST_TOTALS - {("delivery", "crm", "dead", 1, 15)} | more
        assert ledger.figures.gauges().open == {"crm": {"pending": 0, "retrying": 0, "running": 1}}
        assert ledger.figures.gauges().dead == {"crm": 1}
        assert ledger.figures.gauges().quarantined == {"webio": 1}


def _counted(ledger: Ledger) -> set[tuple[Any, ...]]:
    return {tuple(total) for total in ledger.totals.all()}


def _rows(connection: Connection, table: str, like: Sequence[tuple[Any, ...]] = ()) -> list[tuple[Any, ...]]:
    """All rows; only as many columns as `like` has: later migrations add theirs behind them."""
    width = len(like[0]) if like else None
    return sorted((tuple(row)[:width] for row in connection.execute(text(f"SELECT * FROM {table}"))), key=str)


def test_a_failed_migration_leaves_the_ledger_as_it_was(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A migration that breaks in its middle changes nothing: neither the tables nor the revision."""
    with opened(url) as ledger:
        record(ledger, ("1.json", event()))
    folder = tmp_path / "migrations"
    shutil.copytree(database.MIGRATIONS, folder)
    (folder / "versions" / f"{_LATER}_note.py").write_text(_NEXT + "    raise RuntimeError('broken')\n")
    monkeypatch.setattr(database, "MIGRATIONS", folder)
    monkeypatch.setattr(database, "REVISION", _LATER)
    with pytest.raises(RuntimeError, match="broken"), opened(url):
        pass
    engine = create_engine(url)
    assert "note" not in {column["name"] for column in inspect(engine).get_columns("files")}
    engine.dispose()
    assert rows(url, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_a_newer_ledger_is_refused(url: str) -> None:
    """A ledger of a revision not known here is not touched, and the message says what to install."""
    with opened(url):
        pass
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '0999'"))
    engine.dispose()
    with pytest.raises(LedgerUnusable, match=r"newer version.*0999.*install"), opened(url):
        pass


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    """A file of something else in the ledger's place is named, and left as it was."""
    path = tmp_path / "ledger.db"
    path.write_bytes(b"these are not the pages of a database " * 100)
    url = sqlite_url(tmp_path)
    with pytest.raises(LedgerUnusable, match=r"ledger\.db cannot be used: file is not a database"), opened(url):
        pass
    assert path.read_bytes().startswith(b"these are not")


def test_a_database_of_something_else_is_refused(url: str) -> None:
    """A database with a table of ours by name that another program made is not taken for a ledger."""
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE files (path TEXT)"))
    engine.dispose()
    with pytest.raises(LedgerUnusable), opened(url):
        pass


def test_two_machines_may_open_an_empty_database_at_once(url: str) -> None:
    """Of several that open an empty database at the same time one makes the tables, and all can use them."""
    with ThreadPoolExecutor(4) as pool:
        ledgers = [Ledger(url) for _ in range(4)]
        try:
            for opening in [pool.submit(ledger.open) for ledger in ledgers]:
                opening.result()
        finally:
            for ledger in ledgers:
                ledger.close()
    assert rows(url, "SELECT version_num FROM alembic_version") == [(REVISION,)]


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    """A ledger in a folder that does not exist cannot be opened, and the message names it."""
    url = sqlite_url(tmp_path / "gone")
    with pytest.raises(LedgerUnavailable, match=r"gone/ledger\.db cannot be used now"), opened(url):
        pass


def test_an_unreachable_database_does_not_show_its_password() -> None:
    """A PostgreSQL that does not answer is `LedgerUnavailable`, and the password in its URL stays hidden."""
    url = "postgresql+psycopg://acme:hunter2-Zx81@127.0.0.1:1/ledger?connect_timeout=2"
    with pytest.raises(LedgerUnavailable) as caught, opened(url):
        pass
    assert "127.0.0.1" in str(caught.value)
    assert "hunter2" not in str(caught.value)
