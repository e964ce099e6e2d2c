"""What is not loaded into a process that runs for months."""

from __future__ import annotations

import subprocess
import sys

import pytest

_TOLD = "import sys\nimport {module}\nprint(*sys.modules)"


def loaded_by(module: str) -> set[str]:
    """All modules of a fresh Python that has imported `module`."""
    command = [sys.executable, "-c", _TOLD.format(module=module)]
    return set(subprocess.run(command, check=True, capture_output=True, text=True, timeout=60).stdout.split())


def test_the_listener_is_loaded_without_the_ledger() -> None:
    """The public listener's process loads SQLAlchemy and the ledger only with the first live post."""
    loaded = loaded_by("sftpd_processor.http.listener")
    assert "sftpd_processor.http.public" in loaded
    assert not loaded & {"sqlalchemy", "sftpd_processor.ledger.ledger"}


@pytest.mark.parametrize("module", ["sftpd_processor.sources.sftp", "sftpd_processor.sources.ssh"])
def test_paramiko_is_loaded_without_invoke(module: str) -> None:
    """An SFTP source loads paramiko without invoke, YAML and unittest, which it never needs."""
    loaded = loaded_by(module)
    assert "paramiko" in loaded
    assert not loaded & {"invoke", "unittest"}


def test_users_still_find_invoke() -> None:
    """A user's handler that imports invoke after an SFTP source was made finds it."""
    assert "invoke.tasks" in loaded_by("sftpd_processor.sources.sftp, invoke")
