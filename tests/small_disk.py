"""A small disk of its own (a tmpfs), and the ballast that fills it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support import not_here

_PAGE = 4096


class SmallDisk:
    """`folder` is where it is mounted."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._ballast = folder / "ballast"

    def fill(self, leave: int = 0) -> None:
        """Leave only so many KiB."""
        with self._ballast.open("ab", buffering=0) as file:
            try:
                while self.free() > leave << 10:
                    file.write(b"x" * max(_PAGE, min(1 << 20, self.free() - (leave << 10))))
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise

    def relieve(self) -> None:
        """Make room again."""
        self._ballast.unlink()

    def free(self) -> int:
        """Bytes that are free."""
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize

    def read_only(self, wanted: bool) -> None:
        """Take the right to write away from everybody, or give it back."""
        mode = "ro" if wanted else "rw"
        subprocess.run(["mount", "-o", f"remount,{mode}", str(self.folder)], check=True)


@contextmanager
def small_disk(folder: Path, mib: int) -> Iterator[SmallDisk]:
    """Mount a disk of so many MiB on `folder`, which is made."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        not_here("a disk that may be filled: the right to mount one (root)", "mount")
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mib}m,mode=750", "tmpfs", str(folder)], check=True)
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
