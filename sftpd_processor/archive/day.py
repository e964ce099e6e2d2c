"""One compacted day: a ZIP file as ordinary tools open it, each member deflated by itself.

The layout is that of PKWARE's APPNOTE.TXT 6.3 (4.3.7 to 4.3.16), with ZIP64 where it is needed. It is read here and
not by `zipfile`, which takes five times as long and a kilobyte of memory for each of what may be 100,000 members.
"""

from __future__ import annotations

import os
import stat
import struct
import weakref
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, NoReturn, Self, TypeAlias
from zlib import crc32, decompress, decompressobj

from sftpd_processor.errors import PermanentError

LARGEST = 1 << 30
"""Bytes of the largest copy that is read, unless another limit is given."""

LOCAL = struct.Struct("<4s5H3I2H")
CENTRAL = struct.Struct("<4s6H3I5H2I")
END = struct.Struct("<4s4H2IH")
END_64 = struct.Struct("<4sQ2H2I4Q")
LOCATOR = struct.Struct("<4sIQI")
LOCAL_MARK, CENTRAL_MARK, END_MARK = b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06"
END_64_MARK, LOCATOR_MARK = b"PK\x06\x06", b"PK\x06\x07"
STORED, DEFLATED = 0, 8
FULL_16, FULL_32 = 0xFFFF, 0xFFFF_FFFF
IN_ORDER = b"sftpd-processor: in the order recorded"
"""The comment of a ZIP file whose members lie in that order."""

_ENCRYPTED, _UTF_8 = 1 << 0, 1 << 11
_CHUNK, _MUCH = 1 << 16, 1 << 18
_USUAL = struct.Struct("<4s4x5I3H8xI")
"""Of an entry in the table of contents: mark, flags and method, date, sum, packed, size, three lengths, offset."""
_KIND = DEFLATED << 16 | _UTF_8
_FEW = 1 << 14  # bytes that unpack to 17 MB at most, whatever the table of contents says
_SLACK = 1 << 16  # bytes that deflate may add to what cannot be made smaller
_SAFELY = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Member(NamedTuple):
    """One copy in a day."""

    name: str
    note: bytes
    """Its comment."""
    modified: int
    """Date and time as DOS writes them."""
    method: int
    crc: int
    packed: int
    size: int
    offset: int


Unpacked: TypeAlias = tuple[str, bytes, int, bytes]
"""A member's name, note, date and bytes."""
Problem: TypeAlias = Callable[[PermanentError], object]
"""Hears of what cannot be read; the others are read all the same, unless it raises."""


