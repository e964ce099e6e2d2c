"""Secrets are used and never shown: not when all is well, not in mistakes, refusals or tracebacks, nor with --debug."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest

from sftpd_processor.config.load import load_settings
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import free_port
from tests.acceptance.canaries import (
    DATABASE_PASSWORD,
    PASSPHRASE,
    PASSWORD,
    TOKEN,
    URL_TOKEN,
    assert_silent,
    leaks,
    personal,
)
from tests.acceptance.support import Desk, local
from tests.support import ServedFolder, served_folder


@pytest.fixture
def by_password(tmp_path: Path) -> Iterator[ServedFolder]:
    """A real server whose account is opened by the password."""
    with AsyncsshServer(tmp_path / "root", password=PASSWORD) as server, served_folder(server) as served:
        yield served


def locked_key(served: ServedFolder, folder: Path) -> dict[str, Any]:
    """The settings for a login with a key under a passphrase; the server lets it in."""
    key = paramiko.ECDSAKey.generate()
    key.write_private_key_file(str(folder / "locked"), password=PASSPHRASE)
    with served.server.client_key_path.with_name("authorized_keys").open("a") as allowed:
        allowed.write(f"{key.get_name()} {key.get_base64()}\n")
    return {"private_key": {"file": str(folder / "locked")}, "private_key_passphrase": PASSPHRASE}


def private_lines(path: Path) -> list[str]:
    """The inner lines of a private key's file."""
    return [line for line in path.read_text().splitlines()[1:-1] if len(line) > 20]


def posting(**options: Any) -> dict[str, Any]:
    """A handler with a token in its URL and its header, whose server is down."""
    url = f"http://127.0.0.1:{free_port()}/?key={URL_TOKEN}"
    return {
        "name": "post",
        "use": "http",
        "options": {"url": url, "headers": {"Authorization": f"Bearer {TOKEN}"}, **options},
    }


def test_secrets_that_are_right(desk: Desk, by_password: ServedFolder, openssh: ServedFolder) -> None:
    """Logins by password and by a locked key, and tokens on the way to a server: used, and not in the debug log."""
    by_password.write({"a.json": personal(1)})
    openssh.write({"b.json": personal(2)})
    password = by_password.source(name="first", password=PASSWORD)
    del password["private_key"]
    locked = openssh.source(name="second", **locked_key(openssh, desk.folder))
    desk.configure(password, locked, handlers=[posting()])
    told = [
        desk.run("--debug", *command.split())
        for command in ("check --live", "doctor --source first", "simulate --source first --count 2", "once")
    ]
    assert [ran.code for ran in told] == [0, 0, 0, 0], [ran.err for ran in told]
    assert_silent(*told)
    everything = "".join(ran.out + ran.err for ran in told)
    assert not [line for line in private_lines(desk.folder / "locked") if line in everything]
    assert "Authentication (password) successful!" in told[0].err  # paramiko's own log is there
    assert leaks("".join(path.read_text() for path in desk.state.rglob("*.json") if "reason" in path.name)) == []


def test_secrets_that_are_refused(desk: Desk, by_password: ServedFolder, openssh: ServedFolder) -> None:
    """A wrong password and a wrong passphrase are told without a part of either; with --debug, with tracebacks."""
    wrong = by_password.source(name="first", password=f"{PASSWORD}-wrong")
    del wrong["private_key"]
    key = locked_key(openssh, desk.folder) | {"private_key_passphrase": f"{PASSPHRASE}-wrong"}
    desk.configure(wrong, openssh.source(name="second", **key))
    told = [desk.run("--debug", *command.split()) for command in ("check --live", "once")]
    assert [ran.code for ran in told] == [4, 4]
    assert "check username and password" in told[1].err
    assert "private_key_passphrase is wrong" in told[1].err
    assert_silent(*told)


