"""Files put into place and taken away again; what somebody else wrote or changed is never lost."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation.shipped import PREFIX, Shipped
from sftpd_processor.installation.steps import Step

_LIST = "installed.json"
_BY_HAND = "it had been changed by hand, and that is now in {}; changes belong in a drop-in (systemctl edit)"


class Tree:
    """The file system under `root`, and the list of what was put there, in `<prefix>/installed.json`.

    Raises `PermanentError` when something cannot be read or written.
    """

    def __init__(self, root: Path, prefix: PurePosixPath) -> None:
        self.root = root
        self._prefix = prefix
        self._list = self.at(prefix / _LIST)
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
            free = _free(path)
            saved = _BY_HAND.format(file.target.with_name(free.name))
            with told(path):
                path.replace(free)
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
                with told(path):
                    path.unlink()
                yield Step("removed", name)
            for saved in sorted(path.parent.glob(f"{glob.escape(path.name)}.saved*")):
                yield Step("kept", str(PurePosixPath(name).with_name(saved.name)), "it was changed by hand")
            with contextlib.suppress(OSError):
                path.parent.rmdir()  # when it is empty

    def forget(self) -> None:
        """Remove the list: the last step of a removal, so that one that was cut off can be repeated."""
        self._hashes.clear()
        with told(self._list):
            self._list.unlink(missing_ok=True)

    def link(self, path: PurePosixPath, target: PurePosixPath, *, over_files: bool = False) -> Step:
        """Make a symbolic link, or turn one of ours, at once as a whole; `over_files` replaces any link or file."""
        here = self.at(path)
        if here.is_symlink() and here.readlink() == Path(target):
            return Step("same", str(path))
        turned = os.path.lexists(here)
        if turned and not (here.is_symlink() or here.is_file() if over_files else self._is_ours(path)):
            return Step("kept", str(path), f"it is no link of ours; the program is {target}")
        with told(here):
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
        with told(here):
            here.unlink()
        return Step("removed", str(path))

    def _is_ours(self, path: PurePosixPath) -> bool:
        """Whether a link leads below a prefix of ours, or nowhere."""
        if not self.at(path).is_symlink():
            return False
        leads = PurePosixPath(os.path.normpath(path.parent / self.at(path).readlink()))
        if not self.at(leads).exists() or leads.is_relative_to(PREFIX) or leads.is_relative_to(self._prefix):
            return True
        return any(self.at(folder / _LIST).is_file() for folder in leads.parents)

    @property
    def installed(self) -> bool:
        """Whether something was put from this prefix, and not all of it removed since."""
        return self._list.is_file()

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
    with told(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.new")
        new.unlink(missing_ok=True)
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(content)
            os.fchmod(file.fileno(), mode)
        new.replace(path)


def _free(path: Path) -> Path:
    """The first free one of `<name>.saved`, `<name>.saved.1`, `<name>.saved.2`, …"""
    ends = itertools.chain(("",), (f".{number}" for number in itertools.count(1)))
    names = (path.with_name(f"{path.name}.saved{end}") for end in ends)
    return next(name for name in names if not os.path.lexists(name))


def _content(path: Path) -> bytes | None:
    with told(path), contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None


def _hash(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextlib.contextmanager
def told(path: Path) -> Iterator[None]:
    """Let the system's refusal be a `PermanentError` that names the path."""
    try:
        yield
    except OSError as error:
        hint = "; run it as root" if isinstance(error, PermissionError) else ""
        raise PermanentError(f"{path} cannot be read or written: {error.strerror}{hint}") from error
