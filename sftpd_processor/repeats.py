"""What of something that comes again and again is worth a line in the log.

A failure is told at once, told again when it lasts, at a growing distance and with its count, and its end is told
once. One that comes and goes is told in full three times, and then summed up like one that lasts.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Generic, TypeVar

T = TypeVar("T")

_FIRST_SUMMARY, _SUMMARY = 600.0, 3600.0  # seconds after the beginning, and from one to the next
_QUIET = 600.0  # seconds without a failure after which the next one is another story
_OUTAGES = 3  # told in full; more of them are one that comes and goes
_KINDS = 20  # told of one story: a text that is ever new must not fill the log
_TOGETHER = 600.0  # seconds between two lines about things of one kind
_NUMBERS = re.compile(r"\d+")


@dataclass(slots=True)
class _Story:
    """From the first failure until there was none for a while; made of one outage or of several."""

    began: float
    since: datetime
    summary_at: float
    failed_at: float = 0.0
    failures: int = 0
    outages: int = 0
    outage_began: float = 0.0
    outage_failures: int = 0
    told: set[str] = field(default_factory=set)


class Repeats:
    """Of one thing that may fail. Not for several threads at once.

    Both verbs return what is to be said now, to be put behind the name of the thing, or None.
    """

    def __init__(
        self,
        *,
        steady: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """It works again when there was no failure for `steady` seconds. `clock` counts seconds; `now` is shown."""
        self._steady = steady
        self._clock = clock
        self._now = now
        self._story: _Story | None = None
        self._failing = False

    @property
    def failures(self) -> int:
        """How many there were since the first that belongs to the last; 0 before any."""
        return self._story.failures if self._story else 0

    def failed(self, text: str, kind: str = "") -> str | None:
        """It has failed with `text`; the same `kind` and text are the same failure, whatever numbers are in it."""
        at = self._clock()
        story = self._going_on(at)
        fresh = self._counted(story, at)
        mask = kind + _NUMBERS.sub("#", text)
        if (fresh and story.outages <= _OUTAGES) or (mask not in story.told and len(story.told) < _KINDS):
            story.told.add(mask)
            return text
        since = f"since {self._since(story)}, {story.failures} failures"
        if fresh and story.outages == _OUTAGES + 1:
            return f"fails on and off {since}; from now on summed up: {text}"
        if at < story.summary_at:
            return None
        story.summary_at = at + _SUMMARY
        how = " on and off" if story.outages > _OUTAGES else ""
        return f"still failing{how} {since}: {text}"

    def works(self) -> str | None:
        """It has not failed."""
        story = self._story
        if story is None:
            return None
        at = self._clock()
        on_and_off = story.outages > _OUTAGES
        was_failing, self._failing = self._failing, self._failing and at - story.failed_at < self._steady
        if on_and_off and at - story.failed_at >= _QUIET:
            self._story = None
            return _over(at - story.began, story.failures)
        if on_and_off or self._failing or not was_failing:
            return None
        return _over(at - story.outage_began, story.outage_failures)

    def _going_on(self, at: float) -> _Story:
        story = self._story
        if story is None or (not self._failing and at - story.failed_at >= _QUIET):
            story = self._story = _Story(at, self._now(), at + _FIRST_SUMMARY)
        return story

    def _counted(self, story: _Story, at: float) -> bool:
        """Add one failure; whether an outage begins with it."""
        fresh, self._failing = not self._failing, True
        if fresh:
            story.outages += 1
            story.outage_began, story.outage_failures = at, 0
        story.failures += 1
        story.outage_failures += 1
        story.failed_at = at
        return fresh

    def _since(self, story: _Story) -> str:
        today = story.since.date() == self._now().date()
        return f"{story.since:{'%H:%M' if today else '%Y-%m-%d %H:%M'}} UTC"


class Gathered(Generic[T]):
    """Things that may come by the thousand: told at once, then all that have come since, every ten minutes at most."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` counts seconds."""
        self._clock = clock
        self._told_at: float | None = None
        self._count = 0
        self._last: T | None = None

    def add(self, thing: T) -> None:
        """One more."""
        self._count += 1
        self._last = thing

    def due(self, *, at_once: bool = False) -> tuple[int, T] | None:
        """How many are to be told now, and the last of them."""
        at = self._clock()
        if self._last is None or (not at_once and self._told_at is not None and at - self._told_at < _TOGETHER):
            return None
        told = self._count, self._last
        self._told_at, self._count, self._last = at, 0, None
        return told


def _over(seconds: float, failures: int) -> str:
    return f"works again after {_lasted(seconds)}, {failures} {'failure' if failures == 1 else 'failures'}"


def _lasted(seconds: float) -> str:
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"
