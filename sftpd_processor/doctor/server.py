"""A folder on an SFTP server as a place to examine: one connection, one request after another.

It speaks through the same `Pipeline` as the source does, so that what it finds holds for the source, each answer has
a deadline, and names that are not UTF-8 do no harm.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections.abc import Generator, Iterator

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.doctor.findings import OpenFiles, SshFacts
from sftpd_processor.doctor.place import Refused
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources import sftp_wire as wire
from sftpd_processor.sources.base import BATCH, Entry
from sftpd_processor.sources.lean import paramiko
from sftpd_processor.sources.sftp_pipeline import Pipeline
from sftpd_processor.sources.sftp_wire import SftpStatus
from sftpd_processor.sources.ssh import fingerprint, located, login, sftp_channel

_AGAIN = wire.FOR_WRITING | wire.TRUNCATE
_NEW = wire.FOR_WRITING | wire.CREATE | wire.EXCLUSIVE
_TIMES = 8
_SECOND = 1_000_000_000
_OPENED_AT_ONCE = 50


class ServerPlace:
    """See `Place`."""

    finest = _SECOND  # version 3 has no fractions

    def __init__(self, settings: SftpSourceSettings) -> None:
        self.slowest: float | None = None
        self._settings = settings
        self._client: paramiko.SSHClient | None = None
        self._opened: Pipeline | None = None

    def open(self) -> None:
        """Log in and begin an SFTP session."""
        self.close()
        self._client = login(self._settings)
        try:
            self._opened = Pipeline(
                sftp_channel(self._client, self._settings),
                in_flight=1,
                timeout=self._settings.operation_timeout_seconds,
            )
        except SourceUnavailable as error:
            self.close()
            raise SourceUnavailable(located(self._settings, str(error))) from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Hang up."""
        client, self._client, self._opened = self._client, None, None
        if client is not None:
            client.close()

    def ssh(self) -> SshFacts | None:
        """As far as paramiko tells: it forgets the key exchange."""
        transport = self._client and self._client.get_transport()
        if transport is None:
            return None
        key = transport.get_remote_server_key()
        return SshFacts(
            server="".join(c if c.isprintable() else "?" for c in transport.remote_version)[:200],
            host_key_type=key.get_name(),
            host_key=fingerprint(key),
            cipher=transport.remote_cipher,
            mac="" if "gcm" in transport.remote_cipher else transport.remote_mac,
        )

    def entries(self) -> Generator[list[Entry]]:
        """As the source lists them: read ahead."""
        with self._asked() as pipeline:
            yield from pipeline.entries(self._settings.folder, BATCH)

    def names_per_answer(self) -> int | None:
        """Of one READDIR."""
        handle = self._call(wire.OPENDIR, _path(self._settings.folder), wire.HANDLE)
        try:
            with self._asked():
                count: int = wire.U32.unpack_from(self._call(wire.READDIR, handle, wire.NAME))[0]
        finally:
            self._close(handle)
        return count

    def mode(self, path: str) -> int | None:
        """See `Place`."""
        try:
            return self._attributes(wire.STAT, path)[1]
        except Refused as refusal:
            if isinstance(refusal.__cause__, SftpStatus) and refusal.__cause__.code == wire.NO_SUCH_FILE:
                return None
            raise

    def mtime(self, path: str) -> int:
        """See `Place`."""
        return self._attributes(wire.LSTAT, path)[2] * _SECOND

    def set_mtime(self, path: str, mtime: int) -> None:
        """See `Place`."""
        seconds = wire.U32.pack(mtime // _SECOND)
        self._call(wire.SETSTAT, _path(path) + wire.U32.pack(_TIMES) + seconds + seconds)

    def make_folder(self, path: str) -> None:
        """See `Place`."""
        self._call(wire.MKDIR, _path(path) + wire.NO_ATTRIBUTES)

    def write(self, path: str, data: bytes, *, new: bool = True) -> None:
        """See `Place`."""
        with self._file(path, _NEW if new else _AGAIN) as handle:
            self._call(wire.WRITE, handle + (0).to_bytes(8) + wire.string(data))

    def read(self, path: str) -> bytes:
        """See `Place`."""
        with self._file(path, wire.FOR_READING) as handle, self._asked():
            answer = self._call(wire.READ, handle + wire.OFFSET_AND_LENGTH.pack(0, 1024), wire.DATA)
            return wire.take_string(answer, 0)[0]

    def rename(self, old: str, new: str) -> None:
        """RENAME: whether it overwrites is the server's own choice."""
        self._call(wire.RENAME, _path(old) + _path(new))

    def posix_rename(self, old: str, new: str) -> None:
        """An extension of OpenSSH's, which others have too."""
        self._call(wire.EXTENDED, wire.string(b"posix-rename@openssh.com") + _path(old) + _path(new))

    def remove(self, path: str) -> None:
        """See `Place`."""
        self._call(wire.REMOVE, _path(path))

    def remove_folder(self, path: str) -> None:
        """See `Place`."""
        self._call(wire.RMDIR, _path(path))

    def hold_open(self, path: str, most: int) -> OpenFiles | None:
        """Some at once, until one is refused."""
        handles: list[bytes] = []
        refusals: list[str] = []
        closed: list[int] = []

        def opened(kind: int, body: bytes) -> None:
            handles.append(body) if kind == wire.HANDLE else refusals.append(str(wire.status(kind, body)))

        with self._asked() as pipeline:
            while not refusals and len(handles) < most:
                wanted = min(_OPENED_AT_ONCE, most - len(handles))
                answered = len(handles) + wanted
                pipeline.allow(wanted)
                for _ in range(wanted):
                    pipeline.post(wire.OPEN, _path(path) + wire.READ_ONLY, opened)
                while len(handles) + len(refusals) < answered:
                    pipeline.pump()
            pipeline.allow(len(handles))
            for handle in handles:
                pipeline.post(wire.CLOSE, handle, lambda kind, _body: closed.append(kind))
            while len(closed) < len(handles):
                pipeline.pump()
        return OpenFiles(len(handles), refusals[0] if refusals else None)

    def _attributes(self, kind: int, path: str) -> tuple[int, int, int, int]:
        with self._asked():
            return wire.attributes(self._call(kind, _path(path), wire.ATTRS))

    @contextlib.contextmanager
    def _file(self, path: str, flags: int) -> Iterator[bytes]:
        handle = self._call(wire.OPEN, _path(path) + wire.U32.pack(flags) + wire.NO_ATTRIBUTES, wire.HANDLE)
        try:
            yield handle
        finally:
            self._close(handle)

    def _close(self, handle: bytes) -> None:
        if self._opened is not None:  # else the connection is lost, and why is being told
            self._call(wire.CLOSE, handle)

    def _call(self, kind: int, body: bytes, expected: int = wire.STATUS) -> bytes:
        began = time.monotonic()
        with self._asked() as pipeline:
            try:
                return pipeline.call(kind, body, expected)
            finally:
                self.slowest = max(self.slowest or 0.0, time.monotonic() - began)

    @contextlib.contextmanager
    def _asked(self) -> Iterator[Pipeline]:
        if self._opened is None:
            raise SourceUnavailable(located(self._settings, "the connection was lost"))
        try:
            yield self._opened
        except SftpStatus as status:
            raise Refused(f"the server said: {status}") from status
        except struct.error:
            self.close()
            raise SourceUnavailable(
                located(self._settings, str(wire.garbage("an answer shorter than it says")))
            ) from None
        except SourceUnavailable as error:
            self.close()
            raise SourceUnavailable(located(self._settings, str(error))) from error


def _path(path: str) -> bytes:
    return wire.string(wire.encode(path))
