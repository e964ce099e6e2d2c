"""The ledger's first tables."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NUMBER = sa.BigInteger()
_AUTO = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Lead the ledger forward; there is no way back but a backup."""
    _counters()
    _looks()
    _files()
    _contents()
    _events()
    _repeats()
    _deliveries()


def _counters() -> None:
    op.create_table(
        "counters",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", _NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("name", name="counters_key"),
        comment="Numbers handed out inside the transaction that uses them, so that they follow the order of commits.",
    )
    op.execute("INSERT INTO counters (name, value) VALUES ('rows', 0)")


def _looks() -> None:
    op.create_table(
        "looks",
        sa.Column("id", _AUTO, autoincrement=True, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("started_at", _NUMBER, nullable=False),
        sa.Column("finished_at", _NUMBER, comment="null while it runs, or when it was cut off"),
        sa.Column("listed", _NUMBER, nullable=False),
        sa.Column("recorded", _NUMBER, nullable=False, comment="taken by this look"),
        sa.Column("known", _NUMBER, nullable=False, comment="recorded by an earlier look"),
        sa.Column("waiting", _NUMBER, nullable=False),
        sa.Column("ignored", _NUMBER, nullable=False),
        sa.Column("vanished", _NUMBER, nullable=False),
        sa.Column("disposed", _NUMBER, nullable=False, comment="moved or deleted; these are known ones"),
        sa.Column("failure", sa.Text(), comment="why it ended early"),
        sa.PrimaryKeyConstraint("id", name="looks_key"),
    )
    op.create_index("looks_source", "looks", ["source", "id"])


def _files() -> None:
    op.create_table(
        "files",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("mtime", _NUMBER, nullable=False),
        sa.Column("size", _NUMBER, nullable=False),
        sa.Column(
            "occurrence", sa.Integer(), nullable=False, comment="0, or how often the same file came back after disposal"
        ),
        sa.Column("state", sa.Text(), nullable=False, comment="recorded, waiting, ignored or vanished"),
        sa.Column("verdict", sa.Text(), comment="of a recorded file: accepted, duplicate, invalid or conflict"),
        sa.Column("reason", sa.Text(), comment="why it waits, is ignored, vanished; for a quarantined file JSON"),
        sa.Column("origin", sa.Text(), nullable=False, comment="sftp, directory, http or replay"),
        sa.Column("look", _NUMBER, nullable=False, comment="the last look that met it before it was recorded"),
        sa.Column("first_seen", _NUMBER, nullable=False),
        sa.Column("recorded_at", _NUMBER),
        sa.Column("sha256", sa.Text()),
        sa.Column("events", sa.Integer(), nullable=False, comment="events in it"),
        sa.Column("repeats", sa.Integer(), nullable=False, comment="of these, recorded before"),
        sa.Column("archive_path", sa.Text(), comment="relative to the state folder"),
        sa.Column("archived_at", _NUMBER),
        sa.Column("disposal", sa.Text(), comment="what was done at the source"),
        sa.Column("disposed_at", _NUMBER),
        sa.PrimaryKeyConstraint("id", name="files_key"),
        sa.UniqueConstraint("source", "name", "mtime", "size", "occurrence", name="files_once"),
    )
    _partial_index("files_unarchived", "files", ["id"], "state = 'recorded' AND archived_at IS NULL")
    _partial_index("files_waiting", "files", ["source", "look"], "state = 'waiting'")


def _contents() -> None:
    op.create_table(
        "contents",
        sa.Column("file_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("raw", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("file_id", name="contents_key"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], ondelete="CASCADE"),
        comment="The exact bytes of each recorded file.",
    )


def _events() -> None:
    op.create_table(
        "events",
        sa.Column("id", _NUMBER, autoincrement=False, nullable=False, comment="in the order recorded"),
        sa.Column("organisation", sa.Text(), nullable=False),
        sa.Column("identity", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("conversation", sa.Text()),
        sa.Column("file_id", _NUMBER, nullable=False),
        sa.Column("position", sa.Integer(), nullable=False, comment="in its file, from 0"),
        sa.Column("time_zone", sa.Text(), nullable=False, comment="of its dateCreated"),
        sa.Column("created_at", _NUMBER, comment="its dateCreated"),
        sa.Column("recorded_at", _NUMBER, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False, comment="its JSON"),
        sa.PrimaryKeyConstraint("id", name="events_key"),
        sa.UniqueConstraint("organisation", "identity", name="events_once"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"]),
    )
    op.create_index("events_file", "events", ["file_id"])


def _repeats() -> None:
    op.create_table(
        "repeats",
        sa.Column("file_id", _NUMBER, autoincrement=False, nullable=False),
        sa.Column("position", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("event_id", _NUMBER, nullable=False, comment="the event recorded before"),
        sa.Column(
            "conflict", sa.Boolean(create_constraint=False), nullable=False, comment="same identity, other content"
        ),
        sa.PrimaryKeyConstraint("file_id", "position", name="repeats_key"),
        sa.ForeignKeyConstraint(["file_id"], ["files.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        comment="Events that came again.",
    )


def _deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _AUTO, autoincrement=True, nullable=False),
        sa.Column("event_id", _NUMBER, nullable=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("lane", sa.Text(), comment="events of one lane go one after another; null: no order"),
        sa.Column("state", sa.Text(), nullable=False, comment="pending, running, done, skipped or dead"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("due_at", _NUMBER, nullable=False),
        sa.Column("settled_at", _NUMBER),
        sa.Column("detail", sa.Text(), comment="what the handler said last; may quote its code"),
        sa.PrimaryKeyConstraint("id", name="deliveries_key"),
        sa.UniqueConstraint("event_id", "handler", name="deliveries_once"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
    )
    _partial_index("deliveries_pending", "deliveries", ["handler", "id"], "deliveries.state = 'pending'")
    _partial_index(
        "deliveries_open", "deliveries", ["handler", "lane", "id"], "deliveries.state IN ('pending', 'running')"
    )


def _partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
