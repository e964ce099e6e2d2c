"""A machine for each file of tests, with the service installed by `make install`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.errors import PermanentError
from sftpd_processor.installation.interpreter import choose
from tests.support import not_here
from tests.systemd import stage
from tests.systemd.machine import Machine, why_no_machine
from tests.systemd.service import Service


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of all processes that run tests."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test of each process waits for `make install`, which fetches all packages."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(400))


@pytest.fixture(scope="session")
def installed(shared: Path) -> Path:
    """What `make install` made."""
    if (why := why_no_machine()) is not None:
        not_here(f"a machine within this one: {why}", "systemd")
    try:
        choose("python3")
    except PermanentError as error:
        not_here(str(error), "python3-venv")
    return stage.once(shared / "installed", stage.install)


@pytest.fixture(scope="module")
def machine(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A running machine on which root has run `service install`."""
    with Machine(tmp_path_factory.mktemp("machine"), installed) as running:
        running.run("/opt/sftpd-processor/bin/sftpd-processor", "service", "install")
        yield running


@pytest.fixture
def service(machine: Machine) -> Iterator[Service]:
    """The service, not configured yet."""
    made = Service(machine)
    yield made
    made.clean()
