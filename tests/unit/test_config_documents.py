"""The example configuration and the reference say what the settings are."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from sftpd_processor.config.load import load_settings
from sftpd_processor.config.reference import render
from sftpd_processor.config.schema import field_at, keys_at, toml
from sftpd_processor.config.settings import DirectorySourceSettings, Settings
from tests.unit.config_samples import KEY, write

ROOT = Path(__file__).parents[2]
EXAMPLE = (ROOT / "config.example.toml").read_text()
LINES = EXAMPLE.splitlines()
SETTING = re.compile(r"(#?)(\w+) = ")
HEAD = re.compile(r"#?\[+(\w+)\]+")
SINGLE = {"state", "delivery", "http", "admin", "archive", "log"}
WHOLE = {
    "http": {"listen", "token_secrets"},
    "values": {"name", "use"},
    "admin": set[str](),
    "alerts": {"name", "urls"},
}
"""The tables that are commented out as a whole, and the keys without which they cannot be put into use."""
TOGETHER = {"tls_certificate": "tls_key", "tls_key": "tls_certificate", "tls_key_passphrase": ""}


def settings_lines() -> list[tuple[int, str, str, bool]]:
    """Each line that sets a key: its number, section, key, and whether it is commented out."""
    found, section = [], ""
    for number, line in enumerate(LINES):
        if head := HEAD.fullmatch(line):
            section = head[1]
        elif setting := SETTING.match(line):
            found.append((number, section, setting[2], bool(setting[1])))
    return found


COMMENTED = [entry for entry in settings_lines() if entry[3] and entry[0] < EXAMPLE.count("\n") - 3]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all the files the example refers to."""
    credentials = {
        "sftp-password": "pw",
        "key-passphrase": "pw",
        "database-url": "postgresql+psycopg://u:p@h/d",
        "id_ed25519": KEY,
        "known_hosts": "",
        "webio-secret": "s" * 32,
        "webio-token": "t",
        "tls-passphrase": "pw",
        "alert-url": "json://localhost",
    }
    for name, content in credentials.items():
        (tmp_path / name).write_text(content)
        (tmp_path / name).chmod(0o600)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    return tmp_path


def in_use(section: str, key: str, number: int) -> str:
    """The example with that line in use, and with what it does not work without."""
    wanted = WHOLE.get(section, set()) | {key, TOGETHER.get(key, key)}
    numbers = {line for line, its, name, _ in COMMENTED if its == section and section in WHOLE and name in wanted}
    heads = {line for line, text in enumerate(LINES) if section in WHOLE and HEAD.fullmatch(text) and section in text}
    return "\n".join(
        line.removeprefix("#") if at in numbers | heads | {number} else line for at, line in enumerate(LINES)
    )


def load(folder: Path, text: str) -> Settings:
    return load_settings(write(folder, text.replace("/etc/sftpd-processor/", f"{folder}/"), 0o644))


def test_reference_is_up_to_date() -> None:
    """docs/settings.md is what the settings say now."""
    command = [sys.executable, "-m", "sftpd_processor.config.reference"]
    made = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    assert made == render()
    assert (ROOT / "docs/settings.md").read_text() == made, "run: python -m sftpd_processor.config.reference"


@pytest.mark.parametrize(
    "section", ["state", "sources", "handlers", "delivery", "http", "values", "admin", "archive", "log", "alerts"]
)
def test_every_key_is_described(section: str) -> None:
    """Each key has a description and an example, and a row in the reference."""
    where = (section,) if section in SINGLE else (section, 0)
    for key in keys_at(where):
        field = field_at((*where, key))
        assert field is not None
        assert field.description
        assert field.examples
        assert f"| `{key}` |" in render()


def test_what_is_assumed_says_so() -> None:
    """The settings that stand for something Webio does not publish say "assumed"."""
    for key in ("time_zone", "include"):
        field = field_at(("sources", 0, "sftp", key))
        assert field is not None
        assert "assumed" in (field.description or "")


def test_example_loads_as_it_is(folder: Path) -> None:
    """The example is a configuration, once its password is there; it has no secret in it."""
    settings = load(folder, EXAMPLE)
    assert [source.name for source in settings.sources] == ["webio"]
    assert [handler.use for handler in settings.handlers] == ["log"]


def test_example_has_every_key_and_no_other() -> None:
    """Each key of the tree is in the example, in use or commented out, and no key that does not exist."""
    mentioned = {(section, key) for _, section, key, _ in settings_lines()}
    known = {(section, key) for section in keys_at(()) for key in keys_at((section,)) or keys_at((section, 0))}
    assert mentioned == known


@pytest.mark.parametrize("entry", COMMENTED, ids=[f"{section}.{key}" for _, section, key, _ in COMMENTED])
def test_example_loads_with_each_alternative(folder: Path, entry: tuple[int, str, str, bool]) -> None:
    """Each commented line of the example can be put into use by itself."""
    number, section, key, _ = entry
    assert load(folder, in_use(section, key, number))


def test_example_shows_the_defaults() -> None:
    """A commented line shows the key's default, if it has one that can be written."""
    for number, section, key, _ in COMMENTED:
        where = (section, key) if section in SINGLE else (section, 0, key)
        field = field_at(where)
        assert field is not None
        if not field.is_required() and field.default not in (None, ()):
            shown = LINES[number].partition(" = ")[2].partition("   ")[0].strip()
            assert shown == toml(field.default), key


def test_example_of_a_directory_loads(folder: Path) -> None:
    """The source of a local folder, at the end of the example, can be put into use as a whole."""
    start = LINES.index("#[[sources]]")
    block = [line.removeprefix("#") for line in LINES[start:]]
    settings = load(folder, "\n".join([*LINES[:start], *block]))
    assert isinstance(settings.sources[1], DirectorySourceSettings)


def test_example_marks_three_lines_to_edit() -> None:
    """The host, the account and the host key are the lines to edit."""
    edited = [line.partition(" = ")[0] for line in LINES if line.endswith("# EDIT")]
    assert edited == ["host", "username", "host_keys"]
