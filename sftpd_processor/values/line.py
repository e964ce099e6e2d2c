"""The line to one provider: its cache, its own time limit, what it did as measured, and its failures as logged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import NamedTuple

from sftpd_processor.extensions.loop import being_cancelled
from sftpd_processor.measures import Measures
from sftpd_processor.repeats import Repeats
from sftpd_processor.values.api import ProviderFailed, Query
from sftpd_processor.values.cache import Cache
from sftpd_processor.values.registry import Entry
from sftpd_processor.values.words import as_text

logger = logging.getLogger(__name__)

_QUIET_SECONDS = 10.0


class Reply(NamedTuple):
    """What one call gave: texts by the provider's words, None where it has none; and the words it did not manage."""

    texts: Mapping[str, str | None]
    lost: Sequence[str] = ()
    late: bool = False


class Line:
    """Asks one provider. Never raises what the provider raises."""

    def __init__(self, entry: Entry, measures: Measures) -> None:
        self._entry = entry
        self._provider = entry.provider
        self._measures = measures
        self._cache = Cache(entry.cache_seconds) if entry.cache_seconds else None
        self._health = Health(entry.name)

    def word_for(self, name: str) -> str | None:
        """The provider's word for a name, if it may have a value for it."""
        return self._entry.word_for(name)

    def ask(self, query: Query, words: Sequence[str]) -> Reply | Awaitable[Reply]:
        """The reply, or where the provider takes its time an awaitable of it."""
        if self._cache is None:
            return self._call(query, words)
        known = self._cache.get(query, words)
        unknown = [word for word in words if word not in known]
        if not unknown:
            return Reply(known)
        reply = self._call(query, unknown)
        return _with(known, reply) if isinstance(reply, Reply) else _with_later(known, reply)

    def _call(self, query: Query, words: Sequence[str]) -> Reply | Awaitable[Reply]:
        started = monotonic()
        try:
            given = self._provider.ask(query, words)
            if type(given) is dict or isinstance(given, Mapping):
                return self._read(query, words, given, started)
        except Exception as error:  # noqa: BLE001 (whatever it is, the provider failed)
            return self._failed(words, error, started)
        return self._awaited(query, words, given, started)

    async def _awaited(
        self, query: Query, words: Sequence[str], given: Awaitable[Mapping[str, object]], started: float
    ) -> Reply:
        try:
            async with asyncio.timeout(self._entry.timeout_seconds) as limit:
                given_now = await given
            return self._read(query, words, given_now, started)
        except asyncio.CancelledError as error:
            if being_cancelled():
                self._late(words, started)
                raise
            return self._failed(words, error, started)
        except Exception as error:  # noqa: BLE001 (whatever it is, the provider failed)
            if isinstance(error, TimeoutError) and limit.expired():
                return self._late(words, started)
            return self._failed(words, error, started)

    def _read(self, query: Query, words: Sequence[str], given: Mapping[str, object], started: float) -> Reply:
        texts: dict[str, str | None] = {}
        lost: list[str] = []
        found = False
        for word in words:
            try:
                text = texts[word] = as_text(given.get(word))
            except ProviderFailed as error:
                lost.append(word)
                self._health.failed(str(error))
            else:
                found = found or text is not None
        if not lost:
            self._health.works()
        if self._cache is not None:
            self._cache.put(query, texts)
        self._observe("failed" if lost else "found" if found else "missing", started)
        return Reply(texts, lost)

    def _failed(self, words: Sequence[str], error: BaseException, started: float) -> Reply:
        self._observe("failed", started)
        self._health.failed(str(error) if isinstance(error, ProviderFailed) else type(error).__name__)
        return Reply({}, words)

    def _late(self, words: Sequence[str], started: float) -> Reply:
        self._observe("late", started)
        self._health.failed("did not answer in time")
        return Reply({}, words, late=True)

    def _observe(self, outcome: str, started: float) -> None:
        self._measures.observe("values_seconds", self._entry.name, outcome, seconds=monotonic() - started)


def _with(known: Mapping[str, str | None], reply: Reply) -> Reply:
    return reply._replace(texts={**known, **reply.texts})


async def _with_later(known: Mapping[str, str | None], reply: Awaitable[Reply]) -> Reply:
    return _with(known, await reply)


class Health:
    """Tells failures of a provider as far as they are news, and that it works again after ten seconds without any."""

    def __init__(self, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._name = name
        self._repeats = Repeats(steady=_QUIET_SECONDS, clock=clock)

    def failed(self, why: str) -> None:
        """It has not answered, or badly."""
        if said := self._repeats.failed(why):
            self._say(logging.WARNING, said)

    def works(self) -> None:
        """It has answered."""
        if said := self._repeats.works():
            self._say(logging.INFO, said)

    def _say(self, level: int, said: str) -> None:
        fields = {"provider": self._name, "failures": self._repeats.failures}
        logger.log(level, "values %s: %s", self._name, said, extra=fields)
