"""Events that may be handled again: from the ledger by a selection, or as an archive's files bring them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydantic_core import from_json
from sqlalchemy import ColumnElement, Connection, Select, func, or_, select

from sftpd_processor.events.identity import keyed
from sftpd_processor.ledger.bulk import portions, select_in
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.names import matcher
from sftpd_processor.ledger.schema import DEAD, RETRYING, deliveries, events, files
from sftpd_processor.ledger.selection import Selection, between, named

PAGE = 2000
"""Events that one page, and so one transaction, has at most."""
_BODIES = "SELECT id, body FROM events WHERE id IN (*)"
_UNTRIED = frozenset({"missing", "done"})


class Candidate(NamedTuple):
    """One event, and how it came first."""

    event: int
    organisation: str
    identity: str
    type: str
    conversation: str | None
    time_zone: str
    recorded_at: int
    body: bytes | None
    """None: still in the ledger."""
    gone: str | None
    source: str
    file: str
    verdict: str
    fresh: bool = False
    """Recorded a moment ago, so that it has no delivery yet."""


class Candidates:
    """The events of a selection, oldest first, in pages."""

    def __init__(self, database: Database, selection: Selection, handlers: Sequence[str]) -> None:
        """`handlers`: whose deliveries `selection.states` is about."""
        self._database = database
        self._about = _about(selection)
        self._where = _conditions(selection, handlers)

    def of_file(self, number: int) -> list[Candidate]:
        """All events that a file brought."""
        with self._database.read() as connection:
            return _candidates(connection, _SELECT.where(events.c.file_id == number))

    def count(self) -> int:
        """How many there are."""
        if self._about is not None:
            return sum(map(len, self.pages()))
        statement = select(func.count()).select_from(events.join(files, files.c.id == events.c.file_id))
        with self._database.read() as connection:
            return int(connection.execute(statement.where(*self._where)).scalar_one())

    def pages(self) -> Iterator[list[Candidate]]:
        """All of them; none of the pages is empty."""
        last = 0
        while True:
            with self._database.read() as connection:
                page = _candidates(connection, _SELECT.where(events.c.id > last, *self._where).limit(PAGE))
                chosen = self._chosen(connection, page)
            if not page:
                return
            if chosen:
                yield chosen
            last = page[-1].event

    def _chosen(self, connection: Connection, page: list[Candidate]) -> list[Candidate]:
        if self._about is None:
            return page
        bodies = bodies_of(connection, [each.event for each in page])
        return [each for each in page if bodies[each.event] and self._about(bodies[each.event])]


_SELECT: Select[Any] = select(
    events.c.id, events.c.organisation, events.c.identity, events.c.type, events.c.conversation, events.c.time_zone,
    events.c.recorded_at, events.c.gone, files.c.source, files.c.name, files.c.verdict,
).join(files, files.c.id == events.c.file_id).order_by(events.c.id)  # fmt: skip


def _candidates(connection: Connection, statement: Select[Any]) -> list[Candidate]:
    return [Candidate._make((*row[:7], None, *row[7:], False)) for row in connection.execute(statement)]


def _conditions(selection: Selection, handlers: Sequence[str]) -> list[ColumnElement[bool]]:
    return [
        *([events.c.type.in_(selection.types)] if selection.types else []),
        *([events.c.conversation.in_(map(keyed, selection.conversations))] if selection.conversations else []),
        *([files.c.source.in_(selection.sources)] if selection.sources else []),
        *([files.c.verdict.in_(selection.verdicts)] if selection.verdicts else []),
        *([] if selection.file is None else [named(files.c.name, selection.file)]),
        *between(events.c.recorded_at, selection.since, selection.until),
        *_tried(selection, handlers),
    ]


def _tried(selection: Selection, handlers: Sequence[str]) -> list[ColumnElement[bool]]:
    """Where only what failed or died is wanted, small indexes have it; else each event has to be looked at."""
    if not selection.states or not _UNTRIED.isdisjoint(selection.states):
        return []
    which = {"dead": DEAD, "failed": RETRYING}
    wanted = [which[state] for state in selection.states]
    found = select(deliveries.c.event_id).where(deliveries.c.handler.in_(handlers), or_(*wanted))
    return [events.c.id.in_(found)]


def bodies_of(connection: Connection, numbers: Sequence[int]) -> dict[int, bytes]:
    """The JSON of these events; empty where it is gone."""
    found: dict[int, bytes] = {}
    for part in portions(numbers):
        found.update((row[0], bytes(row[1])) for row in select_in(connection, _BODIES, (), part))
    return found


def of_customers(customers: Iterable[str]) -> Callable[[bytes], bool]:
    """Whether the JSON of an event is about one of these customers, by its `customerUID`."""
    wanted = frozenset(customers)
    # A quick look first: parsing is ten times dearer. What is written with escapes cannot be told by it.
    signs = [json.dumps(each)[1:-1].encode() for each in wanted] + [b"\\", *(each.encode() for each in wanted)]

    def about(body: bytes) -> bool:
        if not any(sign in body for sign in signs):
            return False
        event = from_json(body)
        return isinstance(event, dict) and str(event.get("customerUID")) in wanted

    return about


def _about(selection: Selection) -> Callable[[bytes], bool] | None:
    return of_customers(selection.customers) if selection.customers else None


def fits(selection: Selection) -> Callable[[Candidate], bool]:
    """The same for events that files bring: whether one is selected; its body must be there."""
    is_named = None if selection.file is None else matcher(selection.file)
    about = _about(selection)
    conversations = frozenset(map(keyed, selection.conversations))

    def fit(one: Candidate) -> bool:
        return (
            (not selection.types or one.type in selection.types)
            and (not conversations or one.conversation in conversations)
            and (not selection.sources or one.source in selection.sources)
            and (not selection.verdicts or one.verdict in selection.verdicts)
            and (is_named is None or is_named(one.file))
            and (selection.since is None or one.recorded_at >= selection.since)
            and (selection.until is None or one.recorded_at < selection.until)
            and (about is None or about(one.body or b""))
        )

    return (lambda _: True) if selection == Selection(states=selection.states) else fit
