"""Logging in to an SSH server whose host key is known beforehand, and to no other."""

from __future__ import annotations

import contextlib
import io
import socket
import threading
from functools import partial
from typing import Any

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import HostKeyRefused, ProcessorError, SourceRefused, SourceUnavailable
from sftpd_processor.sources.algorithms import disagreement, restrict
from sftpd_processor.sources.lean import paramiko

_READ_AHEAD = 1 << 18
_SILENCE = ("No existing session", "Error reading SSH protocol banner")  # paramiko's words for it
_GREETING = 1 << 14
_TURN_SECONDS = 1.0


def login(settings: SftpSourceSettings) -> paramiko.SSHClient:
    """A logged-in connection.

    Raises:
        SourceUnavailable: the server cannot be reached or does not answer in time.
        SourceRefused: its host key is unknown or changed, the login failed, the private key is unusable, or the
            server shares no algorithm of some kind with us.
    """
    try:
        key = _private_key(settings)
        try:
            client = _connect(settings, key)
        except paramiko.AuthenticationException:
            if key is None or settings.password is None:
                raise
            # Some servers hang up on paramiko when it goes on to the password in the same connection.
            client = _connect(settings, None)
    except Exception as error:
        raise _explained(error, settings) from error
    if (transport := client.get_transport()) is not None:
        transport.set_keepalive(settings.keepalive_seconds)
    return client


def _connect(settings: SftpSourceSettings, key: paramiko.PKey | None) -> paramiko.SSHClient:
    client = paramiko.SSHClient()
    try:
        _trust(client, settings)
        connection = _BufferedSocket(settings)
        client.connect(
            settings.host,
            settings.port,
            settings.username,
            password=settings.password.get_secret_value() if settings.password else None,
            pkey=key,
            timeout=settings.connect_timeout_seconds,
            banner_timeout=settings.connect_timeout_seconds,
            auth_timeout=settings.connect_timeout_seconds,
            allow_agent=False,
            look_for_keys=False,
            sock=connection,
            transport_factory=partial(_transport, legacy=settings.algorithms == "legacy"),
        )
    except Exception as error:
        transport = client.get_transport()
        client.close()
        if transport is not None and (why := disagreement(transport, connection.greeting)):
            raise SourceRefused(located(settings, why)) from error
        raise
    except BaseException:
        client.close()
        raise
    return client


def open_sftp(settings: SftpSourceSettings) -> paramiko.SFTPClient:
    """A plain SFTP client of a connection of its own, for the few requests where speed does not matter."""
    client = login(settings)
    try:
        return paramiko.SFTPClient(sftp_channel(client, settings))
    except BaseException:
        client.close()
        raise


def sftp_channel(client: paramiko.SSHClient, settings: SftpSourceSettings) -> paramiko.Channel:
    """A channel to the server's SFTP subsystem; paramiko itself would wait for it for ever.

    Raises `SourceUnavailable` when it does not start in time, and `SourceRefused` when the account has none.
    """
    timeout = settings.operation_timeout_seconds
    late = threading.Timer(timeout, client.close)
    late.start()
    try:
        channel = client.get_transport().open_session(timeout=timeout)
        channel.invoke_subsystem("sftp")
    except (paramiko.SSHException, EOFError, OSError, AttributeError) as error:
        if not connected(client):
            silent = f"the server did not start SFTP within {timeout:g} s, or hung up"
            raise SourceUnavailable(located(settings, silent)) from error
        raise SourceRefused(located(settings, f"the server offers no SFTP to this account: {error}")) from error
    finally:
        late.cancel()
    return channel


def located(settings: SftpSourceSettings, text: str) -> str:
    """`text` with the source and its server before it, once."""
    prefix = f"source {settings.name}: "
    return text if text.startswith(prefix) else f"{prefix}{settings.host}:{settings.port}: {text}"


def connected(client: paramiko.SSHClient) -> bool:
    """Whether the connection still stands."""
    transport = client.get_transport()
    return transport is not None and transport.is_active()


def fingerprint(key: paramiko.PKey) -> str:
    """As `ssh-keygen -l` prints it: `SHA256:…`."""
    return str(key.fingerprint)


class _Pinned(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
    """Accepts a key that known_hosts does not hold only when its fingerprint is pinned; never remembers one."""

    def __init__(self, settings: SftpSourceSettings) -> None:
        self._settings = settings

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:  # noqa: ARG002
        if fingerprint(key) not in self._settings.host_keys:
            raise HostKeyRefused(_unknown_key(self._settings, key))


class _BufferedSocket:
    """A TCP connection as paramiko wants it, which reads ahead.

    paramiko asks for every packet in two small reads; each is a system call, and a chance for another thread to
    take Python's lock. Without Nagle's delay, since requests are small and wait for nobody.

    paramiko looks ten times a second whether it was closed or something is overdue, also when all is quiet. Here it
    does so once a second, and is told at once when it was closed.
    """

    def __init__(self, settings: SftpSourceSettings) -> None:
        address = settings.host, settings.port
        self._socket = socket.create_connection(address, settings.connect_timeout_seconds)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._ahead = memoryview(b"")
        self.greeting = b""
        """The first bytes that the server sent: its name, and the algorithms that it offers."""

    def recv(self, size: int) -> bytes:
        if not self._ahead:
            self._ahead = memoryview(self._socket.recv(_READ_AHEAD))
            if len(self.greeting) < _GREETING:
                self.greeting += self._ahead[:_GREETING]
        data, self._ahead = self._ahead[:size], self._ahead[size:]
        return bytes(data)

    def settimeout(self, seconds: float) -> None:
        self._socket.settimeout(max(seconds, _TURN_SECONDS))

    def close(self) -> None:
        with contextlib.suppress(OSError):  # the other side was faster
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)


