"""From a fresh machine to events that flow; then `service install` and `service uninstall` while services run."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.config.schema import toml
from tests.acceptance.support import events
from tests.support import ServedFolder, wait_until
from tests.systemd import stage
from tests.systemd.machine import Machine
from tests.systemd.service import SLOW, Service

COMMAND = "/usr/local/bin/sftpd-processor"
VERSIONS = Path("/") / stage.HOME / "versions"


@pytest.fixture
def running(service: Service, openssh: ServedFolder) -> Iterator[Service]:
    """The service at work, enabled."""
    service.configure(service.source(openssh))
    service.start()
    service.machine.systemctl("enable", service.unit)
    yield service
    service.machine.run("systemctl", "disable", service.unit, check=False)


def steps(machine: Machine, program: Path | str, *arguments: str) -> dict[str, str]:
    """Run `service …` of a program; what → what was done to it."""
    said = machine.run(program, "service", *arguments, "--json").stdout
    return {step["what"]: step["did"] for step in json.loads(said)["steps"]}


def newer(machine: Machine) -> Path:
    """Another version of the program, put beside the one that is used."""
    (first,) = machine.path(VERSIONS).iterdir()
    second = first.with_name("9.9.9-00000000")
    shutil.copytree(first, second, symlinks=True)
    script = second / "bin/sftpd-processor"
    script.write_text(script.read_text().replace(first.name, second.name))
    return VERSIONS / second.name


def test_three_edited_lines_are_enough(service: Service, asyncssh_server: ServedFolder) -> None:
    """After the installation, with the three lines marked EDIT and the password's file, the service starts, and the
    files of the server are taken."""
    server = asyncssh_server.server
    steps(service.machine, COMMAND, "install")
    answers = {"host": server.host, "username": server.username, "host_keys": [server.host_key_fingerprint]}
    text, edited = re.subn(
        r"^(\w+) = .*# EDIT$",
        lambda found: f"{found[1]} = {toml(answers[found[1]])}",
        service.config.read_text(),
        flags=re.MULTILINE,
    )
    assert edited == 3
    service.config.write_text(text)
    service.secret("sftp-password", str(server.password))
    # The server of a test has another port and folder than usual ones.
    given = {"PORT": server.port, "FOLDER": asyncssh_server.folder, "POLL_SECONDS": 1}
    lines = [f"Environment=SFTPD_PROCESSOR__SOURCES__0__{name}={value}" for name, value in given.items()]
    service.machine.drop_in(service.unit, "server", *lines)
    asyncssh_server.write(events(20))
    service.start()
    wait_until(lambda: asyncssh_server.names() == ["processed"], SLOW, "all files to be taken")
    assert service.rows("SELECT count(*) FROM deliveries WHERE state = 'done'") == [[20]]


def test_what_init_prints_works(service: Service, asyncssh_server: ServedFolder) -> None:
    """On a machine with the sample only, `init` writes a configuration and a secret that the account reads through
    systemd; the commands that it prints, one after another, start the service, and files are taken."""
    server, machine = asyncssh_server.server, service.machine
    steps(machine, COMMAND, "install")
    machine.path("/run/password").write_text(str(server.password))
    said = machine.run(
        COMMAND, "init", "--host", server.host, "--port", str(server.port), "--username", server.username,
        "--password-file", "/run/password", "--accept-host-key", server.host_key_fingerprint,
        "--folder", str(asyncssh_server.folder), "--json",
    )  # fmt: skip
    told = json.loads(said.stdout)
    assert told["written"] == ["/etc/sftpd-processor/config.toml", "/etc/sftpd-processor/sftp-password"]
    asyncssh_server.write(events(20))
    for command in told["commands"]:
        machine.run("sh", "-euc", f"PATH=$PATH:/usr/local/bin; {command.removesuffix(' -f')}")
    wait_until(lambda: asyncssh_server.names() == ["processed"], SLOW, "all files to be taken")
    owner = machine.run("stat", "-c", "%U:%G %a", *told["written"]).stdout.splitlines()
    assert owner == ["root:sftpd-processor 640", "root:root 600"]
    machine.systemctl("disable", service.unit)


def test_what_was_written_before_the_account_is_shared(running: Service) -> None:
    """Of what `init` wrote when there was no account yet, the service can read what root's group can; links, such as
    an editor's, are left alone. systemd reads the units anew also when no file differs, as after a run cut off."""
    machine, folder = running.machine, running.config.parent
    (folder / "acme").mkdir()
    for name in ("acme.toml", "known_hosts", "acme/known_hosts", "acme/sftp-key"):
        (folder / name).touch()
        (folder / name).chmod(0o600 if name.endswith("key") else 0o640)
    (folder / "acme").chmod(0o750)
    (folder / ".#acme.toml").symlink_to("me@machine.1:2")
    os.utime(machine.path("/usr/local/lib/systemd/system/sftpd-processor.service"))
    assert running.prop("NeedDaemonReload") == "yes"
    said = steps(machine, COMMAND, "install")
    shared = {
        name
        for name in ("acme", "acme.toml", "acme/known_hosts", "known_hosts", "acme/sftp-key", ".#acme.toml")
        if said.get(f"chgrp sftpd-processor /etc/sftpd-processor/{name}") == "ran"
    }
    assert shared == {"acme", "acme.toml", "acme/known_hosts", "known_hosts"}
    account = ("setpriv", "--reuid=sftpd-processor", "--regid=sftpd-processor", "--clear-groups")
    machine.run(*account, "cat", *(f"/etc/sftpd-processor/{name}" for name in ("known_hosts", "acme/known_hosts")))
    assert running.prop("NeedDaemonReload") == "no"


