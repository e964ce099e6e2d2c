"""Files put into place and taken away again; what somebody else wrote or changed is never lost."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation.shipped import Shipped
from sftpd_processor.installation.steps import Step

_BY_HAND = "it had been changed by hand, and that is now in {}; changes belong in a drop-in (systemctl edit)"


class Tree:
    """The file system under `root`, and the list of what was put there, in `<prefix>/installed.json`.

    Raises `PermanentError` when something cannot be read or written.
    """

    def __init__(self, root: Path, prefix: PurePosixPath) -> None:
        self.root = root
        self._list = self.at(prefix / "installed.json")
        self._hashes = self._read()

    def at(self, path: PurePosixPath) -> Path:
        """The path as it is while it is staged."""
        return self.root / path.relative_to("/")

    def put(self, file: Shipped) -> Step:
        """Write a file of ours; one that was changed by hand is kept beside it."""
        path, name = self.at(file.target), str(file.target)
        there = _content(path)
        known, self._hashes[name] = self._hashes.get(name), _hash(file.content)
        if there == file.content:
            return Step("same", name)
        if there is None:
            write(path, file.content, file.mode)
            return Step("made", name)
        saved = ""
        if known != _hash(there):
            saved = _BY_HAND.format(f"{name}.saved")
            with _told(path):
                path.replace(path.with_name(f"{path.name}.saved"))
        write(path, file.content, file.mode)
        return Step("replaced", name, saved)

    def remove_all(self) -> Iterator[Step]:
        """Remove what was put, except what was changed by hand since."""
        for name, known in sorted(self._hashes.items()):
            path = self.at(PurePosixPath(name))
            there = _content(path)
            if there is not None and _hash(there) != known:
                yield Step("kept", name, "it was changed by hand")
            elif there is not None:
                with _told(path):
                    path.unlink()
                yield Step("removed", name)
            if path.with_name(f"{path.name}.saved").exists():
                yield Step("kept", f"{name}.saved", "it was changed by hand")
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # when it is empty
        self._hashes.clear()
        with _told(self._list):
            self._list.unlink(missing_ok=True)

    def link(self, path: PurePosixPath, target: PurePosixPath, *, over_files: bool = False) -> Step:
        """Make a symbolic link, or turn one, at once as a whole; nothing else is replaced, but for `over_files`."""
        here = self.at(path)
        if here.is_symlink() and here.readlink() == Path(target):
            return Step("same", str(path))
        if here.exists() and not here.is_symlink() and not (over_files and here.is_file()):
            return Step("kept", str(path), f"it is no link of ours; the program is {target}")
        turned = os.path.lexists(here)
        with _told(here):
            here.parent.mkdir(parents=True, exist_ok=True)
            new = here.with_name(f".{here.name}.new")
            new.unlink(missing_ok=True)
            new.symlink_to(target)
            new.replace(here)
        return Step("replaced" if turned else "made", str(path), f"now {target}" if turned else "")

    def unlink(self, path: PurePosixPath, target: PurePosixPath) -> Step:
        """Remove a link if it still leads to `target`."""
        here = self.at(path)
        if not here.is_symlink() or here.readlink() != Path(target):
            return Step("same", str(path))
        with _told(here):
            here.unlink()
        return Step("removed", str(path))

    def save(self) -> None:
        """Write the list."""
        write(self._list, (json.dumps(self._hashes, indent=1, sort_keys=True) + "\n").encode(), 0o644)

    def _read(self) -> dict[str, str]:
        content = _content(self._list)
        try:
            return dict(json.loads(content)) if content else {}
        except ValueError:
            raise PermanentError(f"{self._list} is damaged; move it away, and install again") from None


def write(path: Path, content: bytes, mode: int) -> None:
    """Write a file at once as a whole, with its folders."""
    with _told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        new.replace(path)


def _content(path: Path) -> bytes | None:
    with _told(path), contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        hint = "; run it as root" if isinstance(error, PermissionError) else ""
        raise PermanentError(f"{path} cannot be read or written: {error.strerror}{hint}") from error
