"""Archived files read and validated, in the order they were recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sftpd_processor.archive.copies import Copies
from sftpd_processor.archive.shelves import Copy
from sftpd_processor.config.reading import Reading
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.names import matcher
from sftpd_processor.ledger.records import Arrival, Batch, Kept
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.sources.base import Entry

_MOST_FILES, _MOST_BYTES = 2000, 4 << 20  # of one piece, and so of one transaction


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be read, as JSON can hold it."""

    paths: tuple[str, ...]
    state: str
    read_as: str | None
    readings: Mapping[str, Mapping[str, Any]]
    """The settings of each source, by its name."""
    origins: Mapping[str, str]
    """How files of each source came: a plain copy does not tell."""
    sources: tuple[str, ...] = ()
    file: str | None = None
    since: int | None = None
    until: int | None = None

    def __len__(self) -> int:
        return Copies(Path(self.state)).count(list(map(Path, self.paths)))


def pieces(request: Request) -> Iterator[tuple[list[Batch], list[str]]]:
    """A batch for every source and origin, piece by piece; and what could not be read: where, and why.

    Raises `PermanentError` when a path leads to nothing, or a source is not in the configuration.
    """
    problems: list[str] = []
    read = _Reader(request)
    found: dict[tuple[str, str], Batch] = {}
    files = size = 0
    paths = [Path(path) for path in request.paths]
    for copy in Copies(Path(request.state)).walk(paths, request.read_as, lambda error: problems.append(str(error))):
        if not read.wanted(copy):
            continue
        read(copy, found)
        files += 1
        size += len(copy.raw)
        if files >= _MOST_FILES or size >= _MOST_BYTES:
            yield list(found.values()), problems
            found, problems[:], files, size = {}, [], 0, 0
    yield list(found.values()), problems


class _Reader:
    """Reads copies by the settings of their sources."""

    def __init__(self, request: Request) -> None:
        self._request = request
        self._settings = {name: Reading(**each) for name, each in request.readings.items()}
        self._readers = {name: reader(each) for name, each in self._settings.items()}
        self._named: Callable[[str], bool] | None = None if request.file is None else matcher(request.file)

    def wanted(self, copy: Copy) -> bool:
        request = self._request
        return (
            (not request.sources or copy.source in request.sources)
            and (self._named is None or self._named(copy.name))
            and (request.since is None or copy.recorded_at >= request.since)
            and (request.until is None or copy.recorded_at < request.until)
        )

    def __call__(self, copy: Copy, batches: dict[tuple[str, str], Batch]) -> None:
        """Put it into the batch that it belongs to."""
        stored, source, name, mtime, recorded_at, origin, _, digest, raw = copy
        if (parse := self._readers.get(source)) is None:
            raise PermanentError(
                f"files of the source {source!r} cannot be read: it is not in the configuration, which says how; "
                "put it there, or choose others by --source"
            )
        result = parse(raw)
        kept = None if stored is None else Kept(stored, digest or sha256(raw).hexdigest(), recorded_at)
        arrival = Arrival(Entry(name, len(raw), mtime, regular=True), raw, result, None, kept)
        self._batch(source, origin or self._request.origins[source], batches).arrivals.append(arrival)

    def _batch(self, source: str, origin: str, batches: dict[tuple[str, str], Batch]) -> Batch:
        if (batch := batches.get((source, origin))) is None:
            settings = self._settings[source]
            batch = batches[source, origin] = Batch(source, settings.organisation, origin, settings.time_zone, 0)
        return batch
