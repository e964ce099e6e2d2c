"""Two instances of the template side by side: each has its own configuration, secrets, state and life."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.support import events
from tests.support import ServedFolder
from tests.systemd.machine import Machine
from tests.systemd.service import Service

LOOK = "#!/bin/sh\ncat >/dev/null; ls /var/lib/sftpd-processor >/var/lib/sftpd-processor/acme/seen\n"


@pytest.fixture
def acme(machine: Machine) -> Iterator[Service]:
    made = Service(machine, "acme")
    yield made
    made.clean()


@pytest.fixture
def globex(machine: Machine) -> Iterator[Service]:
    made = Service(machine, "globex")
    yield made
    made.clean()


def test_instances_work_side_by_side(acme: Service, globex: Service, service: Service, openssh: ServedFolder) -> None:
    """Two instances work at once, each by its own files; when one stops, or the service without an instance, the other
    goes on with all that is its own."""
    for number, instance in enumerate((acme, globex)):
        folder = openssh.folder / str(number)
        folder.mkdir()
        served = ServedFolder(openssh.server, folder)
        instance.configure(instance.source(served), state={"dir": "/var/lib/sftpd-processor"})
        instance.start()
        served.write({f"{number}{name}": data for name, data in events(5 + number).items()})
    acme.wait_for_handled(f"m{number}" for number in range(5))
    globex.wait_for_handled(f"m{number}" for number in range(6))
    assert (acme.state / "ledger.db").exists()
    assert not (acme.state.parent / "ledger.db").exists()
    service.configure(service.source(openssh, include=["none"]))
    service.start()
    for other in (service, acme):
        other.stop()
    assert globex.prop("ActiveState") == "active"
    assert globex.machine.path("/run/sftpd-processor/globex").is_dir()


def test_an_instance_sees_no_state_but_its_own(acme: Service, globex: Service, openssh: ServedFolder) -> None:
    """What the other organisations keep on the machine is not there for an instance."""
    globex.state.mkdir(parents=True, exist_ok=True)
    (globex.state / "ledger.db").touch()
    look = acme.machine.path("/etc/sftpd-processor/look.sh")
    look.write_text(LOOK)
    look.chmod(0o755)
    handler = {"name": "look", "use": "command", "options": {"argv": ["./look.sh"]}}
    acme.configure(acme.source(openssh), handlers=[handler])
    openssh.write(events(1))
    acme.start()
    acme.wait_for_status("Nothing left to do")
    assert (acme.state / "seen").read_text() == "acme\n"
