"""Settings from environment variables, laid over those from the file.

`SFTPD_PROCESSOR__STATE__DIR` is `state.dir`; `SFTPD_PROCESSOR__SOURCES__0__HOST` is `host` of the first
source, and the number after the last one adds one. Where text is due the value is taken as it is; elsewhere
(numbers, lists, a handler's options) it is read as JSON or TOML, so that `"123"` is text there and `123` a
number. This is not left to pydantic-settings because it does not reach into the items of a list.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import SecretStr

from sftpd_processor.config.schema import Where, is_list, is_text, kinds_at
from sftpd_processor.errors import Problem

PREFIX = "SFTPD_PROCESSOR__"


def overlay(data: dict[str, Any], environment: Mapping[str, str]) -> tuple[dict[Where, str], list[Problem]]:
    """Put the environment's settings into `data`; return which variable set what, and what could not be."""
    origins: dict[Where, str] = {}
    problems: list[Problem] = []
    for where, name in _variables(environment):
        try:
            _put(data, where, _value(environment[name], where))
            origins[where] = name
        except ValueError as error:
            problems.append(Problem(name, str(error), f"{PREFIX}SOURCES__0__HOST"))
    return origins, problems


def _variables(environment: Mapping[str, str]) -> Iterator[tuple[Where, str]]:
    found = [(_where(name), name) for name in environment if name.startswith(PREFIX)]
    # Numbers before names and short before long, so that a list is there before something is put into it.
    return iter(sorted(found, key=lambda pair: [(isinstance(key, str), key) for key in pair[0]]))


def _where(name: str) -> Where:
    keys = name[len(PREFIX) :].lower().split("__")
    return tuple(int(key) if key.isascii() and key.isdigit() and len(key) < 5 else key for key in keys)


def _value(text: str, where: Where) -> Any:
    kinds = kinds_at(where)
    if not kinds or any(map(is_text, kinds)):
        return text
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return _from_toml(text)


def _from_toml(text: str) -> Any:
    try:
        table = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return text
    return table["value"] if len(table) == 1 else text


def _put(data: dict[str, Any], where: Where, value: Any) -> None:
    here: dict[str, Any] | list[Any] = data
    for depth in range(1, len(where)):
        here = _enter(here, where[:depth])
    _assign(here, where[-1], value)


def _enter(here: dict[str, Any] | list[Any], where: Where) -> dict[str, Any] | list[Any]:
    kinds, key = kinds_at(where), where[-1]
    there = _get(here, key)
    if there is None or SecretStr in kinds:  # a reference to a secret replaces the whole of another one
        there = _assign(here, key, [] if any(map(is_list, kinds)) else {})
    if not isinstance(there, dict | list):
        raise ValueError(f"`{key}` is neither a table nor a list")  # noqa: TRY004 (a mistake in the input)
    return there


def _get(here: dict[str, Any] | list[Any], key: str | int) -> Any:
    if isinstance(here, dict):
        return here.get(str(key))
    return here[key] if isinstance(key, int) and key < len(here) else None


def _assign(here: dict[str, Any] | list[Any], key: str | int, value: Any) -> Any:
    if isinstance(here, dict):
        here[str(key)] = value
    elif not isinstance(key, int) or key > len(here):
        raise ValueError(f"needs a number from 0 to {len(here)} in place of {str(key)!r}: there are {len(here)} now")
    else:
        here[key : key + 1] = [value]
    return value
