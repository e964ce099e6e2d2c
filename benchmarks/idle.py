"""What the daemon costs while there is nothing to do: memory and processor time of all its processes together.

The real `run` polls a folder of a real sshd every 30 s, with both listeners, a provider and a `jsonl` handler. It has
drained a folder and answered questions before, so that it has the size of one that has worked; after the measurement it
takes live posts, for which the listener loads the ledger, and its memory is looked at once more. Beside it run
`rclone move` every 30 s in a shell's loop, and a Python that has only imported the libraries.

.venv/bin/python benchmarks/idle.py --minutes 10
"""

from __future__ import annotations

import argparse
import compileall
import contextlib
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

import sftpd_processor
from benchmarks.drain import FAST, RESULTS, BenchmarkError, fast_server, fill
from benchmarks.listeners import QUESTION, Place, headers, ours, place
from benchmarks.load import Connection, event, request
from benchmarks.peers import PEERS, Job
from benchmarks.processes import Cost, together, tree
from sftpd_processor.testing.servers import ThrowAwayServer, free_port

GOAL_BYTES, GOAL_PERCENT = 120_000_000, 0.5
POLL_SECONDS = 30
_SETTLE_SECONDS = 15.0  # in which what has worked comes to rest
_LOOK_SECONDS = 10.0
_AFTER_SECONDS = 10.0
OURS = "sftpd-processor run"
_LIBRARIES = "import paramiko, sqlalchemy, pydantic, starlette.applications, uvicorn, uvloop, typer"
Result = dict[str, Any]
console = Console()


@dataclass(slots=True)
class Watched:
    """Processes that are measured together, from the first look to the last."""

    title: str
    pid: int
    looks: list[tuple[float, list[Cost]]] = field(default_factory=list)

    def look(self) -> None:
        """Measure now."""
        self.looks.append((time.monotonic(), tree(self.pid)))

    def result(self) -> Result:
        """Bytes: the median of all looks. Processor time and wake-ups: from the first to the last."""
        (began, first), (ended, last) = self.looks[0], self.looks[-1]
        seconds = ended - began
        before = {each.pid: each for each in first}
        parts = [_part(each, before.get(each.pid), seconds) for each in last]
        finished = last[0].ended - first[0].ended  # processes that came and went in between
        return {
            "seconds": round(seconds, 1),
            "rss": round(statistics.median(sum(each.rss for each in look) for _, look in self.looks)),
            "together": round(statistics.median(together(look) for _, look in self.looks)),
            "percent": round(sum(part["percent"] for part in parts) + 100 * finished / seconds, 3),
            "wakes": round(sum(part["wakes"] for part in parts), 1),
            "processes": parts,
        }


def _part(now: Cost, before: Cost | None, seconds: float) -> Result:
    cpu, switches = (before.cpu, before.switches) if before else (0.0, 0)
    return {
        "name": now.name,
        "rss": now.rss,
        "together": now.own,
        "threads": now.threads,
        "percent": round(100 * (now.cpu - cpu) / seconds, 3),
        "wakes": round((now.switches - switches) / seconds, 1),
    }


@dataclass(frozen=True, slots=True)
class Daemon:
    """`run`, when it has worked."""

    pid: int
    where: Place
    admin: int

    def ask(self, number: int) -> None:
        """Questions of a bot, and looks at the metrics and the status page."""
        _ask(self.where.port, [request("GET", QUESTION, headers())] * number)
        _ask(self.admin, [request("GET", path, {}) for path in ("/metrics", "/") * 5])

    def post(self, number: int) -> None:
        """Live posts."""
        bodies = [json.dumps(event(f"idle-{each}")).encode() for each in range(number)]
        _ask(self.where.port, [request("POST", "/webhooks", headers(), body) for body in bodies])


def _ask(port: int, requests: Sequence[bytes]) -> None:
    with Connection(port) as connection:
        statuses = {connection.send(each) for each in requests}
    if statuses != {200}:
        raise BenchmarkError(f"requests were answered with {sorted(statuses)}")


@contextlib.contextmanager
def daemon(server: ThrowAwayServer, folder: Path, asked: argparse.Namespace) -> Iterator[Daemon]:
    """`run`, when it has drained a folder, delivered everything and answered."""
    remote = Path(tempfile.mkdtemp(prefix="remote-", dir=server.root))
    wanted = fill(remote, asked.files)
    where = place(folder / "ours", journal=True, server=server, remote=remote, after="keep" if asked.keep else "delete")
    port = free_port()
    with where.config.open("a") as config:
        config.write(f'admin = {{ listen = "127.0.0.1:{port}" }}\n')
    with ours(where, "run") as process:
        _wait(lambda: asked.keep or next(remote.iterdir(), None) is None, "the end of the drain")
        _wait(lambda: where.journal.exists() and where.journal.read_bytes().count(b"\n") >= len(wanted), "deliveries")
        made = Daemon(process.pid, where, port)
        made.ask(asked.requests)
        yield made


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 600
    while not done():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited in vain for {what}")
        time.sleep(0.1)


