"""Which SSH algorithms are agreed to: current ones, outdated ones when a setting allows them, and what is said else."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import paramiko
import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.sources.algorithms import CURRENT, restrict
from sftpd_processor.sources.ssh import login
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.opened_sources import listed, opened, within
from tests.support import ServedFolder, not_here, served_folder

LEGACY = {
    "ciphers": ("cipher", "aes128-cbc, 3des-cbc", ["Ciphers aes128-cbc,3des-cbc"], {"encryption_algs": "*-cbc"}),
    "macs": (
        "MAC",
        "hmac-sha1, hmac-md5",
        ["Ciphers aes128-ctr", "MACs hmac-sha1,hmac-md5"],
        {"encryption_algs": "aes128-ctr", "mac_algs": "hmac-sha1,hmac-md5"},
    ),
    "kex": (
        "key exchange",
        "diffie-hellman-group-exchange-sha256",
        ["KexAlgorithms diffie-hellman-group-exchange-sha256"],
        {"kex_algs": "diffie-hellman-group-exchange-sha256"},
    ),
}
"""What is outdated, but known to paramiko: its word in the message, what is shown, and how servers are told so."""

UNKNOWN = {
    "ciphers": ("cipher", "chacha20-poly1305@openssh.com", {"encryption_algs": "chacha20-poly1305@openssh.com"}),
    "macs": ("MAC", "umac-64@openssh.com", {"mac_algs": "umac-64@openssh.com", "encryption_algs": "aes256-ctr"}),
    "kex": ("key exchange", "diffie-hellman-group1-sha1", {"kex_algs": "diffie-hellman-group1-sha1"}),
}
"""What paramiko does not speak at all."""


@contextlib.contextmanager
def sshd(tmp_path: Path, *options: str) -> Iterator[ServedFolder]:
    """A real sshd with these lines of configuration."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    with OpenSshServer(tmp_path / "root", options=options) as server, served_folder(server) as served:
        served.write({"a.json": b"{}"})
        yield served


@contextlib.contextmanager
def asyncssh(tmp_path: Path, **options: Any) -> Iterator[ServedFolder]:
    """An asyncssh server with these options; it speaks what OpenSSH no longer does."""
    with AsyncsshServer(tmp_path / "root", options=options) as server, served_folder(server) as served:
        served.write({"a.json": b"{}"})
        yield served


def names(served: ServedFolder, **changes: Any) -> list[str]:
    """What is listed."""
    with opened(served, **changes) as source:
        return list(listed(source))


def refusal(served: ServedFolder, **changes: Any) -> str:
    """How it is refused: in one line that begins with the source."""
    with pytest.raises(SourceRefused) as caught:
        names(served, **changes)
    told = str(caught.value)
    assert told.startswith(f"source webio: 127.0.0.1:{served.server.port}: ")
    assert len(told.splitlines()) == 1
    assert caught.value.exit_code == 4
    return told


@pytest.mark.parametrize("kind", LEGACY)
def test_an_sshd_with_outdated_algorithms(tmp_path: Path, kind: str) -> None:
    """By default it is refused, with the kind, the offer and the setting named; with that setting it is used."""
    word, offer, options, _ = LEGACY[kind]
    with sshd(tmp_path, *options) as served:
        told = refusal(served)
        assert f"no {word} in common: the server offers only {offer}, which is outdated" in told
        assert 'set algorithms = "legacy"' in told
        assert names(served, algorithms="legacy") == ["a.json"]


@pytest.mark.filterwarnings("ignore:Diffie-Hellman over finite fields")  # told to asyncssh, in this process
@pytest.mark.parametrize("kind", LEGACY)
def test_an_asyncssh_with_outdated_algorithms(tmp_path: Path, kind: str) -> None:
    """Another implementation that offers only outdated algorithms is refused and let pass in the same way."""
    word, _, _, options = LEGACY[kind]
    with asyncssh(tmp_path, **options) as served:
        assert f"no {word} in common: the server offers only " in refusal(served)
        assert names(served, algorithms="legacy") == ["a.json"]


@pytest.mark.parametrize("algorithms", ["current", "legacy"])
@pytest.mark.parametrize("kind", UNKNOWN)
def test_algorithms_that_nobody_speaks_any_more(tmp_path: Path, kind: str, algorithms: str) -> None:
    """Where the setting would not help, that is said, and what the server's owner should allow instead."""
    word, offer, options = UNKNOWN[kind]
    with asyncssh(tmp_path, **options) as served:
        told = refusal(served, algorithms=algorithms)
    assert f"no {word} in common: the server offers only {offer}" in told
    assert 'does not know (not with algorithms = "legacy" either); ask the server\'s owner to allow ' in told


