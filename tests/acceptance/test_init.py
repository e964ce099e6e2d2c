"""`init` by flags, against real servers."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.config.load import load_settings
from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.testing.servers import OpenSshServer
from tests.acceptance.support import COMMAND, Desk, Ran
from tests.support import ServedFolder, served_folder

EXAMPLE = (Path(__file__).parents[2] / "config.example.toml").read_text()


def flags(served: ServedFolder, **changes: str | None) -> list[str]:
    """What names the server, its key, an account that may log in, and the folder; a change of None leaves one out."""
    server = served.server
    given = {
        "host": server.host, "port": str(server.port), "username": server.username,
        "key-file": str(server.client_key_path), "accept-host-key": server.host_key_fingerprint,
        "folder": str(served.folder), **{name.replace("_", "-"): value for name, value in changes.items()},
    }  # fmt: skip
    return [word for name, value in given.items() if value is not None for word in (f"--{name}", value)]


def init(desk: Desk, *arguments: str, text: str = "") -> Ran:
    """Run `init` in the desk's folder, with `text` on its standard input."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SFTPD_PROCESSOR")}
    done = subprocess.run(
        [*COMMAND, "init", *arguments], cwd=desk.folder, env=kept | {"HOME": str(desk.home), "COLUMNS": "200"},
        input=text, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return Ran(done.returncode, done.stdout, done.stderr)


def source(config: Path) -> SftpSourceSettings:
    """The one that a configuration names."""
    (found,) = load_settings(config).sources
    assert isinstance(found, SftpSourceSettings)
    return found


def test_what_it_writes_works(desk: Desk, sftp_server: ServedFolder) -> None:
    """By flags alone it tries the login, says what is in the folder, and writes a configuration that `check --live` and
    `once` accept; the key stays where it is, and the next commands are told."""
    sftp_server.write({"a.json": b'{"type": "payment"}', "b.txt": b"?"})
    ran = init(desk, *flags(sftp_server), "--output", "config.toml", "--handler", "jsonl")
    assert ran.code == 0, ran.err
    assert f"Logged in. {sftp_server.folder} holds 2 entries; 1 file to take (a.json)." in ran.err
    assert f"sftpd-processor -c {desk.config} check --live" in ran.out
    written = source(desk.config)
    assert written.host_keys == (sftp_server.server.host_key_fingerprint,)
    assert desk.config.stat().st_mode & 0o777 == 0o640
    assert desk.run("check", "--live").code == 0
    assert desk.run("once").code == 0
    assert len((desk.folder / "events.jsonl").read_text().splitlines()) == 1
    assert desk.state.is_dir()


def test_it_is_the_example_with_its_comments(desk: Desk, openssh: ServedFolder) -> None:
    """What is written is config.example.toml line by line, but for the answers; nothing is left to be edited."""
    assert init(desk, *flags(openssh), "--output", "config.toml").code == 0
    lines, example = desk.config.read_text().splitlines(), EXAMPLE.splitlines()
    changed = {
        line.lstrip("#").split(" = ")[0] for line, other in zip(lines[4:], example[4:], strict=True) if line != other
    }
    assert changed == {"dir", "host", "port", "username", "host_keys", "password", "private_key", "folder"}
    assert "EDIT" not in desk.config.read_text()


def test_a_password_is_kept_in_a_file_of_its_own(desk: Desk, asyncssh_server: ServedFolder) -> None:
    """A password from standard input goes into a file that only its owner reads, and is in no output and not in the
    configuration, which refers to it."""
    password = str(asyncssh_server.server.password)
    arguments = flags(asyncssh_server, key_file=None)
    ran = init(desk, *arguments, "--password-stdin", "--output", "config.toml", text=f"{password}\n")
    assert ran.code == 0, ran.err
    secret = desk.folder / "sftp-password"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == (f"{password}\n", 0o600)
    assert password not in ran.out + ran.err + desk.config.read_text()
    assert 'password = { file = "sftp-password" }' in desk.config.read_text()
    assert desk.run("check", "--live").code == 0


def test_for_the_service_secrets_are_credentials(desk: Desk, asyncssh_server: ServedFolder) -> None:
    """With --service the secrets are those that the unit loads, the state is in /var/lib, and the commands are
    systemd's; for an instance they lie where the template looks for them."""
    (desk.folder / "given").write_text(str(asyncssh_server.server.password))
    arguments = [*flags(asyncssh_server, key_file=None), "--password-file", "given", "--service", "--json"]
    for name, unit, folder in (("config", "sftpd-processor", ""), ("acme", "sftpd-processor@acme", "acme")):
        ran = init(desk, *arguments, "--output", f"{name}.toml")
        assert ran.code == 0, ran.err
        config, secrets = desk.folder / f"{name}.toml", desk.folder / folder
        assert ran.data["written"] == [str(config), str(secrets / "sftp-password")]
        assert f"systemctl enable --now {unit}" in ran.data["commands"]
        assert f'dir = "{Path("/var/lib/sftpd-processor") / folder}"' in config.read_text()
        checked = [command for command in ran.data["commands"] if command.endswith("check --live")]
        assert checked == [f"sftpd-processor -c {config} check --live"]
        assert desk.bare("-c", str(config), "check", "--live").code == 0


def test_a_key_for_the_service_is_copied(desk: Desk, openssh: ServedFolder) -> None:
    """With --service a private key becomes the credential `sftp-key`, readable by its owner alone."""
    assert init(desk, *flags(openssh), "--service", "--output", "config.toml").code == 0
    key = desk.folder / "sftp-key"
    assert (key.read_bytes(), key.stat().st_mode & 0o777) == (openssh.server.client_key_path.read_bytes(), 0o600)
    assert desk.run("check", "--live").code == 0


def test_without_a_terminal_it_says_what_is_missing(desk: Desk) -> None:
    """All flags that are missing are told at once, with exit 2."""
    ran = init(desk)
    assert ran.code == 2
    for flag in ("--host", "--username", "--password-file", "--key-file", "--accept-host-key"):
        assert flag in ran.err


def test_without_a_confirmed_key_it_shows_and_stops(desk: Desk, openssh: ServedFolder) -> None:
    """Without --accept-host-key the server's keys are shown, nothing is written, and --yes does not accept them."""
    ran = init(desk, *flags(openssh, accept_host_key=None), "--output", "config.toml", "--yes")
    assert ran.code == 2
    assert openssh.server.host_key_fingerprint in ran.err
    assert not desk.config.exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"accept_host_key": f"SHA256:{'B' * 43}"}, "Somebody may be in between"),
        ({"username": "nobody-here"}, "the server refused the login as 'nobody-here'"),
        ({"folder": "/no/such/folder"}, "the folder /no/such/folder cannot be listed"),
        ({"host": "nowhere.invalid"}, "the host name cannot be resolved"),
        ({"port": "1"}, "refused"),
    ],
)
def test_what_fails_is_told_in_plain_words(
    desk: Desk, openssh: ServedFolder, changes: dict[str, str], told: str
) -> None:
    """Another host key, a refused login, a missing folder and an unreachable server end with 4 and what to do, before
    anything is written."""
    ran = init(desk, *flags(openssh, **changes), "--output", "config.toml")
    assert (ran.code, ran.out) == (4, "")
    assert told in ran.err
    assert "Traceback" not in ran.err
    assert sorted(path.name for path in desk.folder.iterdir()) == ["home", "tmp", "work"]


