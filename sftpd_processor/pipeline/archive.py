"""Archive: the local copies of recorded files, driven by the ledger alone.

`<state>/archive/<source>/YYYY/MM/DD/<name>` (UTC, the day it was recorded) holds the exact bytes of files that were
accepted or are duplicates; `<state>/quarantine/…` those that are invalid or in conflict, with `<name>.reason.json`
beside each. The bytes are in the ledger until then, so no file is fsynced and a crash at any point is mended by
doing it again: a copy cut short by it is completed. Each has the time that was listed as its own.
"""

from __future__ import annotations

import json
import os
import stat
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

from sftpd_processor.archive.copies import Copies
from sftpd_processor.archive.places import ENDING
from sftpd_processor.archive.places import REASON as _REASON
from sftpd_processor.errors import PermanentError, TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Unarchived, moment
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.points import reached
from sftpd_processor.sources.base import variant

BATCH = 1000
_LONGEST_NAME = 255
_DAY = 86_400_000_000  # microseconds
_MOST_OFFERED = 2  # batches
_IDLE = 5.0  # seconds between two questions to the ledger: `retry` may have put work there
_MANY = 500  # copies after which resting is worth its while: it gave back 9 MB after 2,000 files
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC
_ADVICE = {
    "partial": "The other events of this file were handed on. These were not: show them to whoever runs the Webio "
    "account. A corrected file can be put back with `sftpd-processor retry --corrected`.",
    "invalid": "Nothing of this file was handed to a handler. If it should have been readable, show it to whoever runs "
    "the Webio account; the bytes beside this note are exactly what was on the server.",
    "conflict": "An event with the same identity was recorded before with other content, and that first one was handed "
    "on. Compare the two; whether the later one is right is for a person to say.",
}


class Archive:
    """Writes local copies."""

    def __init__(self, folder: Path, ledger: Ledger) -> None:
        """`folder` is the state folder."""
        self._folder = folder
        self._ledger = ledger
        self._copies = Copies(folder)

    def step(self) -> int:
        """Write up to one batch of the copies that the ledger says are missing; returns how many."""
        files = self._ledger.files.unarchived(BATCH)
        self.write(files)
        return len(files)

    def rest(self) -> None:
        """See `Ledger.rest`: the copies are the last that is done with files."""
        self._ledger.rest()

    def write(self, files: Sequence[Unarchived]) -> None:
        """Write the copies of `files`, and mark them as written. Raises `TransientError`."""
        try:
            with ExitStack() as opened:
                opened.callback(self._copies.let_go)
                done = self._write(files, opened)
        except OSError as error:
            raise TransientError(
                f"the archive in {self._folder} cannot be written: {error.strerror or error}; nothing is lost, the "
                "bytes are in the ledger"
            ) from error
        reached("copied")
        self._ledger.files.archived(done)
        reached("copies-noted")

    def _write(self, files: Sequence[Unarchived], opened: ExitStack) -> list[tuple[int, str]]:
        folders: dict[tuple[bool, str, int], _Folder] = {}
        done = []
        for file in files:
            key = file.verdict in _ADVICE, file.source, file.recorded_at // _DAY
            if (folder := folders.get(key)) is None:
                folder = folders[key] = _Folder(self._folder, _relative(*key), self._ledger, self._copies)
                opened.callback(folder.close)
            path = folder.keep(file)
            self._remove_former(file, path)
            done.append((file.id, path))
        return done

    def _remove_former(self, file: Unarchived, path: str) -> None:
        """The quarantined copy of a file that was read again is not needed beside the new one."""
        if file.former_path is not None and file.former_path != path:
            for former in (file.former_path, file.former_path + _REASON):
                (self._folder / former).unlink(missing_ok=True)


