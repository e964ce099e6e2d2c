"""The configuration that `init` writes, as text."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from sftpd_processor.errors import InternalError
from sftpd_processor.initial.answers import Answers, Place, checked
from sftpd_processor.initial.document import Document, document
from sftpd_processor.initial.hostkeys import HostKey
from sftpd_processor.installation.shipped import example

ED, RSA = HostKey("ssh-ed25519", f"SHA256:{'E' * 43}", "AAAA"), HostKey("ssh-rsa", f"SHA256:{'R' * 43}", "BBBB")
PERSON = Place(Path("/home/me/config.toml"), service=False)
SERVICE = Place(Path("/etc/sftpd-processor/config.toml"), service=True)
INSTANCE = Place(Path("/etc/sftpd-processor/acme.toml"), service=True)


def answers(**changes: Any) -> Answers:
    """Of somebody with a password."""
    given: dict[str, Any] = {
        "host": "sftp.acme.org",
        "port": 22,
        "keys": [ED, RSA],
        "trusted": [ED],
        "username": "me",
        "folder": "/in",
    }
    return Answers(**({"password": SecretStr("secret")} | given | changes))


def source(place: Place, **changes: Any) -> dict[str, Any]:
    """The [[sources]] table of the document."""
    (table,) = tomllib.loads(document(example(), answers(**changes), place))["sources"]
    assert isinstance(table, dict)
    return table


def test_the_answers_stand_in_it() -> None:
    """Each answer is the value of its key; what was not asked stays commented out."""
    assert source(PERSON) == {
        "name": "webio", "host": "sftp.acme.org", "username": "me", "host_keys": [ED.fingerprint],
        "password": {"file": "sftp-password"}, "folder": "/in",
    }  # fmt: skip
    assert source(PERSON, port=2222)["port"] == 2222


def test_comments_stay_beside_their_keys() -> None:
    """A comment at the end of a line stays in its column, but for EDIT."""
    lines = document(example(), answers(port=2222, handler="jsonl"), PERSON).splitlines()
    (use,) = (line for line in lines if line.startswith("use = "))
    assert use.startswith('use = "jsonl"' + " " * 39 + "# log, jsonl")
    assert 'host = "sftp.acme.org"' in lines
    assert "EDIT" not in "".join(lines)


@pytest.mark.parametrize(
    ("place", "state", "password"),
    [
        (PERSON, "state", {"file": "sftp-password"}),
        (SERVICE, "/var/lib/sftpd-processor", {"credential": "sftp-password"}),
        (INSTANCE, "/var/lib/sftpd-processor/acme", {"credential": "sftp-password"}),
    ],
)
def test_where_things_lie(place: Place, state: str, password: dict[str, str]) -> None:
    """A service has systemd's credentials and folders, a person files beside the configuration."""
    assert tomllib.loads(document(example(), answers(), place))["state"]["dir"] == state
    assert source(place)["password"] == password
    assert (place.unit, place.secrets.name) == {
        PERSON: ("sftpd-processor", "me"), SERVICE: ("sftpd-processor", "sftpd-processor"),
        INSTANCE: ("sftpd-processor@acme", "acme"),
    }[place]  # fmt: skip


def test_a_key_in_place_of_a_password() -> None:
    """For a service it is a credential, for a person the file that it was read from; there is no password."""
    key = {"password": None, "key": SecretStr("k"), "key_file": Path("/home/me/id"), "passphrase": SecretStr("p")}
    for place, reference, passphrase in (
        (SERVICE, {"credential": "sftp-key"}, {"credential": "key-passphrase"}),
        (PERSON, {"file": "/home/me/id"}, {"file": "key-passphrase"}),
    ):
        table = source(place, **key)
        assert (table["private_key"], table["private_key_passphrase"]) == (reference, passphrase)
        assert "password" not in table


def test_a_key_that_a_login_would_not_get() -> None:
    """When only another kind of host key is trusted, a known_hosts file makes logins ask for that one."""
    assert source(INSTANCE, trusted=[RSA])["known_hosts"] == "acme/known_hosts"
    assert answers(trusted=[RSA], port=2222).known_hosts == "[sftp.acme.org]:2222 ssh-rsa BBBB\n"
    assert "known_hosts" not in source(INSTANCE, trusted=[ED, RSA])


def test_secrets_are_not_shown() -> None:
    """Neither the text nor the repr of the answers holds a secret."""
    given = answers(key=SecretStr("s3cret-key"), passphrase=SecretStr("s3cret-phrase"), password=SecretStr("s3cret"))
    assert "s3cret" not in repr(given) + document(example(), given, SERVICE)


def test_text_is_quoted() -> None:
    """A name with quotes in it cannot break out of its value."""
    assert source(PERSON, username='me"\nport = 1')["username"] == 'me"\nport = 1'


def test_a_key_that_is_not_there() -> None:
    """A key that the example does not have is our mistake, and is not looked for in other tables."""
    for head, key in (("[state]", "host"), ("[state]", "nothing")):
        with pytest.raises(InternalError, match=f"has no {key} under"):
            Document(example()).set(head, key, 1)


def test_what_is_typed_is_checked() -> None:
    """An answer is refused in the words of the configuration."""
    assert checked("host", "sftp.acme.org") == "sftp.acme.org"
    for kind, text, told in (
        ("host", "a b", "host name"),
        ("username", "", "one line"),
        ("folder", "/a/../b", "segment"),
    ):
        with pytest.raises(ValueError, match=told):
            checked(kind, text)