@pytest.mark.parametrize(
    "database",
    [
        f"postgresql+psycopg://user:{DATABASE_PASSWORD}@127.0.0.1:1/none?connect_timeout=2",
        f"postgresql+psycopg://user:{DATABASE_PASSWORD}@127.0.0.1:no-port/none",
        f"postgresql+psycopg://user@127.0.0.1:1/none?password={DATABASE_PASSWORD}&connect_timeout=2",
        f"mysql://user:{DATABASE_PASSWORD}@host/name",
    ],
)
def test_a_database_that_cannot_be_used(desk: Desk, database: str) -> None:
    """Whatever is wrong with a database's URL, the password in it is not shown, in no traceback either."""
    (desk.folder / "in").mkdir()
    rows = {"url": database, "table": "t", "columns": {"a": "body"}}
    desk.configure(
        local(desk.folder / "in"),
        handlers=[{"name": "rows", "use": "sql", "options": rows}],
        state={"dir": str(desk.state), "database": database},
    )
    told = [desk.run("--debug", *command.split()) for command in ("check", "once")]
    assert told[1].code in (1, 2)
    assert_silent(*told)


MISTAKES: dict[str, dict[str, Any]] = {
    "unknown keys": {"pasword": PASSWORD, "private_key_pass": PASSPHRASE},
    "wrong kinds": {"password": [PASSWORD], "private_key_passphrase": {"text": PASSPHRASE}, "private_key": PASSWORD},
    "wrong references": {"password": {"env": "NOT_SET_HERE"}, "private_key_passphrase": {"file": PASSPHRASE, "x": 1}},
    "elsewhere": {"password": PASSWORD, "private_key_passphrase": PASSPHRASE, "port": "22"},
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_mistakes_beside_secrets(desk: Desk, openssh: ServedFolder, mistake: str) -> None:
    """Mistakes in and around secrets name the key, and repeat no value, in text, as JSON and as a traceback."""
    desk.configure(openssh.source(**MISTAKES[mistake]), handlers=[posting(heders={"X": TOKEN}, ca_file=[TOKEN])])
    told = [desk.run("check"), desk.run("check", "--json"), desk.run("--debug", "once")]
    assert [ran.code for ran in told] == [2, 2, 2]
    assert_silent(*told)
    assert "Traceback" in told[2].err


@pytest.mark.parametrize(
    "line", ['password = "{}', "password = {}", "password = '{}' x", '[[sources]]\n"{}" 1', 'x = {{ a = "{}" b }}']
)
def test_a_broken_line_with_a_secret(desk: Desk, line: str) -> None:
    """TOML that cannot be read is told by line and column, without the line."""
    desk.config.write_text(f"[state]\n{line.format(PASSWORD)}\n")
    desk.config.chmod(0o600)
    told = [desk.run("check"), desk.run("--debug", "check")]
    assert [ran.code for ran in told] == [2, 2]
    assert_silent(*told)


def test_a_secret_in_the_environment(desk: Desk, openssh: ServedFolder) -> None:
    """A setting laid over by a variable is told by the variable's name when it is wrong, not by its value."""
    desk.configure(openssh.source())
    ran = desk.run("--debug", "check", SFTPD_PROCESSOR__SOURCES__0__PORT=PASSWORD, SFTPD_PROCESSOR__TOKEN=TOKEN)
    assert ran.code == 2
    assert_silent(ran)


def test_a_module_that_fails_while_it_is_loaded(desk: Desk) -> None:
    """The traceback of a module that cannot be loaded shows places in it, and not what stands there."""
    (desk.folder / "in").mkdir()
    desk.module("mine", f'def connect(token):\n    raise OSError("no")\n\n\nconnect("{TOKEN}")\n')
    desk.configure(local(desk.folder / "in"), handlers=[{"name": "mine", "use": "mine"}])
    ran = desk.run("--debug", "check")
    assert ran.code == 2
    assert "mine.py, line 2: OSError: no" in ran.err
    assert_silent(ran)


def test_settings_do_not_show_their_secrets(desk: Desk, openssh: ServedFolder) -> None:
    """Neither `repr` nor `str` of the loaded settings, as a debugger or a crash would print them, hold a secret."""
    desk.configure(
        openssh.source(password=PASSWORD, **locked_key(openssh, desk.folder)),
        handlers=[posting()],
        state={"dir": str(desk.state), "database": f"postgresql+psycopg://u:{DATABASE_PASSWORD}@127.0.0.1:1/x"},
    )
    settings = load_settings(desk.config)
    password = settings.sources[0].password  # type: ignore[union-attr]
    assert password is not None
    assert password.get_secret_value() == PASSWORD
    assert leaks(f"{settings!r} {settings} {settings.handlers!r} {settings.sources} {settings.state}") == []
