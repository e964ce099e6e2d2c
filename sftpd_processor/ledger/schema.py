"""The tables of the ledger. Times are microseconds since 1970 (UTC), except `mtime`: nanoseconds, as listed.

A change here needs a migration beside it and a new `REVISION`; a test compares the two.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    TextClause,
    UniqueConstraint,
    text,
)

REVISION = "0005"
"""The migration that leads to the tables below."""

metadata = MetaData(
    naming_convention={
        "ix": "%(table_name)s_%(column_0_name)s",
        "uq": "%(table_name)s_once",
        "pk": "%(table_name)s_key",
    }
)

_partials: list[tuple[Index, TextClause]] = []


def _partial(name: str, *columns: Column[Any], where: TextClause) -> None:
    """An index of some rows only."""
    _partials.append((Index(name, *columns, sqlite_where=where), where))


def create(connection: Connection) -> None:
    """Make all tables.

    PostgreSQL is told of partial indexes here: its keyword would load its dialect, a tenth of each start without it.
    """
    if connection.dialect.name == "postgresql":
        for index, where in _partials:
            index.dialect_kwargs["postgresql_where"] = where
    metadata.create_all(connection)


_AUTO = BigInteger().with_variant(Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER key

counters = Table(
    "counters",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
    comment="Numbers handed out inside the transaction that uses them, so that they follow the order of commits.",
)

looks = Table(
    "looks",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("source", Text, nullable=False),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, comment="null while it runs, or when it was cut off"),
    Column("listed", BigInteger, nullable=False, default=0),
    Column("recorded", BigInteger, nullable=False, default=0, comment="taken by this look"),
    Column("known", BigInteger, nullable=False, default=0, comment="recorded by an earlier look"),
    Column("waiting", BigInteger, nullable=False, default=0),
    Column("ignored", BigInteger, nullable=False, default=0),
    Column("vanished", BigInteger, nullable=False, default=0),
    Column("disposed", BigInteger, nullable=False, default=0, comment="moved or deleted; these are known ones"),
    Column("failure", Text, comment="why it ended early"),
    Index("looks_source", "source", "id"),
)

files = Table(
    "files",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False),
    Column("source", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("mtime", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column(
        "occurrence",
        Integer,
        nullable=False,
        comment="0, or how often the same file came back after disposal",
    ),
    Column("state", Text, nullable=False, comment="recorded, waiting, ignored or vanished"),
    Column("verdict", Text, comment="of a recorded file: accepted, duplicate, partial, invalid or conflict"),
    Column("reason", Text, comment="why it waits, is ignored, vanished; for a quarantined file JSON"),
    Column("origin", Text, nullable=False, comment="sftp, directory, http or replay"),
    Column("look", BigInteger, nullable=False, comment="the last look that met it before it was recorded"),
    Column("first_seen", BigInteger, nullable=False),
    Column("recorded_at", BigInteger),
    Column("sha256", Text),
    Column("events", Integer, nullable=False, comment="events in it"),
    Column("repeats", Integer, nullable=False, comment="of these, recorded before"),
    Column("archive_path", Text, comment="relative to the state folder"),
    Column("archived_at", BigInteger),
    Column("disposal", Text, comment="what was done at the source"),
    Column("disposed_at", BigInteger),
    Column("waited", Text, comment="why it waited before it was recorded"),
    Column("disposed_look", BigInteger, comment="the look that moved or deleted it"),
    Column("former_path", Text, comment="a quarantined copy to be removed when the new one is written"),
    Column("reread_at", BigInteger, comment="when `retry` read a quarantined file again"),
    Column("corrected_by", BigInteger, comment="the file that a person put in its place"),
    Column("gone", Text, comment="expired or forgotten: its copy is removed; altered: without what was forgotten"),
    UniqueConstraint("source", "name", "mtime", "size", "occurrence"),
    Index("files_recorded", "recorded_at"),
)
UNARCHIVED = text("state = 'recorded' AND archived_at IS NULL")
_partial("files_unarchived", files.c.id, where=UNARCHIVED)
UNTAKEN = text("state = 'waiting'")
_partial("files_waiting", files.c.source, files.c.look, where=UNTAKEN)
IN_QUARANTINE = text("verdict IN ('partial', 'invalid', 'conflict') AND corrected_by IS NULL")
_partial("files_quarantined", files.c.source, where=IN_QUARANTINE)

contents = Table(
    "contents",
    metadata,
    Column(
        "file_id",
        BigInteger,
        ForeignKey(files.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("raw", LargeBinary, nullable=False),
    comment="The exact bytes of each recorded file, until its copy in the archive is known to be on disk.",
)

events = Table(
    "events",
    metadata,
    Column("id", BigInteger, primary_key=True, autoincrement=False, comment="in the order recorded"),
    Column("organisation", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("type", Text, nullable=False),
    Column("conversation", Text),
    Column("file_id", BigInteger, ForeignKey(files.c.id), nullable=False),
    Column("position", Integer, nullable=False, comment="in its file, from 0"),
    Column("time_zone", Text, nullable=False, comment="of its dateCreated"),
    Column("created_at", BigInteger, comment="its dateCreated"),
    Column("recorded_at", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False, comment="its JSON; empty when it is gone"),
    Column("gone", Text, comment="why its body is not kept any more: expired or forgotten"),
    UniqueConstraint("organisation", "identity"),
    Index("events_file", "file_id"),
)

repeats = Table(
    "repeats",
    metadata,
    Column(
        "file_id",
        BigInteger,
        ForeignKey(files.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("position", Integer, primary_key=True, autoincrement=False),
    Column("event_id", BigInteger, ForeignKey(events.c.id), nullable=False, comment="the event recorded before"),
    Column("conflict", Boolean(create_constraint=False), nullable=False, comment="same identity, other content"),
    Index("repeats_event", "event_id"),
    comment="Events that came again.",
)

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("event_id", BigInteger, ForeignKey(events.c.id), nullable=False),
    Column("handler", Text, nullable=False),
    Column("lane", Text, comment="events of one lane go one after another; null: no order"),
    Column("state", Text, nullable=False, comment="pending, running, done, skipped or dead"),
    Column("attempts", Integer, nullable=False),
    Column("due_at", BigInteger, nullable=False),
    Column("settled_at", BigInteger),
    Column("detail", Text, comment="what the handler said last; may quote its code"),
    Column("replay", BigInteger, comment="the replay that made its last attempt, or makes it now"),
    UniqueConstraint("event_id", "handler"),
)
PENDING = text("deliveries.state = 'pending'")
RUNNING = text("deliveries.state = 'running'")
# Pending ones; put so that SQLite does not walk through the index of all of them instead.
RETRYING = text("deliveries.attempts > 0 AND deliveries.state NOT IN ('running', 'done', 'skipped', 'dead')")
OPEN = text("deliveries.state IN ('pending', 'running')")
DEAD = text("deliveries.state = 'dead'")
_partial("deliveries_running", deliveries.c.handler, where=RUNNING)
_partial("deliveries_pending", deliveries.c.handler, deliveries.c.id, where=PENDING)
_partial("deliveries_retrying", deliveries.c.handler, where=RETRYING)
_partial("deliveries_dead", deliveries.c.handler, where=DEAD)
_partial("deliveries_open", deliveries.c.handler, deliveries.c.lane, deliveries.c.id, where=OPEN)

attempts = Table(
    "attempts",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("delivery_id", BigInteger, ForeignKey(deliveries.c.id, ondelete="CASCADE"), nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("outcome", Text, nullable=False, comment="failed, cut off, or put back"),
    Column("ended_at", BigInteger, nullable=False),
    Column("detail", Text, comment="what the handler said; may quote its code"),
    Index("attempts_delivery", "delivery_id"),
    comment="Attempts that did not end well, and what people did; the last one that did is in the delivery itself.",
)

breakers = Table(
    "breakers",
    metadata,
    Column("handler", Text, primary_key=True),
    Column("opened_at", BigInteger, nullable=False),
    Column("probe_at", BigInteger, nullable=False, comment="when it is tried with one delivery again"),
    comment="Handlers that failed so often that they are only probed for now.",
)

totals = Table(
    "totals",
    metadata,
    Column(
        "kind", Text, primary_key=True, comment="file, event or delivery; probe: a write to see that it can be done"
    ),
    Column("one", Text, primary_key=True, comment="source; type, `other` for those without a class; handler"),
    Column("two", Text, primary_key=True, comment="verdict; origin; done, skipped, dead or retried"),
    Column("number", BigInteger, nullable=False),
    Column("last_at", BigInteger, nullable=False, comment="when the last of them was counted"),
    comment="How many there ever were, counted by the transactions that made them so; what a person undoes stays.",
)

alerts = Table(
    "alerts",
    metadata,
    Column("machine", Text, primary_key=True, comment="whose; empty where no other can use the ledger"),
    Column("alert", Text, primary_key=True, comment="its name in the configuration"),
    Column("cause", Text, primary_key=True, comment="its kind, as in the configuration"),
    Column("subject", Text, primary_key=True, comment="source, handler, type; empty: since when it watches"),
    Column("since", BigInteger, comment="of a cause that was told and is not over; null: it is over"),
    Column("noted_at", BigInteger, nullable=False),
    Column("level", BigInteger, nullable=False, comment="of what grows: how many are no news"),
    comment="What each alert has told, and is not over.",
)

replays = Table(
    "replays",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("started_at", BigInteger, nullable=False),
    Column("finished_at", BigInteger, comment="null while it runs, or when it was cut off"),
    Column("job", Text, nullable=False, comment="what a person asked for, as JSON"),
    Column("report", Text, comment="what came of it until now, as JSON"),
    comment="Each time that archived events were handled again.",
)

replayed = Table(
    "replayed",
    metadata,
    Column(
        "replay",
        BigInteger,
        ForeignKey(replays.c.id, ondelete="CASCADE"),
        primary_key=True,
        autoincrement=False,
    ),
    Column("handler", Text, primary_key=True),
    Column("event_id", BigInteger, ForeignKey(events.c.id), primary_key=True, autoincrement=False),
    Column("state", Text, nullable=False, comment="done, skipped, failed or dead"),
    Column("attempts", Integer, nullable=False),
    Column("settled_at", BigInteger, nullable=False),
    Column("detail", Text, comment="what the handler said last; may quote its code"),
    Index("replayed_event", "event_id"),
    comment="What was handled once more although it was done: the delivery itself stays as it is.",
)

forgettings = Table(
    "forgettings",
    metadata,
    Column("id", _AUTO, primary_key=True, autoincrement=True),
    Column("done_at", BigInteger, nullable=False),
    Column("events", BigInteger, nullable=False, comment="whose bodies were removed"),
    Column("files", BigInteger, nullable=False, comment="that were removed, or written anew without these events"),
    comment="That a person's data was forgotten; not whose.",
)
