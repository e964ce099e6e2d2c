"""How long draining a folder takes, from start to exit, beside other programs: `make bench`.

Each program in turn empties the same files from a real sshd, several times over, on the loopback and
through a relay that adds 10 ms each way. `sftpd-processor once` lists, fetches, validates, records,
archives, delivers to a `jsonl` handler and deletes; the others only copy and delete. After each run the
folder must be empty and every byte here.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.peers import OURS, PEERS, Job, Peer
from sftpd_processor.testing.relay import relay_process
from sftpd_processor.testing.servers import OpenSshServer, ThrowAwayServer
from sftpd_processor.testing.webio import Webio

RESULTS = Path(__file__).with_name("results")
Digests = frozenset[bytes]
console = Console()

FAST = "/dev/shm" if Path("/dev/shm").is_dir() else None
"""Where both ends lie: ext4 reuses inodes slowly after mass deletion, which would slow down whoever comes next."""


class BenchmarkError(Exception):
    """A run whose outcome is not what it must be, so that its time means nothing."""


@dataclass(slots=True)
class Timing:
    """The runs of one program on one line; `cut_off` when a run was ended at the time limit."""

    peer: str
    seconds: list[float] = field(default_factory=list)
    cut_off: bool = False
    error: str = ""

    @property
    def median(self) -> float | None:
        """The median in seconds; None when there is none to be trusted."""
        return statistics.median(self.seconds) if self.seconds and not (self.cut_off or self.error) else None


def fill(folder: Path, count: int) -> Digests:
    """Put `count` event files into the folder; returns the SHA-256 of each."""
    digests = set()
    for file in Webio(seed=1).files(count):
        (folder / file.name).write_bytes(file.data)
        digests.add(hashlib.sha256(file.data).digest())
    return frozenset(digests)


def run_once(peer: Peer, server: ThrowAwayServer, port: int, count: int, limit: float) -> float:
    """Fill, drain, check; returns the seconds of the drain. Raises BenchmarkError or TimeoutExpired."""
    remote = Path(tempfile.mkdtemp(prefix="remote-", dir=server.root))
    work = Path(tempfile.mkdtemp(prefix="sftpd-processor-bench-", dir=FAST))
    try:
        job = Job(server, port, remote, work)
        job.got.mkdir()
        wanted = fill(remote, count)
        seconds = timed(peer.command(job), limit)
        check(peer, job, wanted)
        return seconds
    finally:
        shutil.rmtree(work, ignore_errors=True)
        shutil.rmtree(remote, ignore_errors=True)


def timed(command: list[str], limit: float) -> float:
    """Run to the end; returns the wall time in seconds."""
    began = time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchmarkError(f"exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    return seconds


def check(peer: Peer, job: Job, wanted: Digests) -> None:
    """The folder is empty and every file's bytes are here; for ours also one delivered line each."""
    left = sum(1 for _ in job.remote.iterdir())
    if left:
        raise BenchmarkError(f"{left} files were left on the server")
    place = job.work / "state" / "archive" if peer.name == OURS else job.got
    got = {hashlib.sha256(path.read_bytes()).digest() for path in place.rglob("*") if path.is_file()}
    if not wanted <= got:
        raise BenchmarkError(f"{len(wanted - got)} of {len(wanted)} files did not arrive in {place.name}/")
    if peer.name == OURS:
        delivered = (job.work / "events.jsonl").read_bytes().count(b"\n")
        if delivered != len(wanted):
            raise BenchmarkError(f"{delivered} of {len(wanted)} events were delivered")


def measure(peers: list[Peer], server: ThrowAwayServer, port: int, wanted: Wanted) -> list[Timing]:
    """Round robin: every program once, then again, so that what changes on the machine meets all alike."""
    timings = {peer.name: Timing(peer.name) for peer in peers}
    for number in range(wanted.runs):
        for peer in peers:
            timing = timings[peer.name]
            if timing.cut_off or timing.error:
                continue
            try:
                timing.seconds.append(run_once(peer, server, port, wanted.files, wanted.limit))
                console.log(f"run {number + 1}: {peer.name} {timing.seconds[-1]:.2f} s")
            except subprocess.TimeoutExpired:
                timing.cut_off = True
                console.log(f"run {number + 1}: {peer.name} cut off after {wanted.limit:g} s")
            except BenchmarkError as error:
                timing.error = str(error)
                console.log(f"run {number + 1}: {peer.name} failed: {error}", markup=False)
    return list(timings.values())


