"""What people were told is wrong, so that a restart does not tell it again."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Lead the ledger forward; there is no way back but a backup."""
    op.create_table(
        "alerts",
        sa.Column("machine", sa.Text(), nullable=False, comment="whose; empty where no other can use the ledger"),
        sa.Column("alert", sa.Text(), nullable=False, comment="its name in the configuration"),
        sa.Column("cause", sa.Text(), nullable=False, comment="its kind, as in the configuration"),
        sa.Column("subject", sa.Text(), nullable=False, comment="source, handler, type; empty: since when it watches"),
        sa.Column("since", sa.BigInteger(), comment="of a cause that was told and is not over; null: it is over"),
        sa.Column("noted_at", sa.BigInteger(), nullable=False),
        sa.Column("level", sa.BigInteger(), nullable=False, comment="of what grows: how many are no news"),
        sa.PrimaryKeyConstraint("machine", "alert", "cause", "subject", name="alerts_key"),
        comment="What each alert has told, and is not over.",
    )