def test_an_upgrade_restarts_nothing_unless_asked(running: Service) -> None:
    """Installing the same once more says nothing of a restart; a newer version leaves the running one alone and says
    how to restart it, until --restart does it, and then all is in place."""
    machine, process = running.machine, running.prop("MainPID")
    command = f"systemctl try-restart {running.unit}"
    steps(machine, COMMAND, "install")
    assert set(steps(machine, COMMAND, "install").values()) == {"same"}
    version = newer(machine)
    program = version / "bin/sftpd-processor"
    assert f"still runs as it was started; when it suits you: {command}" in steps(machine, program, "install")
    assert running.prop("MainPID") == process
    assert f"still runs as it was started; when it suits you: {command}" in steps(machine, program, "install")
    assert steps(machine, program, "install", "--restart")[command] == "ran"
    assert running.prop("MainPID") != process
    assert machine.path(f"/proc/{running.prop('MainPID')}/cmdline").read_text().startswith(f"{version}/bin/python")
    assert set(steps(machine, program, "install").values()) == {"same"}


def test_uninstall_ends_it_and_keeps_what_is_yours(running: Service) -> None:
    """The service is stopped and disabled, and its units are gone; the configuration, the secret and the ledger stay.
    Installed again it goes on."""
    machine = running.machine
    program = machine.run("readlink", "-f", "/opt/sftpd-processor/bin/sftpd-processor").stdout.strip()
    said = steps(machine, COMMAND, "uninstall")
    assert said[f"systemctl disable --now {running.unit}"] == "ran"
    assert said["the account sftpd-processor"] == "kept"
    assert machine.run("systemctl", "is-active", running.unit, check=False).stdout.strip() == "inactive"
    assert machine.run("systemctl", "cat", running.unit, check=False).returncode != 0
    assert not machine.path("/usr/local/bin/sftpd-processor").is_symlink()
    for path in (running.config, running.secrets / "sftp-key", running.state / "ledger.db"):
        assert path.is_file()
    steps(machine, program, "install")
    running.start()
    assert running.prop("ActiveState") == "active"
