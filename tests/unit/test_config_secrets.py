"""Secrets: how they are referred to, who may read them, and that they never show."""

from __future__ import annotations

import traceback
from pathlib import Path

import pytest
from pydantic import SecretStr

from sftpd_processor.config.load import load_settings
from sftpd_processor.config.settings import Settings, SftpSourceSettings
from sftpd_processor.errors import ConfigurationError
from tests.unit.config_samples import KEY, SECRET, problems, sftp, whys, write


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBIO_PASSWORD", SECRET)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)


def password_of(settings: Settings) -> str:
    source = settings.sources[0]
    assert isinstance(source, SftpSourceSettings)
    assert source.password is not None
    return source.password.get_secret_value()


def secret_file(folder: Path, name: str, content: str, mode: int = 0o600) -> Path:
    path = folder / name
    path.write_text(content)
    path.chmod(mode)
    return path


def test_secret_as_text(tmp_path: Path) -> None:
    """A secret can be written out as text, in a file that its owner alone can read."""
    assert password_of(load_settings(write(tmp_path, sftp(password=f'"{SECRET}"')))) == SECRET


def test_secret_from_the_environment(tmp_path: Path) -> None:
    """{ env } takes the variable's value."""
    assert password_of(load_settings(write(tmp_path, sftp()))) == SECRET


@pytest.mark.parametrize(("ending", "kept"), [("", ""), ("\n", ""), ("\r\n", ""), ("\n\n", "\n"), (" \n", " ")])
def test_secret_from_a_file_loses_only_its_last_line_ending(tmp_path: Path, ending: str, kept: str) -> None:
    """{ file } is the content without the last line ending; the path begins at the configuration's folder."""
    (tmp_path / "pw").write_bytes((SECRET + ending).encode())
    path = write(tmp_path, sftp(password='{ file = "pw" }'))
    assert password_of(load_settings(path)) == SECRET + kept


