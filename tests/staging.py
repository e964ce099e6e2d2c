"""What `make install DESTDIR=…` has staged, and the verb `service` run on it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Stage:
    """A folder that stands for / of a machine on which the program is installed."""

    root: Path

    @property
    def versions(self) -> Path:
        return self.root / "opt/sftpd-processor/versions"

    def at(self, path: str) -> Path:
        """The path of the machine, staged."""
        return self.root / path.lstrip("/")

    @property
    def used(self) -> Path:
        """The virtual environment that the machine uses."""
        return self.at("/opt/sftpd-processor/bin/sftpd-processor").resolve().parents[1]

    def copied_to(self, root: Path) -> Stage:
        """A copy of its own for a test that changes it; the large folder of libraries is shared by hard links."""
        subprocess.run(["cp", "-al", f"{self.root}/.", str(root)], check=True)
        for path in root.rglob("*"):
            if not path.is_relative_to(root / "opt") and path.is_file() and not path.is_symlink():
                content, mode = path.read_bytes(), path.stat().st_mode
                path.unlink()
                path.write_bytes(content)
                path.chmod(mode)
        return Stage(root)

    def service(self, *arguments: str, version: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run `sftpd-processor service …` of a version (the used one) on this stage."""
        python = (version or self.used) / "bin/python"
        command = [str(python), "-I", "-m", "sftpd_processor.cli.main", "service", *arguments, "--root", str(self.root)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def steps(self, *arguments: str, version: Path | None = None) -> dict[str, str]:
        """The same with --json: what → what was done to it."""
        ran = self.service(*arguments, "--json", version=version)
        assert ran.returncode == 0, ran.stderr
        steps: list[dict[str, Any]] = json.loads(ran.stdout)["steps"]
        return {step["what"]: step["did"] for step in steps}
