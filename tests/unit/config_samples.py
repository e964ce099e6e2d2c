"""Configurations on disk for the tests of the configuration."""

from __future__ import annotations

from pathlib import Path

from sftpd_processor.config.load import load_settings
from sftpd_processor.errors import ConfigurationError, Problem

FINGERPRINT = "SHA256:" + "A" * 43
KEY = "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0\n-----END OPENSSH PRIVATE KEY-----"
SECRET = "hunter2-Zx81"
SFTP = {
    "name": '"webio"',
    "host": '"sftp.example.com"',
    "username": '"acme"',
    "password": '{ env = "WEBIO_PASSWORD" }',
    "host_keys": f'["{FINGERPRINT}"]',
    "folder": '"/webhooks"',
}
DIRECTORY = {"name": '"local"', "type": '"directory"', "folder": '"/srv/incoming"'}


def table(head: str, keys: dict[str, str], **changes: str | None) -> str:
    """A TOML table of raw values; a change of None leaves the key out."""
    merged = {**keys, **changes}
    return "\n".join([head, *(f"{key} = {value}" for key, value in merged.items() if value is not None), ""])


def sftp(**changes: str | None) -> str:
    """An SFTP source that is right, but for the changes."""
    return table("[[sources]]", SFTP, **changes)


def directory(**changes: str | None) -> str:
    """A directory source that is right, but for the changes."""
    return table("[[sources]]", DIRECTORY, **changes)


def write(folder: Path, text: str, mode: int = 0o600) -> Path:
    """The configuration file, with exactly this mode."""
    path = folder / "config.toml"
    path.write_text(text)
    path.chmod(mode)
    return path


def problems(path: Path) -> list[Problem]:
    """The mistakes in a configuration; none when it loads."""
    try:
        load_settings(path)
    except ConfigurationError as error:
        return list(error.problems)
    return []


def whys(path: Path) -> dict[str, str]:
    """What is wrong, by place."""
    return {problem.where: problem.why for problem in problems(path)}
