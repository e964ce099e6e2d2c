"""A local folder as a source, and the watcher that wakes its poll at once."""

from __future__ import annotations

import itertools
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.errors import SourceRefused
from sftpd_processor.sources.base import (
    BATCH,
    NO_NAME,
    TURNS,
    VANISHED,
    Entry,
    Miss,
    Move,
    Moved,
    Removed,
    changed,
    variant,
)

Each = TypeVar("Each")


class DirectorySource:
    """See `Source`."""

    def __init__(self, settings: DirectorySourceSettings) -> None:
        self._settings = settings
        self._folder = settings.folder
        self._target = settings.folder / settings.move_to
        self.moved_at = 0.0
        """When it last began with a file (`time.monotonic`); 0.0 before the first."""

    @property
    def name(self) -> str:
        """The name given in the configuration."""
        return self._settings.name

    def look(self) -> Iterator[list[Entry]]:
        """List the folder afresh."""
        try:
            with os.scandir(self._folder) as found:
                entries = (entry for item in self._one_by_one(found) if (entry := _entry(item)) is not None)
                while batch := list(itertools.islice(entries, BATCH)):
                    yield batch
        except OSError as error:
            raise SourceRefused(
                f"source {self.name}: the folder {self._folder} cannot be listed: {error.strerror}"
            ) from error

    def fetch(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read whole files."""
        return [(entry, _read(self._folder / entry.name, entry)) for entry in self._one_by_one(entries)]

    def remove(self, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete files."""
        return [(entry, self._remove(entry)) for entry in self._one_by_one(entries)]

    def move(self, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move files to `move_to`, which must be on the same file system."""
        try:
            self._target.mkdir(mode=0o750, parents=True, exist_ok=True)
        except OSError as error:
            refused = Miss("refused", f"the folder {self._target} cannot be made: {error.strerror}")
            return [(move.entry, refused) for move in moves]
        return [(move.entry, self._move(move)) for move in self._one_by_one(moves)]

    def close(self) -> None:
        """Nothing is kept open."""

    def _one_by_one(self, files: Iterable[Each]) -> Iterator[Each]:
        for file in files:
            self.moved_at = time.monotonic()
            yield file

    def _remove(self, entry: Entry) -> Removed | Miss:
        try:
            (self._folder / entry.name).unlink()
        except OSError as error:
            return _miss(error)
        return Removed()

    def _move(self, move: Move) -> Moved | Miss:
        """Linked under the new name, then unlinked under the old one: a link, unlike a rename, never overwrites."""
        source = self._folder / move.entry.name
        for turn in range(TURNS):
            name = variant(move.entry.name, move.suffix, turn)
            try:
                os.link(source, self._target / name, follow_symlinks=False)
                source.unlink()
            except FileExistsError:
                continue
            except OSError as error:
                return _miss(error)
            return Moved(str(Path(self._settings.move_to) / name))
        return Miss("refused", NO_NAME)


def watch(folder: Path, wake: Callable[[], None]) -> Callable[[], None]:
    """Call `wake` whenever something arrives in `folder` or is written there; returns what ends the watch."""
    from watchdog.events import (
        FileClosedEvent,
        FileCreatedEvent,
        FileMovedEvent,
        FileSystemEvent,
        FileSystemEventHandler,
    )
    from watchdog.observers import Observer

    class Waker(FileSystemEventHandler):
        def on_any_event(self, event: FileSystemEvent) -> None:  # noqa: ARG002
            wake()

    observer = Observer()
    kinds: list[type[FileSystemEvent]] = [FileCreatedEvent, FileClosedEvent, FileMovedEvent]
    observer.schedule(Waker(), str(folder), event_filter=kinds)
    observer.start()

    def stop() -> None:
        observer.stop()
        observer.join()

    return stop


def _entry(item: os.DirEntry[str]) -> Entry | None:
    try:
        found = item.stat(follow_symlinks=False)
    except FileNotFoundError:
        return None  # gone since the folder was read: never listed
    return Entry(item.name, found.st_size, found.st_mtime_ns, stat.S_ISREG(found.st_mode))


def _read(path: Path, entry: Entry) -> bytes | Miss:
    try:
        # What was a file when it was listed may be a pipe by now, which would keep us waiting.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(descriptor, "rb") as file:  # noqa: PTH123
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            data = file.read(entry.size + 1) if regular else b""
    except OSError as error:
        return _miss(error)
    if regular and len(data) == entry.size:
        return data
    if regular:
        return changed(entry, len(data))
    return Miss("changed", f"it became something else while it was read; it was listed with {entry.size} bytes")


def _miss(error: OSError) -> Miss:
    if isinstance(error, FileNotFoundError):
        return VANISHED
    return Miss("refused", f"the system said: {error.strerror}")
