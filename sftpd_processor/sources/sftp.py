"""A folder on an SFTP server as a source: one connection, kept between polls."""

from __future__ import annotations

import contextlib
import posixpath
import threading
from collections.abc import Iterator, Sequence

import paramiko

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.sources.base import BATCH, Entry, Miss, Move, Moved, Removed
from sftpd_processor.sources.sftp_pipeline import Pipeline
from sftpd_processor.sources.sftp_wire import NO_SUCH_FILE, PERMISSION_DENIED, SftpStatus
from sftpd_processor.sources.ssh import connected, login


class SftpSource:
    """See `Source`. Connects at the first use, and again after a failure."""

    def __init__(self, settings: SftpSourceSettings) -> None:
        self._settings = settings
        self._client: paramiko.SSHClient | None = None
        self._pipeline: Pipeline | None = None

    @property
    def name(self) -> str:
        """The name given in the configuration."""
        return self._settings.name

    def look(self) -> Iterator[list[Entry]]:
        """List the folder afresh."""
        with self._guarded() as pipeline:
            try:
                yield from pipeline.entries(self._settings.folder, BATCH)
            except SftpStatus as status:
                raise SourceRefused(self._unlistable(status)) from status

    def fetch(self, entries: Sequence[Entry]) -> list[tuple[Entry, bytes | Miss]]:
        """Read whole files."""
        with self._guarded() as pipeline:
            return pipeline.fetch(self._settings.folder, entries)

    def remove(self, entries: Sequence[Entry]) -> list[tuple[Entry, Removed | Miss]]:
        """Delete files."""
        with self._guarded() as pipeline:
            return pipeline.remove(self._settings.folder, entries)

    def move(self, moves: Sequence[Move]) -> list[tuple[Entry, Moved | Miss]]:
        """Move files to `move_to`."""
        target = posixpath.join(self._settings.folder, self._settings.move_to)
        with self._guarded() as pipeline:
            try:
                pipeline.make_folder(target)
            except SftpStatus as status:
                refused = Miss("refused", f"the folder {target} cannot be made: the server said: {status}")
                return [(move.entry, refused) for move in moves]
            return [
                (
                    entry,
                    Moved(posixpath.join(self._settings.move_to, result.path)) if isinstance(result, Moved) else result,
                )
                for entry, result in pipeline.move(self._settings.folder, target, moves)
            ]

    def close(self) -> None:
        """Disconnect."""
        with contextlib.suppress(SourceUnavailable):
            if self._pipeline is not None:
                self._pipeline.close()
        self._drop()

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
            raise SourceUnavailable(self._where(str(error))) from error

    def _session(self) -> Pipeline:
        if self._pipeline is None:
            self._client = login(self._settings)
            try:
                self._pipeline = Pipeline(
                    self._channel(self._client),
                    in_flight=self._settings.in_flight,
                    timeout=self._settings.operation_timeout_seconds,
                )
            except BaseException:
                self._drop()
                raise
        return self._pipeline

    def _channel(self, client: paramiko.SSHClient) -> paramiko.Channel:
        """A channel to the server's SFTP subsystem; paramiko itself would wait for it for ever."""
        timeout = self._settings.operation_timeout_seconds
        late = threading.Timer(timeout, client.close)
        late.start()
        try:
            transport = client.get_transport()
            channel = transport.open_session(timeout=timeout)
            channel.invoke_subsystem("sftp")
        except (paramiko.SSHException, EOFError, OSError, AttributeError) as error:
            if not connected(client):
                raise SourceUnavailable(f"the server did not start SFTP within {timeout:g} s, or hung up") from error
            raise SourceRefused(self._where(f"the server offers no SFTP to this account: {error}")) from error
        finally:
            late.cancel()
        return channel

    def _where(self, text: str) -> str:
        prefix = f"source {self.name}: "
        return text if text.startswith(prefix) else f"{prefix}{self._settings.host}:{self._settings.port}: {text}"

    def _unlistable(self, status: SftpStatus) -> str:
        folder = self._settings.folder
        if status.code == NO_SUCH_FILE:
            return self._where(f"the folder {folder!r} does not exist there; check `folder`")
        if status.code == PERMISSION_DENIED:
            return self._where(
                f"the account may not list the folder {folder!r}; ask its owner for the right to read it"
            )
        return self._where(f"the folder {folder!r} cannot be listed; the server said: {status}")
