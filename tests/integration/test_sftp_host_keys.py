"""Which servers are trusted: those whose key was confirmed beforehand, and no others."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
from pathlib import Path
from typing import Any

import paramiko
import pytest

from sftpd_processor.errors import SourceRefused
from tests.integration.opened_sources import listed, opened
from tests.support import ServedFolder

OTHER = paramiko.ECDSAKey.generate()
ANOTHER_KIND = paramiko.RSAKey.generate(2048)


def line(host: str, key: paramiko.PKey | str) -> str:
    """One line of a known_hosts file."""
    return f"{host} {key if isinstance(key, str) else f'{key.get_name()} {key.get_base64()}'}\n"


def its_key(served: ServedFolder) -> str:
    """The key that the server shows, as known_hosts has it."""
    kind, key = served.server.known_hosts_path.read_text().split()[1:3]
    return f"{kind} {key}"


def address(served: ServedFolder) -> str:
    """The server as known_hosts names it: its port is not 22."""
    return f"[{served.server.host}]:{served.server.port}"


def hashed(host: str) -> str:
    """The name as `ssh-keygen -H` writes it."""
    salt = os.urandom(20)
    digest = hmac.new(salt, host.encode(), hashlib.sha1).digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


def trust(served: ServedFolder, tmp_path: Path, text: str, **changes: Any) -> dict[str, Any]:
    """What a source that trusts this known_hosts lists; the file must not be changed by that."""
    path = tmp_path / "known_hosts"
    path.write_text(text)
    path.chmod(0o400)
    before = path.stat()
    served.write({"a.json": b"{}"})
    try:
        with opened(served, **{"host_keys": [], "known_hosts": str(path), **changes}) as source:
            return dict(listed(source))
    finally:
        assert path.read_text() == text
        assert path.stat().st_mtime_ns == before.st_mtime_ns


def refusal(served: ServedFolder, tmp_path: Path, text: str, **changes: Any) -> str:
    """How it is refused."""
    with pytest.raises(SourceRefused) as caught:
        trust(served, tmp_path, text, **changes)
    return str(caught.value)


def test_a_pinned_key_is_trusted(sftp_server: ServedFolder) -> None:
    """A server whose key has a fingerprint in `host_keys` is trusted, whichever of them it is."""
    with opened(sftp_server, host_keys=[OTHER.fingerprint, sftp_server.server.host_key_fingerprint]) as source:
        assert listed(source) == {}


def test_a_key_that_is_not_pinned_is_refused(sftp_server: ServedFolder) -> None:
    """The refusal shows the key that was seen, whom to ask, and the line that would trust it."""
    seen = sftp_server.server.host_key_fingerprint
    with opened(sftp_server, host_keys=[OTHER.fingerprint]) as source, pytest.raises(SourceRefused) as caught:
        listed(source)
    text = str(caught.value)
    assert f"the host key of 127.0.0.1:{sftp_server.server.port} is not trusted" in text
    assert f'host_keys = ["{seen}"]' in text
    assert "owner of the server confirms" in text


def test_no_password_is_sent_to_an_untrusted_server(asyncssh_server: ServedFolder) -> None:
    """The refusal comes before the login, so a stranger never sees a secret: it would be good for this server."""
    secret = str(asyncssh_server.server.password)
    changes = {"host_keys": [OTHER.fingerprint], "password": secret, "private_key": None}
    with opened(asyncssh_server, **changes) as source, pytest.raises(SourceRefused, match="is not trusted") as caught:
        listed(source)
    assert secret not in str(caught.value)


def test_a_known_host_is_trusted(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """A key in known_hosts under [host]:port is trusted, and the file is only read."""
    text = f"# the server\n\n{line('elsewhere.example.com', OTHER)}{line(address(sftp_server), its_key(sftp_server))}"
    assert list(trust(sftp_server, tmp_path, text)) == ["a.json"]


def test_a_hashed_known_host_is_trusted(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Names may be hashed, as many systems write them."""
    text = line(hashed("[other]:22"), OTHER) + line(hashed(address(sftp_server)), its_key(sftp_server))
    assert list(trust(sftp_server, tmp_path, text)) == ["a.json"]


def test_a_known_host_may_have_several_keys_and_names(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """A server with keys of several kinds is trusted by the one that it shows, also under a list of names."""
    names = f"sftp.example.com,{address(sftp_server)}"
    text = line(names, its_key(sftp_server)) + line(names, ANOTHER_KIND)
    assert list(trust(sftp_server, tmp_path, text)) == ["a.json"]


def test_an_unknown_host_is_refused(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """A server that known_hosts does not name is refused, and not remembered."""
    text = refusal(sftp_server, tmp_path, line("[127.0.0.1]:1", its_key(sftp_server)))
    assert "is not trusted" in text
    assert sftp_server.server.host_key_fingerprint in text


def test_an_empty_known_hosts_trusts_nobody(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """An empty file is no licence."""
    assert "is not trusted" in refusal(sftp_server, tmp_path, "")


@pytest.mark.parametrize("name", [address, lambda served: hashed(address(served))])
def test_a_changed_key_is_refused_loudly(sftp_server: ServedFolder, tmp_path: Path, name: Any) -> None:
    """A known server with another key may be an impostor: both fingerprints are shown, and the file to look at."""
    text = refusal(sftp_server, tmp_path, line(name(sftp_server), OTHER))
    assert "HAS CHANGED" in text
    assert OTHER.fingerprint in text
    assert sftp_server.server.host_key_fingerprint in text
    assert str(tmp_path / "known_hosts") in text


def test_a_changed_key_of_another_kind_is_refused(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """A server known by an RSA key only, which shows another kind, is not trusted."""
    text = refusal(sftp_server, tmp_path, line(address(sftp_server), ANOTHER_KIND))
    assert sftp_server.server.host_key_fingerprint in text


def test_a_pin_stands_in_for_a_host_that_is_not_known(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """With both settings, a server that known_hosts does not name is trusted by its pinned fingerprint."""
    pins = [sftp_server.server.host_key_fingerprint]
    assert list(trust(sftp_server, tmp_path, "", host_keys=pins)) == ["a.json"]


def test_a_known_hosts_that_cannot_be_read_is_refused(openssh: ServedFolder, tmp_path: Path) -> None:
    """A missing file is told with its path, before anything is connected."""
    path = tmp_path / "absent"
    with opened(openssh, host_keys=[], known_hosts=str(path)) as source, pytest.raises(SourceRefused, match=str(path)):
        listed(source)


@pytest.mark.parametrize(
    "damage", ["{host} ecdsa-sha2-nistp256 !!!not-base64\n", "{host} ecdsa-sha2-nistp256 AAAA\n", "{host}\n", "\x00\n"]
)
def test_a_damaged_line_of_known_hosts_trusts_nobody(openssh: ServedFolder, tmp_path: Path, damage: str) -> None:
    """A broken line is refused with a message, and never lets a server pass."""
    text = refusal(openssh, tmp_path, damage.format(host=address(openssh)))
    assert "source webio: " in text


def test_a_known_hosts_of_no_text_is_refused(openssh: ServedFolder, tmp_path: Path) -> None:
    """A file that is not text, such as a wrong path leads to, is refused with its path."""
    path = tmp_path / "known_hosts"
    path.write_bytes(b"\xff\xfe\x00\x80" * 100)
    with (
        opened(openssh, host_keys=[], known_hosts=str(path)) as source,
        pytest.raises(SourceRefused, match="source webio"),
    ):
        listed(source)
