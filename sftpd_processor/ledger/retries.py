"""What a person may have tried again: dead letters, and files in quarantine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select, update

from sftpd_processor.ledger.bulk import insert_rows, portions
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.records import Clock
from sftpd_processor.ledger.schema import IN_QUARANTINE, attempts, contents, deliveries, events, files
from sftpd_processor.ledger.selection import Selection, between, holds, named
from sftpd_processor.ledger.upkeep import is_kept

Row = dict[str, Any]


class Retries:
    """Verbs about what has failed for good."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def dead(self, selection: Selection) -> list[Row]:
        """The dead letters that fit, oldest first; each with what its handler said last, as `detail`.

        Without those whose contents are not kept any more: they cannot be handled again.
        """
        statement = (
            select(
                deliveries.c.id, deliveries.c.handler, deliveries.c.attempts, deliveries.c.settled_at,
                deliveries.c.detail, events.c.type, events.c.id.label("event"), files.c.source,
                files.c.name.label("file"),
            )
            .join(events, events.c.id == deliveries.c.event_id)
            .join(files, files.c.id == events.c.file_id)
            .where(deliveries.c.state == "dead", events.c.gone.is_(None), *_of_delivery(selection))
            .order_by(deliveries.c.id)
        )  # fmt: skip
        return self._database.rows(statement)

    def put_back(self, ids: Sequence[int]) -> int:
        """Make dead letters pending again, with all their attempts before them; returns how many still were dead."""
        total = 0
        for part in portions(ids):
            total += self._put_back(part)
        return total

    def quarantined(self, selection: Selection) -> list[Row]:
        """The files in quarantine that fit, oldest first; without those that a person has corrected."""
        columns = (
            files.c.id, files.c.source, files.c.name, files.c.verdict, files.c.reason, files.c.recorded_at,
            files.c.archived_at, files.c.size, files.c.mtime, files.c.archive_path, files.c.sha256,
        )  # fmt: skip
        statement = select(*columns).where(IN_QUARANTINE, is_kept(), *_of_file(selection)).order_by(files.c.id)
        return self._database.rows(statement)

    def raw(self, file: int) -> bytes:
        """The exact bytes of a recorded file whose copy is still to be written."""
        with self._database.read() as connection:
            raw: bytes = connection.execute(select(contents.c.raw).where(contents.c.file_id == file)).scalar_one()
        return raw

    def held(self, file: int) -> bytes | None:
        """The exact bytes of a recorded file; None when only its copy has them any more."""
        with self._database.read() as connection:
            raw: bytes | None = connection.scalar(select(contents.c.raw).where(contents.c.file_id == file))
        return raw

    def _put_back(self, ids: Sequence[int]) -> int:
        at = self._clock()
        dead = (
            select(deliveries.c.id, deliveries.c.attempts)
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.id.in_(ids), deliveries.c.state == "dead", events.c.gone.is_(None))
        )
        with self._database.write() as connection:
            # Locked, so that of two people who do this at once only one does it.
            found = connection.execute(dead.order_by(deliveries.c.id).with_for_update()).all()
            notes = [(number, tried, "put back", at) for number, tried in found]
            insert_rows(connection, attempts, ("delivery_id", "attempt", "outcome", "ended_at"), notes)
            again = update(deliveries).where(deliveries.c.id.in_([number for number, _ in found]))
            connection.execute(again.values(state="pending", attempts=0, due_at=0, settled_at=None))
        return len(found)


def _of_delivery(selection: Selection) -> list[ColumnElement[bool]]:
    return [
        *([deliveries.c.handler.in_(selection.handlers)] if selection.handlers else []),
        *([events.c.type.in_(selection.types)] if selection.types else []),
        *([] if selection.error is None else [holds(deliveries.c.detail, selection.error)]),
        *between(deliveries.c.settled_at, selection.since, selection.until),
        *_place(selection),
    ]


def _of_file(selection: Selection) -> list[ColumnElement[bool]]:
    return [
        *([] if selection.error is None else [holds(files.c.reason, selection.error)]),
        *between(files.c.recorded_at, selection.since, selection.until),
        *_place(selection),
    ]


def _place(selection: Selection) -> list[ColumnElement[bool]]:
    return [
        *([files.c.source.in_(selection.sources)] if selection.sources else []),
        *([] if selection.file is None else [named(files.c.name, selection.file)]),
    ]
