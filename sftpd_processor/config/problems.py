"""Mistakes as pydantic finds them, in words for the person who must mend them. Values are never repeated."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sftpd_processor.config.schema import Where, field_at, keys_at, toml
from sftpd_processor.errors import Problem

_WORDS = {
    "missing": "is required, and missing",
    "int_type": "must be a whole number",
    "float_type": "must be a number",
    "finite_number": "must be a number that is not infinite",
    "int_parsing_size": "must be a smaller whole number",
    "bool_type": "must be true or false",
    "string_type": "must be text in quotes",
    "string_unicode": "must be UTF-8 text",
    "path_type": "must be a path, as text in quotes",
    "tuple_type": "must be a list",
    "dict_type": "must be a table",
    "model_type": "must be a table",
    "model_attributes_type": "must be a table",
    "literal_error": "must be {expected}",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "union_tag_invalid": 'must be "sftp" or "directory"',
    "union_tag_not_found": 'must be "sftp" or "directory"',
}
_TAGGED = 3
"""The least length of a place that holds the tag of a source: ("sources", 0, "sftp")."""


def problems_of(error: ValidationError, origins: Mapping[Where, str]) -> list[Problem]:
    """All mistakes in it; `origins` tells which environment variable set what."""
    return [_problem(line, origins) for line in error.errors(include_url=False, include_input=False)]


def _problem(line: ErrorDetails, origins: Mapping[Where, str]) -> Problem:
    tagged = line["loc"]
    if line["type"].startswith("union_tag_"):
        tagged = (*tagged, "type")
    where = _untagged(tagged)
    why = _why(line, tagged) + _set_by(where, origins)
    return Problem(dotted(where), why, "" if line["type"] == "extra_forbidden" else _example(tagged))


def _why(line: ErrorDetails, where: Where) -> str:
    context: dict[str, Any] = line.get("ctx", {})
    if line["type"] == "value_error":
        return str(context["error"])
    if line["type"] == "extra_forbidden":
        return f"unknown key; {_nearest(str(where[-1]), keys_at(where[:-1]))}"
    return _WORDS.get(line["type"], "is not valid here").format(**context)


def _nearest(key: str, known: list[str]) -> str:
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"did you mean `{near[0]}`?" if near else f"the keys here are: {', '.join(known)}"


def _untagged(where: Where) -> Where:
    in_source = len(where) >= _TAGGED and where[0] == "sources" and where[2] in {"sftp", "directory"}
    return where[:2] + where[3:] if in_source else where


def dotted(where: Where) -> str:
    """The place as people write it: `sources[0].host`."""
    text = "".join(f"[{key}]" if isinstance(key, int) else f".{_shown(key)}" for key in where)
    return text.removeprefix(".") or "the whole"


def _shown(key: str) -> str:
    return key if key.isprintable() and key else toml(key)


def _example(where: Where) -> str:
    field = field_at(where)
    if field is None or not field.examples:
        return ""
    return f"{_last_name(where)} = {toml(field.examples[0])}"


def _last_name(where: Where) -> str:
    return next(key for key in reversed(where) if isinstance(key, str))


def _set_by(where: Where, origins: Mapping[Where, str]) -> str:
    names = [origins[where[:size]] for size in range(len(where), 0, -1) if where[:size] in origins]
    return f" (set by {names[0]})" if names else ""
