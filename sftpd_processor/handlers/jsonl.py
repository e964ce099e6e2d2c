"""The built-in `jsonl`: appends one line per event to a file."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from json.encoder import encode_basestring_ascii as quoted
from pathlib import Path

from sftpd_processor.config.kinds import LocalPath
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome
from sftpd_processor.handlers.wanted import Wanted

_BOM = b"\xef\xbb\xbf"
_MODE = 0o640
_HEALS = (errno.ENOSPC, errno.EDQUOT)  # a full disk: nothing to be mended in the configuration


class Options(BuiltinOptions):
    """`path`: the file, made when absent, its folder too; relative to the folder of config.toml."""

    path: LocalPath


class JsonlHandler:
    """One write and one fsync per batch. An event is on disk when its outcome is `done`.

    A crash between the fsync and the ledger's commit writes a line again with the same `delivery.key`. One
    process writes the file; others may read it, and may move it away (the next batch starts a new one).
    """

    batch_size = 1000

    def __init__(self, name: str, wanted: Wanted, path: Path) -> None:
        self.name = name
        self._wanted = wanted
        self._path = path
        self._lock = threading.Lock()
        self._fd: int | None = None

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        try:
            with self._lock:
                self._current()
        except OSError as error:
            if error.errno in _HEALS:
                return
            where = f"handler {self.name!r}, options.path"
            why = f"cannot write {self._path}: {error.strerror}"
            raise ConfigurationError([Problem(where, why)]) from error

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        lines = b"".join(map(line, items))
        try:
            with self._lock:
                self._append(lines)
        except OSError as error:
            return [Outcome("retry", f"cannot write {self._path}: {error.strerror}")] * len(items)
        return [DONE] * len(items)

    def close(self) -> None:
        with self._lock:
            self._forget()

    def capture(self, item: Item) -> Captured:
        text = line(item).decode("utf-8", "replace").removesuffix("\n")
        return Captured(DONE, {"kind": "jsonl", "path": str(self._path), "line": text})

    def _append(self, lines: bytes) -> None:
        fd = self._current()
        try:
            with _alone(fd):
                write_whole(fd, lines, sync=True)
        except OSError:
            self._forget()
            raise

    def _current(self) -> int:
        """The open file, opened again when what lies at the path is another one (log rotation)."""
        if self._fd is not None and not _is_at(self._fd, self._path):
            self._forget()
        if self._fd is None:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, _MODE)
            with _alone(self._fd):
                end_last_line(self._fd)
            _sync_folder(self._path.parent)
        return self._fd

    def _forget(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def line(item: Item) -> bytes:
    """One line: the event's bytes as they came, and its delivery. JSON strings hold no raw line breaks, so
    those that there are stand between tokens, where a space means the same."""
    delivery = item.delivery
    body = item.body
    if b"\n" in body or b"\r" in body:
        body = body.replace(b"\n", b" ").replace(b"\r", b" ")
    meta = (
        f'{{"key": {quoted(delivery.idempotency_key)}, "handler": {quoted(delivery.handler)}, '
        f'"origin": {quoted(delivery.origin)}, "source": {quoted(delivery.source)}, '
        f'"file": {"null" if delivery.file is None else quoted(delivery.file)}, '
        f'"received_at": "{delivery.received_at.isoformat()}", "attempt": {delivery.attempt}}}'
    )
    return b'{"event": %b, "delivery": %b}\n' % (body.removeprefix(_BOM).strip(), meta.encode("ascii"))


@contextlib.contextmanager
def _alone(fd: int) -> Iterator[None]:
    """Two handlers have one file open while a reload goes on: neither is to see the other's line half-written."""
    fcntl.flock(fd, fcntl.LOCK_EX)
    try:
        yield
    finally:
        fcntl.flock(fd, fcntl.LOCK_UN)


def write_whole(fd: int, data: bytes, *, sync: bool) -> None:
    """Append and, if asked, sync; or take the torn tail back.

    When even that fails, the next opening starts on a fresh line.
    """
    size = os.fstat(fd).st_size
    try:
        _write_all(fd, data)
        if sync:
            os.fsync(fd)
    except OSError:
        os.ftruncate(fd, size)
        raise


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _is_at(fd: int, path: Path) -> bool:
    try:
        there = path.stat()
    except FileNotFoundError:
        return False
    ours = os.fstat(fd)
    return (ours.st_ino, ours.st_dev) == (there.st_ino, there.st_dev)


def end_last_line(fd: int) -> None:
    """A crash can leave half a line: end it, so that it stays the only one that does not parse."""
    size = os.fstat(fd).st_size
    if size and os.pread(fd, 1, size - 1) != b"\n":
        os.write(fd, b"\n")


def _sync_folder(folder: Path) -> None:
    """A new file outlives a power cut only when its name does."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def build(name: str, wanted: Wanted, options: Options, context: HandlerContext) -> JsonlHandler:  # noqa: ARG001
    return JsonlHandler(name, wanted, options.path)
