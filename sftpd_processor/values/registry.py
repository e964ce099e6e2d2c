"""From the `[[values]]` of the configuration to providers that work, or to every mistake in them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType
from typing import Any

from sftpd_processor.config.values import ValuesSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.code import CodeFinder, Function, duplicates, place_of
from sftpd_processor.extensions.options import read_options
from sftpd_processor.extensions.text import nearest
from sftpd_processor.values.api import MARK, Provider, ProviderContext
from sftpd_processor.values.functions import FunctionProvider, mistakes, names_of
from sftpd_processor.values.words import find

BUILT_INS = ("static", "sql", "http")
GROUP = "sftpd_processor.values"

__all__ = ["BUILT_INS", "GROUP", "Entry", "ProviderContext", "Providers", "build_providers"]


@dataclass(frozen=True, slots=True, eq=False)
class Entry:
    """A provider with its settings.

    `names` leads from the names that it answers to the provider's words; None: it may answer any, by the same word.
    """

    provider: Provider
    names: Mapping[str, str] | None
    cache_seconds: float = 0
    timeout_seconds: float | None = None

    @property
    def name(self) -> str:
        """The `name` of its settings."""
        return self.provider.name

    def word_for(self, name: str) -> str | None:
        """The provider's word for a name, if it may have a value for it."""
        return name if self.names is None else find(self.names, name)


class Providers:
    """The configured providers, in the order of the configuration."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def open(self) -> None:
        """Open each; called before the first is asked, outside of the event loop."""
        for entry in self._entries:
            entry.provider.open()

    def close(self) -> None:
        """Close each, the last one first; also when `open` failed."""
        for entry in reversed(self._entries):
            entry.provider.close()

    def unanswered(self, names: Iterable[str]) -> list[str]:
        """Those of the names that no provider can answer."""
        return [name for name in names if all(entry.word_for(name) is None for entry in self._entries)]


def build_providers(settings: Sequence[ValuesSettings], context: ProviderContext) -> Providers:
    """Build every provider. Modules beside config.toml can be imported from now on.

    Raises ConfigurationError with all mistakes of all providers.
    """
    entries: list[Entry] = []
    problems: list[Problem] = []
    for index, each in enumerate(settings):
        try:
            entries += _Builder(each, f"values[{index}]", context).build()
        except ConfigurationError as error:
            problems += error.problems
    problems += duplicates([each.name for each in settings], "values")
    if problems:
        raise ConfigurationError(problems)
    return Providers(entries)


class _Builder:
    """Builds what one `[[values]]` stands for: one provider, or all functions of a module."""

    def __init__(self, settings: ValuesSettings, where: str, context: ProviderContext) -> None:
        limit = min(context.deadline_seconds, settings.timeout_seconds or context.deadline_seconds)
        self._settings = settings
        self._where = where
        self._context = ProviderContext(context.base_dir, limit)
        self._code = CodeFinder(context.base_dir, where, kind="provider", built_ins=BUILT_INS, group=GROUP)

    def build(self) -> list[Entry]:
        """Raises ConfigurationError with all mistakes found in this one."""
        use = self._settings.use
        providers = [self._built_in()] if use in BUILT_INS else self._functions()
        if problems := [*self._unknown_words(providers)]:
            raise ConfigurationError(problems)
        return [self._entry(provider) for provider in providers]

    def _built_in(self) -> Provider:
        module: Any = import_module(f"sftpd_processor.values.{self._settings.use}")
        where = f"{self._where}.options"
        options = read_options(module.Options, self._settings.options, self._context.base_dir, where)
        built: Provider = module.build(self._settings.name, options, self._context, where)
        return built

    def _functions(self) -> list[Provider]:
        found = self._code.find(self._settings.use)
        functions = self._code.marked(found, MARK, "values") if isinstance(found, ModuleType) else [found]
        problems = [Problem(f"{self._where}.use", f"{place_of(it)}: {why}") for it in functions for why in mistakes(it)]
        if self._settings.options:
            why = "only built-ins take options; a function reads its own settings"
            problems.append(Problem(f"{self._where}.options", why))
        if not problems:
            problems += self._twice(functions)
        if problems:
            raise ConfigurationError(problems)
        return [FunctionProvider(self._settings.name, it, self._context.deadline_seconds) for it in functions]

    def _twice(self, functions: Sequence[Function]) -> Iterator[Problem]:
        first: dict[str, Function] = {}
        for function in functions:
            for name in names_of(function):
                if (other := first.setdefault(name, function)) is not function:
                    why = f"{place_of(function)}: {name!r} is answered by {place_of(other)} already"
                    yield Problem(f"{self._where}.use", why)

    def _unknown_words(self, providers: Sequence[Provider]) -> Iterator[Problem]:
        words = [provider.words for provider in providers]
        known = {word for its in words if its for word in its}
        for name, word in (self._settings.names or {}).items():
            if word not in known and None not in words:
                yield Problem(f"{self._where}.names.{name}", f"it has no {word!r}{nearest(word, sorted(known))}")

    def _entry(self, provider: Provider) -> Entry:
        settings, words = self._settings, provider.words
        names = settings.names
        if names is None and words is not None:
            names = {word: word for word in sorted(words)}
        elif names is not None and words is not None:  # one of several functions has its own of these
            names = {name: word for name, word in names.items() if word in words}
        return Entry(provider, names, settings.cache_seconds, settings.timeout_seconds)
