"""Archive: the local copies of recorded files, driven by the ledger alone.

`<state>/archive/<source>/YYYY/MM/DD/<name>` (UTC, the day it was recorded) holds the exact bytes of files that were
accepted or are duplicates; `<state>/quarantine/…` those that are invalid or in conflict, with `<name>.reason.json`
beside each. The bytes are in the ledger until then, so no file is fsynced and a crash at any point is mended by
doing it again: a copy cut short by it is completed.
"""

from __future__ import annotations

import itertools
import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sftpd_processor.errors import TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Unarchived, moment
from sftpd_processor.pipeline.loop import Loop
from sftpd_processor.sources.base import variant

BATCH = 1000
_REASON = ".reason.json"
_LONGEST_NAME = 255
_REMEMBERED = 1000  # folders known to be there
_ADVICE = {
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
        self._made: set[Path] = set()

    def step(self) -> int:
        """Write up to one batch of copies that are missing; returns how many. Raises `TransientError`."""
        files = self._ledger.files.unarchived(BATCH)
        try:
            done = [(file.id, self._keep(file)) for file in files]
        except OSError as error:
            self._made.clear()
            raise TransientError(
                f"the archive in {self._folder} cannot be written: {error.strerror or error}; nothing is lost, the "
                "bytes are in the ledger"
            ) from error
        self._ledger.files.archived(done)
        return len(done)

    def _keep(self, file: Unarchived) -> str:
        quarantined = file.verdict in _ADVICE
        room = "quarantine" if quarantined else "archive"
        day = moment(file.recorded_at).strftime("%Y/%m/%d")
        relative = f"{room}/{file.source}/{day}"
        folder = self._folder / relative
        self._make(folder)
        reason = _reason(file) if quarantined else None
        for turn in itertools.count():
            name = variant(file.name, file.sha256[:8], turn, _LONGEST_NAME - (len(_REASON) if reason else 0))
            if self._place(file, f"{relative}/{name}", reason):
                return f"{relative}/{name}"
        raise AssertionError  # count() does not end

    def _make(self, folder: Path) -> None:
        if folder not in self._made:
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            if len(self._made) > _REMEMBERED:
                self._made.clear()
            self._made.add(folder)

    def _place(self, file: Unarchived, relative: str, reason: bytes | None) -> bool:
        """Write the copy, and the reason beside it; False when either name belongs to something else."""
        if reason is not None and not self._write(file, relative + _REASON, reason):
            return False
        return self._write(file, relative, file.raw)

    def _write(self, file: Unarchived, relative: str, data: bytes) -> bool:
        path = self._folder / relative
        try:
            _create(path, data, os.O_EXCL)
        except FileExistsError:
            return self._completed(file, relative, data)
        return True

    def _completed(self, file: Unarchived, relative: str, data: bytes) -> bool:
        """Whether what is there already is this copy, or the beginning of it that a crash left behind."""
        path = self._folder / relative
        if not path.is_file() or path.stat().st_size > len(data):
            return False
        found = path.read_bytes()
        if found == data:
            return True
        if not data.startswith(found) or self._ledger.files.holds_copy(file.source, file.name, relative):
            return False
        _create(path, data, os.O_TRUNC)
        return True


class Archivist(Loop):
    """Keeps the archive complete."""

    def __init__(self, archive: Archive) -> None:
        super().__init__("archive")
        self._archive = archive
        self._more = False

    def step(self) -> bool:
        """Write a batch of copies."""
        self._more = self._archive.step() > 0
        return self._more

    def patience(self) -> float | None:
        """None to wait for while there is more to do."""
        return 0 if self._more else None


def _create(path: Path, data: bytes, how: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | how, 0o640)
    try:
        view = memoryview(data)
        while view:
            view = view[os.write(descriptor, view) :]
    finally:
        os.close(descriptor)


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
