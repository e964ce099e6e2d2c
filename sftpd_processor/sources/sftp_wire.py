"""The wire format of SFTP version 3 (draft-ietf-secsh-filexfer-02): what OpenSSH and nearly all others speak.

Whatever is malformed raises `SourceUnavailable` or `struct.error`: the connection is of no more use then.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Entry

INIT, VERSION, OPEN, CLOSE, READ, WRITE, LSTAT, SETSTAT, OPENDIR, READDIR, REMOVE, MKDIR, RMDIR, STAT, RENAME = (
    1, 2, 3, 4, 5, 6, 7, 9, 11, 12, 13, 14, 15, 17, 18,
)  # fmt: skip
EXTENDED = 200
STATUS, HANDLE, DATA, NAME, ATTRS = 101, 102, 103, 104, 105
OK, EOF, NO_SUCH_FILE, PERMISSION_DENIED, FAILURE = 0, 1, 2, 3, 4

HEAD = struct.Struct(">IBI")
"""Length of what follows it, type, request number (in INIT and VERSION: the version)."""
U32 = struct.Struct(">I")
OFFSET_AND_LENGTH = struct.Struct(">QI")
FOR_READING, FOR_WRITING, CREATE, TRUNCATE, EXCLUSIVE = 0x01, 0x02, 0x08, 0x10, 0x20
READ_ONLY = U32.pack(FOR_READING) + U32.pack(0)
"""The end of an OPEN: SSH_FXF_READ, and no attributes."""
NO_ATTRIBUTES = U32.pack(0)

_U64 = struct.Struct(">Q")
_USUAL = struct.Struct(">QIIIII")  # size, uid, gid, mode, atime, mtime: the attributes as OpenSSH sends them
_LONGEST_TEXT = 200
_DONE = U32.pack(OK)


class SftpStatus(Exception):
    """An answer of the server: a status, with the server's own words made printable."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


_SUCCESS = SftpStatus(OK, "done")


def status(kind: int, body: bytes) -> SftpStatus:
    """The status in an answer that can only be one."""
    if kind != STATUS:
        raise garbage(f"an answer of type {kind} where a status belongs")
    if body[:4] == _DONE:
        return _SUCCESS
    text = take_string(body, 4)[0] if len(body) > 8 else b""
    said = "".join(c if c.isprintable() else "?" for c in text[:_LONGEST_TEXT].decode(errors="replace"))
    return SftpStatus(U32.unpack_from(body)[0], said or "no reason given")


def entries(body: bytes) -> Iterator[Entry]:
    """The entries of one NAME answer, without `.` and `..`."""
    at = 4
    for _ in range(U32.unpack_from(body)[0]):
        name, at = take_string(body, at)
        kind = body[at + 4 : at + 5]  # the first letter of what `ls -l` would print
        at += 4 + U32.unpack_from(body, at)[0]
        size, mode, mtime, at = attributes(body, at)
        if name not in (b".", b".."):
            regular = stat.S_ISREG(mode) if mode else kind == b"-"
            yield Entry(name.decode(errors="surrogateescape"), size, mtime * 1_000_000_000, regular)


def attributes(body: bytes, at: int = 0) -> tuple[int, int, int, int]:
    """Size, mode, mtime (each 0 where the server left it out), and where the attributes end."""
    flags = U32.unpack_from(body, at)[0]
    if flags == 0xF:
        size, _, _, mode, _, mtime = _USUAL.unpack_from(body, at + 4)
        return size, mode, mtime, at + 32
    at += 4
    size = mode = mtime = 0
    if flags & 1:
        size, at = _U64.unpack_from(body, at)[0], at + 8
    if flags & 2:
        at += 8
    if flags & 4:
        mode, at = U32.unpack_from(body, at)[0], at + 4
    if flags & 8:
        mtime, at = U32.unpack_from(body, at + 4)[0], at + 8
    if flags & 0x80000000:
        count, at = U32.unpack_from(body, at)[0], at + 4
        for _ in range(2 * count):
            at += 4 + U32.unpack_from(body, at)[0]
    return size, mode, mtime, at


def take_string(body: bytes, at: int) -> tuple[bytes, int]:
    """The string that begins at `at`, and where it ends."""
    start = at + 4
    end = start + U32.unpack_from(body, at)[0]
    return body[start:end], end


def string(data: bytes) -> bytes:
    """A string as it is sent."""
    return U32.pack(len(data)) + data


def encode(text: str) -> bytes:
    """A name or path as the server knows it."""
    return text.encode(errors="surrogateescape")


def prefix(folder: str) -> bytes:
    """What comes before the names in `folder`."""
    return encode(folder).rstrip(b"/") + b"/"


def garbage(what: str) -> SourceUnavailable:
    """The failure for a server that does not keep to the protocol."""
    return SourceUnavailable(f"the server broke the SFTP protocol: {what}")
