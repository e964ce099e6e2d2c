"""What starting costs: `--help`, and `once` on an empty folder (which cron pays every minute).

.venv/bin/python benchmarks/startup.py --runs 7
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.drain import fast_server, timed
from benchmarks.peers import PEERS, Job


def median_ms(command: list[str], runs: int) -> float:
    """The median wall time in milliseconds, after one run that is not counted."""
    timed(command, 60)
    return statistics.median(timed(command, 60) for _ in range(runs)) * 1000


def main() -> None:
    """Measure both."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=7, help="counted runs of each")
    runs = parser.parse_args().runs
    with fast_server() as server, tempfile.TemporaryDirectory() as work:
        once = PEERS[0].command(Job(server, server.port, server.root, Path(work)))
        for name, command in {"--help": [once[0], "--help"], "once, empty folder": once}.items():
            print(f"{name:<20} {median_ms(command, runs):7.0f} ms (median of {runs})")
        bare = median_ms([sys.executable, "-c", "pass"], runs)
        print(f"{'bare Python':<20} {bare:7.0f} ms, for comparison")


if __name__ == "__main__":
    main()
