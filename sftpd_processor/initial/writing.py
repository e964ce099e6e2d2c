"""Writes the configuration and its secrets, all of them or none."""

from __future__ import annotations

import contextlib
import grp
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sftpd_processor.config.load import load_settings
from sftpd_processor.errors import PermanentError
from sftpd_processor.initial.answers import Answers, Place
from sftpd_processor.initial.document import document
from sftpd_processor.installation.host import ACCOUNT
from sftpd_processor.installation.shipped import example

_SECRET = 0o600
_READABLE = 0o640


def in_the_way(place: Place) -> list[Path]:
    """The files that would be overwritten; a sample that nobody has edited is none of them."""
    config = place.config
    secrets = [place.secrets / name for name in ("sftp-password", "sftp-key", "key-passphrase", "known_hosts")]
    found = [path for path in (config, *secrets) if os.path.lexists(path)]
    return [path for path in found if path != config or not _is_sample(path)]


def check_writable(place: Place) -> None:
    """Raises `PermanentError` when the files could not be written, so that it is known before anything is asked."""
    folder = next(folder for folder in place.config.parents if folder.exists())
    if not os.access(folder, os.W_OK | os.X_OK):
        raise PermanentError(f"{folder} cannot be written; run it as root, or name another file by --output")


def write(answers: Answers, place: Place) -> list[Path]:
    """Write what the answers lead to; the paths, the configuration first.

    It is read as `check` does before anything is put into place. Raises `PermanentError` when a file cannot be written,
    and ConfigurationError when what was made is wrong.
    """
    secret = {place.secrets / name: value.get_secret_value() for name, value in answers.secrets(place).items()}
    files = {place.config: document(example(), answers, place)} | {path: f"{text}\n" for path, text in secret.items()}
    if answers.known_hosts:
        files[place.secrets / "known_hosts"] = answers.known_hosts
    with _told():
        _make_folder(place.folder, place)
        stage = Path(tempfile.mkdtemp(prefix=".init-", dir=place.folder))
        try:
            staged = {path: stage / path.relative_to(place.folder) for path in files}
            for path, text in files.items():
                _write(staged[path], text, _SECRET if path in secret else _READABLE, place)
            load_settings(staged[place.config])
            _make_folder(place.secrets, place)
            for path, new in staged.items():
                new.replace(path)
        finally:
            shutil.rmtree(stage)
    return list(files)


def _is_sample(path: Path) -> bool:
    with contextlib.suppress(OSError):
        text = path.read_text(errors="replace")
        beside = path.with_name("config.example.toml")
        return text == example() or (beside.is_file() and text == beside.read_text(errors="replace"))
    return False


def _write(path: Path, text: str, mode: int, place: Place) -> None:
    path.parent.mkdir(exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)
        os.fchmod(file.fileno(), mode)
    if mode == _READABLE:
        _share(path, place)


def _make_folder(path: Path, place: Place) -> None:
    if path.is_dir():
        return
    path.mkdir(parents=True)
    if place.service:
        path.chmod(0o750)  # whatever the umask
        _share(path, place)


def _share(path: Path, place: Place) -> None:
    """Let the service's account read it, if there is one yet; else `service install` does so."""
    if place.service and os.geteuid() == 0:
        with contextlib.suppress(KeyError):
            os.chown(path, -1, grp.getgrnam(ACCOUNT).gr_gid)


@contextlib.contextmanager
def _told() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise PermanentError(f"{error.filename} cannot be written: {error.strerror}") from error