@dataclass(frozen=True, slots=True)
class Wanted:
    """How one line is measured: files per run, runs, and the seconds after which a run is cut off."""

    files: int
    runs: int
    limit: float


def show(title: str, timings: list[Timing], wanted: Wanted) -> None:
    """Print the table of one line."""
    ours = next((timing.median for timing in timings if timing.peer == OURS), None)
    head = f"{title}, {wanted.files:,} files, {wanted.runs} runs"
    table = Table("program", "median", "files/s", "× ours", title=head)
    for timing in timings:
        table.add_row(timing.peer, *_cells(timing, ours, wanted))
    console.print(table)


def _cells(timing: Timing, ours: float | None, wanted: Wanted) -> tuple[str, str, str]:
    if timing.error:
        return "failed", "-", "-"
    if timing.median is None:
        ratio = f"> {wanted.limit / ours:.1f}" if ours else "-"
        return f"> {wanted.limit:g} s", f"< {wanted.files / wanted.limit:,.0f}", ratio
    ratio = f"{timing.median / ours:.2f}" if ours else "-"
    return f"{timing.median:.2f} s", f"{wanted.files / timing.median:,.0f}", ratio


def as_json(lines: dict[str, tuple[Wanted, list[Timing]]]) -> dict[str, Any]:
    """Everything measured, with what it was measured on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "python": platform.python_version()},
        "lines": {
            name: {
                "files": wanted.files,
                "limit_seconds": wanted.limit,
                "programs": [{**asdict(one), "median": one.median} for one in timings],
            }
            for name, (wanted, timings) in lines.items()
        },
    }


def choose(names: str | None) -> list[Peer]:
    """The peers to run: those named, or all; those not installed are left out, and said so."""
    known = {peer.name: peer for peer in PEERS}
    asked = [name.strip() for name in names.split(",")] if names else list(known)
    if strange := [name for name in asked if name not in known]:
        sys.exit(f"--peers: {', '.join(strange)}: not known; there are: {', '.join(known)}")
    for peer in (known[name] for name in asked if not known[name].installed):
        console.print(f"{peer.name} is left out: it is not installed (apt-get install {peer.package})")
    return [known[name] for name in asked if known[name].installed]


@contextmanager
def fast_server() -> Iterator[OpenSshServer]:
    """An sshd whose folder is in memory where possible: a disk's own pace would blur the comparison."""
    root = Path(tempfile.mkdtemp(prefix="sftpd-processor-bench-", dir=FAST))
    try:
        with OpenSshServer(root) as server:
            yield server
    finally:
        shutil.rmtree(root, ignore_errors=True)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = ", ".join(peer.name for peer in PEERS)
    add = parser.add_argument
    add("--files", type=int, default=20_000, help="files per run on the loopback")
    add("--relay-files", type=int, default=2_000, help="files per run through the relay, for all")
    add("--runs", type=int, default=3, help="runs of each program")
    add("--limit", type=float, default=300.0, help="seconds after which a run is cut off")
    add("--delay-ms", type=float, default=10.0, help="the relay's delay, each way")
    add("--peers", help=f"which programs, comma-separated, of: {names}")
    add("--only", choices=("loopback", "relay"), help="only one of the two lines")
    add("--json", type=Path, help="where to keep the result (default: a new file in benchmarks/results/)")
    return parser.parse_args()


def main() -> int:
    """Measure, show and keep; 1 when a run failed."""
    asked = arguments()
    peers = choose(asked.peers)
    lines: dict[str, tuple[Wanted, list[Timing]]] = {}
    with fast_server() as server:
        if asked.only != "relay":
            wanted = Wanted(asked.files, asked.runs, asked.limit)
            lines["loopback"] = (wanted, measure(peers, server, server.port, wanted))
        if asked.only != "loopback":
            wanted = Wanted(asked.relay_files, asked.runs, asked.limit)
            with relay_process(server.host, server.port, asked.delay_ms) as port:
                lines[f"{asked.delay_ms:g} ms each way"] = (wanted, measure(peers, server, port, wanted))
    for title, (wanted, timings) in lines.items():
        show(title, timings, wanted)
    path = asked.json or RESULTS / f"drain-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json(lines), indent=2) + "\n")
    console.print(f"kept in {path}")
    return int(any(timing.error for _, timings in lines.values() for timing in timings))


if __name__ == "__main__":
    sys.exit(main())