def test_secret_from_a_credential(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """{ credential } takes the file of that name in $CREDENTIALS_DIRECTORY."""
    secret_file(tmp_path, "sftp-password", SECRET + "\n", 0o644)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    path = write(tmp_path, sftp(password='{ credential = "sftp-password" }'), 0o644)
    assert password_of(load_settings(path)) == SECRET


@pytest.mark.parametrize(("name", "folder"), [("config", ""), ("acme", "acme")])
def test_a_credential_by_hand(tmp_path: Path, name: str, folder: str) -> None:
    """Without systemd it is the file that the units would hand over: beside config.toml, or for an instance in the
    folder of its name and never its neighbour's."""
    path = write(tmp_path, sftp(password='{ credential = "sftp-password" }')).rename(tmp_path / f"{name}.toml")
    (tmp_path / "acme").mkdir()
    (tmp_path / "config").mkdir()
    for other in {"", "acme", "config"} - {folder}:
        secret_file(tmp_path / other, "sftp-password", "of-another-one")
    with pytest.raises(ConfigurationError, match="is looked for in"):
        load_settings(path)
    secret_file(tmp_path / folder, "sftp-password", SECRET + "\n")
    assert password_of(load_settings(path)) == SECRET


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('{ env = "NOT_THERE" }', "'NOT_THERE' is not set"),
        ('{ env = "EMPTY" }', "'EMPTY' is empty"),
        ('{ file = "absent" }', "absent': No such file"),
        ('{ file = "." }', "Is a directory"),
        ('{ file = "a\\u0000b" }', "not a usable path"),
        ('{ file = "empty" }', "is empty"),
        ('{ file = "binary" }', "not UTF-8"),
        ('{ file = "large" }', "too large"),
        ('{ credential = "x" }', "is looked for in "),
        ('{ credential = "../x" }', "plain name"),
        ('{ vault = "x" }', "{ credential ="),
        ('{ env = "A", file = "B" }', "{ credential ="),
        ("{ env = 5 }", "{ credential ="),
        ("5", "{ credential ="),
        ('""', "is empty"),
    ],
)
def test_what_is_wrong_with_a_secret_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, words: str
) -> None:
    """A secret that cannot be had names its variable or file, and the key it is for."""
    monkeypatch.setenv("EMPTY", "")
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_bytes(b"x" * 70_000)
    found = whys(write(tmp_path, sftp(password=value)))
    assert set(found) == {"sources[0].password"}
    assert words in found["sources[0].password"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
@pytest.mark.parametrize(
    ("text", "where"),
    [
        (sftp(password=f'"{SECRET}"'), "sources[0].password"),
        (sftp(private_key=f'"""{KEY}"""'), "sources[0].private_key"),
        (sftp(private_key_passphrase=f'"{SECRET}"'), "sources[0].private_key_passphrase"),
        (f'[state]\ndatabase = "postgresql+psycopg://u:{SECRET}@h/d"\n' + sftp(), "state.database"),
        (f'[state]\ndatabase = "postgresql+psycopg:///d?password={SECRET}"\n' + sftp(), "state.database"),
    ],
)
def test_secret_in_a_file_open_to_others_is_refused(tmp_path: Path, mode: int, text: str, where: str) -> None:
    """A secret written out is refused when others can read the file, with the command that mends it."""
    path = write(tmp_path, text, mode)
    found = whys(path)
    assert set(found) == {where}
    assert f"chmod 600 {path}" in found[where]
    path.chmod(0o600)
    assert problems(path) == []


def test_references_do_not_make_the_file_secret(tmp_path: Path) -> None:
    """A configuration that only refers to its secrets, or names a database without password, may be open."""
    text = '[state]\ndatabase = "postgresql+psycopg://user@h:5432/d"\n' + sftp()
    assert problems(write(tmp_path, text, 0o644)) == []


def test_an_environment_override_does_not_excuse_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A secret in an open file is told even when the environment puts another in its place."""
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__PASSWORD", "other")
    found = whys(write(tmp_path, sftp(password=f'"{SECRET}"'), 0o644))
    assert "chmod 600" in found["sources[0].password"]


@pytest.mark.parametrize("mode", [0o640, 0o644, 0o604])
def test_private_key_open_to_others_is_refused(tmp_path: Path, mode: int) -> None:
    """A private key's file that others can read is refused, with the command that mends it."""
    key = secret_file(tmp_path, "id key", KEY + "\n", mode)
    path = write(tmp_path, sftp(private_key='{ file = "id key" }'))
    assert f"chmod 600 '{key}'" in whys(path)["sources[0].private_key"]
    key.chmod(0o600)
    source = load_settings(path).sources[0]
    assert isinstance(source, SftpSourceSettings)
    assert source.private_key is not None
    assert source.private_key.get_secret_value() == KEY


@pytest.mark.parametrize("value", ['"/etc/id_ed25519"', '"ssh-ed25519 AAAA me"'])
def test_private_key_must_be_one(tmp_path: Path, value: str) -> None:
    """A path or a public key in place of the private key's text is told, with the form that names a file."""
    assert "{ file =" in whys(write(tmp_path, sftp(private_key=value)))["sources[0].private_key"]


def test_secrets_never_show(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No secret, of any form, is in the repr, text or dump of the settings."""
    secret_file(tmp_path, "pw", "from-file-" + SECRET)
    database = f"postgresql+psycopg://u:{SECRET}@h/d"
    options = f'[[handlers]]\nname = "h"\nuse = "http"\noptions = {{ token = {{ file = "pw" }}, x = "{SECRET}" }}\n'
    keys = sftp(password=f'"{SECRET}"', private_key_passphrase='{ file = "pw" }')
    settings = load_settings(write(tmp_path, f'[state]\ndatabase = "{database}"\n' + keys + options))
    assert settings.state.ledger_url() == database
    without_options = settings.model_copy(update={"handlers": ()})
    shown = [
        repr(settings),
        str(settings),
        str(without_options.model_dump()),
        without_options.model_dump_json(),
    ]
    assert not [text for text in shown if SECRET in text]
    assert "from-file" not in str(settings.model_dump())


def test_secrets_never_show_in_errors(tmp_path: Path) -> None:
    """With mistakes everywhere around and in the secrets, no error and no traceback shows one."""
    text = f"""
        [state]
        database = "mysql://u:{SECRET}@h/d"
        [[sources]]
        pasword = "{SECRET}"
        password = ["{SECRET}"]
        private_key = "{SECRET}"
        private_key_passphrase = {{ text = "{SECRET}" }}
        host = "{SECRET}:{SECRET}@host"
        [[sources]]
        type = "{SECRET}"
        [[handlers]]
        options = "{SECRET}"
    """
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, text))
    assert len(caught.value.problems) > 10
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_bad_toml_near_a_secret_does_not_show_it(tmp_path: Path) -> None:
    """A slip in the line of a secret is told by its place, without the line."""
    with pytest.raises(ConfigurationError) as caught:
        load_settings(write(tmp_path, f'[[sources]]\npassword = "{SECRET}\n'))
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_options_of_handlers_may_refer_to_secrets(tmp_path: Path) -> None:
    """In a handler's options references at any depth become secrets; other tables stay as they are."""
    handler = """
        [[handlers]]
        name = "h"
        use = "http"
        [handlers.options]
        env = "production"
        headers = { token = { env = "WEBIO_PASSWORD" } }
        list = [{ env = "WEBIO_PASSWORD" }]
        other = { env = "A", file = "B" }
    """
    (made,) = load_settings(write(tmp_path, sftp() + handler)).handlers
    secret = SecretStr(SECRET)
    assert made.options == {
        "env": "production",
        "headers": {"token": secret},
        "list": [secret],
        "other": {"env": "A", "file": "B"},
    }


def test_a_missing_secret_in_options_is_told(tmp_path: Path) -> None:
    """A reference in a handler's options that leads nowhere tells which option it is."""
    handler = '[[handlers]]\nname = "h"\nuse = "http"\noptions = { headers = { token = { env = "NOPE" } } }\n'
    why = whys(write(tmp_path, sftp() + handler))["handlers[0].options"]
    assert "`headers.token`" in why
    assert "'NOPE'" in why
