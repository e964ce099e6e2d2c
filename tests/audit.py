"""Asks whether the pinned versions in constraints.txt have known vulnerabilities: `make check` runs it.

There are three endings. None is known: exit 0. One is known and not accepted: exit 1, with the version that mends it.
Nobody could be asked (no network, no service behind a mirror, too slow): exit 0 too, so that work offline goes on, and
a line that says so. pip-audit calls a package that its service does not know "skipped" and counts it as good; here a
run in which all were skipped is one in which nobody could be asked.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PINNED = ROOT / "constraints.txt"
ACCEPTED = ROOT / ".ci" / "accepted-vulnerabilities.toml"
SERVICES = ("pypi", "osv")
LIMIT_SECONDS = 60.0


class NotAsked(Exception):
    """No service could be asked; the text says why."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A known vulnerability of a pinned version; `names` are its id and the other names it goes by."""

    package: str
    names: tuple[str, ...]
    mended_in: tuple[str, ...]

    def __str__(self) -> str:
        mended = f"mended in {', '.join(self.mended_in)}" if self.mended_in else "not mended in any version yet"
        return f"{self.package}: {' = '.join(self.names)}: {mended}"


def main() -> int:
    """The exit code."""
    reasons = []
    for service in SERVICES:
        try:
            report = ask(service)
        except NotAsked as error:
            reasons.append(f"{service}: {error}")
            continue
        return judged(report, service, accepted(ACCEPTED, datetime.now(UTC).date()))
    print(f"audit: nobody could be asked about vulnerabilities; nothing is known, and nothing is held up by it. "
          f"{'; '.join(reasons)}")  # fmt: skip
    return 0


def ask(service: str) -> list[dict[str, Any]]:
    """What pip-audit reports of each package that `service` knows. Raises `NotAsked`."""
    program = shutil.which("pip-audit")
    if program is None:
        raise NotAsked("pip-audit is not installed")
    options = ["--no-deps", "--disable-pip", "--progress-spinner", "off", "--timeout", "10", "--format", "json"]
    command = [program, "--requirement", str(PINNED), "--vulnerability-service", service, *options]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_SECONDS, check=False)
        packages: list[dict[str, Any]] = json.loads(done.stdout)["dependencies"]
    except subprocess.TimeoutExpired:
        raise NotAsked(f"no answer within {LIMIT_SECONDS:g} s") from None
    except (ValueError, KeyError, TypeError):
        raise NotAsked((done.stderr.strip() or "it said nothing").splitlines()[-1][:200]) from None
    known = [package for package in packages if "vulns" in package]
    if not known:
        raise NotAsked("it knows none of the packages")
    if unknown := [package["name"] for package in packages if "vulns" not in package]:
        print(f"audit: {len(unknown)} packages are unknown to {service}: {', '.join(unknown)}")
    return known


def judged(report: Sequence[dict[str, Any]], service: str, allowed: set[str]) -> int:
    """Print what was found; 1 when something of it is not allowed."""
    findings = [
        Finding(
            f"{package['name']} {package['version']}",
            (found["id"], *found.get("aliases", ())),
            tuple(found.get("fix_versions", ())),
        )
        for package in report
        for found in package["vulns"]
    ]
    bad = [finding for finding in findings if not allowed.intersection(finding.names)]
    for finding in findings:
        print(f"audit: {finding}{'' if finding in bad else ' (accepted for now)'}")
    print(f"audit: {len(report)} pinned packages looked up with {service}, {len(bad)} vulnerabilities to act on")
    return 1 if bad else 0


def accepted(path: Path, today: date) -> set[str]:
    """The names of vulnerabilities that pass today."""
    entries = tomllib.loads(path.read_text()).get("accepted", [])
    return {entry["id"] for entry in entries if entry["reason"].strip() and today < entry["until"]}


if __name__ == "__main__":
    sys.exit(main())
