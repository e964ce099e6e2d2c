"""No file makes the daemon slow for others, or takes more than a bounded amount of memory."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.hostile.costs import ORDINARY

_MOST_MIB = 60  # seen: 40 for half a million nested lists, 4 for ordinary events
_MOST_TIMES = 25  # what an ordinary file of the same size takes; seen: 10, for the same file


def test_worst_files_are_bounded() -> None:
    """The worst files of 1 MiB take a bounded amount of memory, and a bounded multiple of an ordinary one's time."""
    command = [sys.executable, "-m", "tests.hostile.costs"]
    costs: dict[str, list[float]] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    ordinary = costs[ORDINARY][0]
    assert len(costs) > 20
    assert {name: mib for name, (_, mib) in costs.items() if mib > _MOST_MIB} == {}
    assert {name: seconds for name, (seconds, _) in costs.items() if seconds > _MOST_TIMES * ordinary} == {}