class Day:
    """A compacted day, open for reading; to be used by one thread at a time.

    Every verb raises `PermanentError` when the file is damaged or unreadable, and takes no more memory for it than
    the file's table of contents and one copy.
    """

    def __init__(self, path: Path, largest: int = LARGEST) -> None:
        """`largest`: bytes of the largest copy that is read. Raises `FileNotFoundError` when there is no such file."""
        self.path = path
        self._largest = largest
        self._chunk, self._start = b"", 0
        self._places: dict[bytes, int] | None = None
        self.close: Callable[[], object]
        """Let go of the file; it is let go of anyway when nobody holds this any more."""
        try:
            self._descriptor = os.open(path, _SAFELY)
            self.close = weakref.finalize(self, os.close, self._descriptor)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise _unreadable(path, error) from error
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.close()

    def members(self) -> Iterator[Member]:
        """All members, in the order of the table of contents."""
        at = 0
        for _ in range(self.count):
            member, at = self._member(at)
            if not member.name.endswith("/"):  # a folder, as other tools note them
                yield member

    def everything(self, problem: Problem) -> Iterator[Unpacked]:
        """All members with their bytes, in the order of the table of contents: `members` and `read` in one.

        What is packed as it is here takes half the time, for 100,000 of them: one loop without a call of our own. All
        else goes the long way, and what is wrong is found out there.
        """
        directory, entry, most = self._directory, _USUAL.unpack_from, min(self._largest, 1 << 20)
        at, chunk, start = 0, b"", 0
        for _ in range(self.count):
            try:
                mark, kind, modified, crc, packed, size, named, extra, noted, offset = entry(directory, at)
                begin = offset - start + 30 + named  # were it not there, the sum would be another
                if offset < start or begin + packed > len(chunk):
                    chunk, start, begin = self._read(offset, _MUCH), offset, 30 + named
                if kind == _KIND and mark == CENTRAL_MARK and not extra and packed <= _FEW and size <= most:
                    raw = decompress(chunk[begin : begin + packed], -15, size + 1)
                    middle = at + 46 + named
                    name = directory[at + 46 : middle].decode()
                    if crc32(raw) == crc and len(raw) == size and name and "/" not in name and "\0" not in name:
                        at = middle + noted
                        yield name, directory[middle:at], modified, raw
                        continue
            except (struct.error, zlib.error, UnicodeDecodeError, PermanentError):
                pass
            try:
                member, at = self._member(at)
            except PermanentError as error:
                problem(error)
                return
            yield from self.unpacked((member,), problem)

    def unpacked(self, members: Iterable[Member], problem: Problem) -> Iterator[Unpacked]:
        """Some members with their bytes, in their order; without folders, as other tools note them."""
        for member in members:
            if member.name.endswith("/"):
                continue
            try:
                raw = self.read(member)
            except PermanentError as error:
                problem(error)
                continue
            yield member.name, member.note, member.modified, raw

    def find(self, name: str) -> Member | None:
        """The member of that name."""
        if self._places is None:
            self._places = dict(self._named())
        at = self._places.get(name.encode(errors="surrogateescape"))
        return None if at is None else self._member(at)[0]

    def read(self, member: Member) -> bytes:
        """The exact bytes of a member."""
        name, _, _, method, crc, packed, size, offset = member
        if size > self._largest or packed > self._largest + _SLACK:
            self._refuse(f"{name!r} is larger than is read ({self._largest:,} bytes)")
        raw = self._packed(name, offset, packed)
        if method == DEFLATED:
            try:
                raw = decompressobj(-zlib.MAX_WBITS).decompress(raw, size + 1)
            except zlib.error:
                self._refuse(f"{name!r} cannot be unpacked")
        elif method != STORED:
            self._refuse(f"{name!r} is packed by method {method}; only deflate is known here")
        if len(raw) != size or crc32(raw) != crc:
            self._refuse(f"{name!r} is not what was packed: its size or sum is another")
        return raw

    def _packed(self, name: str, offset: int, packed: int) -> bytes:
        chunk, at = self._chunk, offset - self._start
        if at < 0 or at + LOCAL.size > len(chunk):
            chunk, at = self._load(offset, LOCAL.size), 0
        if not chunk.startswith(LOCAL_MARK, at):
            self._refuse(f"{name!r} is not where the table of contents says")
        # Only the local header tells how long it is: what tools add there differs from what the contents say.
        begin = at + LOCAL.size + (chunk[at + 26] | chunk[at + 27] << 8) + (chunk[at + 28] | chunk[at + 29] << 8)
        end = begin + packed
        if end > len(chunk):
            return self._load(self._start + begin, packed)[:packed]
        return chunk[begin:end]

    def _load(self, offset: int, length: int) -> bytes:
        """What begins there, with what follows it: members are mostly read in turn."""
        if offset + length > self._end:
            self._refuse("it is shorter than its table of contents says")
        self._chunk, self._start = self._read(offset, max(length, _CHUNK)), offset
        return self._chunk

    def _read(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self._descriptor, min(length, max(0, self._size - offset)), offset)
        except OSError as error:
            raise _unreadable(self.path, error) from error

    def _open(self) -> None:
        status = os.fstat(self._descriptor)
        self._size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            self._refuse("it is no regular file")
        tail = self._read(max(0, self._size - END.size - FULL_16), END.size + FULL_16)
        at = tail.rfind(END_MARK)
        if at < 0 or len(tail) - at < END.size:
            self._refuse("it has no end, so it is no ZIP file, or only the beginning of one")
        _, disk, first, _, count, length, begin, comment = END.unpack_from(tail, at)
        if at + END.size + comment > len(tail):
            self._refuse("its end is cut off")
        self.ordered = tail[at + END.size : at + END.size + comment] == IN_ORDER
        end = self._size - len(tail) + at
        if FULL_16 in (disk, first, count) or FULL_32 in (length, begin):
            count, length, begin = self._open_64(end, (count, length, begin))
        if begin + length > end or count * CENTRAL.size > length:
            self._refuse("its table of contents is not where its end says")
        self.count: int = count
        """Members, and folders."""
        self._end = begin
        self._directory = self._read(begin, length)

    def _open_64(self, end: int, small: tuple[int, int, int]) -> tuple[int, int, int]:
        locator = self._read(max(0, end - LOCATOR.size), LOCATOR.size)
        if len(locator) < LOCATOR.size or not locator.startswith(LOCATOR_MARK):
            return small  # really so many, and no more
        record = self._read(LOCATOR.unpack(locator)[2], END_64.size)
        if len(record) < END_64.size or not record.startswith(END_64_MARK):
            self._refuse("its ZIP64 end is not where it should be")
        *_, count, length, begin = END_64.unpack(record)
        return count, length, begin

    def _named(self) -> Iterator[tuple[bytes, int]]:
        at = 0
        for _ in range(self.count):
            member, following = self._member(at)
            yield member.name.encode(errors="surrogateescape"), at
            at = following

    def _member(self, at: int) -> tuple[Member, int]:
        directory = self._directory
        try:
            (
                mark, _, _, flags, method, clock, day, crc, packed, size, named, extra, noted, _, _, _, offset,
            ) = CENTRAL.unpack_from(directory, at)  # fmt: skip
        except struct.error:
            self._refuse("its table of contents ends too early")
        start = at + CENTRAL.size
        middle = start + named
        end = middle + extra + noted
        if mark != CENTRAL_MARK or end > len(directory) or flags & _ENCRYPTED:
            self._refuse("a member is encrypted" if flags & _ENCRYPTED else "its table of contents is damaged")
        if extra and FULL_32 in (packed, size, offset):
            size, packed, offset = self._large(directory[middle : middle + extra], size, packed, offset)
        name = directory[start:middle].decode("utf-8" if flags & _UTF_8 else "cp437", "replace")
        if not name or "/" in name[:-1] or "\0" in name:
            self._refuse("its members lie in folders; pack the files without their folder (`zip -j`)")
        modified = day << 16 | clock
        return Member._make((name, directory[end - noted : end], modified, method, crc, packed, size, offset)), end

    def _large(self, extra: bytes, *sizes: int) -> Iterator[int]:
        """The sizes and the offset where they do not fit into 32 bits: APPNOTE 4.5.3."""
        at, found = 0, b""
        while at + 4 <= len(extra):
            kind, length = struct.unpack_from("<2H", extra, at)
            if kind == 1:
                found = extra[at + 4 : at + 4 + length]
            at += 4 + length
        wide = iter(struct.unpack(f"<{len(found) // 8}Q", found[: len(found) // 8 * 8]))
        return iter([next(wide, number) if number == FULL_32 else number for number in sizes])

    def _refuse(self, why: str) -> NoReturn:
        raise PermanentError(
            f"the compacted day {self.path} cannot be read: {why}. Put it back from a backup, or move it out of the "
            "archive to go on without it"
        )


def _unreadable(path: Path, error: OSError) -> PermanentError:
    return PermanentError(f"the compacted day {path} cannot be read: {error.strerror}; mend that, or its rights")


@lru_cache(4096)
def nanoseconds(modified: int) -> int:
    """DOS's date and time (UTC here) as nanoseconds since 1970; 0 for a date that there is not."""
    day, clock = modified >> 16, modified & FULL_16
    try:
        at = datetime(
            1980 + (day >> 9), day >> 5 & 15, day & 31, clock >> 11, clock >> 5 & 63, (clock & 31) * 2, tzinfo=UTC
        )
    except ValueError:
        return 0
    return int(at.timestamp()) * 1_000_000_000
