"""SFTP sources of a test, opened on a folder that a real server serves, and closed at its end."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.sources.base import Entry, Move, Source
from sftpd_processor.sources.sftp import SftpSource
from tests.support import ServedFolder


@contextmanager
def opened(served: ServedFolder, **changes: Any) -> Iterator[SftpSource]:
    """The source that reads this folder, with changes to its settings."""
    source = SftpSource(SftpSourceSettings.model_validate(served.source(**changes)))
    try:
        yield source
    finally:
        source.close()


def listed(source: Source) -> dict[str, Entry]:
    """One look: the entries by name."""
    return {entry.name: entry for batch in source.look() for entry in batch}


def files(source: Source) -> list[Entry]:
    """The regular files of one look."""
    return [entry for entry in listed(source).values() if entry.regular]


def moves(entries: Sequence[Entry], suffix: str = "abcd1234") -> list[Move]:
    """The wish to move all of them."""
    return [Move(entry, suffix) for entry in entries]


def contents(folder: Path) -> dict[str, bytes]:
    """The files in a local folder, by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def clients(port: int) -> set[str]:
    """The connections that clients hold to a local port now, as the kernel tells them (Linux only)."""
    established = "01"
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {line[1] for line in lines if line[2].endswith(f":{port:04X}") and line[3] == established}


@contextmanager
def within(seconds: float = 10.0) -> Iterator[None]:
    """What is done here ends in time: far above the timeouts that tests set, far below the defaults."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds
