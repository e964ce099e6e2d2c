"""The host keys that a server shows, fetched without trusting any of them and without logging in."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass

import paramiko
from pydantic import SecretStr

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import HostKeyRefused, SourceUnavailable
from sftpd_processor.sources.algorithms import restrict
from sftpd_processor.sources.ssh import fingerprint, located, login

# In the order in which a login prefers them; of each kind a server has one key.
_KINDS = (
    ("ssh-ed25519",),
    ("ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp521"),
    ("rsa-sha2-512", "rsa-sha2-256"),
)


@dataclass(frozen=True, slots=True)
class HostKey:
    """One public key of a server."""

    kind: str
    """As known_hosts names it: `ssh-ed25519`."""
    fingerprint: str
    """`SHA256:…`, as `ssh-keygen -l` prints it."""
    public: str
    """In base 64, as known_hosts holds it."""

    def known_hosts_line(self, host: str, port: int) -> str:
        """A line of a known_hosts file that holds it."""
        name = host if port == 22 else f"[{host}]:{port}"
        return f"{name} {self.kind} {self.public}\n"


def shown_keys(name: str, host: str, port: int) -> list[HostKey]:
    """The keys that the server shows, the one that a login gets first; `name` is the source's.

    Raises `SourceUnavailable` and `SourceRefused` as a login does.
    """
    settings = SftpSourceSettings(
        name=name, host=host, port=port, folder=".", username="nobody", password=SecretStr("none"),
        host_keys=("SHA256:" + "A" * 43,),
    )  # fmt: skip
    with contextlib.suppress(HostKeyRefused):  # none is trusted, so nothing is sent; other failures tell themselves
        login(settings).close()
    keys = [key for kinds in _KINDS if (key := _shown(settings, kinds))]
    if not keys:
        raise SourceUnavailable(located(settings, "it hung up before it showed its host key; try again"))
    return keys


def _shown(settings: SftpSourceSettings, kinds: tuple[str, ...]) -> HostKey | None:
    """The server's key of one kind; None when it has none."""
    try:
        connection = socket.create_connection((settings.host, settings.port), settings.connect_timeout_seconds)
    except OSError as error:
        raise SourceUnavailable(located(settings, error.strerror or str(error))) from error
    with connection:
        transport = paramiko.Transport(connection)
        try:
            restrict(transport, legacy=False)
            transport.get_security_options().key_types = kinds
            transport.banner_timeout = settings.connect_timeout_seconds
            transport.start_client(timeout=settings.connect_timeout_seconds)
            key = transport.get_remote_server_key()
        except (paramiko.SSHException, EOFError, OSError):
            return None
        finally:
            transport.close()
    return HostKey(key.get_name(), fingerprint(key), key.get_base64())
