"""Logging in to real servers with keys and passwords, and what is said when it does not work."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization as form
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from sftpd_processor.errors import SourceRefused
from tests.integration.opened_sources import listed, opened
from tests.support import ServedFolder

Key = ed25519.Ed25519PrivateKey | ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
MAKE: dict[str, Callable[[], Key]] = {
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ecdsa-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "ecdsa-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
}
KEYS = {kind: make() for kind, make in MAKE.items()}
PASSPHRASE = "pass phräse-7781"
WRONG = "wrong-passphrase-4412"
OPENSSH, PEM = form.PrivateFormat.OpenSSH, form.PrivateFormat.TraditionalOpenSSL


def text(key: Key, passphrase: str | None = None, written: form.PrivateFormat = OPENSSH) -> str:
    """The private key as a file holds it."""
    lock = form.BestAvailableEncryption(passphrase.encode()) if passphrase else form.NoEncryption()
    return key.private_bytes(form.Encoding.PEM, written, lock).decode()


def allow(served: ServedFolder, key: Key) -> None:
    """Let this key log in, beside those that may already."""
    public = key.public_key().public_bytes(form.Encoding.OpenSSH, form.PublicFormat.OpenSSH).decode()
    allowed = served.server.client_key_path.with_name("authorized_keys")
    if public not in allowed.read_text():
        with allowed.open("a") as file:
            file.write(f"{public}\n")
        if served.server.password is not None:  # asyncssh reads the file when it starts
            served.server.stop()
            served.server.start()


def names(served: ServedFolder, **credentials: Any) -> list[str]:
    """What is listed after a login with these credentials."""
    served.write({"a.json": b"{}"})
    with opened(served, **{"private_key": None, **credentials}) as source:
        return list(listed(source))


def refusal(served: ServedFolder, **credentials: Any) -> str:
    """How the login is refused; neither that nor what led to it may hold a secret."""
    with pytest.raises(SourceRefused) as caught:
        names(served, **credentials)
    told = "".join(traceback.format_exception_only(caught.value)) + repr(caught.value.__cause__)
    for name in ("private_key", "private_key_passphrase", "password"):
        secret = str(credentials.get(name) or "\0")
        assert secret not in told
        assert not [line for line in secret.splitlines()[1:-1] if line and line in told]
    assert str(caught.value).startswith("source webio: ")
    return str(caught.value)


@pytest.mark.parametrize("kind", KEYS)
def test_each_kind_of_key_logs_in(sftp_server: ServedFolder, kind: str) -> None:
    """ed25519, ecdsa and rsa keys in OpenSSH's form are used."""
    allow(sftp_server, KEYS[kind])
    assert names(sftp_server, private_key=text(KEYS[kind])) == ["a.json"]


@pytest.mark.parametrize("kind", ["ecdsa-256", "rsa"])
def test_keys_in_the_older_form_log_in(openssh: ServedFolder, kind: str) -> None:
    """Keys in PEM form, as older programs write them, are used."""
    allow(openssh, KEYS[kind])
    assert names(openssh, private_key=text(KEYS[kind], written=PEM)) == ["a.json"]


@pytest.mark.parametrize("kind", KEYS)
def test_a_locked_key_logs_in_with_its_passphrase(openssh: ServedFolder, kind: str) -> None:
    """Encrypted keys are opened with `private_key_passphrase`, which may hold any letters."""
    allow(openssh, KEYS[kind])
    credentials = {"private_key": text(KEYS[kind], PASSPHRASE), "private_key_passphrase": PASSPHRASE}
    assert names(openssh, **credentials) == ["a.json"]


@pytest.mark.parametrize("kind", ["ecdsa-256", "rsa"])
def test_a_locked_key_in_the_older_form_logs_in(openssh: ServedFolder, kind: str) -> None:
    """Encrypted keys in PEM form are opened as well."""
    allow(openssh, KEYS[kind])
    key = text(KEYS[kind], "older-passphrase", PEM)
    assert names(openssh, private_key=key, private_key_passphrase="older-passphrase") == ["a.json"]


@pytest.mark.parametrize("kind", KEYS)
def test_a_locked_key_without_a_passphrase_is_refused(openssh: ServedFolder, kind: str) -> None:
    """The message names the setting that is missing."""
    assert "encrypted; set private_key_passphrase" in refusal(openssh, private_key=text(KEYS[kind], PASSPHRASE))


@pytest.mark.parametrize("kind", KEYS)
def test_a_wrong_passphrase_is_refused(openssh: ServedFolder, kind: str) -> None:
    """The message names the passphrase as a possible cause."""
    key = text(KEYS[kind], PASSPHRASE)
    assert "private_key_passphrase is wrong" in refusal(openssh, private_key=key, private_key_passphrase=WRONG)


