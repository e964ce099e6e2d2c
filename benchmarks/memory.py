"""The most memory `sftpd-processor once` takes, over a small and a large folder: it must not grow.

.venv/bin/python benchmarks/memory.py --files 10000,100000
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.drain import FAST, BenchmarkError, check, fast_server, fill
from benchmarks.peers import PEERS, Job
from sftpd_processor.testing.servers import ThrowAwayServer

OURS = PEERS[0]


def peak_bytes(command: list[str], log: Path) -> tuple[int, float]:
    """Run to the end; the peak resident size of that one process, and its seconds."""
    began = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise BenchmarkError(f"exit {process.returncode}: {log.read_text()[-300:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * unit, time.perf_counter() - began


def measure(server: ThrowAwayServer, count: int) -> tuple[int, float]:
    """Drain `count` files, and check that all arrived."""
    remote = Path(tempfile.mkdtemp(prefix="remote-", dir=server.root))
    work = Path(tempfile.mkdtemp(prefix="sftpd-processor-bench-", dir=FAST))
    try:
        job = Job(server, server.port, remote, work)
        wanted = fill(remote, count)
        found = peak_bytes(OURS.command(job), work / "log")
        check(OURS, job, wanted)
        return found
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(remote, ignore_errors=True)


def main() -> None:
    """Measure each size in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", default="10000,100000", help="sizes of the folder, comma-separated")
    with fast_server() as server:
        for count in map(int, parser.parse_args().files.split(",")):
            peak, seconds = measure(server, count)
            speed = f"{seconds:6.1f} s, {count / seconds:,.0f} files/s"
            print(f"{count:>9,} files: peak {peak / 2**20:6.1f} MiB, {speed}")


if __name__ == "__main__":
    main()
