"""The audit of pinned dependencies ends in three ways, and says plainly which."""

from __future__ import annotations

import json
import os
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from tests import audit

GOOD = {"name": "alpha", "version": "1.0", "vulns": []}
BAD = {
    "name": "beta",
    "version": "2.0",
    "vulns": [{"id": "PYSEC-2026-1", "aliases": ["CVE-2026-1"], "fix_versions": ["2.1"], "description": "…"}],
}
UNKNOWN = {"name": "gamma", "skip_reason": "Dependency not found"}


@pytest.fixture
def pip_audit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in for pip-audit on PATH; tests write what it does."""
    program = tmp_path / "bin" / "pip-audit"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(audit, "ACCEPTED", tmp_path / "accepted.toml")
    audit.ACCEPTED.write_text("")
    return program


def answers(program: Path, *packages: dict[str, Any], code: int = 0) -> None:
    """It reports these packages."""
    said = program.with_name("said.json")
    said.write_text(json.dumps({"dependencies": packages, "fixes": []}))
    does(program, f"echo Found something >&2; cat '{said}'; exit {code}")


def does(program: Path, script: str) -> None:
    """It runs this."""
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)


def test_nothing_known(pip_audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a vulnerability it succeeds, says how many were looked up, and names those that were not."""
    answers(pip_audit, GOOD, UNKNOWN)
    assert audit.main() == 0
    told = capsys.readouterr().out
    assert "audit: 1 pinned packages looked up with pypi, 0 vulnerabilities to act on" in told
    assert "audit: 1 packages are unknown to pypi: gamma" in told


def test_a_vulnerability(pip_audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A known one fails, with the package, its names, and the version that mends it."""
    answers(pip_audit, GOOD, BAD, code=1)
    assert audit.main() == 1
    assert "audit: beta 2.0: PYSEC-2026-1 = CVE-2026-1: mended in 2.1\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo 'Traceback' >&2; echo 'no such host' >&2; exit 1", "no such host"),
        ("exit 1", "it said nothing"),
        ("echo '[]'", "it said nothing"),
        ('echo \'{"dependencies": [{"name": "gamma", "skip_reason": "not found"}]}\'', "it knows none of the packages"),
        ("exec sleep 30", "no answer within 0.5 s"),
    ],
)
def test_nobody_to_ask(
    pip_audit: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    """When no service answers, or none knows anything, that is said in one line, with why, and it succeeds."""
    monkeypatch.setattr(audit, "LIMIT_SECONDS", 0.5)
    does(pip_audit, script)
    assert audit.main() == 0
    told = capsys.readouterr().out
    assert told.startswith("audit: nobody could be asked about vulnerabilities")
    assert f"pypi: {why}" in told
    assert f"osv: {why}" in told
    assert len(told.splitlines()) == 1


def test_the_next_service_is_asked(pip_audit: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the first service does not tell, the second may."""
    answers(pip_audit, BAD, code=1)
    script = pip_audit.read_text().split("\n", 1)[1]
    does(pip_audit, f"case \"$*\" in *'service pypi'*) exit 1;; esac\n{script}")
    assert audit.main() == 1
    assert "looked up with osv, 1 vulnerabilities" in capsys.readouterr().out


def test_it_is_not_installed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without pip-audit nobody is asked, and that is said."""
    monkeypatch.setenv("PATH", "/nowhere")
    assert audit.main() == 0
    assert "pypi: pip-audit is not installed" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["PYSEC-2026-1", "CVE-2026-1"])
@pytest.mark.parametrize(("until", "code"), [("2999-01-01", 0), ("2001-01-01", 1)])
def test_one_that_is_accepted(
    pip_audit: Path, capsys: pytest.CaptureFixture[str], name: str, until: str, code: int
) -> None:
    """An accepted one passes, under any of its names, until its day; it is shown all the same."""
    audit.ACCEPTED.write_text(f'[[accepted]]\nid = "{name}"\nreason = "the part is not used"\nuntil = {until}\n')
    answers(pip_audit, BAD, code=1)
    assert audit.main() == code
    assert ("(accepted for now)" in capsys.readouterr().out) == (code == 0)


def test_an_acceptance_needs_a_reason(tmp_path: Path) -> None:
    """An entry with an empty reason counts for nothing."""
    path = tmp_path / "accepted.toml"
    path.write_text('[[accepted]]\nid = "a"\nreason = " "\nuntil = 2999-01-01\n')
    assert audit.accepted(path, date(2026, 1, 1)) == set()


def test_the_list_of_this_project_can_be_read() -> None:
    """What is accepted now parses."""
    assert isinstance(audit.accepted(audit.ACCEPTED, date(2026, 1, 1)), set)
