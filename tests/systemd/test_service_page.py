"""docs/service.md: its commands work, its drop-ins are right, and what it shows is real."""

from __future__ import annotations

import re
import socket
from contextlib import suppress
from pathlib import Path

import pytest

from tests.acceptance.support import events
from tests.support import ServedFolder
from tests.systemd.service import Service

PAGE = (Path(__file__).parents[2] / "docs" / "service.md").read_text()


def blocks(head: str) -> list[str]:
    """The blocks of the page that begin with this line."""
    return re.findall(rf"^```{head}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def plain(text: str) -> list[str]:
    """Its lines, without what differs from one machine and moment to the next."""
    return re.sub(r"\d\d:\d\d:\d\d|\w+ \d{4}-\d\d-\d\d|\d+(?:ms|s|min) ago|Main PID: \d+", "*", text).splitlines()


def free_low_port() -> int:
    """A port below 1024 that was free a moment ago."""
    for port in range(1023, 600, -1):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    pytest.fail("all ports below 1024 are taken")


def test_the_commands_work(service: Service, openssh: ServedFolder) -> None:
    """The commands for the service do what the page says, and the status that it shows is real."""
    service.configure(service.source(openssh))
    openssh.write(events(5))
    for command in "".join(blocks("sh service")).splitlines():
        service.machine.run("sh", "-c", command)
    service.wait_for_status("Last good poll")
    service.wait_for_status("Nothing left to do")
    shown = plain(service.machine.run("systemctl", "status", service.unit).stdout)
    (on_page,) = blocks("text status")
    assert [line for line in plain(on_page) if line not in shown] == []


def test_the_commands_for_an_instance_work(service: Service, openssh: ServedFolder) -> None:
    """So do those for an instance."""
    acme = Service(service.machine, "acme")
    try:
        acme.configure(acme.source(openssh))
        (commands,) = blocks("sh instance")
        for command in commands.splitlines():
            acme.machine.run("sh", "-c", command)
    finally:
        acme.clean()


@pytest.mark.parametrize("number", range(len(blocks("ini drop-in"))))
def test_the_drop_ins_are_right(service: Service, openssh: ServedFolder, number: int) -> None:
    """With each drop-in of the page systemd finds nothing wrong, and the service starts."""
    lines = blocks("ini drop-in")[number].splitlines()
    assert lines[0] == "[Service]"
    service.machine.drop_in(service.unit, "page", *lines[1:])
    verified = service.machine.run("systemd-analyze", "verify", service.unit)
    assert verified.stdout + verified.stderr == ""
    service.configure(service.source(openssh))
    service.start()


def test_the_drop_in_for_low_ports_works(service: Service, openssh: ServedFolder) -> None:
    """With the drop-in of the page the public listener can have a port below 1024; without it the start fails."""
    http = {"listen": f"127.0.0.1:{free_low_port()}", "organisation": "acme", "auth": "none"}
    service.configure(service.source(openssh), http=http)
    assert service.machine.run("systemctl", "start", service.unit, check=False).returncode != 0
    service.stop()  # or systemd goes on trying
    (lines,) = [block.splitlines() for block in blocks("ini drop-in") if "CAP_NET_BIND_SERVICE" in block]
    service.machine.drop_in(service.unit, "page", *lines[1:])
    service.start()


def test_the_exposure_is_the_one_that_is_shown(service: Service) -> None:
    """What `systemd-analyze security` holds against the service is what the page explains."""
    rated = service.machine.run("systemd-analyze", "security", "--offline=true", service.unit).stdout
    open_points = [line.rstrip() for line in rated.splitlines() if line.startswith(("✗", "→"))]
    (on_page,) = blocks("text security")
    assert [line.split()[1] for line in open_points] == [line.split()[1] for line in on_page.splitlines()]
    assert re.findall(r": ([\d.]+) ", rated) == re.findall(r": ([\d.]+) ", on_page)
