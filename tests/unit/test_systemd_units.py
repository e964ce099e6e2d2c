"""The shipped units as texts."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from tests.systemd.units import SERVICE, TEMPLATE, UNITS, as_template

ROOT = Path(__file__).parents[2]


def values(key: str) -> list[str]:
    """What the service has for this key."""
    return re.findall(rf"^{key}=(.*)$", SERVICE.read_text(), re.MULTILINE)


def test_the_template_is_the_service() -> None:
    """The template is the service but for the differences that are listed (python -m tests.systemd.units makes it)."""
    assert TEMPLATE.read_text() == as_template(SERVICE.read_text())


def test_every_credential_of_the_example_is_handed_over() -> None:
    """A secret that config.example.toml names as a credential needs no change of the units; absent, it is empty."""
    named = re.findall(r'credential = "([\w-]+)"', (ROOT / "config.example.toml").read_text())
    loaded = [value.partition(":")[0] for value in values("LoadCredential")]
    assert set(named) <= set(loaded)
    assert values("SetCredential") == [rf"{name}:\n" for name in loaded]


def test_the_service_works_where_the_example_keeps_its_state() -> None:
    """The folder that systemd makes for the service is `state.dir` of config.example.toml."""
    example = tomllib.loads((ROOT / "config.example.toml").read_text())
    assert [f"/var/lib/{name}" for name in values("StateDirectory")] == [example["state"]["dir"]]


def test_every_setting_has_its_reason() -> None:
    """Each block of settings of a [Service] begins with a comment."""
    service = SERVICE.read_text().partition("[Service]\n")[2].partition("\n[Install]")[0]
    blocks = [block.splitlines() for block in service.split("\n\n")]
    assert all(block[0].startswith("# ") for block in blocks), [block[0] for block in blocks]


def test_growing_pauses_are_in_a_file_of_their_own() -> None:
    """What only systemd 254 and newer know is not in the units, where older ones would warn of it."""
    newer = re.findall(r"^(\w+)=", (UNITS / "back-off.conf").read_text(), re.MULTILINE)
    assert newer == ["RestartSteps", "RestartMaxDelaySec"]
    assert not any(values(key) for key in newer)
