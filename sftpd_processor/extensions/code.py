"""Code of the user: found by what `use` names, imported, and its mistakes told with file and line."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from traceback import extract_tb
from types import ModuleType
from typing import Any

from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.text import nearest, one_line

Function = Callable[..., Any]


class CodeFinder:
    """Finds what one `use` names: a module, or a function in one, or what an installed package offers.

    `where` is the table's path (`handlers[1]`), `kind` what is looked for (`handler`), `built_ins` and the entry
    point group name what else there is. Modules beside config.toml can be imported from now on.
    """

    def __init__(self, base_dir: Path, where: str, *, kind: str, built_ins: Sequence[str], group: str) -> None:
        _make_importable(base_dir)
        self._base = str(base_dir.resolve())
        self._where = where
        self._kind = kind
        self._built_ins = built_ins
        self._group = group

    def find(self, use: str) -> Any:
        """A module or a function. Raises ConfigurationError at `use`."""
        module, _, function = use.partition(":")
        if function:
            return self._function(self._import(module), function, use)
        entry: EntryPoint | None = next(iter(entry_points(group=self._group, name=use)), None)
        found = self._load(entry) if entry else self._import(use)
        return found if isinstance(found, ModuleType) else self._callable(found, use)

    def marked(self, module: ModuleType, mark: str, decorator: str) -> list[Function]:
        """The functions of a module that carry the mark, each once. Raises ConfigurationError when there is none."""
        functions = [it for it in vars(module).values() if is_marked(it, mark)]
        if not functions:
            place = getattr(module, "__file__", None) or module.__name__
            raise self._failed(f"no function in {place} is marked with @{decorator}")
        return [*{id(function): function for function in functions}.values()]

    def _function(self, module: ModuleType, name: str, use: str) -> Function:
        function = getattr(module, name, None)
        if function is None:
            hint = nearest(name, [key for key, it in vars(module).items() if callable(it)])
            raise self._failed(f"there is no {name!r} in {getattr(module, '__file__', module.__name__)}{hint}")
        return self._callable(function, use)

    def _callable(self, found: Any, use: str) -> Function:
        if not callable(found):
            raise self._failed(f"{use!r} is not a function")
        return found  # type: ignore[no-any-return]

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
        known = [*self._built_ins, *sorted(entry.name for entry in entry_points(group=self._group))]
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"built-in or installed are: {', '.join(known)}"
        return f"there is no {self._kind} or module {name!r} (looked beside config.toml too); {hint}"

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
        own = (it for it in reversed(frames) if it.filename.startswith(self._base))
        place = next(own, frames[-1] if frames else None)
        return f"{place.filename}, line {place.lineno}: {why}" if place else why

    def _failed(self, why: str) -> ConfigurationError:
        return ConfigurationError([Problem(f"{self._where}.use", why)])


class _NotFound(Exception):
    """A module was not found: the one asked for, or one that it imports."""

    def __init__(self, why: str, module: str | None) -> None:
        self.module = module
        super().__init__(why)


def _make_importable(folder: Path) -> None:
    """At the end of the path: a user's `queue.py` must not take the place of Python's own."""
    if (path := str(folder.resolve())) not in sys.path:
        sys.path.append(path)


def is_marked(value: object, mark: str) -> bool:
    """Whether a decorator of ours has marked it; asking never runs code of the user's."""
    return isinstance(getattr(value, "__dict__", None), Mapping) and mark in vars(value)


def not_a_function(function: Function) -> str | None:
    """Why calling it would not do what a function does, in words; None when it would."""
    plain = inspect.unwrap(function)
    if inspect.isgeneratorfunction(plain) or inspect.isasyncgenfunction(plain):
        return "contains `yield`, so a call would do nothing; use `return`"
    if isinstance(function, type):
        return "is a class; give a function"
    return None


def place_of(function: Function) -> str:
    """`/path/orders.py, line 12, to_crm()`: where a person finds the function."""
    plain = inspect.unwrap(function)
    name = getattr(plain, "__name__", type(plain).__name__)
    code = getattr(plain, "__code__", None)
    return f"{code.co_filename}, line {code.co_firstlineno}, {name}()" if code else f"{name}()"


def duplicates(names: Sequence[str], where: str) -> Iterator[Problem]:
    """A problem for each name that several have, at the path of all (`handlers`)."""
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Problem(where, f"{names.count(name)} {where} are called {name!r}; each needs a name of its own")
