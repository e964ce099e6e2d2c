"""From the version before to this one on a machine that is at work."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.support import event
from tests.support import ServedFolder, wait_until
from tests.systemd import stage
from tests.systemd.machine import Machine
from tests.systemd.service import SLOW, Service

ACCOUNT = """\
useradd --system --home-dir /var/lib/sftpd-processor --shell /usr/sbin/nologin sftpd-processor
install -d -m 750 -g sftpd-processor /etc/sftpd-processor
"""


@pytest.fixture
def former(installed: Path, shared: Path, tmp_path: Path) -> Iterator[Service]:
    """The service of the version before, on a machine of its own, set up by the steps that its page gave."""
    previous = stage.once(shared / "previous", lambda folder: stage.install_previous(folder, installed))
    with Machine(tmp_path / "machine", previous) as machine:
        machine.run("sh", "-ec", ACCOUNT)
        yield Service(machine)


def test_an_upgrade_in_place_loses_nothing(former: Service, installed: Path, openssh: ServedFolder) -> None:
    """The new version is put in place beside the running one, which is not disturbed; after the restart it goes on with
    the ledger of the old one, and every event of before, meanwhile and afterwards is handled exactly once."""
    former.configure(source(former, openssh), handlers=[former.slow_handler()])
    write(openssh, range(300))
    former.start()
    wait_until(lambda: len(former.lines()) > 20, SLOW, "the first events")
    process, revision = former.prop("MainPID"), "SELECT version_num FROM alembic_version"

    said = put_in_place(former.machine, installed)
    assert former.prop("MainPID") == process
    assert "/etc/systemd/system/sftpd-processor.service is used in place of the unit that was installed" in said
    write(openssh, range(300, 350))

    assert len(former.lines()) < 350, "all was done before the restart, so that it shows nothing"
    before = former.rows(revision)
    former.machine.path("/etc/systemd/system/sftpd-processor.service").unlink()
    former.machine.systemctl("daemon-reload")
    former.machine.systemctl("restart", former.unit)
    write(openssh, range(350, 400))
    former.wait_for_handled(f"m{number}" for number in range(400))
    former.wait_for_status("Nothing left to do")

    assert len(former.lines()) == 400
    assert former.prop("Type") == "notify"
    assert former.rows(revision) > before
    assert former.rows("SELECT count(*) FROM deliveries WHERE state = 'done'") == [[400]]


def source(service: Service, served: ServedFolder) -> dict[str, object]:
    """A source with its key in a file of the account's own; the unit of before asked for a password's file besides."""
    service.secret("sftp-password", "unused")
    service.secret("id", served.server.client_key_path.read_text())
    service.machine.run("chown", "sftpd-processor", "/etc/sftpd-processor/id")
    return served.source(private_key={"file": "/etc/sftpd-processor/id"}, poll_seconds=1)


def put_in_place(machine: Machine, installed: Path) -> str:
    """What `make install` does on the machine itself, with an environment that is made already; what it says."""
    versions = stage.HOME / "versions"
    (version,) = (installed / versions).iterdir()
    shutil.copytree(version, machine.path(f"/{versions}/{version.name}"), symlinks=True)
    return machine.run(f"/{versions}/{version.name}/bin/sftpd-processor", "service", "install").stdout


def write(served: ServedFolder, numbers: range) -> None:
    """A file for each number, with an event that is named for it."""
    served.write({f"e{number:05d}.json": event(number, f"c{number % 50}") for number in numbers})
