"""Providers under test: their settings, a provider that does as it is told, and asking from a plain test."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sftpd_processor.config.values import ValuesSettings
from sftpd_processor.measures import Measures
from sftpd_processor.values.api import Query
from sftpd_processor.values.asking import Answer, Asker
from sftpd_processor.values.registry import Entry, ProviderContext, Providers, build_providers

ANN = Query("C-1", "447700900001")
UNKNOWN = Query("C-999", "447700900999")
STRANGER = Query(None, "447700900001")
"""A conversation that the customer began."""

Reply = Mapping[str, object] | Awaitable[Mapping[str, object]]


class Scripted:
    """A provider that answers by a function, and notes what it was asked."""

    def __init__(self, name: str, reply: Callable[[Sequence[str]], Reply], words: Sequence[str] | None = None) -> None:
        self.name = name
        self.words = None if words is None else frozenset(words)
        self.asked: list[tuple[str, ...]] = []
        self._reply = reply

    def open(self) -> None: ...

    def ask(self, query: Query, words: Sequence[str]) -> Reply:
        self.asked.append(tuple(words))
        return self._reply(words)

    def close(self) -> None: ...


def entry(provider: Scripted, **more: Any) -> Entry:
    """The provider as if it were configured: it answers its words by themselves."""
    names = None if provider.words is None else {word: word for word in sorted(provider.words)}
    return Entry(provider, more.pop("names", names), **more)


def settings(use: str, name: str = "accounts", **more: Any) -> ValuesSettings:
    return ValuesSettings.model_validate({"name": name, "use": use, **more})


def build(folder: Path, *each: ValuesSettings, deadline: float = 3.0) -> Providers:
    return build_providers(each, ProviderContext(folder, deadline))


@contextmanager
def opened(folder: Path, *each: ValuesSettings, deadline: float = 3.0) -> Iterator[Providers]:
    """The providers that these settings make, open."""
    providers = build(folder, *each, deadline=deadline)
    try:
        providers.open()
        yield providers
    finally:
        providers.close()


def ask(
    providers: Providers | Sequence[Entry],
    names: Sequence[str],
    query: Query = ANN,
    *,
    deadline: float = 3.0,
    measures: Measures | None = None,
) -> Answer:
    """One question, in an event loop of its own."""
    of = providers if isinstance(providers, Providers) else Providers(providers)
    return asyncio.run(Asker(of, deadline, measures or Measures()).ask(query, names))


def noted(measures: Measures) -> dict[tuple[str, ...], int]:
    """How often each thing was noted, by its name and labels."""
    return {
        (it["name"], *it["labels"]): it["count"] if "count" in it else sum(it["counts"]) for it in measures.snapshot()
    }
