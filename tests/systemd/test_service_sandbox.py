"""What a process of the service can do on the machine, tried from within, and what it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.acceptance.support import events
from tests.support import ServedFolder, wait_until
from tests.systemd import intruder
from tests.systemd.machine import Machine
from tests.systemd.service import SLOW, Service


def tried(service: Service, openssh: ServedFolder) -> dict[str, str]:
    """What the intruder's attempts came to, within the service."""
    shutil.copy(Path(intruder.__file__), service.machine.path("/etc/sftpd-processor/intruder.py"))
    for bait in ("/tmp/bait", "/dev/shm/bait", "/dev/bait"):
        service.machine.path(bait).touch()
    result = service.home / "result"
    options = {"argv": ["/usr/bin/python3", "-I", "/etc/sftpd-processor/intruder.py", str(result)]}
    service.configure(service.source(openssh), handlers=[{"name": "intruder", "use": "command", "options": options}])
    openssh.write(events(1))
    service.start()
    path = service.machine.path(result)
    wait_until(lambda: path.exists() and path.read_text(), SLOW, "the result")
    found: dict[str, str] = json.loads(path.read_text())
    return found


@pytest.mark.parametrize("instance", ["", "acme"])
def test_the_sandbox_holds(machine: Machine, openssh: ServedFolder, instance: str) -> None:
    """A program that runs within the service can do what handlers need, and nothing of what would harm the machine."""
    service = Service(machine, instance)
    try:
        found = tried(service, openssh)
    finally:
        service.clean()
    assert {name: found[name] for name in intruder.ALLOWED} == dict.fromkeys(intruder.ALLOWED, "done")
    assert [name for name in intruder.REFUSED if found[name] == "done"] == []
