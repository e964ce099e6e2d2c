"""The steps between a connection and SFTP: a server that is rude at one of them is told apart from one that refuses."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

import paramiko
import pytest

from sftpd_processor.errors import SourceRefused, SourceUnavailable
from tests.integration.opened_sources import clients, listed, opened, within
from tests.support import ServedFolder, wait_until

SECONDS = 10.0
"""How long a silent step would last; the timeouts set here are far below."""


class _Account(paramiko.ServerInterface):  # type: ignore[misc]  # paramiko has no types
    """Lets everybody in and has no SFTP; `fault` says at what step it is rude instead, and how."""

    def __init__(self, fault: str) -> None:
        self._fault = fault
        self.ended = threading.Event()

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        if self._fault == "drops at login":
            self.transport.close()
        if self._fault == "silent at login":
            self.ended.wait(SECONDS + 1)
        return int(paramiko.AUTH_SUCCESSFUL)

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_channel_request(self, kind: str, chanid: int) -> int:
        if self._fault == "no channel":
            return int(paramiko.OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED)
        if self._fault == "drops":
            self.transport.close()
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_subsystem_request(self, channel: paramiko.Channel, name: str) -> bool:
        if self._fault == "silent":
            self.ended.wait(SECONDS + 1)
        return False


@contextlib.contextmanager
def account(fault: str) -> Iterator[dict[str, object]]:
    """A real SSH server without SFTP; gives the settings that lead to it."""
    key, interface = paramiko.ECDSAKey.generate(), _Account(fault)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            interface.transport = paramiko.Transport(connection)
            interface.transport.add_server_key(key)
            interface.transport.start_server(server=interface)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield {
                "port": listener.getsockname()[1],
                "host_keys": [key.fingerprint],
                "operation_timeout_seconds": 0.5,
                "connect_timeout_seconds": 2.0,
            }
        finally:
            interface.ended.set()
            thread.join()
            interface.transport.close()


@pytest.mark.parametrize("fault", ["none", "no channel"])
def test_an_account_without_sftp_is_refused(openssh: ServedFolder, fault: str) -> None:
    """An account that may log in but not use SFTP is for a person to mend."""
    with (
        account(fault) as settings,
        opened(openssh, **settings) as source,
        within(),
        pytest.raises(SourceRefused, match="the server offers no SFTP to this account"),
    ):
        listed(source)


def test_a_refused_start_of_sftp_leaves_no_connection(openssh: ServedFolder) -> None:
    """Each failed try lets go of its connection at once, so that polling a refusing server does not pile them up."""
    with account("none") as settings, opened(openssh, **settings) as source:
        with pytest.raises(SourceRefused):
            listed(source)
        port = settings["port"]
        assert isinstance(port, int)
        wait_until(lambda: not clients(port), 15, "the connection to end")


def test_a_server_that_never_answers_the_request_for_sftp_is_unavailable(openssh: ServedFolder) -> None:
    """Also the start of SFTP has the time of `operation_timeout_seconds`, no longer."""
    with (
        account("silent") as settings,
        opened(openssh, **settings) as source,
        within(),
        pytest.raises(SourceUnavailable),
    ):
        listed(source)


def test_a_connection_lost_before_sftp_starts_is_unavailable(openssh: ServedFolder) -> None:
    """A loss between login and SFTP heals with time: it is no refusal."""
    with (
        account("drops") as settings,
        opened(openssh, **settings) as source,
        within(),
        pytest.raises(SourceUnavailable),
    ):
        listed(source)


@pytest.mark.parametrize("fault", ["drops at login", "silent at login"])
def test_a_connection_lost_in_the_login_is_unavailable(openssh: ServedFolder, fault: str) -> None:
    """A server that goes away, or falls silent, while it checks the login has not refused it."""
    with account(fault) as settings, opened(openssh, **settings) as source, within(), pytest.raises(SourceUnavailable):
        listed(source)
