"""The note that each member of a compacted day carries as its comment: what the ledger knew of the file.

`sftpd1 <sha256> <mtime ns> <recorded_at µs> <origin> <verdict> <name, percent-encoded>`, in ASCII: enough to write the
ledger's row anew when the ledger is lost. A day that was put together by hand has none.
"""

from __future__ import annotations

import re
from urllib.parse import quote, unquote

from sftpd_processor.ledger.records import QUARANTINED, Noted

_MARK = b"sftpd1 "
_SHA_256 = 64  # digits
_LEAST, _MOST = -(1 << 63), (1 << 63) - 1
_LATEST = 253_402_300_800_000_000  # the year 10,000, in microseconds
_ORIGINS = frozenset({"sftp", "directory", "http", "replay"})
_VERDICTS = frozenset({"accepted", "duplicate", *QUARANTINED})
_quickly = tuple.__new__  # `_make` takes three times as long
_CONTROL = re.compile(r"[\x00-\x1f\x7f]").search


def written(noted: Noted) -> bytes:
    """The note of a file."""
    sha256, mtime, recorded_at, origin, verdict, name = noted
    words = (sha256, str(mtime), str(recorded_at), origin, verdict, quote(name, safe=""))
    return _MARK + " ".join(words).encode("ascii")


def understood(note: bytes) -> Noted | None:
    """What a note says; None when it is not one of these."""
    if not note.startswith(_MARK):
        return None
    try:
        _, sha256, modified, recorded, origin, verdict, name = str(note, "ascii").split(" ")
        if "%" in name:
            name = unquote(name, errors="strict")
        mtime, recorded_at = int(modified), int(recorded)
    except ValueError:
        return None
    if not name or "/" in name or (not name.isprintable() and _CONTROL(name)):
        return None
    if len(sha256) != _SHA_256 or not sha256.isalnum() or origin not in _ORIGINS or verdict not in _VERDICTS:
        return None
    if not _LEAST <= mtime <= _MOST or not 0 <= recorded_at < _LATEST:
        return None
    return _quickly(Noted, (sha256, mtime, recorded_at, origin, verdict, name))
