"""Many files written and removed through one SFTP session, with many requests in flight.

Each file is four requests, each waiting for the answer to the one before: OPEN, WRITE, CLOSE, RENAME.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from sftpd_processor.certify.feed import SentFile
from sftpd_processor.errors import SourceRefused
from sftpd_processor.sources import sftp_wire as wire
from sftpd_processor.sources.sftp_pipeline import Channel, Pipeline

_WINDOW = 32  # files under way; few enough for every server's limit of open files
_CHUNK = 32768  # the longest WRITE that every server must take
_CREATE = wire.U32.pack(wire.FOR_WRITING | wire.CREATE | wire.TRUNCATE) + wire.NO_ATTRIBUTES
"""The end of an OPEN for writing, and no attributes."""


class Uploads:
    """One SFTP session for writing; used by one thread at a time."""

    def __init__(self, channel: Channel, timeout: float) -> None:
        """`timeout`: seconds to wait for an answer."""
        self.pipeline = Pipeline(channel, in_flight=_WINDOW, timeout=timeout)
        self.under_way = 0
        self.refusal: str | None = None

    def put(self, files: Iterable[SentFile], first: str, then: str) -> None:
        """Write each file into the folder `first`, then move it into `then`.

        Raises `SourceRefused` with the server's words when it will not, `SourceUnavailable` when it is gone.
        """
        for file in files:
            self._make_room()
            _Upload(self, file, wire.prefix(first), wire.prefix(then)).start()
        self._finish()

    def remove(self, folder: str, names: Iterable[str]) -> None:
        """Remove files of one folder; raises as `put` does."""
        before = wire.prefix(folder)
        for name in names:
            self._make_room()
            self.pipeline.post(wire.REMOVE, wire.string(before + wire.encode(name)), self.ended)
            self.under_way += 1
        self._finish()

    def ended(self, kind: int, body: bytes) -> None:
        """The last answer about one file."""
        self.under_way -= 1
        said = wire.status(kind, body)
        if said.code != wire.OK:
            self.refusal = str(said)

    def _make_room(self) -> None:
        while self.under_way >= _WINDOW:
            self.pipeline.pump()
        self._heed()

    def _finish(self) -> None:
        while self.under_way:
            self.pipeline.pump()
        self._heed()

    def _heed(self) -> None:
        if self.refusal is not None:
            refusal, self.refusal = self.refusal, None
            raise SourceRefused(f"the server did not take a file, or did not remove one; it said: {refusal}")


class _Upload:
    """One file on its way."""

    __slots__ = ("_at", "_chunks", "_handle", "_names", "_uploads")

    def __init__(self, uploads: Uploads, file: SentFile, first: bytes, then: bytes) -> None:
        name = wire.encode(file.name)
        self._uploads = uploads
        self._names = wire.string(first + name), wire.string(then + name)
        self._chunks = deque(file.data[at : at + _CHUNK] for at in range(0, len(file.data), _CHUNK))
        self._at = 0
        self._handle = b""

    def start(self) -> None:
        self._uploads.under_way += 1
        self._uploads.pipeline.post(wire.OPEN, self._names[0] + _CREATE, self._opened)

    def _opened(self, kind: int, body: bytes) -> None:
        if kind != wire.HANDLE:
            self._uploads.ended(kind, body)
            return
        self._handle = body
        self._write()

    def _write(self) -> None:
        if not self._chunks:
            self._uploads.pipeline.post(wire.CLOSE, self._handle, self._closed)
            return
        chunk = self._chunks.popleft()
        offset = self._at.to_bytes(8)
        self._at += len(chunk)
        self._uploads.pipeline.post(wire.WRITE, self._handle + offset + wire.string(chunk), self._written)

    def _written(self, kind: int, body: bytes) -> None:
        if wire.status(kind, body).code != wire.OK:
            self._uploads.ended(kind, body)
            return
        self._write()

    def _closed(self, kind: int, body: bytes) -> None:
        if wire.status(kind, body).code != wire.OK:
            self._uploads.ended(kind, body)
            return
        self._uploads.pipeline.post(wire.RENAME, self._names[0] + self._names[1], self._uploads.ended)
