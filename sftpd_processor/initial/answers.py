"""What must be known of a server to begin, and what follows from it for the files to write."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import SecretStr, TypeAdapter, ValidationError

from sftpd_processor.config.kinds import Fingerprint, Host, Line, Name, RemoteFolder
from sftpd_processor.config.load import SYSTEM_CONFIG
from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.initial.hostkeys import HostKey

SOURCE = "webio"
STATE = PurePosixPath("/var/lib/sftpd-processor")
_KINDS: dict[str, Any] = {
    "host": Host, "username": Line, "folder": RemoteFolder, "fingerprint": Fingerprint, "instance": Name,
}  # fmt: skip


@dataclass(slots=True)
class Answers:
    """About the server and the account."""

    host: str
    port: int
    keys: Sequence[HostKey]
    """All that the server shows, the one that a login gets first."""
    trusted: Sequence[HostKey]
    """Those that a person has confirmed."""
    username: str = ""
    password: SecretStr | None = field(default=None, repr=False)
    key: SecretStr | None = field(default=None, repr=False)
    key_file: Path | None = None
    """Where `key` was read."""
    passphrase: SecretStr | None = field(default=None, repr=False)
    folder: str = ""
    handler: str = "log"

    def secrets(self, place: Place) -> dict[str, SecretStr]:
        """Those to write, by the name that they have as credentials, which is also that of the file."""
        key = self.key if place.service else None  # a person's key stays where it is
        given = {"sftp-password": self.password, "sftp-key": key, "key-passphrase": self.passphrase}
        return {name: secret for name, secret in given.items() if secret is not None}

    @property
    def known_hosts(self) -> str:
        """The text of a known_hosts file, where one is needed: it alone makes a login ask for the key that is trusted,
        when that is not the one it would get by itself."""
        if self.keys[0] in self.trusted:
            return ""
        return "".join(key.known_hosts_line(self.host, self.port) for key in self.trusted[:1])

    @contextlib.contextmanager
    def source(self) -> Iterator[SftpSourceSettings]:
        """The source to try it with, which trusts no other keys."""
        with tempfile.NamedTemporaryFile("w", suffix=".known_hosts") as file:
            file.write(self.known_hosts)
            file.flush()
            yield SftpSourceSettings(
                name=SOURCE, host=self.host, port=self.port, username=self.username, password=self.password,
                private_key=self.key, private_key_passphrase=self.passphrase, folder=self.folder,
                host_keys=tuple(key.fingerprint for key in self.trusted),
                known_hosts=Path(file.name) if self.known_hosts else None,
            )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Place:
    """Where the files go: for the service, or for a person's own use."""

    config: Path
    """Absolute."""
    service: bool

    @property
    def instance(self) -> str | None:
        """Of the template unit; None for the service itself, whose configuration is config.toml."""
        return self.config.stem if self.service and self.config.name != SYSTEM_CONFIG.name else None

    @property
    def unit(self) -> str:
        """The service that reads this configuration."""
        return f"sftpd-processor@{self.instance}" if self.instance else "sftpd-processor"

    @property
    def folder(self) -> Path:
        """Of the configuration."""
        return self.config.parent

    @property
    def secrets(self) -> Path:
        """The folder of the secrets, as the units have it."""
        return self.folder / self.instance if self.instance else self.folder

    @property
    def state(self) -> str:
        """The folder of the state; for a person one beside the configuration."""
        if not self.service:
            return "state"
        return str(STATE / self.instance) if self.instance else str(STATE)


def checked(kind: str, text: str) -> str:
    """`text` when it is fit to be a host, username, folder, fingerprint or instance; else ValueError says why."""
    try:
        value: str = TypeAdapter(_KINDS[kind]).validate_python(text)
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(str(told.get("ctx", {}).get("error", told["msg"]))) from None
    return value
