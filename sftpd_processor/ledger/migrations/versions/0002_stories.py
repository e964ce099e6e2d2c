"""What `why` and `retry` tell of: failed attempts, open breakers, and what became of a quarantined file."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_NUMBER = sa.BigInteger()
_AUTO = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Lead the ledger forward; there is no way back but a backup."""
    for column in (
        sa.Column("waited", sa.Text(), comment="why it waited before it was recorded"),
        sa.Column("disposed_look", _NUMBER, comment="the look that moved or deleted it"),
        sa.Column("former_path", sa.Text(), comment="a quarantined copy to be removed when the new one is written"),
        sa.Column("reread_at", _NUMBER, comment="when `retry` read a quarantined file again"),
        sa.Column("corrected_by", _NUMBER, comment="the file that a person put in its place"),
    ):
        op.add_column("files", column)
    if op.get_bind().dialect.supports_comments:
        verdicts = "of a recorded file: accepted, duplicate, partial, invalid or conflict"
        op.alter_column("files", "verdict", comment=verdicts, existing_type=sa.Text())
    op.execute("UPDATE files SET disposed_look = look WHERE disposed_at IS NOT NULL")
    op.create_index("repeats_event", "repeats", ["event_id"])
    running = sa.text("deliveries.state = 'running'")
    op.create_index("deliveries_running", "deliveries", ["handler"], sqlite_where=running, postgresql_where=running)
    _attempts()
    _breakers()


def _attempts() -> None:
    op.create_table(
        "attempts",
        sa.Column("id", _AUTO, autoincrement=True, nullable=False),
        sa.Column("delivery_id", _NUMBER, nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False, comment="failed, cut off, or put back"),
        sa.Column("ended_at", _NUMBER, nullable=False),
        sa.Column("detail", sa.Text(), comment="what the handler said; may quote its code"),
        sa.PrimaryKeyConstraint("id", name="attempts_key"),
        sa.ForeignKeyConstraint(["delivery_id"], ["deliveries.id"], ondelete="CASCADE"),
        comment="Attempts that did not end well, and what people did; the last one that did is in the delivery itself.",
    )
    op.create_index("attempts_delivery", "attempts", ["delivery_id"])


def _breakers() -> None:
    op.create_table(
        "breakers",
        sa.Column("handler", sa.Text(), nullable=False),
        sa.Column("opened_at", _NUMBER, nullable=False),
        sa.Column("probe_at", _NUMBER, nullable=False, comment="when it is tried with one delivery again"),
        sa.PrimaryKeyConstraint("handler", name="breakers_key"),
        comment="Handlers that failed so often that they are only probed for now.",
    )
