"""Names in which `*` and `?` stand for others."""

from __future__ import annotations

import re
from collections.abc import Callable

_WILD = {"*": ".*", "?": "."}


def is_pattern(name: str) -> bool:
    """Whether `name` stands for others."""
    return not _WILD.keys().isdisjoint(name)


def expression(name: str) -> str:
    """The regular expression of a whole name: `*` stands for any characters, `?` for one."""
    return f"^{''.join(_WILD.get(char) or re.escape(char) for char in name)}$"


def matcher(name: str) -> Callable[[str], bool]:
    """Whether another name is one that `name` stands for."""
    found = re.compile(expression(name), re.DOTALL).fullmatch
    return lambda other: found(other) is not None
