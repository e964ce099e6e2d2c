"""The numbers that `status` shows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from sqlalchemy import Column, ColumnElement, Connection, Select, TextClause, and_, func, select

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import (
    DEAD,
    IN_QUARANTINE,
    PENDING,
    RETRYING,
    RUNNING,
    UNARCHIVED,
    UNTAKEN,
    breakers,
    deliveries,
    events,
    files,
    looks,
)
from sftpd_processor.ledger.upkeep import is_kept

_Which: TypeAlias = TextClause | ColumnElement[bool]


@dataclass(slots=True)
class SourceFigures:
    """Of one source: its files ever listed by state and verdict, and its last look."""

    states: dict[str, int] = field(default_factory=dict)
    verdicts: dict[str, int] = field(default_factory=dict)
    corrected: int = 0
    """Files that a person put in the place of one; nobody listed them, so they are in neither of the counts above."""
    unarchived: int = 0
    last_look: dict[str, Any] | None = None
    last_good_look: int | None = None


@dataclass(slots=True)
class Gauges:
    """What is open or wrong now; each number is counted in an index that holds nothing else."""

    open: dict[str, dict[str, int]] = field(default_factory=dict)
    """By handler: deliveries `pending` (not tried yet), `retrying` and `running`."""
    dead: dict[str, int] = field(default_factory=dict)
    """By handler: dead letters."""
    quarantined: dict[str, int] = field(default_factory=dict)
    """By source: files in quarantine that no person has corrected, and whose copies are kept."""
    waiting: dict[str, int] = field(default_factory=dict)
    """By source."""
    unarchived: int = 0
    last_good_looks: dict[str, int] = field(default_factory=dict)
    """By source: when its last good look ended (microseconds since 1970)."""


class Figures:
    """Questions about everything in the ledger."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def sources(self) -> dict[str, SourceFigures]:
        """By name of source, also of those no longer configured."""
        found: dict[str, SourceFigures] = {}
        count = func.count()
        kinds = files.c.source, files.c.state, files.c.verdict, files.c.origin
        with self._database.read() as connection:
            rows = connection.execute(select(*kinds, count, func.count(files.c.archived_at)).group_by(*kinds))
            for source, state, verdict, origin, number, archived in rows:
                figures = found.setdefault(source, SourceFigures())
                if state == "recorded":
                    figures.unarchived += number - archived
                if origin == "replay":
                    figures.corrected += number
                    continue
                figures.states[state] = figures.states.get(state, 0) + number
                if state == "recorded":
                    figures.verdicts[verdict] = figures.verdicts.get(verdict, 0) + number
            good = select(looks.c.source, func.max(looks.c.finished_at)).where(looks.c.failure.is_(None))
            for source, finished_at in connection.execute(good.group_by(looks.c.source)):
                found.setdefault(source, SourceFigures()).last_good_look = finished_at
        for source, look in self.last_looks().items():
            found.setdefault(source, SourceFigures()).last_look = look
        return found

    def last_looks(self) -> dict[str, dict[str, Any]]:
        """By source: its last finished look."""
        last = select(func.max(looks.c.id)).where(looks.c.finished_at.is_not(None)).group_by(looks.c.source)
        return {row["source"]: row for row in self._database.rows(select(looks).where(looks.c.id.in_(last)))}

    def deliveries(self) -> dict[str, dict[str, int]]:
        """By handler: deliveries by state; those pending after a failed attempt count as `retrying`."""
        retrying = deliveries.c.attempts > 0
        statement = select(deliveries.c.handler, deliveries.c.state, retrying, func.count()).group_by(
            deliveries.c.handler, deliveries.c.state, retrying
        )
        found: dict[str, dict[str, int]] = {}
        with self._database.read() as connection:
            for handler, state, again, number in connection.execute(statement):
                name = "retrying" if state == "pending" and again else state
                states = found.setdefault(handler, {})
                states[name] = states.get(name, 0) + number
        return found

    def gauges(self) -> Gauges:
        """What is open or wrong now, without a walk through tables that grow."""
        handler, source = deliveries.c.handler, files.c.source
        good = select(looks.c.source, func.max(looks.c.finished_at)).where(looks.c.failure.is_(None))
        with self._database.read() as connection:
            pending, retrying, running, dead = (
                _numbers(connection, handler, which) for which in (PENDING, RETRYING, RUNNING, DEAD)
            )
            return Gauges(
                {
                    name: {
                        "pending": max(0, pending[name] - retrying[name]),
                        "retrying": retrying[name],
                        "running": running[name],
                    }
                    for name in {*pending, *retrying, *running}
                },
                dead,
                _numbers(connection, source, and_(IN_QUARANTINE, is_kept())),
                _numbers(connection, source, UNTAKEN),
                int(connection.execute(select(func.count()).select_from(files).where(UNARCHIVED)).scalar_one()),
                {name: int(at) for name, at in connection.execute(good.group_by(looks.c.source)) if at is not None},
            )

    def breakers(self) -> dict[str, tuple[int, int]]:
        """By handler whose breaker is open: since when, and when it is tried next."""
        with self._database.read() as connection:
            return {row.handler: (row.opened_at, row.probe_at) for row in connection.execute(select(breakers))}

    def quarantined(self, limit: int) -> list[dict[str, Any]]:
        """The files last put into quarantine, newest first."""
        statement = (
            select(files.c.source, files.c.name, files.c.verdict, files.c.reason, files.c.archive_path)
            .where(IN_QUARANTINE, is_kept())
            .order_by(files.c.id.desc())
            .limit(limit)
        )
        return self._database.rows(statement)

    def dead(self, limit: int) -> list[dict[str, Any]]:
        """The last dead letters, newest first; without what the handler said, which may be personal."""
        columns = (
            deliveries.c.id, deliveries.c.handler, deliveries.c.attempts, deliveries.c.settled_at, events.c.type,
            files.c.source, files.c.name.label("file"),
        )  # fmt: skip
        statement = (
            select(*columns)
            .join(events, events.c.id == deliveries.c.event_id)
            .join(files, files.c.id == events.c.file_id)
            .where(deliveries.c.state == "dead")
            .order_by(deliveries.c.id.desc())
            .limit(limit)
        )
        return self._database.rows(statement)

    def waiting(self, limit: int) -> list[dict[str, Any]]:
        """Files that wait, and why; the oldest first."""
        return self._sighted("waiting", limit)

    def ignored(self, limit: int) -> list[dict[str, Any]]:
        """Files that are ignored, and why; the newest first."""
        return self._sighted("ignored", limit)

    def _sighted(self, state: str, limit: int) -> list[dict[str, Any]]:
        order = files.c.first_seen if state == "waiting" else files.c.id.desc()
        statement = (
            select(files.c.source, files.c.name, files.c.reason, files.c.first_seen)
            .where(files.c.state == state)
            .order_by(order)
            .limit(limit)
        )
        return self._database.rows(statement)


def _numbers(connection: Connection, name: Column[str], which: _Which) -> Counter[str]:
    return Counter({name: int(number) for name, number in connection.execute(_counting(name, which))})


def _counting(name: Column[str], which: _Which) -> Select[str, int]:
    return select(name, func.count()).where(which).group_by(name)
