"""Types of event that are missed: none came for a set time, or for longer than is usual at this time of the week."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import LEARN, AlertSettings
from sftpd_processor.ledger.records import moment
from sftpd_processor.ledger.rhythm import Rhythm
from sftpd_processor.ledger.totals import Total, shown_type

_MINUTE = 60_000_000  # microseconds
_SLICE = 10 * _MINUTE
_HOUR = 60 * _MINUTE
_WEEK = 7 * 24 * _HOUR
_WEEKS = 2
_ENOUGH = 10
"""Events in the same hours of each of these weeks: were so many to be expected, chance would send none of them less
often than once in 20,000 times."""
_STRETCH = 20_000  # events counted at a time: some hundredths of a second


class Usual:
    """What is usual, learnt from the events of the last weeks; nights and weekends are as quiet as they were.

    It is unusual when in the same hours of each of the last two weeks at least ten events came, and now none, for at
    least an hour.
    """

    def __init__(self, rhythm: Rhythm, now: Callable[[], int]) -> None:
        self._rhythm = rhythm
        self._now = now
        self._at: int | None = None
        self._next = 0
        self._known = False
        self._counts: dict[str, Counter[int]] = {}

    def learn(self) -> None:
        """Count the next stretch of events, once an hour when all are counted. Raises `LedgerUnavailable`."""
        now = self._now()
        if now < self._next and self._next - now <= _HOUR:  # the other way round when the clock was set back
            return
        oldest = now - (_WEEKS + 1) * _WEEK
        if self._at is None:
            self._at = self._rhythm.before(oldest)
        stretch = self._rhythm.after(self._at, _STRETCH, _SLICE)
        self._at = stretch.last
        for kind, at, number in stretch.numbers:
            self._counts.setdefault(shown_type(kind), Counter())[at] += number
        if sum(number for _, _, number in stretch.numbers) < _STRETCH:
            self._known, self._next = True, now + _HOUR
            self._forget(oldest // _SLICE)

    def missed(self, kind: str, last: int) -> bool:
        """Whether it is unusual that none came since `last`."""
        now = self._now()
        if not self._known or now - last < _HOUR:
            return False
        last = max(last, now - _WEEK)
        return all(
            self._between(kind, last - by, now - by) >= _ENOUGH for by in range(_WEEK, _WEEKS * _WEEK + 1, _WEEK)
        )

    def _between(self, kind: str, start: int, end: int) -> int:
        counts = self._counts.get(kind, Counter())
        return sum(counts[at] for at in range(-(-start // _SLICE), end // _SLICE))

    def _forget(self, oldest: int) -> None:
        for counts in self._counts.values():
            for at in [at for at in counts if at < oldest]:
                del counts[at]


class Silence:
    """Compares when the last event of each type came with what is set, or usual."""

    def __init__(self, usual: Usual, totals: Callable[[], Iterable[Total]], now: Callable[[], int]) -> None:
        """`totals` are the ledger's numbers of now."""
        self._usual = usual
        self._totals = totals
        self._now = now
        self.may_begin = True
        """Whether a silence may be told: else the sources are why, and they are told by their own cause."""

    def check(self, settings: AlertSettings, notes: Notes) -> Iterator[Cause]:
        """By type of event. A type that never came counts from when the watch began. Raises `LedgerUnavailable`."""
        began = notes.watched_since("silence") or self._now()
        if LEARN in settings.silence.values():
            self._usual.learn()
        for kind, minutes in settings.silence.items():
            came = max((it.last_at for it in self._totals() if it.kind == "event" and it.one == kind), default=None)
            last = began if came is None else came
            told = notes.told("silence", kind)
            if self._missed(kind, minutes, last) if told is None else last <= (told.since or 0):
                yield _cause(kind, last, came)

    def _missed(self, kind: str, minutes: float, last: int) -> bool:
        if not self.may_begin:
            return False
        if minutes == LEARN:
            return self._usual.missed(kind, last)
        return self._now() - last > minutes * _MINUTE


def _cause(kind: str, last: int, came: int | None) -> Cause:
    why = "none came since this is watched" if came is None else f"the last one was recorded at {_told(moment(came))}"
    return Cause(Key("silence", kind), last, why)


def _told(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
