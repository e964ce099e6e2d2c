"""A folder on an SFTP server as a source: one connection, kept between polls."""

from __future__ import annotations

import contextlib
import logging
import posixpath
import time
from collections.abc import Iterator, Sequence

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.sources.base import BATCH, Entry, Miss, Move, Moved, Removed
from sftpd_processor.sources.lean import paramiko
from sftpd_processor.sources.sftp_memory import STILL_THERE, Ghosts, Laggards, Refusals
from sftpd_processor.sources.sftp_pipeline import TOO_SLOW, OutOfTime, Pipeline
from sftpd_processor.sources.sftp_wire import NO_SUCH_FILE, PERMISSION_DENIED, SftpStatus
from sftpd_processor.sources.ssh import located, login, sftp_channel

logger = logging.getLogger(__name__)

MOST_ENTRIES = 10_000_000
"""In one look: a listing that goes on after so many has no end."""
_SESSIONS = 2  # tried for one batch of files


class SftpSource:
    """See `Source`. Connects at the first use, and again after a failure."""

    def __init__(self, settings: SftpSourceSettings) -> None:
        self._settings = settings
        self._client: paramiko.SSHClient | None = None
        self._pipeline: Pipeline | None = None
        self._given_up: paramiko.SSHClient | None = None
        self._late: OutOfTime | None = None
        self._came = False
        self._laggards = Laggards()
        self._ghosts = Ghosts()
        self._refusals = Refusals()
        self.moved_at = 0.0
        """When the server last answered (`time.monotonic`); 0.0 before it first did."""

    @property
    def name(self) -> str:
        """The name given in the configuration."""
        return self._settings.name

    def look(self) -> Iterator[list[Entry]]:
        """List the folder afresh.

        Raises `SourceUnavailable` at the end when files were asked for meanwhile and the server handed out none.
        """
        self._late, self._came = None, False
        self._ghosts.look_begins()
        try:
            with self._guarded() as pipeline:
                yield from self._listed(pipeline)
        except SftpStatus as status:
            raise SourceRefused(self._unlistable(status)) from status
        finally:
            self._forget()
        if self._late is not None and not self._came:
            raise SourceUnavailable(located(self._settings, f"no file was handed out in time: {self._late}"))
        if said := self._refusals.news():
            text, fields = "source %s: %s; they wait, and are asked for again at later polls", {"source": self.name}
            logger.warning(text, self.name, said, extra=fields)

    def fetch(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read whole files.

        When time is up, those that are to blame are given up, and the others are asked for over another connection.
        """
        results: list[tuple[Entry, bytes | Miss]] = []
        left = list(entries)
        for _ in range(_SESSIONS):
            alone = self._laggards.among(left)
            asked = [entry for entry in left if entry not in alone]
            if not asked:
                break
            try:
                results += self._fetched(asked)
            except (SourceUnavailable, SourceRefused):
                if not results:
                    raise
                break  # what came is kept; the next verb meets the failure
            left = _missing(entries, results)
        else:
            if not results:
                self._laggards.forgive(left)  # not one came over two connections: that is the server, not the files
        results += [(entry, TOO_SLOW) for entry in left]
        self._came = self._came or any(isinstance(content, bytes) for _, content in results)
        self._refusals.note(results)
        return results

    def remove(self, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete files."""
        asked = [entry for entry in entries if entry not in self._ghosts]
        with self._guarded() as pipeline:
            results = pipeline.remove(self._settings.folder, asked)
        self._ghosts.gone(entry for entry, result in results if isinstance(result, Removed))
        return results + [(entry, STILL_THERE) for entry in entries if entry in self._ghosts]

    def move(self, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move files to `move_to`."""
        target = posixpath.join(self._settings.folder, self._settings.move_to)
        asked = [move for move in moves if move.entry not in self._ghosts]
        with self._guarded() as pipeline:
            try:
                pipeline.make_folder(target)
            except SftpStatus as status:
                refused = Miss("refused", f"the folder {target} cannot be made: the server said: {status}")
                return [(move.entry, refused) for move in moves]
            results = pipeline.move(self._settings.folder, target, asked)
        self._ghosts.gone(entry for entry, result in results if isinstance(result, Moved))
        return [(entry, self._as_configured(result)) for entry, result in results] + [
            (move.entry, STILL_THERE) for move in moves if move.entry in self._ghosts
        ]

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(SourceUnavailable):
            if self._pipeline is not None:
                self._pipeline.close()
        self._drop()
        self._forget()

    def _listed(self, pipeline: Pipeline) -> Iterator[list[Entry]]:
        count = 0
        for entries in pipeline.entries(self._settings.folder, BATCH):
            count += len(entries)
            if count > MOST_ENTRIES:
                raise SourceRefused(
                    located(
                        self._settings,
                        f"the listing of {self._settings.folder!r} does not end: more than {MOST_ENTRIES:,} names came;"
                        " check `folder`, or ask the server's owner",
                    )
                )
            self._ghosts.listed(entries)
            yield entries

    def _fetched(self, entries: Sequence[Entry]) -> Sequence[tuple[Entry, bytes | Miss]]:
        """What came in time; when something did not, the session is given up."""
        with self._guarded() as pipeline:
            try:
                return pipeline.fetch(self._settings.folder, entries)
            except OutOfTime as late:
                self._late = late
                self._laggards.add(late.hung)
                self._give_up(pipeline)
                return late.results

    def _as_configured(self, result: Moved | Miss) -> Moved | Miss:
        return Moved(posixpath.join(self._settings.move_to, result.path)) if isinstance(result, Moved) else result

    def _give_up(self, pipeline: Pipeline) -> None:
        """Use this session no more; one that a look still gets names from is kept to its end."""
        if pipeline.listing:
            self._given_up, self._client, self._pipeline = self._client, None, None
        else:
            self._drop()

    def _forget(self) -> None:
        client, self._given_up = self._given_up, None
        if client is not None:
            client.close()

    def _drop(self) -> None:
        client, self._client, self._pipeline = self._client, None, None
        if client is not None:
            client.close()

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[Pipeline]:
        """The open session; closed again when it proves to be broken, so that the next use starts afresh."""
        try:
            yield self._session()
        except SourceUnavailable as error:
            self._drop()
            raise SourceUnavailable(located(self._settings, str(error))) from error

    def _session(self) -> Pipeline:
        if self._pipeline is None:
            self._client = login(self._settings)
            try:
                self._pipeline = Pipeline(
                    sftp_channel(self._client, self._settings),
                    in_flight=self._settings.in_flight,
                    timeout=self._settings.operation_timeout_seconds,
                    answered=self._moved,
                )
            except BaseException:
                self._drop()
                raise
        return self._pipeline

    def _moved(self) -> None:
        self.moved_at = time.monotonic()

    def _unlistable(self, status: SftpStatus) -> str:
        folder = self._settings.folder
        if status.code == NO_SUCH_FILE:
            return located(self._settings, f"the folder {folder!r} does not exist there; check `folder`")
        if status.code == PERMISSION_DENIED:
            return located(
                self._settings,
                f"the account may not list the folder {folder!r}; ask its owner for the right to read it",
            )
        return located(self._settings, f"the folder {folder!r} cannot be listed; the server said: {status}")


def _missing(entries: Sequence[Entry], results: Sequence[tuple[Entry, bytes | Miss]]) -> list[Entry]:
    if len(results) == len(entries):
        return []
    ended = {entry for entry, _ in results}
    return [entry for entry in entries if entry not in ended]
