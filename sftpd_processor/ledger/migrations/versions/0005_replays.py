"""Archived events are handled again, and what is archived does not stay for ever."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_AUTO = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Lead the ledger forward; there is no way back but a backup."""
    op.add_column(
        "files",
        sa.Column(
            "gone",
            sa.Text(),
            comment="expired or forgotten: its copy is removed; altered: without what was forgotten",
        ),
    )
    op.create_index("files_recorded", "files", ["recorded_at"])
    op.add_column(
        "events", sa.Column("gone", sa.Text(), comment="why its body is not kept any more: expired or forgotten")
    )
    op.add_column(
        "deliveries",
        sa.Column("replay", sa.BigInteger(), comment="the replay that made its last attempt, or makes it now"),
    )
    if op.get_bind().dialect.name == "postgresql":
        op.create_table_comment(
            "contents",
            "The exact bytes of each recorded file, until its copy in the archive is known to be on disk.",
        )
        op.alter_column("events", "body", comment="its JSON; empty when it is gone")
    _create_tables()


def _create_tables() -> None:
    op.create_table(
        "replays",
        sa.Column("id", _AUTO, nullable=False, autoincrement=True),
        sa.Column("started_at", sa.BigInteger(), nullable=False),
        sa.Column("finished_at", sa.BigInteger(), comment="null while it runs, or when it was cut off"),
        sa.Column("job", sa.Text(), nullable=False, comment="what a person asked for, as JSON"),
        sa.Column("report", sa.Text(), comment="what came of it until now, as JSON"),
        sa.PrimaryKeyConstraint("id", name="replays_key"),
        comment="Each time that archived events were handled again.",
    )
    op.create_table(
        "replayed",
        sa.Column("replay", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("event_id", sa.BigInteger(), nullable=False, autoincrement=False),
        sa.Column("state", sa.Text(), nullable=False, comment="done, skipped, failed or dead"),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("settled_at", sa.BigInteger(), nullable=False),
        sa.Column("detail", sa.Text(), comment="what the handler said last; may quote its code"),
        sa.ForeignKeyConstraint(["replay"], ["replays.id"], ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["event_id"], ["events.id"]),
        sa.PrimaryKeyConstraint("replay", "handler", "event_id", name="replayed_key"),
        comment="What was handled once more although it was done: the delivery itself stays as it is.",
    )
    op.create_index("replayed_event", "replayed", ["event_id"])
    op.create_table(
        "forgettings",
        sa.Column("id", _AUTO, nullable=False, autoincrement=True),
        sa.Column("done_at", sa.BigInteger(), nullable=False),
        sa.Column("events", sa.BigInteger(), nullable=False, comment="whose bodies were removed"),
        sa.Column(
            "files", sa.BigInteger(), nullable=False, comment="that were removed, or written anew without these events"
        ),
        sa.PrimaryKeyConstraint("id", name="forgettings_key"),
        comment="That a person's data was forgotten; not whose.",
    )
