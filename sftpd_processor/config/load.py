"""Reads the configuration: the one place that reads TOML and the environment."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr, ValidationError

from sftpd_processor.config.environment import overlay
from sftpd_processor.config.kinds import Place, has_password
from sftpd_processor.config.problems import dotted, problems_of
from sftpd_processor.config.schema import Where, kinds_at
from sftpd_processor.config.settings import Settings
from sftpd_processor.errors import ConfigurationError, Problem

VARIABLE = "SFTPD_PROCESSOR_CONFIG"
SYSTEM_CONFIG = Path("/etc/sftpd-processor/config.toml")

_READABLE_BY_OTHERS = 0o044


def find_config(explicit: Path | None) -> Path:
    """The configuration file: `explicit`, else $SFTPD_PROCESSOR_CONFIG, ./config.toml, or the one in /etc.

    One that is asked for by name must be there: no other is taken in its place.

    Raises:
        ConfigurationError: there is none; it tells where was looked.
    """
    named = os.environ.get(VARIABLE)
    if explicit is not None:
        places = {"given with -c": explicit}
    elif named:
        places = {f"named by ${VARIABLE}": Path(named)}
    else:
        places = {"the current folder": Path("config.toml"), "the system": SYSTEM_CONFIG}
    for path in places.values():
        if os.path.isfile(path):  # noqa: PTH113 (never raises)
            return path
    hint = "copy config.example.toml, edit it, and name it with -c"
    problems = [Problem(str(path), f"there is no such file ({why}); {hint}") for why, path in places.items()]
    raise ConfigurationError(problems, origin="there is no configuration")


@dataclass(frozen=True, slots=True)
class Configuration:
    """The settings, and the text of the file that they were read from, which may hold secrets."""

    settings: Settings
    text: bytes = field(repr=False)


def load_settings(path: Path) -> Settings:
    """The settings in the file at `path`: see `load`."""
    return load(path).settings


def load(path: Path, text: bytes | None = None) -> Configuration:
    """The settings in the file at `path`, with those of the environment laid over them, and secrets resolved.

    With `text` that is what is taken for the file's content.

    Raises:
        ConfigurationError: with all mistakes at once; no value of a secret is in it.
    """
    path = path.absolute()
    text = _content(path) if text is None else text
    data = _parsed(path, text)
    problems = _exposed(path, data)
    origins, misplaced = overlay(data, os.environ)
    problems += misplaced
    try:
        settings = Settings.model_validate(data, context=Place(path.parent, os.environ, path.stem))
    except ValidationError as error:
        problems += problems_of(error, origins)
    if problems:
        raise ConfigurationError(problems, origin=str(path))
    return Configuration(settings, text)


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        problem = Problem(str(path), f"cannot be read: {error.strerror}")
        raise ConfigurationError([problem], origin=str(path)) from None


def _parsed(path: Path, text: bytes) -> dict[str, Any]:
    try:
        return tomllib.loads(text.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        problem = Problem(str(path), f"is not UTF-8 text, at byte {error.start}")
    except RecursionError:
        problem = Problem(str(path), "its values are nested too deep")
    except ValueError as error:
        problem = _bad_toml(path, str(error))
    raise ConfigurationError([problem], origin=str(path))


def _bad_toml(path: Path, message: str) -> Problem:
    found = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", message, re.DOTALL)
    if not found:
        return Problem(str(path), "is not TOML: a value cannot be read")
    what, line, column = found.groups()
    where = f"line {line}, column {column}" if line else "the end of the file"
    return Problem(f"{path}, {where}", f"is not TOML: {what}", 'key = "text", key = 22 or key = ["a", "b"]')


def _exposed(path: Path, data: dict[str, Any]) -> list[Problem]:
    """A problem for each secret written out in the file, when others than its owner can read the file."""
    if not path.stat().st_mode & _READABLE_BY_OTHERS:
        return []
    command = f"chmod 600 {shlex.quote(str(path))}"
    why = f"a secret is written here, and others can read this file; run: {command}"
    return [Problem(where, why, '{ file = "/path/to/secret" }') for where in _inline_secrets(data, ())]


def _inline_secrets(value: Any, where: Where) -> Iterator[str]:
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        for key, item in items:
            yield from _inline_secrets(item, (*where, key))
    elif isinstance(value, str) and SecretStr in kinds_at(where) and _is_secret(value, where):
        yield dotted(where)


def _is_secret(text: str, where: Where) -> bool:
    return where != ("state", "database") or has_password(text)
