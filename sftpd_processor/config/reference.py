"""Writes the reference of all settings: `python -m sftpd_processor.config.reference > docs/settings.md`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from sftpd_processor.config.schema import alternatives, is_list, toml
from sftpd_processor.config.settings import (
    AdminSettings,
    AlertSettings,
    ArchiveSettings,
    DeliverySettings,
    HandlerSettings,
    HttpSettings,
    LogSettings,
    StateSettings,
    ValuesSettings,
)
from sftpd_processor.config.sources import DirectorySourceSettings, SftpSourceSettings, SourceBase

_INTRODUCTION = """\
# Settings

<!-- Made by `python -m sftpd_processor.config.reference > docs/settings.md`; change the texts in
sftpd_processor/config/. -->

The configuration is one TOML file. It is looked for at `-c`, `$SFTPD_PROCESSOR_CONFIG`, `./config.toml` and
`/etc/sftpd-processor/config.toml`, in that order. An unknown key is a mistake, and all mistakes are shown at
once by `sftpd-processor check`. Start from `config.example.toml`.

**Secrets** are text, `{ env = "NAME" }`, `{ file = "/path" }` (its last line ending is dropped) or
`{ credential = "name" }` (given by systemd's `LoadCredential=`). A configuration with a secret written out
must be readable by its owner alone (`chmod 600`), and so must the file of a private key. In the
options of a handler or a provider any value can be such a reference.

**Environment variables** go before the file: `SFTPD_PROCESSOR__STATE__DIR` is `dir` in `[state]`, and
`SFTPD_PROCESSOR__SOURCES__0__HOST` is `host` of the first source; the number after the last one adds one.
Where text is due the value is taken as it is. Elsewhere (numbers, lists, a handler's options) it is read as
JSON or TOML: write `"123"` with its quotes where an option must be text. Keys of options are taken in small
letters.

**Relative paths** of `state.dir`, `known_hosts`, `tls_certificate`, `tls_key` and `{ file = … }` begin at the
configuration file's folder.
"""
_SECTIONS: tuple[tuple[str, type[BaseModel], type[BaseModel] | None], ...] = (
    ("[state]", StateSettings, None),
    ("[[sources]], of both kinds", SourceBase, None),
    ('[[sources]], type = "sftp"', SftpSourceSettings, SourceBase),
    ('[[sources]], type = "directory"', DirectorySourceSettings, SourceBase),
    ("[[handlers]]", HandlerSettings, None),
    ("[delivery]", DeliverySettings, None),
    ("[http]", HttpSettings, None),
    ("[[values]]", ValuesSettings, None),
    ("[admin]", AdminSettings, None),
    ("[archive]", ArchiveSettings, None),
    ("[log]", LogSettings, None),
    ("[[alerts]]", AlertSettings, None),
)
_WORDS: dict[Any, str] = {
    str: "text",
    Path: "path",
    SecretStr: "secret",
    bool: "`true` or `false`",
    int: "whole number",
    float: "number",
    dict: "table",
}
_LIMITS = {"ge": "{} or more", "gt": "more than {}", "le": "at most {}"}


def render() -> str:
    """The whole page, in Markdown."""
    sections = (_section(*section) for section in _SECTIONS)
    return "\n".join([_INTRODUCTION, *sections])


def _section(title: str, table: type[BaseModel], base: type[BaseModel] | None) -> str:
    known = base.model_fields if base else {}
    fields = {key: field for key, field in table.model_fields.items() if key not in known}
    rows = [_row(key, field) for key, field in fields.items()]
    head = ["| key | type | default | meaning | example |", "|---|---|---|---|---|"]
    return "\n".join([f"## {title}", "", table.__doc__ or "", "", *head, *rows, ""])


def _row(key: str, field: FieldInfo) -> str:
    default = "**required**" if field.is_required() else _code(field.default)
    cells = [f"`{key}`", _type(field), default, field.description or "", _code(field.examples[0])]  # type: ignore[index]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _code(value: object) -> str:
    return "–" if value is None else f"`{toml(value)}`"


def _type(field: FieldInfo) -> str:
    names = [_name(kind) for kind in alternatives(field.annotation) if kind is not type(None)]
    return ", ".join([" or ".join(names), *_limits(field)])


def _name(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return " or ".join(f"`{toml(value)}`" for value in get_args(kind))
    if is_list(kind):
        return f"list of {_name(alternatives(get_args(kind)[0])[0])}s"
    return _WORDS[get_origin(kind) or kind]


def _limits(field: FieldInfo) -> Iterator[str]:
    for limit in field.metadata:
        for name, words in _LIMITS.items():
            if hasattr(limit, name):
                yield words.format(getattr(limit, name))


if __name__ == "__main__":
    sys.stdout.write(render())
