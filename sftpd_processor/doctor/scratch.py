"""What the examination makes at the source, so that all of it is removed again, whatever happens."""

from __future__ import annotations

import posixpath
import re
import secrets
from fnmatch import fnmatchcase
from typing import Literal

from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.doctor.findings import YES, Right
from sftpd_processor.doctor.place import Place, Refused

MARK = ".sftpd-processor-doctor-"
"""How the names of scratch folders begin."""
is_ours = re.compile(re.escape(MARK) + "[0-9a-f]{8}").fullmatch
"""Whether a name is that of a scratch folder."""


class Scratch:
    """A folder of a random name in the source's folder, and a list of everything that was made.

    What is made is noted before it is asked for: an answer that is lost may stand for something that was done.
    """

    def __init__(self, place: Place, settings: SourceSettings) -> None:
        self.name = MARK + secrets.token_hex(4)
        self._place = place
        self._folder = str(settings.folder)
        self._before = posixpath.join(self._folder, self.name)
        self._made: dict[str, Literal["file", "folder"]] = {}
        self._refusals: dict[str, str] = {}
        self._would_be_taken = _matches(self.name, settings.include) and not _matches(self.name, settings.exclude)

    def open(self) -> Right:
        """Make the folder."""
        try:
            self.folder(self._before)
        except Refused as refusal:
            return Right("no", str(refusal))
        self._before += "/"
        return YES

    @property
    def possible(self) -> bool:
        """Whether files can be tried: in the folder, or where none may be made, beside Webio's files.

        There they are not tried when the source's patterns would take them for Webio's.
        """
        return self._before.endswith("/") or not self._would_be_taken

    def path(self, name: str) -> str:
        """Where a file of the examination goes; noted."""
        return self.noted(f"{self._before}{'' if self._before.endswith('/') else '-'}{name}")

    def noted(self, path: str) -> str:
        """A file that will be there, with a name that is ours alone."""
        self._made[path] = "file"
        return path

    def folder(self, path: str) -> None:
        """Make a folder; one that is refused is not ours."""
        self._made[path] = "folder"
        try:
            self._place.make_folder(path)
        except Refused:
            del self._made[path]
            raise

    def folders(self, path: str) -> None:
        """Make a folder, and those above it, where they are missing."""
        if self._place.mode(path) is None:
            if above := posixpath.dirname(path.rstrip("/")):
                self.folders(above)
            self.folder(path)

    def sweep(self) -> None:
        """Remove everything, the latest first; can be called again after a loss (`SourceUnavailable`)."""
        for path, kind in reversed(list(self._made.items())):
            try:
                self._place.remove(path) if kind == "file" else self._place.remove_folder(path)
            except Refused as refusal:
                if not self._gone(path):
                    self._refusals[path] = str(refusal)
                    continue
            del self._made[path]

    def left(self) -> dict[str, str]:
        """What is still there, as far as can be known: path → why."""
        return {path: self._refusals.get(path, "the server could not be asked any more") for path in self._made}

    def _gone(self, path: str) -> bool:
        try:
            return self._place.mode(path) is None
        except Refused:
            return False


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
