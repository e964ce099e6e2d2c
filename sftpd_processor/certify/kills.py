"""Where the command is killed: at every named point in turn, then at points and instants that chance chooses."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

_OFTEN = frozenset({"copy-begun", "handing-over", "handled"})
"""Points that are reached once for each file or delivery, and not once for a batch."""
_DISPOSAL = frozenset({"disposing", "disposed", "disposal-noted"})
_AT_THE_START = "recovered"


_EARLIEST = -0.3  # seconds before it works, as far as is known when that is


@dataclass(frozen=True, slots=True)
class Kill:
    """One death: when it comes to `point` for the `occurrence`-th time, else `seconds` after it began to work."""

    verb: str
    point: str | None
    occurrence: int = 1
    seconds: float = 0.0
    tries: int = 1

    def easier(self) -> Kill:
        """The same once more, where it is sure to come when there is work."""
        if self.point is None:
            return replace(self, verb="run", tries=self.tries + 1)
        return replace(self, verb="once", occurrence=1, tries=self.tries + 1)

    def __str__(self) -> str:
        return f"{self.verb}, {self.point}:{self.occurrence}" if self.point else f"{self.verb}, {self.seconds:.2f} s"


def reachable(points: Iterable[str], after: str) -> list[str]:
    """The points that a source with this `after` comes to: one that keeps its files disposes of none."""
    return [point for point in points if after != "keep" or point not in _DISPOSAL]


def plan(points: Sequence[str], count: int, chance: random.Random, span: float) -> Iterator[Kill]:
    """`count` kills: first each point once, as far as they go; instants lie up to `span` seconds in the work."""
    for point in points[:count]:
        yield Kill("once", point, _occurrence(point, chance))
    for _ in range(count - len(points)):
        if chance.random() < 0.5:
            point = chance.choice(points)
            yield Kill(chance.choice(("once", "once", "run")), point, _occurrence(point, chance))
        else:
            yield Kill(chance.choice(("once", "run", "run")), None, seconds=chance.uniform(_EARLIEST, span))


def _occurrence(point: str, chance: random.Random) -> int:
    if point == _AT_THE_START:
        return 1
    return chance.randint(1, 30) if point in _OFTEN else chance.choice((1, 1, 1, 2, 3))
