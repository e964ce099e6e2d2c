"""The scratch folder: made where the source reads, filled as Webio would, looked into from outside, and removed.

It holds `incoming`, which the killed process reads, and `upload`, where files are written before they appear there.
"""

from __future__ import annotations

import contextlib
import posixpath
import secrets
import shutil
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Protocol

import paramiko

from sftpd_processor.certify.feed import SentFile
from sftpd_processor.certify.stage import MOVED
from sftpd_processor.certify.upload import Uploads
from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings, SourceSettings
from sftpd_processor.errors import PermanentError, SourceRefused, SourceUnavailable
from sftpd_processor.sources.ssh import login, sftp_channel

PREFIX = ".sftpd-processor-certify-"
_INCOMING, _UPLOAD = "incoming", "upload"
ROOMS = (_INCOMING, f"{_INCOMING}/{MOVED}", _UPLOAD)
"""The folders in the scratch folder, by which `Found.room` names them."""


class Found(NamedTuple):
    """One entry in a room of the scratch folder; `size` is -1 for what is no file."""

    room: str
    name: str
    size: int


class Place(Protocol):
    """A scratch folder. One thread puts files; another one may look at the same time."""

    @property
    def folder(self) -> str:
        """Where it is, for people."""

    @property
    def incoming(self) -> str:
        """The folder that the killed process is to read."""

    def put(self, files: Iterable[SentFile]) -> None:
        """Write files, so that each appears in `incoming` as a whole."""

    def found(self) -> Iterator[Found]:
        """All that is in the rooms, listed afresh."""

    def read(self, room: str, name: str) -> bytes:
        """The bytes of a file."""

    def remove(self) -> str | None:
        """Remove the scratch folder with all that is in it; why that failed, or None."""


def make_place(settings: SourceSettings) -> Place:
    """Make the scratch folder of this source; raises `ProcessorError` when that is impossible."""
    if isinstance(settings, DirectorySourceSettings):
        return LocalPlace(settings)
    return SftpPlace(settings)


class LocalPlace:
    """See `Place`."""

    def __init__(self, settings: DirectorySourceSettings) -> None:
        self._root = settings.folder / f"{PREFIX}{secrets.token_hex(4)}"
        try:
            for folder in (self._root, self._root / _INCOMING, self._root / _UPLOAD):
                folder.mkdir()
        except OSError as error:
            self.remove()  # what was made of it before that
            raise SourceRefused(f"the scratch folder {self._root} cannot be made: {error.strerror}") from error

    @property
    def folder(self) -> str:
        return str(self._root)

    @property
    def incoming(self) -> str:
        return str(self._root / _INCOMING)

    def put(self, files: Iterable[SentFile]) -> None:
        for file in files:
            part = self._root / _UPLOAD / file.name
            part.write_bytes(file.data)
            part.rename(self._root / _INCOMING / file.name)

    def found(self) -> Iterator[Found]:
        for room in ROOMS:
            with contextlib.suppress(FileNotFoundError):
                for entry in (self._root / room).iterdir():
                    known = entry.lstat()
                    regular = stat.S_ISREG(known.st_mode)
                    if f"{room}/{entry.name}" not in ROOMS:
                        yield Found(room, entry.name, known.st_size if regular else -1)

    def read(self, room: str, name: str) -> bytes:
        return (self._root / room / name).read_bytes()

    def remove(self) -> str | None:
        try:
            shutil.rmtree(self._root)
        except OSError as error:
            return f"{self._root}: {error.strerror}"
        return None


class SftpPlace:
    """See `Place`. `host_key` is the key that the server showed and that the settings trust."""

    def __init__(self, settings: SftpSourceSettings) -> None:
        self._settings = settings
        self._root = posixpath.join(settings.folder, f"{PREFIX}{secrets.token_hex(4)}")
        self._ssh = login(settings)
        try:
            self.host_key: paramiko.PKey = self._transport().get_remote_server_key()
            self._open()
            self._make()
        except BaseException:
            self.remove()  # what was made of it before that
            raise

    @property
    def folder(self) -> str:
        where = self._settings
        return f"sftp://{where.host}:{where.port}/{self._root.removeprefix('/')}"

    @property
    def incoming(self) -> str:
        return posixpath.join(self._root, _INCOMING)

    def put(self, files: Iterable[SentFile]) -> None:
        self._uploads.put(files, posixpath.join(self._root, _UPLOAD), self.incoming)

    def found(self) -> Iterator[Found]:
        for room in ROOMS:
            with contextlib.suppress(FileNotFoundError), _told(self.folder):
                for entry in self._sftp.listdir_iter(posixpath.join(self._root, room)):
                    regular = stat.S_ISREG(entry.st_mode or 0)
                    if f"{room}/{entry.filename}" not in ROOMS:
                        yield Found(room, entry.filename, (entry.st_size or 0) if regular else -1)

    def read(self, room: str, name: str) -> bytes:
        with _told(self.folder), self._sftp.open(posixpath.join(self._root, room, name), "rb") as file:
            data: bytes = file.read()
            return data

    def remove(self) -> str | None:
        """By a connection of its own: the one that was used may be what failed."""
        self._ssh.close()
        try:
            self._ssh = login(self._settings)
            self._open()
            for room in (f"{_INCOMING}/{MOVED}", _INCOMING, _UPLOAD):
                with contextlib.suppress(FileNotFoundError):
                    self._empty(posixpath.join(self._root, room))
            self._sftp.rmdir(self._root)
        except (OSError, EOFError, paramiko.SSHException, SourceUnavailable, SourceRefused) as error:
            return f"{self.folder}: {error}"
        finally:
            self._ssh.close()
        return None

    def _empty(self, folder: str) -> None:
        names = [entry.filename for entry in self._sftp.listdir_iter(folder)]
        self._uploads.remove(folder, names)
        self._sftp.rmdir(folder)

    def _make(self) -> None:
        try:
            for folder in (self._root, self.incoming, posixpath.join(self._root, _UPLOAD)):
                self._sftp.mkdir(folder)
        except OSError as error:
            raise SourceRefused(
                f"the scratch folder {self._root} cannot be made on the server: {error}; the account must be allowed "
                f"to make folders in {self._settings.folder}"
            ) from error

    def _open(self) -> None:
        """Two sessions: a plain one to look around with, and one for many requests at once."""
        timeout = self._settings.operation_timeout_seconds
        self._sftp = paramiko.SFTPClient(sftp_channel(self._ssh, self._settings))
        self._sftp.get_channel().settimeout(timeout)
        self._uploads = Uploads(sftp_channel(self._ssh, self._settings), timeout)

    def _transport(self) -> paramiko.Transport:
        transport = self._ssh.get_transport()
        if transport is None:
            raise SourceUnavailable(f"{self._settings.host}: the connection was lost")
        return transport


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """The failures of a connection, in the program's own terms."""
    try:
        yield
    except FileNotFoundError:
        raise
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise SourceUnavailable(f"{where}: {error or 'the connection was lost'}") from error


def local_folder(wanted: Path | None) -> Path:
    """The folder for the evidence: the one wanted, which must be new or empty, or a new one for temporary files."""
    import tempfile

    if wanted is None:
        return Path(tempfile.mkdtemp(prefix="sftpd-processor-certify-"))
    try:
        wanted.mkdir(mode=0o750, parents=True, exist_ok=True)
        used = any(wanted.iterdir())
    except OSError as error:
        raise PermanentError(f"{wanted} cannot be used: {error.strerror}; name another folder by --keep") from error
    if used:
        raise PermanentError(f"{wanted} is not empty: name another folder by --keep, or remove this one first")
    return wanted.absolute()
