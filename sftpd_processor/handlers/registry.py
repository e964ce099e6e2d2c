"""From the `[[handlers]]` of the configuration to handlers that work, or to every mistake in them."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from pydantic import TypeAdapter, ValidationError

from sftpd_processor.config.kinds import Name
from sftpd_processor.config.settings import HandlerSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.handlers.api import MARK, Handler, HandlerContext, Mark, one_line
from sftpd_processor.handlers.functions import Function, FunctionHandler, mistake_in, place_of
from sftpd_processor.handlers.options import read_options
from sftpd_processor.handlers.wanted import EVERYTHING, Wanted, wanted

BUILT_INS = ("log", "jsonl", "command", "http", "sql")
GROUP = "sftpd_processor.handlers"
_UNMARKED = Mark(None, EVERYTHING, ())
_NAME: TypeAdapter[str] = TypeAdapter(Name)


class Handlers:
    """The configured handlers by name, in the order of the configuration."""

    def __init__(self, handlers: Sequence[Handler]) -> None:
        self._by_name = {handler.name: handler for handler in handlers}
        # Types come from outside, so the memory of them is bounded.
        self.wanting: Callable[[str], tuple[str, ...]] = lru_cache(maxsize=256)(self._wanting)
        """The names of the handlers that take a type, in order."""

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def get(self, name: str) -> Handler | None:
        return self._by_name.get(name)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._by_name.values())

    def __len__(self) -> int:
        return len(self._by_name)

    def _wanting(self, event_type: str) -> tuple[str, ...]:
        return tuple(name for name, handler in self._by_name.items() if handler.wants(event_type))


def build_handlers(settings: Sequence[HandlerSettings], context: HandlerContext) -> Handlers:
    """Build every handler. Modules beside config.toml can be imported from now on.

    Raises ConfigurationError with all mistakes of all handlers.
    """
    _make_importable(context.base_dir)
    handlers: list[Handler] = []
    problems: list[Problem] = []
    for index, each in enumerate(settings):
        try:
            handlers += _Builder(each, f"handlers[{index}]", context).build()
        except ConfigurationError as error:
            problems += error.problems
    problems += _duplicates(handlers)
    if problems:
        raise ConfigurationError(problems)
    return Handlers(handlers)


def _make_importable(folder: Path) -> None:
    """At the end of the path: a user's `queue.py` must not take the place of Python's own."""
    if (path := str(folder.resolve())) not in sys.path:
        sys.path.append(path)


def _duplicates(handlers: Sequence[Handler]) -> Iterator[Problem]:
    names = [handler.name for handler in handlers]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem("handlers", f"{names.count(name)} handlers are called {name!r}; each needs a name of its own")


class _Builder:
    """Builds what one `[[handlers]]` stands for: one handler, or all of a module."""

    def __init__(self, settings: HandlerSettings, where: str, context: HandlerContext) -> None:
        self._settings = settings
        self._where = where
        self._context = context
        self._problems: list[Problem] = []

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
        module, _, function = use.partition(":")
        if function:
            return self._single(self._function(self._import(module), function), narrowed)
        entry = _entry_point(use)
        found = self._load(entry) if entry else self._import(use)
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
        if not callable(function):
            raise self._failed(f"{self._settings.use!r} is not a function")
        return self._wrapped(self._settings.name, function, narrowed)

    def _all_of(self, module: ModuleType, narrowed: Wanted) -> list[Handler]:
        functions = [it for it in vars(module).values() if _is_marked(it)]
        if not functions:
            place = getattr(module, "__file__", None) or module.__name__
            raise self._failed(f"no function in {place} is marked with @handler")
        unique = {id(function): function for function in functions}.values()
        return [it for function in unique for it in self._wrapped(self._own_name(function), function, narrowed)]

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

    def _function(self, module: ModuleType, name: str) -> Function:
        function = getattr(module, name, None)
        if function is None:
            near = get_close_matches(name, [key for key, it in vars(module).items() if callable(it)], n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise self._failed(f"there is no {name!r} in {getattr(module, '__file__', module.__name__)}{hint}")
        return function  # type: ignore[no-any-return]

    def _load(self, entry: EntryPoint) -> Any:
        try:
            return self._guarded(entry.load, f"the entry point {entry.name!r}")
        except _NotFound as error:
            raise self._failed(str(error)) from None

    def _import(self, name: str) -> ModuleType:
        try:
            module: ModuleType = self._guarded(lambda: import_module(name), f"the module {name!r}")
        except _NotFound as error:
            if error.module is None or not (name == error.module or name.startswith(f"{error.module}.")):
                raise self._failed(str(error)) from None
            raise self._failed(self._unknown(name)) from None
        return module

    def _unknown(self, name: str) -> str:
        known = [*BUILT_INS, *sorted(entry.name for entry in entry_points(group=GROUP))]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"built-in or installed are: {', '.join(known)}"
        return f"there is no handler or module {name!r} (looked beside config.toml too); {hint}"

    def _guarded(self, load: Callable[[], Any], what: str) -> Any:
        """Run user code at import, which may do anything, `exit()` included."""
        try:
            return load()
        except ModuleNotFoundError as error:
            raise _NotFound(f"cannot import {what}: {self._cause(error)}", error.name) from error
        except BaseException as error:  # user code
            raise self._failed(f"cannot import {what}: {self._cause(error)}") from error

    def _cause(self, error: BaseException) -> str:
        """`/etc/…/orders.py, line 3: NameError: …`: the user's failing statement, or else the innermost."""
        why = one_line(f"{type(error).__name__}: {error}", 300)
        if isinstance(error, SyntaxError) and error.filename:
            return f"{error.filename}, line {error.lineno}: {type(error).__name__}: {error.msg}"
        frames = [it for it in extract_tb(error.__traceback__) if "importlib" not in it.filename]
        frames = [it for it in frames if it.filename != __file__]
        base = str(self._context.base_dir.resolve())
        place = next((it for it in reversed(frames) if it.filename.startswith(base)), frames[-1] if frames else None)
        return f"{place.filename}, line {place.lineno}: {why}" if place else why

    def _note(self, key: str, why: str) -> None:
        self._problems.append(Problem(f"{self._where}.{key}", why))

    def _failed(self, why: str) -> ConfigurationError:
        return ConfigurationError([Problem(f"{self._where}.use", why)])


class _NotFound(Exception):
    """A module was not found: the one asked for, or one that it imports."""

    def __init__(self, why: str, module: str | None) -> None:
        self.module = module
        super().__init__(why)


def _is_marked(value: object) -> bool:
    return isinstance(getattr(value, "__dict__", None), Mapping) and MARK in vars(value)


def _entry_point(name: str) -> EntryPoint | None:
    return next(iter(entry_points(group=GROUP, name=name)), None)