class _Folder:
    """One day's folder, held open while a batch is written into it."""

    def __init__(self, state: Path, relative: str, ledger: Ledger, copies: Copies) -> None:
        path = state / relative
        path.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._relative = relative
        self._day = f"{path}{ENDING}"
        self._copies = copies
        self._ledger = ledger

    def close(self) -> None:
        os.close(self._descriptor)

    def keep(self, file: Unarchived) -> str:
        """Write the copy under the first name that is free for it; returns its path below the state folder."""
        reason = _reason(file) if file.verdict in _ADVICE else None
        longest = _LONGEST_NAME if reason is None else _LONGEST_NAME - len(_REASON)
        turn = 0
        while not self._place(file, name := variant(file.name, file.sha256[:8], turn, longest), reason):
            turn += 1
        return f"{self._relative}/{name}"

    def _place(self, file: Unarchived, name: str, reason: bytes | None) -> bool:
        """Write the copy, and the reason beside it; False when either name belongs to something else."""
        if reason is not None and not self._write(file, name + _REASON, reason, None):
            return False
        return self._write(file, name, file.raw, file.mtime)

    def _write(self, file: Unarchived, name: str, data: bytes, mtime: int | None) -> bool:
        """Write the copy, with the time that was listed."""
        if (compacted := self._compacted(name)) is not None:
            return compacted == data
        try:
            self._create(name, data, mtime, os.O_EXCL)
        except FileExistsError:
            if not self._was(file, name):
                return self._completed(file, name, data, mtime)
            self._create(name, data, mtime, os.O_TRUNC)
        return True

    def _compacted(self, name: str) -> bytes | None:
        """The copy of that name in the compacted day, where the day is compacted: of a file read once more.

        A damaged one does not keep the copy from being written: it is told of by the upkeep, and by `archive verify`.
        """
        if not os.path.lexists(self._day):
            return None
        with suppress(PermanentError):
            return self._copies.compacted(f"{self._relative}/{name}")
        return None

    def _was(self, file: Unarchived, name: str) -> bool:
        """Whether the name is that of the file's former copy, or of the reason beside it."""
        former = file.former_path
        return former is not None and f"{self._relative}/{name}" in (former, former + _REASON)

    def _completed(self, file: Unarchived, name: str, data: bytes, mtime: int | None) -> bool:
        """Whether what is there already is this copy, or the beginning of it that a crash left behind."""
        found = self._read(name, len(data) + 1)
        if found is None or not data.startswith(found):
            return False
        if found != data:
            if self._ledger.files.knows(file.source, file.name, sha256(found).hexdigest()):
                return False  # not a torn copy of this file, but a whole one of another that went by its name
            self._create(name, data, mtime, os.O_TRUNC)
        elif mtime is not None and os.stat(name, dir_fd=self._descriptor).st_mtime_ns > mtime:
            os.utime(name, ns=(mtime, mtime), dir_fd=self._descriptor)  # killed before that
        return True

    def _read(self, name: str, size: int) -> bytes | None:
        """The beginning of a regular file; None for anything else."""
        try:
            descriptor = os.open(name, os.O_RDONLY | _SAFELY | os.O_NONBLOCK, dir_fd=self._descriptor)
        except OSError:
            return None
        with os.fdopen(descriptor, "rb") as file:
            return file.read(size) if stat.S_ISREG(os.fstat(descriptor).st_mode) else None

    def _create(self, name: str, data: bytes, mtime: int | None, how: int) -> None:
        flags = os.O_WRONLY | os.O_CREAT | _SAFELY | how
        descriptor = os.open(name, flags, 0o640, dir_fd=self._descriptor)
        reached("copy-begun")
        try:
            written = os.write(descriptor, data)
            while written < len(data):
                written += os.write(descriptor, data[written:])
            if mtime is not None:
                os.utime(descriptor, ns=(mtime, mtime))
        finally:
            os.close(descriptor)


class Archivist(Loop):
    """Keeps the archive complete."""

    def __init__(self, archive: Archive) -> None:
        super().__init__("archive")
        self._archive = archive
        self._offered: deque[list[Unarchived]] = deque(maxlen=_MOST_OFFERED)
        self._written = 0
        self._quiet = False

    def offer(self, files: list[Unarchived]) -> None:
        """Files just recorded, so that they need not be read again. What is forgotten here is found in the ledger."""
        self._offered.append(files)
        self.wake()

    def step(self) -> float | None:
        """Write a batch of copies; after many, rest when there was nothing to do twice."""
        if written := self._write():
            self._written += written
            self._quiet = False
            return 0
        if self._quiet and self._written >= _MANY:
            self._written = 0
            self._archive.rest()
        self._quiet = True
        return _IDLE

    def _write(self) -> int:
        if not self._offered:
            return self._archive.step()
        files = self._offered.popleft()
        self._archive.write(files)
        return len(files)


def _relative(quarantined: bool, source: str, day: int) -> str:  # noqa: FBT001
    room = "quarantine" if quarantined else "archive"
    return f"{room}/{source}/{moment(day * _DAY):%Y/%m/%d}"


def _reason(file: Unarchived) -> bytes:
    """The note beside a quarantined file: what is wrong with it, where, and what to do."""
    noted: dict[str, Any] = json.loads(file.reason or "{}")
    modified = datetime.fromtimestamp(file.mtime / 1e9, UTC)
    note = {
        "file": file.name,
        "source": file.source,
        "verdict": file.verdict,
        "bytes": file.size,
        "sha256": file.sha256,
        "modified": modified.isoformat(timespec="seconds"),
        "recorded": moment(file.recorded_at).isoformat(timespec="seconds"),
        "problems": noted.get("faults", []),
        "problems_in_all": noted.get("total", 0),
        "what_to_do": _ADVICE[file.verdict],
    }
    return json.dumps(note, indent=2, ensure_ascii=False).encode() + b"\n"
