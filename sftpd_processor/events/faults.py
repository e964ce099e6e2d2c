"""What is wrong with a file, in words that a person can act on.

Nothing here repeats a value of the file, which may be personal data; names of types and fields are shown,
shortened and printable.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass

from pydantic_core import ErrorDetails

WHITESPACE = b" \t\r\n"
"""What JSON allows between documents."""
_MOST_CHARACTERS = 60


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong in a file: where ("line 3, column 17", "$[2].dateCreated", "line 4: $.body"), why."""

    where: str
    why: str

    def __str__(self) -> str:
        return f"{self.where}: {self.why}"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a file, or some of its events, were not taken: the first faults, and how many there are in `total`."""

    faults: tuple[Fault, ...]
    total: int

    def __str__(self) -> str:
        more = self.total - len(self.faults)
        return "; ".join(map(str, self.faults)) + (f"; and {more} more" if more else "")


_FIELDS = {
    "missing": "is missing; it says what kind of event this is",
    "string_type": "must be a text",
    "string_too_short": "must not be empty",
    "string_too_long": "is longer than 100 characters",
    "string_pattern_mismatch": "must not hold control or invisible characters",
    "dict_type": "an event must be a JSON object",
    "model_type": "an event must be a JSON object",
}


def field_fault(path: str, detail: ErrorDetails, kinds: frozenset[str]) -> Fault:
    """What pydantic says of a field of the event at `path`; `kinds` are the types that it may name first."""
    names = [str(name) for name in detail["loc"]]
    if names and names[0] in kinds:  # pydantic puts the member of the union first
        del names[0]
    return Fault(path + "".join(f".{printable(name)}" for name in names), _FIELDS.get(detail["type"], detail["msg"]))


_SYNTAX = {
    "EOF while parsing": "the text ends in the middle of a JSON document: was it cut short?",
    "trailing characters": "something follows after the end of the JSON document; several events must"
    " stand in an array, or on one line each",
    "recursion limit exceeded": "is nested too deeply (200 levels at most)",
    "number out of range": "holds a number that is too long (4,300 digits at most)",
    "invalid unicode code point": "is not valid UTF-8",
    "control character": "a text holds a raw control character, such as a line break not written as \\n",
    "lone leading surrogate": "a text holds half of a \\u surrogate pair",
    "unexpected end of hex escape": "a text holds an incomplete \\u escape, or half of a surrogate pair",
}
_PLACE = re.compile(r"(.*) at line (\d+) column (\d+)", re.DOTALL)


def syntax_fault(message: str, first_line: int) -> Fault:
    """Put the parser's message, which holds no values, in words and its place in terms of the file."""
    place = _PLACE.fullmatch(message)
    what, line, column = place.groups() if place else (message, "1", "0")
    why = next((words for start, words in _SYNTAX.items() if what.startswith(start)), "")
    where = f"line {int(line) - 1 + first_line}, column {column}"
    return Fault(where, why or f"is not valid JSON ({what})")


_BEGINNINGS = {
    codecs.BOM_UTF32_LE: "is UTF-32 text; events must be UTF-8",
    codecs.BOM_UTF32_BE: "is UTF-32 text; events must be UTF-8",
    codecs.BOM_UTF16_LE: "is UTF-16 text; events must be UTF-8",
    codecs.BOM_UTF16_BE: "is UTF-16 text; events must be UTF-8",
    b"\x1f\x8b": "is compressed (gzip); events must be plain JSON",
    b"PK\x03\x04": "is a zip archive; events must be plain JSON",
    b"%PDF-": "is a PDF document; events must be plain JSON",
    b"<": "looks like HTML or XML, perhaps an error page; events must be JSON",
}


def foreign(raw: bytes) -> Fault | None:
    """What the bytes are instead of UTF-8 JSON, where that can be told from their beginning."""
    text = raw.removeprefix(codecs.BOM_UTF8).lstrip(WHITESPACE)
    if not text:
        return Fault("the file", "holds only whitespace: no event" if raw else "is empty: no event")
    if not raw.strip(b"\0"):
        return Fault("the file", "holds only NUL bytes: its content was perhaps never written")
    for beginning, why in _BEGINNINGS.items():
        if raw.startswith(beginning) or text.startswith(beginning):
            return Fault("the file", why)
    if b"\0" in raw[:4]:
        wide = "UTF-32" if b"\0\0" in raw[:4] else "UTF-16"
        return Fault("the file", f"looks like {wide} text; events must be UTF-8")
    return None


def printable(name: str) -> str:
    """A name from the file, safe to show on one line."""
    shown = name[:_MOST_CHARACTERS].encode("unicode_escape").decode() if not name.isprintable() else name
    return shown if len(shown) <= _MOST_CHARACTERS else shown[: _MOST_CHARACTERS - 1] + "…"
