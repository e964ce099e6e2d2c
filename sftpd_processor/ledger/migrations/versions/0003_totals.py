"""How many there ever were, beside what is there; and indexes to count what is in quarantine, dead or retried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_TYPES = (
    "'inboundMessage', 'messageSend', 'messageStatusUpdate', 'payment', 'setStatus', 'conversationClosed',"
    " 'moveToQueue', 'conversationAssignment'"
)
_FILES = (
    "SELECT 'file', source, verdict, count(*), max(recorded_at) FROM files WHERE state = 'recorded' GROUP BY 1, 2, 3"
)
_EVENTS = f"""
    SELECT 'event', CASE WHEN type IN ({_TYPES}) THEN type ELSE 'other' END, origin, count(*), max(events.recorded_at)
    FROM events JOIN files ON files.id = events.file_id GROUP BY 1, 2, 3"""  # noqa: S608
_SETTLED = """
    SELECT 'delivery', handler, state, count(*), max(settled_at) FROM deliveries
    WHERE state IN ('done', 'skipped', 'dead') GROUP BY 1, 2, 3"""
# An attempt that failed led to another one, or to a dead letter, which may have been put back since.
_PUT_BACK = """
    SELECT 'delivery', handler, 'dead', count(*), max(ended_at) FROM attempts
    JOIN deliveries ON deliveries.id = delivery_id WHERE outcome = 'put back' GROUP BY 1, 2, 3
    ON CONFLICT (kind, one, two) DO UPDATE SET number = totals.number + excluded.number"""
_RETRIED = """
    SELECT 'delivery', handler, 'retried', count(*) - coalesce(max(number), 0), max(ended_at) FROM attempts
    JOIN deliveries ON deliveries.id = delivery_id
    LEFT JOIN totals ON kind = 'delivery' AND one = handler AND two = 'dead'
    WHERE outcome = 'failed' GROUP BY 1, 2, 3 HAVING count(*) > coalesce(max(number), 0)"""


def upgrade() -> None:
    """Lead the ledger forward; there is no way back but a backup."""
    _totals()
    for counted in (_FILES, _EVENTS, _SETTLED, _PUT_BACK, _RETRIED):
        op.execute(f"INSERT INTO totals (kind, one, two, number, last_at) {counted}")
    _index(
        "files_quarantined", "files", "source", "verdict IN ('partial', 'invalid', 'conflict') AND corrected_by IS NULL"
    )
    retrying = "deliveries.attempts > 0 AND deliveries.state NOT IN ('running', 'done', 'skipped', 'dead')"
    _index("deliveries_retrying", "deliveries", "handler", retrying)
    _index("deliveries_dead", "deliveries", "handler", "deliveries.state = 'dead'")


def _totals() -> None:
    kinds = "file, event or delivery; probe: a write to see that it can be done"
    op.create_table(
        "totals",
        sa.Column("kind", sa.Text(), nullable=False, comment=kinds),
        sa.Column("one", sa.Text(), nullable=False, comment="source; type, `other` for those without a class; handler"),
        sa.Column("two", sa.Text(), nullable=False, comment="verdict; origin; done, skipped, dead or retried"),
        sa.Column("number", sa.BigInteger(), nullable=False),
        sa.Column("last_at", sa.BigInteger(), nullable=False, comment="when the last of them was counted"),
        sa.PrimaryKeyConstraint("kind", "one", "two", name="totals_key"),
        comment="How many there ever were, counted by the transactions that made them so; what a person undoes stays.",
    )


def _index(name: str, table: str, column: str, which: str) -> None:
    op.create_index(name, table, [column], sqlite_where=sa.text(which), postgresql_where=sa.text(which))
