"""Admit: which entries of a listing are files to be taken. A question of name, size and kind alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import translate

from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.sources.base import Entry

_LONGEST_NAME = 255
_LONGEST_SHOWN = 300
_PLAIN = re.compile(r"[A-Za-z0-9_. -]{1,100}").fullmatch  # most names: told apart at one glance
_SEPARATORS = re.compile(r"[/\\]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")

Admission = Callable[[Entry], str | None]
"""Why an entry is ignored, or None when it is to be taken."""


def admission(settings: SourceSettings) -> Admission:
    """The rule of one source."""
    included, excluded = _matcher(settings.include), _matcher(settings.exclude)
    limit = settings.max_file_bytes

    def refuse(entry: Entry) -> str | None:
        name = entry.name
        if not entry.regular:
            return "not a regular file: a folder, a link, a device, or of no stated type"
        if unsafe := unsafe_name(name):
            return unsafe
        if excluded(name):
            return "its name matches `exclude`"
        if not included(name):
            return "its name does not match `include`"
        if entry.size > limit:
            return f"{entry.size} bytes are more than max_file_bytes ({limit})"
        return None

    return refuse


def unsafe_name(name: str) -> str | None:
    """Why `name` is not one safe segment of a path, None when it is."""
    if _PLAIN(name) and name not in (".", ".."):
        return None
    if name in ("", ".", ".."):
        return "its name is empty or stands for a folder"
    if _SEPARATORS.search(name):
        return "its name holds a path separator"
    if _CONTROL.search(name):
        return "its name holds a control character"
    try:
        size = len(name.encode())
    except UnicodeEncodeError:
        return "its name is not UTF-8"
    return f"its name is longer than {_LONGEST_NAME} bytes" if size > _LONGEST_NAME else None


def shown(name: str) -> str:
    """The start of a name as it can be kept and shown: escaped where not printable, never the name of a taken one."""
    text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name.replace("\\", "\\\\"))
    return text[:_LONGEST_SHOWN]


def _matcher(patterns: Sequence[str]) -> Callable[[str], object]:
    if not patterns:
        return lambda _name: None
    return re.compile("|".join(map(translate, patterns))).match
