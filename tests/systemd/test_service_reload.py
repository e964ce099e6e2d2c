"""`systemctl reload`: it succeeds when the new configuration holds, and fails when the old one goes on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.acceptance.support import events
from tests.support import ServedFolder, wait_until
from tests.systemd.service import Service


@pytest.fixture
def second(openssh: ServedFolder) -> ServedFolder:
    """Another folder on the same server."""
    folder = openssh.folder / "second"
    folder.mkdir()
    return ServedFolder(openssh.server, folder)


def named(files: dict[str, bytes], prefix: str) -> dict[str, bytes]:
    """The same files with other names for them and for their events."""
    return {f"{prefix}{name}": data.replace(b'"m', f'"{prefix}'.encode()) for name, data in files.items()}


def test_a_good_configuration_is_taken(service: Service, openssh: ServedFolder, second: ServedFolder) -> None:
    """After a reload the same process works by the new configuration: a source that is new is polled."""
    first = service.source(openssh)
    service.configure(first)
    service.start()
    before = service.prop("MainPID")
    service.configure(first, service.source(second, name="second"))
    service.machine.systemctl("reload", service.unit)
    second.write(events(5))
    service.wait_for_handled(f"m{number}" for number in range(5))
    assert service.prop("MainPID") == before


def test_a_wrong_configuration_is_refused(service: Service, openssh: ServedFolder) -> None:
    """`systemctl reload` fails with the mistake, the status tells of it, and the old configuration goes on."""
    good = service.source(openssh)
    service.configure(good)
    service.start()
    service.configure(good | {"poll_seconds": "often"})
    assert service.machine.run("systemctl", "reload", service.unit, check=False).returncode != 0
    service.wait_for_status("is refused, the one before goes on")
    assert service.log.count("sources[0].poll_seconds") >= 2  # by the daemon, and by the `check` that systemctl awaits
    openssh.write(events(5))
    service.wait_for_handled(f"m{number}" for number in range(5))
    service.configure(good)
    service.machine.systemctl("reload", service.unit)
    wait_until(lambda: "refused" not in service.status, what="the refusal to be over")


def test_reloads_under_load_lose_nothing(service: Service, openssh: ServedFolder, second: ServedFolder) -> None:
    """Reloads in the midst of polls and deliveries, with sources that come and go, lose and repeat no event."""
    one, two = service.source(openssh), service.source(second, name="second")
    both, slow = ([one, two], {"timeout_seconds": 31})
    wanted: list[str] = []

    def put(served: ServedFolder, prefix: str) -> None:
        served.write(named(events(100), prefix))
        wanted.extend(f"{prefix}{number}" for number in range(100))

    service.configure(*both)
    service.start()
    tables: list[tuple[list[dict[str, Any]], dict[str, Any]]] = [([one], {}), (both, slow), ([two], {}), (both, {})]
    for turn, (sources, delivery) in enumerate(tables):
        put(openssh, f"a{turn}x")
        put(second, f"b{turn}x")
        service.configure(*sources, delivery=delivery)
        service.machine.systemctl("reload", service.unit)
    service.wait_for_handled(wanted)
    assert len(service.lines()) == len(wanted)
