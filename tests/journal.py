"""In the place of systemd's journal: a socket that takes its native protocol."""

from __future__ import annotations

import os
import socket
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class JournalSocket:
    """Stands for journald: takes datagrams, and files handed over."""

    def __init__(self, path: Path, patience: float | None) -> None:
        """`patience`: how many seconds to wait for an entry; None for as long as it takes."""
        self.path = path
        self._patience = patience
        self.open()

    def open(self) -> None:
        """Begin, or begin again."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(self._patience)
        self._socket.bind(str(self.path))

    def received(self) -> dict[str, str]:
        """The fields of the next entry."""
        data, files, _, _ = socket.recv_fds(self._socket, 1 << 20, 1)
        for file in files:
            with os.fdopen(file, "rb") as handed:
                handed.seek(0)
                data = handed.read()
                with pytest.raises(PermissionError):
                    os.truncate(file, 0)
        return parsed(data)

    def send(self, data: bytes) -> None:
        """Send to itself."""
        self._socket.sendto(data, str(self.path))

    def close(self) -> None:
        self._socket.close()
        self.path.unlink()


def parsed(data: bytes) -> dict[str, str]:
    """What journald makes of an entry."""
    fields: dict[str, str] = {}
    while data:
        head, _, data = data.partition(b"\n")
        name, given, value = head.partition(b"=")
        if not given:
            (size,) = struct.unpack("<Q", data[:8])
            value, data = data[8 : 8 + size], data[8 + size :].removeprefix(b"\n")
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
    return fields


@contextmanager
def journal_socket(patience: float | None = 10.0) -> Iterator[JournalSocket]:
    """One in a folder of its own: a test's is too long for the address of a socket."""
    with tempfile.TemporaryDirectory() as folder:
        made = JournalSocket(Path(folder, "socket"), patience)
        yield made
        made.close()
