"""The traces that handlers leave: files to which each call appends lines, some of them torn by a kill."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sftpd_processor.certify.feed import NUMBER

_KEY = 32  # characters of an idempotency key


class Mark(NamedTuple):
    """One line: which event, what happened to it (see `stage.MODULE`), with which key, in which run."""

    number: int
    mark: str
    key: str
    run: int


def read_journal(path: Path, ends: Sequence[tuple[Any, ...]], torn: list[int], *, jsonl: bool) -> Iterator[Mark]:
    """The lines of a journal in their order; `torn` gets the run of each that cannot be read.

    `ends` has (run, size): how long the journal was after each run. A line is of the first run after which the
    journal reached beyond its beginning. `jsonl`: it is the built-in's, in which each line is an effect.
    """
    read = _effect if jsonl else _mark
    for line, run in _placed(_lines(path), ends):
        if (found := read(line)) is not None:
            yield Mark(*found, run)
        elif line.strip():
            torn.append(run)


def size_of(path: Path) -> int:
    """Bytes; 0 when there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _mark(line: bytes) -> tuple[int, str, str] | None:
    """A line of our own handlers: mark, event, attempt, key."""
    parts = line.split()
    if len(parts) != 4 or not parts[1].isdigit() or len(parts[3]) != _KEY:
        return None
    mark, number, _attempt, key = parts
    return int(number), mark.decode(errors="replace"), key.decode(errors="replace")


def _effect(line: bytes) -> tuple[int, str, str] | None:
    """A line of the built-in `jsonl`."""
    try:
        told = json.loads(line)
        return int(told["event"][NUMBER]), "e", str(told["delivery"]["key"])
    except (ValueError, KeyError, TypeError):
        return None


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines, each with where it begins."""
    if not path.exists():
        return
    start = 0
    with path.open("rb") as file:
        for line in file:
            yield start, line
            start += len(line)


def _placed(lines: Iterable[tuple[int, bytes]], ends: Sequence[tuple[Any, ...]]) -> Iterator[tuple[bytes, int]]:
    at = 0
    for start, line in lines:
        while at < len(ends) - 1 and start >= ends[at][1]:
            at += 1
        yield line, int(ends[at][0]) if ends else 0
