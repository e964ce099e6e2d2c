"""What the tree of settings says about itself: which keys there are, of which kinds, with which examples."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Literal, TypeAlias, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sftpd_processor.config.settings import Settings

_BARE = re.compile(r"[A-Za-z0-9_-]+")

Where: TypeAlias = tuple[str | int, ...]


def alternatives(annotation: Any) -> list[Any]:
    """The plain types an annotation allows, without `Annotated` and `|`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return alternatives(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [plain for part in get_args(annotation) for plain in alternatives(part)]
    return [annotation]


def kinds_at(where: Where) -> list[Any]:
    """The types a value at this place of the tree may have; none when there is no such place.

    A place may hold the tag of a source, as pydantic reports it: `("sources", 0, "sftp", "host")`.
    """
    kinds: list[Any] = [Settings]
    for key in where:
        kinds = [plain for kind in kinds for child in _children(kind, key) for plain in alternatives(child)]
    return kinds


def keys_at(where: Where) -> list[str]:
    """The keys of the table at this place."""
    return sorted({name for kind in kinds_at(where) if is_table(kind) for name in kind.model_fields})


def field_at(where: Where) -> FieldInfo | None:
    """The field a value at this place belongs to, also when it is inside of a list."""
    while where:
        *parents, key = where
        for kind in kinds_at(tuple(parents)):
            if is_table(kind) and key in kind.model_fields:
                field: FieldInfo = kind.model_fields[key]
                return field
        where = tuple(parents)
    return None


def is_table(kind: Any) -> bool:
    """Whether the type is a table of settings."""
    return isinstance(kind, type) and get_origin(kind) is None and issubclass(kind, BaseModel)


def is_list(kind: Any) -> bool:
    """Whether the type is a list."""
    return get_origin(kind) is tuple


def is_text(kind: Any) -> bool:
    """Whether a value of this type is written as text."""
    return kind in (str, Path, SecretStr) or get_origin(kind) is Literal


def _children(kind: Any, key: str | int) -> list[Any]:
    if is_list(kind):
        return [get_args(kind)[0]] if isinstance(key, int) else []
    if get_origin(kind) is dict:
        return [get_args(kind)[1]]
    if not is_table(kind):
        return []
    fields = kind.model_fields
    if key in fields:
        return [fields[key].annotation]
    return [kind] if "type" in fields and fields["type"].default == key else []


def toml(value: object) -> str:
    """A value as TOML would have it, on one line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {toml(item)}" for key, item in value.items()) + " }" if value else "{}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, Path):
        return toml(str(value))
    return json.dumps(value, ensure_ascii=False)


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key, ensure_ascii=False)