def _trust(client: paramiko.SSHClient, settings: SftpSourceSettings) -> None:
    if settings.known_hosts is not None:
        try:
            client.load_host_keys(str(settings.known_hosts))
        except (OSError, ValueError, paramiko.SSHException, paramiko.hostkeys.InvalidHostKey) as error:
            raise SourceRefused(
                f"source {settings.name}: known_hosts {settings.known_hosts} cannot be read: {_said(error)}"
            ) from error
    client.set_missing_host_key_policy(_Pinned(settings))


def _transport(sock: socket.socket, *, legacy: bool, **options: object) -> paramiko.Transport:
    transport = paramiko.Transport(sock, **options)
    restrict(transport, legacy=legacy)
    return transport


def _private_key(settings: SftpSourceSettings) -> paramiko.PKey | None:
    if settings.private_key is None:
        return None
    text = settings.private_key.get_secret_value()
    passphrase = settings.private_key_passphrase
    password = passphrase.get_secret_value() if passphrase else None
    for kind in (paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey):
        try:
            key: paramiko.PKey = kind.from_private_key(io.StringIO(text), password)
        except paramiko.PasswordRequiredException:
            raise SourceRefused(
                f"source {settings.name}: the private key is encrypted; set private_key_passphrase"
            ) from None
        except (paramiko.SSHException, ValueError, IndexError, TypeError):
            continue
        return key
    raise SourceRefused(
        f"source {settings.name}: private_key is not a usable ed25519, ecdsa or rsa private key"
        + (", or private_key_passphrase is wrong" if password else "")
    )


def _explained(error: Exception, settings: SftpSourceSettings) -> ProcessorError:
    """The same failure in words for the person who must act."""
    where = f"source {settings.name}: {settings.host}:{settings.port}"
    login_as = f"as {settings.username!r}"
    match error:
        case SourceRefused():
            return error
        case paramiko.BadHostKeyException():
            return HostKeyRefused(_changed_key(settings, error.key, error.expected_key))
        case paramiko.AuthenticationException() if _cut_short(error):
            return SourceUnavailable(f"{where}: the connection was lost during the login {login_as}")
        case paramiko.AuthenticationException() if "pubkey algorithm" in str(error):
            return SourceRefused(
                f"{where}: the server takes no RSA key with a SHA-2 signature, and this program makes no other; log in "
                f"{login_as} with an ed25519 or ecdsa key"
            )
        case paramiko.AuthenticationException():
            return SourceRefused(
                f"{where}: the server refused the login {login_as}; check username and {_credentials(settings)}"
            )
        case TimeoutError():
            return SourceUnavailable(f"{where}: no answer within {settings.connect_timeout_seconds:g} s")
        case socket.gaierror():
            return SourceUnavailable(f"{where}: the host name cannot be resolved")
        case paramiko.SSHException() if any(words in str(error) for words in _SILENCE):
            return SourceUnavailable(
                f"{where}: no SSH server answered within {settings.connect_timeout_seconds:g} s, or it hung up"
            )
        case OSError() | EOFError() | paramiko.SSHException():
            return SourceUnavailable(f"{where}: {_said(error)}")
    # What a server sends that does not keep to the protocol, paramiko trips over in many ways.
    return SourceUnavailable(f"{where}: it does not speak SSH as it should ({type(error).__name__})")


def _cut_short(error: BaseException) -> bool:
    """paramiko tells a login that was refused and one that never ended by the same class; only its words differ."""
    return any(words in str(error) for words in ("EOF", "timeout", "shut down"))


def _said(error: BaseException) -> str:
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _credentials(settings: SftpSourceSettings) -> str:
    names = [name for name in ("password", "private_key") if getattr(settings, name) is not None]
    return " and ".join(names)


def _unknown_key(settings: SftpSourceSettings, key: paramiko.PKey) -> str:
    return (
        f"source {settings.name}: the host key of {settings.host}:{settings.port} is not trusted. It shows "
        f"{key.get_name()} {fingerprint(key)}. If the owner of the server confirms that this is its key, add "
        f'host_keys = ["{fingerprint(key)}"] to the source.'
    )


def _changed_key(settings: SftpSourceSettings, seen: paramiko.PKey, known: paramiko.PKey) -> str:
    return (
        f"source {settings.name}: the host key of {settings.host}:{settings.port} HAS CHANGED. Expected "
        f"{known.get_name()} {fingerprint(known)}, but it shows {seen.get_name()} {fingerprint(seen)}. Somebody may "
        f"be in between: ask the owner of the server before you change {settings.known_hosts}."
    )