@pytest.mark.parametrize("algorithms", ["current", "legacy"])
def test_a_host_key_that_signs_with_sha1_only(tmp_path: Path, algorithms: str) -> None:
    """A server that proves itself by SHA-1 alone is refused whatever is set."""
    paramiko.RSAKey.generate(2048).write_private_key_file(str(tmp_path / "rsa"))
    with sshd(tmp_path, f"HostKey {tmp_path}/rsa", "HostKeyAlgorithms ssh-rsa") as served:
        told = refusal(served, algorithms=algorithms)
    assert "no kind of host key in common: the server offers only ssh-rsa, which this program does not know" in told
    assert "allow ssh-ed25519 or rsa-sha2-512" in told


def test_an_rsa_host_key_is_checked_with_sha2(tmp_path: Path) -> None:
    """A server known by its RSA key is current, since the key signs with SHA-2."""
    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(tmp_path / "rsa"))
    with sshd(tmp_path, f"HostKey {tmp_path}/rsa", "HostKeyAlgorithms rsa-sha2-256") as served:
        known = tmp_path / "known_hosts"
        known.write_text(f"[127.0.0.1]:{served.server.port} ssh-rsa {key.get_base64()}\n")
        assert names(served, host_keys=[], known_hosts=str(known)) == ["a.json"]
        assert names(served, host_keys=[key.fingerprint]) == ["a.json"]


def test_an_rsa_login_makes_no_sha1_signature(tmp_path: Path) -> None:
    """A server that wants SHA-1 signatures of RSA keys is refused, with what to log in with instead."""
    key = paramiko.RSAKey.generate(2048)
    key.write_private_key_file(str(tmp_path / "rsa"))
    (tmp_path / "rsa").chmod(0o600)
    (tmp_path / "allowed").write_text(f"ssh-rsa {key.get_base64()}\n")
    options = {"signature_algs": "ecdsa-sha2-nistp256,ssh-rsa", "authorized_client_keys": str(tmp_path / "allowed")}
    with asyncssh(tmp_path, **options) as served:
        for algorithms in ("current", "legacy"):
            text = (tmp_path / "rsa").read_text()
            told = refusal(served, private_key=text, algorithms=algorithms)
            assert "the server takes no RSA key with a SHA-2 signature" in told
            assert "with an ed25519 or ecdsa key" in told


@pytest.mark.parametrize("algorithms", ["current", "legacy"])
def test_aes_gcm_is_preferred(sftp_server: ServedFolder, algorithms: str) -> None:
    """Where a server has it, the cipher is AES-GCM in both directions: it is the fastest one here."""
    client = login(SftpSourceSettings.model_validate(sftp_server.source(algorithms=algorithms)))
    with contextlib.closing(client):
        transport = client.get_transport()
        assert transport is not None
        assert "gcm" in transport.local_cipher
        assert "gcm" in transport.remote_cipher


@pytest.mark.parametrize("algorithms", ["current", "legacy"])
def test_a_mac_that_covers_what_is_encrypted_is_preferred(tmp_path: Path, algorithms: str) -> None:
    """Without AES-GCM the MAC is by SHA-2, of the encrypted text (EtM), also when outdated ones are allowed."""
    with sshd(tmp_path, "Ciphers aes256-ctr") as served:
        client = login(SftpSourceSettings.model_validate(served.source(algorithms=algorithms)))
        with contextlib.closing(client):
            transport = client.get_transport()
            assert transport is not None
            assert {transport.local_mac, transport.remote_mac} == {"hmac-sha2-256-etm@openssh.com"}


class Greeter:
    """A listener that says the same to everybody and keeps what the first one says."""

    def __init__(self, greeting: bytes) -> None:
        self._greeting = greeting
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.heard = b""
        self._thread = threading.Thread(target=self._serve)

    def _serve(self) -> None:
        connection, _ = self._listener.accept()
        with connection, contextlib.suppress(OSError):
            connection.sendall(self._greeting)
            while data := connection.recv(65_536):
                self.heard += data

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join(10)
        self._listener.close()


def kexinit(*lists: bytes) -> bytes:
    """A name, and a first packet with these lists, as a server sends them (RFC 4253 sections 4.2, 6 and 7.1)."""
    named = b"".join(struct.pack(">I", len(names)) + names for names in lists)
    payload = bytes([20]) + bytes(16) + named + bytes(5)
    padding = 8 - (len(payload) + 5) % 8 + 8
    packet = struct.pack(">IB", len(payload) + padding + 1, padding) + payload + bytes(padding)
    return b"SSH-2.0-strange\r\n" + packet


