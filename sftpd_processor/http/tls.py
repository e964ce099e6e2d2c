"""TLS of the public listener: what it shows to callers, and how many of them may be shaking hands at once."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import ConfigurationError, Problem

_AT_ONCE = 64  # connections taken from the queue before others get a turn
_GOODBYE_SECONDS = 2.0  # for a peer to read the rest, and to say that it has seen the end
_PAUSE_SECONDS = 0.1  # when this process has no file descriptors left


def tls_context(settings: HttpSettings) -> ssl.SSLContext | None:
    """What is needed to speak TLS 1.2 and 1.3, or None when the settings ask for none.

    Raises:
        ConfigurationError: the certificate or its key cannot be used; it names the setting.
    """
    if settings.tls_certificate is None or settings.tls_key is None:
        return None
    _check_readable("tls_certificate", settings.tls_certificate)
    _check_readable("tls_key", settings.tls_key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_alpn_protocols(["http/1.1"])
    _check_certificate(settings.tls_certificate)
    passphrase = settings.tls_key_passphrase.get_secret_value() if settings.tls_key_passphrase else ""
    try:
        context.load_cert_chain(settings.tls_certificate, settings.tls_key, lambda: passphrase)  # never asks by itself
    except (ssl.SSLError, OSError, ValueError) as error:
        raise _unusable(settings.tls_key, error, has_passphrase=bool(passphrase)) from None
    return context


def _check_readable(setting: str, path: Path) -> None:
    try:
        path.open("rb").close()
    except OSError as error:
        raise _problem(setting, f"cannot read {path}: {error.strerror}") from None


def _check_certificate(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except (ssl.SSLError, OSError):
        raise _problem("tls_certificate", f"there is no certificate in {path}; it must be PEM") from None


def _unusable(path: Path, error: Exception, *, has_passphrase: bool) -> ConfigurationError:
    reason = getattr(error, "reason", None) or ""
    if reason == "KEY_VALUES_MISMATCH":
        return _problem("tls_key", f"{path} is not the key of the certificate in `tls_certificate`")
    if "PRIVATE KEY" not in path.read_text(errors="replace"):
        return _problem("tls_key", f"there is no private key in {path}; it must be PEM")
    if "ENCRYPTED" in path.read_text(errors="replace"):
        why = "is not the passphrase of" if has_passphrase else "is required by"
        return _problem("tls_key_passphrase", f"{why} the key in {path}")
    return _problem("tls_key", f"the private key in {path} cannot be used: {reason or type(error).__name__}")


def _problem(setting: str, why: str) -> ConfigurationError:
    return ConfigurationError([Problem(f"http.{setting}", why)])


class Door:
    """Takes connections from a listening socket, shakes hands with each, and hands it to its protocol.

    An event loop's own server does not say how many are shaking hands, and a stranger who never does so would cost
    a file descriptor each time: so these are counted here, and closed at once when there is no `room`.
    It is closed as an event loop's server is.
    """

    def __init__(
        self,
        listener: socket.socket,
        context: ssl.SSLContext,
        protocol: Callable[[], asyncio.Protocol],
        *,
        room: Callable[[], int],
        seconds: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._listener = listener
        self._context = context
        self._protocol = protocol
        self._room = room
        self._seconds = seconds
        self._shaking: set[asyncio.Task[None]] = set()
        self._pause: asyncio.TimerHandle | None = None
        self._open()

    def close(self) -> None:
        """Take no more, nor those who have not asked for anything yet."""
        self._loop.remove_reader(self._listener)
        for task in self._shaking:
            task.cancel()
        if self._pause is not None:
            self._pause.cancel()

    async def wait_closed(self) -> None:
        """Wait until those are gone."""
        if self._shaking:
            await asyncio.wait(self._shaking)

    def _open(self) -> None:
        self._loop.add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:  # no file descriptors left: others may end meanwhile
                self._loop.remove_reader(self._listener)
                self._pause = self._loop.call_later(_PAUSE_SECONDS, self._open)
                return
            self._admit(connection)

    def _admit(self, connection: socket.socket) -> None:
        if len(self._shaking) >= self._room():
            connection.close()
            return
        connection.setblocking(False)  # noqa: FBT003 - the parameter has no name
        task = self._loop.create_task(self._shake(connection))
        self._shaking.add(task)
        task.add_done_callback(self._shaking.discard)

    async def _shake(self, connection: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._protocol,
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._seconds,
                ssl_shutdown_timeout=_GOODBYE_SECONDS,
            )
        except OSError:  # it is no TLS, or took too long: ssl.SSLError and TimeoutError are OSErrors
            connection.close()
        except asyncio.CancelledError:
            connection.close()
            raise