@contextlib.contextmanager
def command(*words: str) -> Iterator[int]:
    """A program that does nothing else but what it costs; yields its pid."""
    process = subprocess.Popen(words, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def rclone(server: ThrowAwayServer, folder: Path) -> Iterator[int]:
    """`rclone move` of an empty folder, as often as we poll."""
    peer = next(each for each in PEERS if each.program == "rclone")
    remote = Path(tempfile.mkdtemp(prefix="remote-", dir=server.root))
    (folder / "rclone").mkdir()
    words = peer.command(Job(server, server.port, remote, folder / "rclone"))
    with command("bash", "-c", f'while "$@"; do sleep {POLL_SECONDS}; done', "bash", *words) as pid:
        yield pid


@contextlib.contextmanager
def peers(server: ThrowAwayServer, folder: Path, asked: argparse.Namespace) -> Iterator[list[Watched]]:
    """What runs beside ours."""
    with contextlib.ExitStack() as stack:
        watched = []
        if asked.peers and shutil.which("rclone"):
            watched.append(Watched("rclone move, in a loop", stack.enter_context(rclone(server, folder))))
        if asked.peers:
            libraries = command(sys.executable, "-c", f"{_LIBRARIES}; import time; time.sleep(1e9)")
            watched.append(Watched("Python with the libraries", stack.enter_context(libraries)))
        yield watched


def measure(watched: Sequence[Watched], seconds: float) -> dict[str, Result]:
    """Let everything come to rest, and look at it again and again."""
    time.sleep(_SETTLE_SECONDS)
    end = time.monotonic() + seconds
    while True:
        for each in watched:
            each.look()
        if (left := end - time.monotonic()) <= 0:
            return {each.title: each.result() for each in watched}
        time.sleep(min(_LOOK_SECONDS, left))


def show(results: dict[str, Result]) -> None:
    """The table, with the goals for ours."""
    ours = results[OURS]
    title = f"Idle, {ours['seconds']:g} s"
    table = Table("process", "resident, sum", "shared once", "one core", "wakes/s", "threads", title=title)
    for name, result in results.items():
        for part in result["processes"]:
            table.add_row(f"  {part['name']}", *_cells(part), str(part["threads"]), style="dim")
        table.add_row(name, *_cells(result), "")
    table.add_section()
    table.add_row("goal", f"< {_mb(GOAL_BYTES)}", f"< {_mb(GOAL_BYTES)}", f"< {GOAL_PERCENT} %", "", "")
    ratios = (ours["rss"] / GOAL_BYTES, ours["together"] / GOAL_BYTES, ours["percent"] / GOAL_PERCENT)
    table.add_row("ours to the goal", *(f"{ratio:.2f} ×" for ratio in ratios), "", "")
    console.print(table)


def _cells(result: Result) -> tuple[str, str, str, str]:
    return _mb(result["rss"]), _mb(result["together"]), f"{result['percent']:.3f} %", f"{result['wakes']:.1f}"


def _mb(number: float) -> str:
    return f"{number / 1e6:.1f} MB"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--minutes", type=float, default=10.0, help="how long to measure")
    add("--files", type=int, default=2_000, help="files handled before")
    add("--requests", type=int, default=100, help="questions, and live posts, answered before")
    add(
        "--keep",
        action="store_true",
        help='leave the files in the folder (after = "keep"), so that each poll lists them',
    )
    add("--no-peers", dest="peers", action="store_false", help="ours alone")
    add("--json", type=Path, help="where to keep the result (default: a new file in benchmarks/results/)")
    return parser.parse_args()


def main() -> int:
    """Measure, show and keep; 1 when the goal is missed."""
    asked = arguments()
    os.environ["MALLOC_ARENA_MAX"] = "1"  # as the shipped units do
    compileall.compile_dir(sftpd_processor.__path__[0], quiet=1)  # as pip does: compiling takes memory in each process
    folder = Path(tempfile.mkdtemp(prefix="sftpd-processor-idle-", dir=FAST))
    try:
        with fast_server() as server, daemon(server, folder, asked) as ours, peers(server, folder, asked) as others:
            results = measure([Watched(OURS, ours.pid), *others], asked.minutes * 60)
            ours.post(asked.requests)
            results |= measure([Watched(f"{OURS}, after live posts", ours.pid)], _AFTER_SECONDS)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(results)
    machine = {"platform": platform.platform(), "python": platform.python_version()}
    path = asked.json or RESULTS / f"idle-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(
        json.dumps({"machine": machine, "files": asked.files, "keep": asked.keep, **results}, indent=2) + "\n"
    )
    console.print(f"kept in {path}")
    return int(results[OURS]["together"] >= GOAL_BYTES or results[OURS]["percent"] >= GOAL_PERCENT)


if __name__ == "__main__":
    sys.exit(main())