def told_by(greeting: bytes, **changes: Any) -> tuple[Exception, bytes]:
    """How a login at a server with this greeting fails, and what it was sent."""
    with Greeter(greeting) as greeter:
        settings = {
            "name": "webio", "host": "127.0.0.1", "port": greeter.port, "username": "u", "password": "p",
            "host_keys": ["SHA256:" + "A" * 43], "folder": "/x", "connect_timeout_seconds": 1, **changes,
        }  # fmt: skip
        with within(), pytest.raises((SourceRefused, SourceUnavailable)) as caught:
            login(SftpSourceSettings.model_validate(settings))
    return caught.value, greeter.heard


def lists_in(heard: bytes) -> list[set[str]]:
    """The lists of algorithms in what a client sent."""
    rest, found = heard[heard.index(b"\n") + 1 :][22:], []
    for _ in range(6):
        (length,) = struct.unpack_from(">I", rest)
        found.append(set(rest[4 : 4 + length].decode().split(",")))
        rest = rest[4 + length :]
    return found


def test_only_current_algorithms_are_offered() -> None:
    """What leaves this machine names no other key exchange, signature, cipher or MAC than the current ones."""
    _, heard = told_by(b"SSH-2.0-silent\r\n")
    kex, keys, *others = lists_in(heard)
    ciphers, macs = others[:2], others[2:]
    assert {name for name in kex if not name.startswith(("ext-info", "kex-strict"))} <= CURRENT["kex"]
    assert not [name for name in keys if not name.startswith(("ssh-ed25519", "ecdsa-sha2-nistp", "rsa-sha2-"))]
    assert all(offered <= CURRENT["ciphers"] for offered in ciphers)
    assert all(offered <= CURRENT["macs"] for offered in macs)
    assert all(others)


def test_outdated_algorithms_are_offered_when_allowed() -> None:
    """The setting adds the outdated ones, and keeps the current ones."""
    _, now = told_by(b"SSH-2.0-silent\r\n")
    _, legacy = told_by(b"SSH-2.0-silent\r\n", algorithms="legacy")
    assert "aes128-cbc" in lists_in(legacy)[2]
    assert all(few <= many for few, many in zip(lists_in(now), lists_in(legacy), strict=True))


GOOD = [b"curve25519-sha256@libssh.org", b"ssh-ed25519", *[b"aes128-ctr"] * 2, *[b"hmac-sha2-256"] * 2]


@pytest.mark.parametrize(
    ("greeting", "shown"),
    [
        (kexinit(b"", *GOOD[1:]), "no key exchange in common: the server offers none at all"),
        (kexinit(b"\x1b[31mred\n,\xff\xfe," + b"x" * 65, *GOOD[1:]), "offers none at all"),
        (kexinit(b",".join(b"kex%d" % n for n in range(99)), *GOOD[1:]), "kex4, kex5, …, which"),
        (kexinit(*GOOD[:3], b"rot13", *GOOD[4:]), "no cipher in common: the server offers only rot13"),
        (b"a line before\r\n" + kexinit(GOOD[0], b"ssh-dss", *GOOD[2:]), "no kind of host key in common"),
    ],
)
def test_a_strange_offer_is_told_safely(greeting: bytes, shown: str) -> None:
    """Whatever a server offers, the message is one short line of visible characters."""
    error, _ = told_by(greeting)
    assert isinstance(error, SourceRefused)
    assert shown in str(error)
    assert str(error).isprintable()
    assert len(str(error)) < 500


@pytest.mark.parametrize(
    "greeting",
    [
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n" + b"\xff" * 64,
        b"SSH-2.0-x\r\n\x00\x00\x00\x0c\x0a\x14",
        kexinit(*GOOD)[:90],
        kexinit(*GOOD)[:50] + b"\xff\xff\xff\xff",
        b"\x00" * 70_000,
    ],
)
def test_what_is_no_offer_is_no_disagreement(greeting: bytes) -> None:
    """A server that speaks otherwise, or stops in the middle, is told as one that cannot be talked to."""
    error, _ = told_by(greeting)
    assert isinstance(error, SourceUnavailable)
    assert "in common" not in str(error)


class _OlderTransport(paramiko.Transport):  # type: ignore[misc]  # paramiko has no types
    """What paramiko 4 would sign and accept."""

    _preferred_keys = ("ssh-ed25519", "rsa-sha2-512", "ssh-rsa")
    _preferred_pubkeys = ("rsa-sha2-512", "ssh-rsa", "ssh-dss")


def test_signatures_are_limited_whatever_paramiko_offers() -> None:
    """Neither a host key nor a login of ours is ever proved by SHA-1 or DSA, also with an older paramiko."""
    near, far = socket.socketpair()
    with near, far:
        transport = _OlderTransport(near)
        restrict(transport, legacy=False)
        assert transport.preferred_pubkeys == ("rsa-sha2-512",)
        assert [name for name in transport.preferred_keys if "cert" not in name] == ["ssh-ed25519", "rsa-sha2-512"]
