"""The files that `init` writes: all of them, or none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pydantic import SecretStr

from sftpd_processor.errors import ConfigurationError, PermanentError
from sftpd_processor.initial.answers import Answers, Place
from sftpd_processor.initial.hostkeys import HostKey
from sftpd_processor.initial.writing import check_writable, write

KEY = HostKey("ssh-ed25519", f"SHA256:{'E' * 43}", "AAAA")


def answers(folder: str = "/in") -> Answers:
    """Of somebody with a password."""
    return Answers("sftp.acme.org", 22, [KEY], [KEY], "me", SecretStr("secret"), folder=folder)


def names(folder: Path) -> list[str]:
    """All that is in a folder, at any depth."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_all_is_written(tmp_path: Path) -> None:
    """The configuration and the secret, and nothing else; the environment is as it was."""
    before = dict(os.environ)
    written = write(answers(), Place(tmp_path / "new" / "acme.toml", service=True))
    assert [str(path.relative_to(tmp_path)) for path in written] == ["new/acme.toml", "new/acme/sftp-password"]
    assert names(tmp_path) == ["new", "new/acme", "new/acme.toml", "new/acme/sftp-password"]
    assert dict(os.environ) == before


def test_a_closed_umask_closes_no_folder_to_the_service(tmp_path: Path) -> None:
    """Both folders of an instance can be read by the group, which the service's account gets, whatever the umask."""
    before = os.umask(0o077)
    try:
        write(answers(), Place(tmp_path / "new" / "acme.toml", service=True))
    finally:
        os.umask(before)
    assert {(tmp_path / name).stat().st_mode & 0o777 for name in ("new", "new/acme")} == {0o750}


def test_nothing_is_written_when_it_would_be_wrong(tmp_path: Path) -> None:
    """A configuration that `check` refuses is not put into place, nor are its secrets; what was there stays."""
    (tmp_path / "config.toml").write_text("# mine\n")
    with pytest.raises(ConfigurationError, match="folder"):
        write(answers(folder="/a/../b"), Place(tmp_path / "config.toml", service=False))
    assert names(tmp_path) == ["config.toml"]
    assert (tmp_path / "config.toml").read_text() == "# mine\n"


def test_a_folder_that_cannot_be_written_is_told_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is named, with what to do."""
    place = Place(tmp_path / "new" / "config.toml", service=False)
    check_writable(place)
    monkeypatch.setattr(os, "access", lambda path, _mode: path != tmp_path)
    with pytest.raises(PermanentError, match=f"{tmp_path} cannot be written; run it as root, or name another"):
        check_writable(place)


def test_a_failure_to_write_is_told(tmp_path: Path) -> None:
    """The system's own words, with the path."""
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match="cannot be written: File exists"):
        write(answers(), Place(tmp_path / "file" / "config.toml", service=False))
