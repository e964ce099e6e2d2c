"""The service under a real systemd: when it counts as started, what it says of itself, and what ends its start."""

from __future__ import annotations

import re
import signal
import socket
from typing import Any

import pytest

from sftpd_processor.testing.servers import free_port
from tests.acceptance.support import events
from tests.support import ServedFolder, wait_until
from tests.systemd.machine import Machine
from tests.systemd.service import Service

FILES = events(20)
NAMES = sorted(f"m{number}" for number in range(20))


def test_a_start_returns_when_the_service_is_ready(service: Service, openssh: ServedFolder) -> None:
    """When `systemctl start` returns, the ledger is open and the public and the admin listener take connections."""
    public, admin = free_port(), free_port()
    http = {"listen": f"127.0.0.1:{public}", "organisation": "acme", "auth": "none"}
    service.configure(service.source(openssh), http=http, admin={"listen": f"127.0.0.1:{admin}"})
    service.start()
    for port in (public, admin):
        socket.create_connection(("127.0.0.1", port), timeout=5).close()
    assert (service.state / "ledger.db").exists()
    assert service.machine.show(service.unit, "Type", "SubState") == {"Type": "notify", "SubState": "running"}


def test_events_flow_and_the_status_says_so(service: Service, openssh: ServedFolder) -> None:
    """`systemctl status` shows a line with the last good poll and the backlog."""
    service.configure(service.source(openssh))
    openssh.write(FILES)
    service.start()
    service.wait_for_handled(NAMES)
    service.wait_for_status("Last good poll")
    shown = service.machine.run("systemctl", "status", service.unit).stdout
    assert re.search(r'Status: "All well\. Last good poll \d\d:\d\d:\d\d UTC\. .+\."', shown), shown
    assert "Nothing left to do." in service.wait_for_status("Nothing left to do.")


def test_a_server_that_is_down_does_not_fail_the_start(service: Service, openssh: ServedFolder) -> None:
    """The service starts without its server, says in its status what is wrong, and goes on when the server comes."""
    service.configure(service.source(openssh))
    openssh.write(FILES)
    openssh.server.stop()
    service.start()
    assert "Wrong: source webio: " in service.wait_for_status("onnection refused")
    openssh.server.start()
    service.wait_for_handled(NAMES)
    assert "Wrong" not in service.wait_for_status("All well.")


def test_a_wrong_configuration_is_not_tried_again(service: Service) -> None:
    """A start with a wrong configuration fails with exit code 2, tells the mistake, and is left to a person."""
    service.config.write_text("[[sources]]\nhots = 1\n")
    started = service.machine.run("systemctl", "start", service.unit, check=False)
    assert started.returncode != 0
    shown = service.machine.show(service.unit, "ActiveState", "ExecMainStatus", "NRestarts")
    assert shown == {"ActiveState": "failed", "ExecMainStatus": "2", "NRestarts": "0"}
    assert "sources[0].hots" in service.log


def test_a_secret_that_is_absent_is_named(service: Service, openssh: ServedFolder) -> None:
    """Without the file of a credential the program starts, and its message names the secret that it misses."""
    source = openssh.source(password={"credential": "sftp-password"})
    del source["private_key"]
    service.configure(source)
    assert service.machine.run("systemctl", "start", service.unit, check=False).returncode != 0
    assert service.prop("ExecMainStatus") == "2"
    assert re.search(r"sources\[0\]\.password: .*sftp-password", service.log), service.log


def test_secrets_stay_roots_alone(service: Service, openssh: ServedFolder) -> None:
    """The key on disk is root's alone; the service logs in with the copy that systemd gives it and nobody else."""
    service.configure(service.source(openssh))
    openssh.write(FILES)
    service.start()
    service.wait_for_handled(NAMES)
    on_disk = service.machine.run("stat", "--format=%U %a", "/etc/sftpd-processor/sftp-key").stdout
    assert on_disk == "root 600\n"
    given = service.machine.path(f"/run/credentials/{service.unit}/sftp-key")
    assert given.stat().st_mode & 0o037 == 0
    other = ["setpriv", "--reuid=65534", "--clear-groups", "cat", f"/run/credentials/{service.unit}/sftp-key"]
    assert "Permission denied" in service.machine.run(*other, check=False).stderr


def test_a_crash_is_followed_by_a_start(service: Service, openssh: ServedFolder) -> None:
    """After a crash systemd starts the service again, and what came meanwhile is handled."""
    service.machine.drop_in(service.unit, "soon", "RestartSec=100ms")
    service.configure(service.source(openssh))
    service.start()
    service.kill(signal.SIGKILL)
    openssh.write(FILES)
    service.wait_for_restart()
    service.wait_for_handled(NAMES)


def test_crashes_never_exhaust_the_starts(machine: Machine) -> None:
    """There is no number of crashes after which systemd gives up, and a pause before each start."""
    for unit in ("sftpd-processor.service", "sftpd-processor@acme.service"):
        shown = machine.show(unit, "StartLimitIntervalUSec", "RestartUSec", "Restart")
        assert shown == {"StartLimitIntervalUSec": "0", "RestartUSec": "10s", "Restart": "on-failure"}


@pytest.mark.parametrize("unit", ["sftpd-processor.service", "sftpd-processor@acme.service"])
def test_the_units_are_clean_and_closed(machine: Machine, unit: str) -> None:
    """systemd finds nothing wrong with the units as installed, and rates their exposure at 1.5 or less."""
    verified = machine.run("systemd-analyze", "verify", unit)
    assert verified.stdout + verified.stderr == ""
    rated = machine.run("systemd-analyze", "security", "--offline=true", "--threshold=15", unit).stdout
    assert re.search(r"Overall exposure level for \S+: [01]\.\d ", rated), rated[-300:]


def test_the_journal_has_the_fields(service: Service, openssh: ServedFolder) -> None:
    """What the service logs are entries of the journal with a priority and the source as fields of their own."""
    service.configure(service.source(openssh))
    openssh.write(FILES)
    service.start()
    service.wait_for_handled(NAMES)

    def told() -> list[dict[str, Any]]:
        """The line of the poll, which ends after its files are handled."""
        service.machine.run("journalctl", "--sync")
        return [entry for entry in service.machine.journal("SOURCE=webio") if "recorded 20" in entry["MESSAGE"]]

    wait_until(lambda: bool(told()))
    (recorded,) = told()
    assert recorded["PRIORITY"] == "6"
    assert recorded["_SYSTEMD_UNIT"] == service.unit
    assert recorded["SYSLOG_IDENTIFIER"] == "sftpd-processor"