def test_a_wrong_password_is_told_and_not_shown(desk: Desk, asyncssh_server: ServedFolder) -> None:
    """A wrong password is said to be refused, and appears nowhere."""
    arguments = [*flags(asyncssh_server, key_file=None), "--password-stdin", "--output", "config.toml"]
    ran = init(desk, *arguments, text="Wr0ng-and-secret\n")
    assert ran.code == 4
    assert "refused the login" in ran.err
    assert "Wr0ng-and-secret" not in ran.err
    assert not desk.config.exists()


def test_a_missing_folder_suggests_those_there(desk: Desk, openssh: ServedFolder) -> None:
    """When the folder does not exist, the folders beside it are named."""
    (openssh.folder / "webhooks").mkdir()
    ran = init(desk, *flags(openssh, folder=f"{openssh.folder}/webhook"), "--output", "config.toml")
    assert ran.code == 4
    assert f"{openssh.folder}/webhooks" in ran.err


def test_what_is_there_is_not_overwritten(desk: Desk, openssh: ServedFolder) -> None:
    """An edited configuration or a secret is in the way until --force, and that is said before anything else; the
    sample as it was installed is not."""
    for name in ("config.toml", "sftp-password"):
        path = desk.folder / name
        path.write_text("# mine\n")
        ran = init(desk, "--output", "config.toml")
        assert ran.code == 1
        assert f"{path}: there already" in ran.err
        assert path.read_text() == "# mine\n"
        path.unlink()
    desk.config.write_text(EXAMPLE)
    assert init(desk, *flags(openssh), "--output", "config.toml").code == 0
    assert init(desk, *flags(openssh), "--output", "config.toml").code == 1
    assert init(desk, *flags(openssh), "--output", "config.toml", "--force").code == 0


@pytest.fixture
def two_keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ServedFolder, str]]:
    """A server that has an RSA host key besides, and that one's fingerprint."""
    folder = tmp_path_factory.mktemp("two-keys")
    key = folder / "rsa"
    subprocess.run(["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-f", key], check=True)
    shown = subprocess.check_output(["ssh-keygen", "-lf", key], text=True).split()[1]
    with OpenSshServer(folder / "served", options=[f"HostKey {key}"]) as server, served_folder(server) as served:
        yield served, shown


def test_any_of_the_servers_keys_can_be_confirmed(desk: Desk, two_keys: tuple[ServedFolder, str]) -> None:
    """When only the key that a login would not ask for is confirmed, logins ask for that one: no password goes to a
    server that was not confirmed, and what is written works."""
    served, rsa = two_keys
    ran = init(desk, *flags(served, accept_host_key=rsa), "--output", "config.toml")
    assert ran.code == 0, ran.err
    assert served.server.host_key_fingerprint in ran.err
    assert source(desk.config).host_keys == (rsa,)
    assert (desk.folder / "known_hosts").read_text().split()[1] == "ssh-rsa"
    assert desk.run("check", "--live").code == 0


def test_wrong_usage_is_told(desk: Desk, tmp_path: Path) -> None:
    """Flags that cannot be are refused before any server is asked; so are keys that are none, and empty secrets."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "text").write_text("not a key")
    for arguments, told in (
        (["--host", "sftp://x"], "without sftp://"),
        (["--handler", "fax"], "must be log or jsonl"),
        (["--password-stdin", "--password-file", "empty"], "give one of"),
        (["--service", "--output", "Not An Instance.toml"], "the name before .toml must be 1 to 63 of a-z"),
    ):
        ran = init(desk, *arguments)
        assert (ran.code, told in ran.err) == (2, True), (arguments, ran.err)
