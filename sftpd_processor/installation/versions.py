"""The versions of the program beside each other, of which one is used."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation import host
from sftpd_processor.installation.files import Tree
from sftpd_processor.installation.interpreter import hidden, unreachable
from sftpd_processor.installation.shipped import PREFIX
from sftpd_processor.installation.steps import Step

COMMAND = PurePosixPath("/usr/local/bin/sftpd-processor")
_OURS = {"sftpd-processor", "pip", "setuptools", "wheel"}
# Not `python`: through a link from elsewhere it would not find its environment. The one that the service runs is last.
_COMMANDS = ("pip", "sftpd-processor")


def own_prefix(root: Path) -> PurePosixPath:
    """The prefix that holds the program that is running this, seen from `root`; the usual one when none does."""
    folder = _own_folder(root)
    return folder.parents[2] if folder.match("versions/*/bin") else PREFIX


class Program:
    """The program that is running this, and the links that make it the one that the service runs."""

    def __init__(self, tree: Tree, prefix: PurePosixPath) -> None:
        self._tree = tree
        self._prefix = prefix
        self._folder = prefix / "bin"
        self.bin = _own_folder(tree.root)
        """Where its commands lie on the final machine."""

    def check(self) -> None:
        """Raises `PermanentError` when a service could not run this program."""
        scripts = Path(sysconfig.get_path("scripts"))
        if not (scripts / "sftpd-processor").is_file():
            raise PermanentError(f"there is no {scripts}/sftpd-processor: install the package there first")
        staged = self._tree.root != Path("/")
        why = unreachable(Path(sys.executable)) or (hidden(self.bin) if staged else unreachable(scripts))
        if why:
            raise PermanentError(
                f"a service could not run this program: {why}. Install it into {self._prefix}/versions/NAME with an "
                "interpreter of the system; docs/install.md has the commands"
            )

    def use(self) -> Iterator[Step]:
        """Let the commands in `<prefix>/bin` lead here, and remove the versions before the one used until now."""
        before = self._used()
        if self._folder != self.bin:
            for name in _COMMANDS:
                step = self._tree.link(self._folder / name, self._target(name), over_files=True)
                yield step
            if step.did != "same":
                yield from self._forget(keep={before, self._version(self.bin)})
            if self._tree.at(self._prefix / "pyvenv.cfg").exists():
                files = "lib lib64 include pyvenv.cfg"
                yield Step(
                    "note", f"when nothing runs from the old program any more: cd {self._prefix} && rm -r {files}"
                )
        yield self._tree.link(COMMAND, self._folder / "sftpd-processor")

    def leave(self) -> Iterator[Step]:
        """Take the links away."""
        yield self._tree.unlink(COMMAND, self._folder / "sftpd-processor")
        for name in _COMMANDS:
            yield self._tree.unlink(self._folder / name, self._target(name))
        with contextlib.suppress(OSError):
            self._tree.at(self._folder).rmdir()  # when it is empty

    def left_out(self) -> list[str]:
        """The packages that were added to the version used until now, and that this one lacks."""
        before = self._tree.at(self._folder / "sftpd-processor").resolve().parents[1]
        if before == Path(sysconfig.get_path("scripts")).resolve().parent:
            return []
        old = [
            found for place in before.glob("lib/python*/site-packages") for found in distributions(path=[str(place)])
        ]
        needed = {_name(line) for found in old for line in found.requires or () if "extra ==" not in line}
        new = {_plain(found.name) for found in distributions()}
        return sorted({_plain(found.name) for found in old} - needed - new - _OURS)

    def _target(self, name: str) -> PurePosixPath:
        inside = self.bin.is_relative_to(self._prefix)
        return (PurePosixPath("..") / self.bin.relative_to(self._prefix) if inside else self.bin) / name

    def _used(self) -> str | None:
        here = self._tree.at(self._folder / "sftpd-processor")
        return self._version(self._folder / here.readlink()) if here.is_symlink() else None

    def _version(self, path: PurePosixPath) -> str | None:
        """The folder's name in `versions` of a path that leads into it."""
        plain = PurePosixPath(os.path.normpath(path))
        versions = self._prefix / "versions"
        return plain.relative_to(versions).parts[0] if plain.is_relative_to(versions) else None

    def _forget(self, keep: set[str | None]) -> Iterator[Step]:
        versions = self._prefix / "versions"
        for folder in sorted(self._tree.at(versions).glob("*/pyvenv.cfg")):
            name = folder.parent.name
            if name in keep or host.in_use(folder.parent):
                continue
            shutil.rmtree(folder.parent)
            yield Step("removed", str(versions / name))


def _own_folder(root: Path) -> PurePosixPath:
    """Where the commands of the program that is running this lie, seen from `root` if they are below it."""
    path = PurePosixPath(sysconfig.get_path("scripts"))
    return "/" / path.relative_to(root) if path.is_relative_to(root) else path


def _name(requirement: str) -> str:
    found = re.match(r"[\w.-]+", requirement)
    return _plain(found[0]) if found else ""


def _plain(name: str) -> str:
    """A package's name as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()
