"""What the tests of `doctor` share: one examination, and servers that behave as they should not."""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings, SourceSettings
from sftpd_processor.doctor import examination
from sftpd_processor.doctor.advice import Advice, advise, snippet
from sftpd_processor.doctor.examination import examine
from sftpd_processor.doctor.findings import Findings
from tests.support import ServedFolder


class StopAt(threading.Event):
    """Asks for the end at the n-th time that it is asked, or does something else then."""

    def __init__(self, number: int, act: Callable[[], object] | None = None) -> None:
        super().__init__()
        self.number = number
        self.act = act
        self.asked = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Also waits, as the real one does."""
        self.asked += 1
        if self.asked == self.number:
            if self.act is None:
                self.set()
            else:
                self.act()
        return super().wait(timeout)


class Outcome:
    """One examination, and what follows from it."""

    def __init__(self, settings: SourceSettings, stop: threading.Event | None = None) -> None:
        self.settings = settings
        self.found: Findings = examine(settings, stop or threading.Event())
        self.advice: list[Advice] = advise(self.found, settings)

    @property
    def rights(self) -> dict[str, str]:
        return {name: right.answer for name, right in self.found.rights.items()}

    @property
    def changes(self) -> dict[str, Any]:
        return {key: value for each in self.advice for key, value in each.change.items()}

    @property
    def snippet(self) -> str:
        return snippet(self.settings, self.advice)

    def said(self, level: str) -> str:
        return "\n".join(each.text for each in self.advice if each.level == level)


def served(place: ServedFolder, stop: threading.Event | None = None, /, **changes: Any) -> Outcome:
    """Examine a folder on a server."""
    return Outcome(SftpSourceSettings.model_validate(place.source(**changes)), stop)


def local(folder: Path, **changes: Any) -> Outcome:
    """Examine a folder on this machine."""
    return Outcome(
        DirectorySourceSettings.model_validate({"name": "local", "type": "directory", "folder": folder, **changes})
    )


def everything(folder: Path) -> dict[str, tuple[int, int, bytes]]:
    """All that is in a folder, with times and content."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            0 if stat.S_ISDIR(path.lstat().st_mode) else path.lstat().st_mtime_ns,
            path.read_bytes() if path.is_file() else b"",
        )
        for path in folder.rglob("*")
    }


def measure_little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the seconds that a sharp look at the server's clock, and opening a thousand files, take."""
    monkeypatch.setattr(examination, "_CLOCK_SECONDS", 0.0)
    monkeypatch.setattr(examination, "MOST_OPEN", 20)


def attributes(path: bytes, change: Callable[[int], int]) -> Any:
    """What asyncssh's server tells of a file, with another time."""
    import asyncssh

    found = asyncssh.SFTPAttrs.from_local(os.lstat(path))
    found.mtime = change(int(found.mtime or 0))
    return found
