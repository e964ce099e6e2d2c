"""When events of each type came: counted in one walk along the events, which are kept in the order recorded.

There is no index by type or time, which every event would have to pay for. So the walk goes by number, a stretch at
a time, and never over the same event twice.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import func, select

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.schema import events


class Stretch(NamedTuple):
    """Some events in a row."""

    last: int
    """The number of the last of them; where the next stretch begins."""
    numbers: list[tuple[str, int, int]]
    """Of each type, and of each slice of time (counted from 1970), how many events there were."""


class Rhythm:
    """Questions about when events came."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def before(self, time: int) -> int:
        """The number of an event recorded before `time` (microseconds), with few of those between: by halving."""
        with self._database.read() as connection:
            low, high = 0, int(connection.execute(select(func.max(events.c.id))).scalar() or 0)
            while high - low > 1:
                middle = (low + high) // 2
                at = select(events.c.recorded_at).where(events.c.id >= middle).order_by(events.c.id).limit(1)
                if (found := connection.execute(at).scalar()) is None or found >= time:
                    high = middle
                else:
                    low = middle
        return low

    def after(self, number: int, limit: int, slice_length: int) -> Stretch:
        """The first `limit` events after that number, counted by slices of time of so many microseconds."""
        some = (
            select(events.c.id, events.c.type, events.c.recorded_at)
            .where(events.c.id > number)
            .order_by(events.c.id)
            .limit(limit)
            .subquery()
        )
        slot = some.c.recorded_at // slice_length
        statement = select(some.c.type, slot, func.count(), func.max(some.c.id)).group_by(some.c.type, slot)
        with self._database.read() as connection:
            found = connection.execute(statement).all()
        last = max((row[3] for row in found), default=number)
        return Stretch(int(last), [(kind, int(at), int(count)) for kind, at, count, _ in found])
