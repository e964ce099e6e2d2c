"""From the `[[handlers]]` of the configuration to handlers that work, or to every mistake in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from importlib import import_module
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sftpd_processor.config.kinds import Name
from sftpd_processor.config.settings import HandlerSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.code import CodeFinder, Function, duplicates, place_of
from sftpd_processor.extensions.options import read_options
from sftpd_processor.handlers.api import MARK, Handler, HandlerContext, Mark
from sftpd_processor.handlers.functions import FunctionHandler, mistake_in
from sftpd_processor.handlers.wanted import EVERYTHING, Wanted, wanted

BUILT_INS = ("log", "jsonl", "command", "http", "sql")
GROUP = "sftpd_processor.handlers"
_UNMARKED = Mark(None, EVERYTHING, ())
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Handlers:
    """The configured handlers by name, in the order of the configuration."""

    def __init__(self, made: Iterable[tuple[Handler, HandlerSettings]] = ()) -> None:
        """`made`: each handler with the `[[handlers]]` table that it stands in."""
        self._made = {handler.name: (handler, settings) for handler, settings in made}
        # Types come from outside, so the memory of them is bounded.
        self.wanting: Callable[[str], tuple[str, ...]] = lru_cache(maxsize=256)(self._wanting)
        """The names of the handlers that take a type, in order."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._made)

    def get(self, name: str) -> Handler | None:
        return self._made[name][0] if name in self._made else None

    def keeping(self, former: Handlers) -> Handlers:
        """These, but the former ones themselves where their settings are the same still."""
        return Handlers(
            former._made[name] if name in former._made and former._made[name][1] == settings else (handler, settings)
            for name, (handler, settings) in self._made.items()
        )

    def __iter__(self) -> Iterator[Handler]:
        return iter([handler for handler, _ in self._made.values()])

    def __len__(self) -> int:
        return len(self._made)

    def _wanting(self, event_type: str) -> tuple[str, ...]:
        return tuple(name for name, (handler, _) in self._made.items() if handler.wants(event_type))


def build_handlers(settings: Sequence[HandlerSettings], context: HandlerContext) -> Handlers:
    """Build every handler. Modules beside config.toml can be imported from now on.

    Raises ConfigurationError with all mistakes of all handlers.
    """
    made: list[tuple[Handler, HandlerSettings]] = []
    problems: list[Problem] = []
    for index, each in enumerate(settings):
        try:
            made += [(handler, each) for handler in _Builder(each, f"handlers[{index}]", context).build()]
        except ConfigurationError as error:
            problems += error.problems
    problems += duplicates([handler.name for handler, _ in made], "handlers")
    if problems:
        raise ConfigurationError(problems)
    return Handlers(made)


class _Builder:
    """Builds what one `[[handlers]]` stands for: one handler, or all of a module."""

    def __init__(self, settings: HandlerSettings, where: str, context: HandlerContext) -> None:
        self._settings = settings
        self._where = where
        self._context = context
        self._problems: list[Problem] = []
        self._code = CodeFinder(context.base_dir, where, kind="handler", built_ins=BUILT_INS, group=GROUP)

    def build(self) -> list[Handler]:
        """Raises ConfigurationError with all mistakes found in this one."""
        narrowed = self._events()
        try:
            handlers = self._make(narrowed)
        except ConfigurationError as error:
            self._problems += error.problems
        if self._problems:
            raise ConfigurationError(self._problems)
        return handlers

    def _make(self, narrowed: Wanted) -> list[Handler]:
        use = self._settings.use
        if use in BUILT_INS:
            return [self._built_in(narrowed)]
        if self._settings.options:
            self._note("options", "only built-ins take options; a function reads its own settings")
        found = self._code.find(use)
        return self._all_of(found, narrowed) if isinstance(found, ModuleType) else self._single(found, narrowed)

    def _events(self) -> Wanted:
        if self._settings.events is None:
            return EVERYTHING
        taken = EVERYTHING
        for index, name in enumerate(self._settings.events):
            for mistake in wanted([name])[1]:
                self._note(f"events[{index}]", mistake)
        if not self._problems:
            taken, _ = wanted(self._settings.events)
        return taken

    def _built_in(self, narrowed: Wanted) -> Handler:
        module: Any = import_module(f"sftpd_processor.handlers.{self._settings.use}")
        where = f"{self._where}.options"
        options = read_options(module.Options, self._settings.options, self._context.base_dir, where)
        built: Handler = module.build(self._settings.name, narrowed, options, self._context)
        return built

    def _single(self, function: Function, narrowed: Wanted) -> list[Handler]:
        return self._wrapped(self._settings.name, function, narrowed)

    def _all_of(self, module: ModuleType, narrowed: Wanted) -> list[Handler]:
        functions = self._code.marked(module, MARK, "handler")
        return [it for function in functions for it in self._wrapped(self._own_name(function), function, narrowed)]

    def _own_name(self, function: Function) -> str:
        mark: Mark = getattr(function, MARK)
        name = mark.name or str(getattr(function, "__name__", "handler"))
        try:
            return _NAME.validate_python(name)
        except ValidationError as error:
            why = error.errors()[0]["msg"].removeprefix("Value error, ")
            self._note("use", f"{place_of(function)}: the handler's name {name!r} {why}")
            return name

    def _wrapped(self, name: str, function: Function, narrowed: Wanted) -> list[Handler]:
        mark: Mark = getattr(function, MARK, _UNMARKED)
        mistakes = [*mark.mistakes]
        if wrong := mistake_in(function):
            mistakes.append(wrong)
        elif not mark.mistakes and not (taken := mark.wanted & narrowed):
            mistakes.append("takes none of the types in `events`, so it would never be called")
        for mistake in mistakes:
            self._note("use", f"{place_of(function)}: {mistake}")
        return [] if mistakes else [FunctionHandler(name, taken, function, self._context)]

    def _note(self, key: str, why: str) -> None:
        self._problems.append(Problem(f"{self._where}.{key}", why))
