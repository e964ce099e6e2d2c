"""Systemd's journal: entries of several fields each, in its native protocol.

The protocol is documented at https://systemd.io/JOURNAL_NATIVE_PROTOCOL: one datagram for an entry, one line
`NAME=value` for a field; a value of several lines stands behind its length instead, so that it can forge no field. An
entry that is too large for a datagram is handed over as a sealed file in memory.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Mapping

SOCKET = "/run/systemd/journal/socket"
VARIABLE = "JOURNAL_STREAM"

_PATIENCE = 1.0  # seconds that a journal which does not read may hold up whoever logs
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL


def leads_into_journal(descriptor: int) -> bool:
    """Whether systemd has connected `descriptor` with its journal: it then tells device and inode in a variable."""
    try:
        found = os.fstat(descriptor)
    except OSError:
        return False
    return os.environ.get(VARIABLE) == f"{found.st_dev}:{found.st_ino}"


def entry(fields: Mapping[str, str | int]) -> bytes:
    """`fields` as the protocol writes them. Names are capital letters, digits and `_`, and begin with a letter."""
    return b"".join(_field(name.encode(), _bytes(value)) for name, value in fields.items())


class Journal:
    """The way to the journal. Every entry finds it anew, so that it may be restarted."""

    def __init__(self) -> None:
        self._path = SOCKET
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.settimeout(_PATIENCE)

    def send(self, fields: Mapping[str, str | int]) -> None:
        """Hand over one entry. Raises `OSError` when the journal does not take it."""
        data = entry(fields)
        try:
            self._socket.sendto(data, self._path)
        except OSError as error:
            if not _too_large(error):
                raise
            self._send_file(data)

    def close(self) -> None:
        """Nothing more is sent."""
        self._socket.close()

    def _send_file(self, data: bytes) -> None:
        descriptor = os.memfd_create("log-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)  # the journal must know that it stays as it is
            handed = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))]
            self._socket.sendmsg([], handed, 0, self._path)


def _bytes(value: str | int) -> bytes:
    return str(value).encode(errors="backslashreplace")


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" in value:
        return b"%b\n%b%b\n" % (name, struct.pack("<Q", len(value)), value)
    return b"%b=%b\n" % (name, value)


def _too_large(error: OSError) -> bool:
    return error.errno in (errno.EMSGSIZE, errno.ENOBUFS)
