"""What this package relies on of paramiko: if a new version renames it, these tests say so before a user does."""

from __future__ import annotations

import inspect
import socket
from collections.abc import Callable
from typing import Any

import paramiko
import pytest

from sftpd_processor.errors import SourceRefused, SourceUnavailable


def parameters(function: Callable[..., Any]) -> set[str]:
    """The names of what a function takes."""
    return set(inspect.signature(function).parameters)


def test_a_channel_sends_receives_and_times_out() -> None:
    """The pipeline uses three public methods of a channel, and the request that makes it an SFTP one."""
    assert parameters(paramiko.Channel.send) == {"self", "s"}
    assert parameters(paramiko.Channel.recv) == {"self", "nbytes"}
    assert parameters(paramiko.Channel.settimeout) == {"self", "timeout"}
    assert parameters(paramiko.Channel.invoke_subsystem) == {"self", "subsystem"}


def test_a_channel_reports_silence_as_a_timeout() -> None:
    """`recv` raises `socket.timeout`, which is `TimeoutError`: that is how silence is told from a lost connection."""
    channel = paramiko.Channel(0)
    channel.settimeout(0.01)
    with pytest.raises(TimeoutError):
        channel.recv(1)


def test_a_transport_opens_sessions_and_keeps_them_alive() -> None:
    """Opening a session takes a timeout; keepalives and the preference of ciphers can be set."""
    assert "timeout" in parameters(paramiko.Transport.open_session)
    assert "interval" in parameters(paramiko.Transport.set_keepalive)
    assert isinstance(paramiko.transport.SecurityOptions.ciphers, property)


def test_the_client_takes_the_arguments_that_are_given() -> None:
    """`SSHClient.connect` knows every argument that the login uses."""
    assert parameters(paramiko.SSHClient.connect) >= {
        "hostname", "port", "username", "password", "pkey", "timeout", "banner_timeout", "auth_timeout",
        "allow_agent", "look_for_keys", "transport_factory",
    }  # fmt: skip


def test_a_transport_is_made_of_a_socket_and_the_options_of_the_client() -> None:
    """The client calls its `transport_factory` with these names, which `Transport` takes."""
    assert parameters(paramiko.Transport.__init__) >= {"sock", "disabled_algorithms"}


def test_the_ciphers_of_a_transport_hold_an_aes_gcm() -> None:
    """AES-GCM is preferred because it is one pass; a paramiko without it would only be slower."""
    near, far = socket.socketpair()
    with near, far:
        transport = paramiko.Transport(near)
        assert [name for name in transport.get_security_options().ciphers if "gcm" in name]
        transport.close()


def test_a_fingerprint_is_shown_as_ssh_keygen_does() -> None:
    """`PKey.fingerprint` is `SHA256:` and 43 characters."""
    kind, _, digest = paramiko.ECDSAKey.generate().fingerprint.partition(":")
    assert (kind, len(digest)) == ("SHA256", 43)


def test_the_kinds_of_failure_can_be_told_apart() -> None:
    """The exceptions that the login explains exist, and none of them hides behind another."""
    assert issubclass(paramiko.AuthenticationException, paramiko.SSHException)
    assert issubclass(paramiko.PasswordRequiredException, paramiko.AuthenticationException)
    assert issubclass(paramiko.BadHostKeyException, paramiko.SSHException)
    assert not issubclass(paramiko.SSHException, SourceRefused | SourceUnavailable | OSError)


@pytest.mark.parametrize("kind", [paramiko.Ed25519Key, paramiko.ECDSAKey, paramiko.RSAKey])
def test_keys_are_read_from_text(kind: type[paramiko.PKey]) -> None:
    """Each kind of key is read from a file object, with a passphrase."""
    assert parameters(kind.from_private_key) >= {"file_obj", "password"}
