"""A CSV file with a row for each customer, read again when it has changed."""

from __future__ import annotations

import csv
import logging
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sftpd_processor.errors import PermanentError
from sftpd_processor.extensions.text import nearest
from sftpd_processor.values.words import LONGEST_VALUE

logger = logging.getLogger(__name__)

Rows = dict[str, dict[str, str]]
Stamp = tuple[int, int, int]

LOOK_SECONDS = 1.0


class BadTable(PermanentError):
    """The file cannot be used; the text tells the line, and nothing of what stands there."""


class WatchedTable:
    """A CSV file: UTF-8 with or without a byte-order mark, commas, a header row with the words and the key's column.

    `words` are there once it was read. `watch` looks each second whether the file is another one; one that is bad, or
    lacks a column of the first one, is told once, and what was read before stays in use.
    """

    def __init__(self, name: str, path: Path, key: str) -> None:
        self.words: frozenset[str] = frozenset()
        self._name = name
        self._path = path
        self._key = key
        self._stamp: Stamp | None = None
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    def read(self) -> Rows:
        """The rows by their key, without empty cells. Raises BadTable."""
        try:
            with self._path.open(encoding="utf-8-sig", newline="") as file:
                self._stamp = _stamp(os.fstat(file.fileno()))
                lines = csv.reader(file, strict=True)
                head = self._head(lines)
                rows = _rows(lines, head, head.index(self._key), lambda: f"{self._path}, line {lines.line_num}")
        except OSError as error:
            raise BadTable(f"cannot read {self._path}: {error.strerror or error}") from None
        except UnicodeDecodeError:
            raise BadTable(f"{self._path} is not UTF-8 text") from None
        self.words = self.words or frozenset(head) - {self._key}
        return rows

    def watch(self, replaced: Callable[[Rows], None]) -> None:
        """From now on hand over the rows of each new content, in a thread of its own."""
        self._thread = threading.Thread(
            target=self._watch, args=(replaced,), name=f"values-{self._name}-csv", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop watching. May be called when it was never watched."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(LOOK_SECONDS)

    def _watch(self, replaced: Callable[[Rows], None]) -> None:
        fields = {"provider": self._name}
        while not self._stopping.wait(LOOK_SECONDS):
            if self._changed():
                try:
                    replaced(self.read())
                    logger.info("values %s: the CSV file has changed and is used", self._name, extra=fields)
                except BadTable as error:
                    logger.warning("values %s: %s; what was read before is used", self._name, error, extra=fields)

    def _changed(self) -> bool:
        try:
            now = _stamp(self._path.stat())
        except OSError:
            now = (0, 0, 0)  # it is being replaced, or gone: told when it cannot be read
        changed, self._stamp = now != self._stamp, now
        return changed

    def _head(self, lines: Iterator[list[str]]) -> list[str]:
        try:
            head = next(lines, [])
        except csv.Error as error:
            raise BadTable(f"{self._path}, line 1: {error}") from None
        if self._key not in head:
            raise BadTable(f"{self._path}, line 1: no column is called {self._key!r}{nearest(self._key, head)}")
        if "" in head or len(set(head)) < len(head):
            raise BadTable(f"{self._path}, line 1: each column needs a name of its own")
        if not self.words.issubset(head):
            raise BadTable(f"{self._path}, line 1: a column is missing that was there before")
        return head


def _rows(lines: Iterator[list[str]], head: Sequence[str], key: int, at: Callable[[], str]) -> Rows:
    """`at` tells where the reader is."""
    rows: Rows = {}
    try:
        for cells in lines:
            if not cells:  # an empty line
                continue
            if len(cells) != len(head):
                raise BadTable(f"{at()}: {len(cells)} cells, where the header has {len(head)}")
            if not cells[key] or cells[key] in rows:
                raise BadTable(f"{at()}: the key is {'that of an earlier line' if cells[key] else 'empty'}")
            if max(map(len, cells)) > LONGEST_VALUE:
                raise BadTable(f"{at()}: a cell has more than {LONGEST_VALUE:,} characters")
            rows[cells[key]] = {word: cell for word, cell in zip(head, cells, strict=True) if cell}
    except csv.Error as error:
        raise BadTable(f"{at()}: {error}") from None
    return rows


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_mtime_ns, found.st_size, found.st_ino
