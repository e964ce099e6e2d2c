"""The public listener over TLS: proper clients, strangers who shake no hands, and mistakes in the settings."""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from sftpd_processor.errors import ConfigurationError
from sftpd_processor.http.server import tls_context
from tests.certificates import certificate
from tests.integration.http_items import (
    LIMITS,
    PROMPT,
    TOKEN,
    Listener,
    Wire,
    client_context,
    listening,
    request,
    settings,
)
from tests.support import wait_until


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return certificate(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def listener(files: tuple[Path, Path]) -> Iterator[Listener]:
    context = tls_context(settings(tls_certificate=files[0], tls_key=files[1]))
    with listening(tls=context) as made:
        yield made


def plain(listener: Listener) -> Wire:
    return Wire(socket.create_connection(("127.0.0.1", listener.port), 5.0))


def test_a_proper_client(listener: Listener, files: tuple[Path, Path]) -> None:
    """A client that checks the certificate gets several answers over one connection, large bodies both ways."""
    trust = ssl.create_default_context(cafile=str(files[0]))
    with httpx2.Client(verify=trust, base_url=f"https://localhost:{listener.port}") as client:
        for _ in range(3):
            answer = client.post("/webhooks", content=bytes(LIMITS.body_bytes), headers={"x-webio-token": TOKEN})
            assert answer.json() == {"path": "/webhooks", "size": LIMITS.body_bytes}
            assert listener.connections == 1
        assert len(client.get("/big", headers={"x-webio-token": TOKEN}).content) == 16 * 2**20
        assert client.get("/webhooks").status_code == 401


def test_old_tls_is_refused(listener: Listener) -> None:
    """TLS 1.1 is not spoken; 1.2 and 1.3 are."""
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        context = client_context()
        context.minimum_version = context.maximum_version = version
        with context.wrap_socket(plain(listener).socket) as connection:
            assert connection.version() == version.name.replace("v1_", "v1.")
    context = client_context()
    with pytest.warns(DeprecationWarning):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with plain(listener) as wire, pytest.raises((ssl.SSLError, ConnectionError)):
        context.wrap_socket(wire.socket)


@pytest.mark.parametrize("said", [request(), b"\x16\x03\x01" + b"\xff" * 5000, b"\x00" * 100_000, b"\x16"])
def test_strangers_without_tls(listener: Listener, said: bytes, caplog: pytest.LogCaptureFixture) -> None:
    """Plain HTTP and garbage end the connection, and nothing is logged about them."""
    caplog.set_level(logging.INFO)
    began = time.monotonic()
    with plain(listener) as wire:
        wire.send(said)
        with contextlib.suppress(ConnectionError):
            while wire.socket.recv(65_536):
                pass
    assert time.monotonic() - began < LIMITS.request_seconds + PROMPT
    listener.neighbour()
    assert caplog.messages == []


def test_silence_before_the_handshake(listener: Listener) -> None:
    """Who never shakes hands is cut off in time."""
    began = time.monotonic()
    with plain(listener) as wire:
        assert wire.ended()
    assert LIMITS.request_seconds * 0.9 < time.monotonic() - began < LIMITS.request_seconds + PROMPT


def test_a_crowd_before_the_handshake(files: tuple[Path, Path]) -> None:
    """Of those who shake no hands there are no more at once than connections are allowed; when they go, there is
    room again."""
    context = tls_context(settings(tls_certificate=files[0], tls_key=files[1]))
    with listening(tls=context, limits={"request_seconds": 30}) as listener:
        door: Any = listener.server.servers[0]
        with contextlib.ExitStack() as opened:
            silent = [opened.enter_context(plain(listener)) for _ in range(300)]
            assert all(wire.ended() for wire in silent[LIMITS.connections :])
            assert len(door._shaking) == LIMITS.connections
        wait_until(lambda: not door._shaking)
        listener.neighbour()


def test_bounds_hold_over_tls(listener: Listener) -> None:
    """Large heads and bodies, slow senders and too many connections are refused as without TLS."""
    assert listener.refused(request("/x", "x: " + "a" * 1_000_000)) == 431
    assert listener.refused(request("/x", "Content-Length: 999999", method="POST")) == 413
    assert listener.refused(request()[:-2]) == 408
    with contextlib.ExitStack() as opened:
        for _ in range(LIMITS.connections):
            assert opened.enter_context(listener.wire()).send(request()).answer().status == 200
        assert listener.refused(b"") == 503


def test_an_answer_that_is_not_read_over_tls(listener: Listener) -> None:
    """Who does not read, or never says good-bye, is cut off."""
    with listener.wire() as wire:
        wire.send(request("/big"))
        wait_until(lambda: listener.connections == 1)
        wait_until(listener.idle, what="the reader to be cut off")
    with listener.wire() as wire:
        wire.send(request())
        wire.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wait_until(listener.idle)


def test_the_end_over_tls(files: tuple[Path, Path]) -> None:
    """At the end, what is under way is answered, and those who are still shaking hands are let go."""
    context = tls_context(settings(tls_certificate=files[0], tls_key=files[1]))
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(listening(tls=context, limits={"request_seconds": 30}))
        busy, silent = opened.enter_context(listener.wire()), opened.enter_context(plain(listener))
        busy.send(request("/hold"))
        assert listener.holding.acquire(timeout=5)
        listener.stop()
        assert silent.ended()
        listener.release.set()
        assert busy.answer().headers["connection"] == "close"
        wait_until(listener.ended, 15)  # although `busy` does not say good-bye


def test_no_tls() -> None:
    """Without a certificate in the settings there is no TLS."""
    assert tls_context(settings()) is None


def test_mistakes_name_their_setting(tmp_path: Path) -> None:
    """A certificate or a key that cannot be used is told by the name of its setting, and nothing of its text is."""
    good, key = certificate(tmp_path)
    _, other = certificate(tmp_path, "other")
    locked, locked_key = certificate(tmp_path, "locked", "right")
    noise = tmp_path / "noise"
    noise.write_text("no PEM")
    broken = tmp_path / "broken"
    broken.write_text(key.read_text().replace("M", "N"))
    mistakes = [
        (tmp_path / "none", key, None, "http.tls_certificate: cannot read "),
        (noise, key, None, "http.tls_certificate: there is no certificate in "),
        (key, key, None, "http.tls_certificate: there is no certificate in "),
        (good, tmp_path / "none", None, "http.tls_key: cannot read "),
        (good, noise, None, "http.tls_key: there is no private key in "),
        (good, good, None, "http.tls_key: there is no private key in "),
        (good, other, None, f"http.tls_key: {other} is not the key of the certificate in `tls_certificate`"),
        (good, broken, None, f"http.tls_key: the private key in {broken} cannot be used"),
        (locked, locked_key, None, "http.tls_key_passphrase: is required by the key in "),
        (locked, locked_key, "wrong", "http.tls_key_passphrase: is not the passphrase of the key in "),
    ]
    for crt, pem, passphrase, told in mistakes:
        with pytest.raises(ConfigurationError) as caught:
            tls_context(settings(tls_certificate=crt, tls_key=pem, tls_key_passphrase=passphrase))
        assert told in str(caught.value)
    assert tls_context(settings(tls_certificate=locked, tls_key=locked_key, tls_key_passphrase="right")) is not None
