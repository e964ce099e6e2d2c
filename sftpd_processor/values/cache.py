"""Answers that are used again for a few seconds."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from time import monotonic

from sftpd_processor.values.api import Query

MOST_ANSWERS = 10_000


class Cache:
    """The latest answers of one provider, by query and word; None is an answer too. The least used go first."""

    def __init__(self, seconds: float, most: int = MOST_ANSWERS, now: Callable[[], float] = monotonic) -> None:
        self._seconds = seconds
        self._most = most
        self._now = now
        self._answers: OrderedDict[tuple[Query, str], tuple[float, str | None]] = OrderedDict()

    def get(self, query: Query, words: Sequence[str]) -> dict[str, str | None]:
        """What is known and not too old, by word."""
        known: dict[str, str | None] = {}
        now = self._now()
        for word in words:
            held = self._answers.get((query, word))
            if held is not None and now < held[0]:
                self._answers.move_to_end((query, word))
                known[word] = held[1]
        return known

    def put(self, query: Query, texts: Mapping[str, str | None]) -> None:
        """Keep what a provider has just answered."""
        until = self._now() + self._seconds
        for word, text in texts.items():
            self._answers[query, word] = until, text
            self._answers.move_to_end((query, word))
        while len(self._answers) > self._most:
            self._answers.popitem(last=False)