@pytest.mark.parametrize("kind", ["ecdsa-256", "rsa"])
@pytest.mark.parametrize("passphrase", [None, WRONG])
def test_a_locked_key_in_the_older_form_is_refused(openssh: ServedFolder, kind: str, passphrase: str | None) -> None:
    """A missing or wrong passphrase of a key in PEM form is told as well."""
    told = refusal(openssh, private_key=text(KEYS[kind], PASSPHRASE, PEM), private_key_passphrase=passphrase)
    assert "private_key_passphrase" in told


def test_a_needless_passphrase_does_no_harm(openssh: ServedFolder) -> None:
    """A passphrase given for a key that is not encrypted is passed over."""
    allow(openssh, KEYS["ed25519"])
    assert names(openssh, private_key=text(KEYS["ed25519"]), private_key_passphrase=WRONG) == ["a.json"]


@pytest.mark.parametrize(
    "key",
    [
        "-----BEGIN OPENSSH PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n!!! no base64 !!!\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\n-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: x\n\nAAAA\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN EC PRIVATE KEY-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END EC PRIVATE KEY-----",
        "-----BEGIN CERTIFICATE-----\nc2VjcmV0LXNlY3JldC1zZWNyZXQ=\n-----END CERTIFICATE-----",
        "-----BEGIN nothing at all",
    ],
)
@pytest.mark.parametrize("passphrase", [None, WRONG])
def test_a_damaged_key_is_refused(openssh: ServedFolder, key: str, passphrase: str | None) -> None:
    """Whatever stands where the key should be, the message says that it is no usable key, and shows none of it."""
    told = refusal(openssh, private_key=key, private_key_passphrase=passphrase)
    assert "private_key is not a usable ed25519, ecdsa or rsa private key" in told


@pytest.mark.parametrize("kind", KEYS)
def test_a_cut_key_is_refused(openssh: ServedFolder, kind: str) -> None:
    """A key that was copied without its end is refused, as no key or as one that is not allowed."""
    lines = text(MAKE[kind]()).splitlines()
    for end in range(1, len(lines) - 1):
        assert "private_key" in refusal(openssh, private_key="\n".join([*lines[:end], lines[-1]]))


def test_a_key_that_is_not_allowed_is_refused(sftp_server: ServedFolder) -> None:
    """The server's refusal names the account and the settings to check."""
    told = refusal(sftp_server, private_key=text(ed25519.Ed25519PrivateKey.generate()))
    assert "refused the login as" in told
    assert sftp_server.server.username in told
    assert "check username and private_key" in told


def test_an_unknown_user_is_refused(openssh: ServedFolder) -> None:
    """A wrong username is told as a refused login, not as an absent server."""
    key = openssh.server.client_key_path.read_text()
    assert "refused the login as 'nobody-known'" in refusal(openssh, private_key=key, username="nobody-known")


def test_a_password_logs_in(asyncssh_server: ServedFolder) -> None:
    """An account may be opened by its password alone."""
    assert names(asyncssh_server, password=asyncssh_server.server.password) == ["a.json"]


def test_a_wrong_password_is_refused(asyncssh_server: ServedFolder) -> None:
    """The refusal names the setting, and shows no part of the password."""
    assert "check username and password" in refusal(asyncssh_server, password="wrong-password-9051")


def test_a_password_where_only_keys_are_allowed_is_refused(openssh: ServedFolder) -> None:
    """A server that takes no passwords refuses the login."""
    assert "refused the login" in refusal(openssh, password="wrong-password-9051")


def test_a_password_helps_where_the_key_is_not_allowed(asyncssh_server: ServedFolder) -> None:
    """With both given, either may open the account."""
    key = text(ed25519.Ed25519PrivateKey.generate())
    assert names(asyncssh_server, private_key=key, password=asyncssh_server.server.password) == ["a.json"]


def test_both_credentials_are_named_when_both_fail(sftp_server: ServedFolder) -> None:
    """The refusal names each setting that was tried."""
    key = text(ed25519.Ed25519PrivateKey.generate())
    told = refusal(sftp_server, private_key=key, password="wrong-password-9051")
    assert "check username and password and private_key" in told


def test_secrets_are_not_shown_by_the_settings(openssh: ServedFolder) -> None:
    """Neither the source nor its settings show a secret when they are printed."""
    secrets = {"private_key": text(KEYS["ed25519"]), "private_key_passphrase": PASSPHRASE, "password": WRONG}
    with opened(openssh, **secrets) as source:
        told = repr(source) + repr(vars(source)) + str(vars(source))
    assert not [secret for secret in secrets.values() if secret in told]


def test_no_key_of_this_machine_is_used(openssh: ServedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys in ~/.ssh are left alone: only what is configured is shown to the server."""
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "id_ecdsa").write_text(openssh.server.client_key_path.read_text())
    monkeypatch.setenv("HOME", str(tmp_path))
    assert "refused the login" in refusal(openssh, private_key=text(ed25519.Ed25519PrivateKey.generate()))
