"""How long a history takes to be handled again, beside plain loops that only open each file and run `json.loads`.

`sftpd-processor reprocess` reads, validates, records files and events, hands them to a function that does nothing, and
settles the deliveries, all of it durable. Every program is a whole process, from start to exit; they take turns, and
the median counts. After each run the ledger must hold every file, event and delivery.

.venv/bin/python benchmarks/reprocess.py --files 200000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.drain import FAST, RESULTS, BenchmarkError
from benchmarks.history import HANDLER, History, Place, history, rows
from benchmarks.processes import peaks

GOAL_COMPACTED, GOAL_PLAIN = 1.0, 0.5
"""How fast it is wanted: so many times the plain loop."""
_LOOP, _WALK = "plain loop (pathlib)", "plain loop (os.walk)"
_COPIED = ("files", "events", "deliveries")
_WANTED = {
    "files": "SELECT count(*) FROM files WHERE state = 'recorded' AND verdict = 'accepted'",
    "events": "SELECT count(*) FROM events",
    "deliveries": f"SELECT count(*) FROM deliveries WHERE handler = '{HANDLER}' AND state = 'done'",
    "finished replays": "SELECT (count(*) = 0) * {count} FROM replays WHERE finished_at IS NULL",
}
console = Console()


@dataclass(slots=True)
class Case:
    """One way to go through the history; `begin` makes it ready, `check` looks at what came of it."""

    name: str
    command: list[str]
    begin: Callable[[], None]
    check: Callable[[str], None]
    goal: float | None = None
    seconds: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """In seconds."""
        return statistics.median(self.seconds)


def loop(name: str, way: str, place: Place) -> Case:
    """A plain loop over the archive of `place`."""
    command = [sys.executable, str(Path(__file__).with_name("loops.py")), way, str(place.state)]

    def check(said: str) -> None:
        if int(said) != place.count:
            raise BenchmarkError(f"{name}: it met {said.strip()} of {place.count} events")

    return Case(name, command, lambda: None, check)


def ours(name: str, place: Place, known: Path | None, *chosen: str, goal: float | None = None) -> Case:
    """`reprocess` of what is `chosen`, with no ledger or a `known` one."""
    command = place.reprocess(*chosen, "--handler", HANDLER)
    return Case(name, command, lambda: place.forget(known), lambda _: check_ledger(name, place), goal)


def check_ledger(name: str, place: Place) -> None:
    """Raise `BenchmarkError` unless every file and event is recorded, and every event delivered."""
    found = rows(place.ledger, [each.format(count=place.count) for each in _WANTED.values()])
    if found != [place.count] * len(found):
        raise BenchmarkError(f"{name}: of {place.count} each, the ledger has {dict(zip(_WANTED, found, strict=True))}")


def cases(made: History) -> list[Case]:
    """Those that are compared."""
    plain, compacted = made.plain, made.compacted
    return [
        loop(_LOOP, "pathlib", plain),
        loop(_WALK, "walk", plain),
        ours("compacted days, no ledger", compacted, None, str(compacted.archive), goal=GOAL_COMPACTED),
        ours("plain files, no ledger", plain, None, str(plain.archive), goal=GOAL_PLAIN),
        ours("compacted days, known to the ledger", compacted, made.known, str(compacted.archive)),
        ours("from the ledger (--all)", compacted, made.known, "--all"),
    ]


def limits(made: History) -> list[Case]:
    """Parts of ours alone."""
    return [loop("reading and validating alone", "validate", made.compacted), _rows_alone(made)]


def _rows_alone(made: History) -> Case:
    """The rows of a finished ledger, copied by SQLite itself into an empty one; no Python in it but its start."""
    place = made.compacted
    source, target = made.known.with_name("finished.db"), made.known.with_name("copied.db")
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[2]); c.execute('ATTACH ? AS old', sys.argv[1:2]);"
        "c.execute('PRAGMA foreign_keys = ON');"
        f"[c.execute(f'INSERT INTO {{t}} SELECT * FROM old.{{t}}') for t in {_COPIED}]; c.commit()"
    )

    def begin() -> None:
        for name in ("", "-wal", "-shm"):
            Path(f"{target}{name}").unlink(missing_ok=True)
        with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
            new.execute("PRAGMA journal_mode = WAL")
            for (sql,) in old.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL"):
                new.execute(sql)

    def check(_: str) -> None:
        if rows(target, [_WANTED["deliveries"]]) != [place.count]:
            raise BenchmarkError("the rows were not copied")

    return Case("SQLite writing the rows alone", [sys.executable, "-c", script, str(source), str(target)], begin, check)


def run(case: Case, limit: float) -> float:
    """Run it once; returns the seconds."""
    case.begin()
    began = time.perf_counter()
    done = subprocess.run(
        case.command, capture_output=True, text=True, timeout=limit, check=False, stdin=subprocess.DEVNULL
    )
    seconds = time.perf_counter() - began
    if done.returncode:
        raise BenchmarkError(f"{case.name}: exit {done.returncode}: {(done.stderr or done.stdout).strip()[-300:]}")
    case.check(done.stdout)
    return seconds


def measure(compared: list[Case], asked: argparse.Namespace) -> None:
    """Round robin, so that what changes on the machine meets all alike."""
    for number in range(asked.runs):
        for case in compared:
            case.seconds.append(run(case, asked.limit))
            console.log(f"run {number + 1}: {case.name} {case.seconds[-1]:.2f} s")


def peak(case: Case) -> int:
    """The most memory it takes, all its processes together; measured apart, since watching takes time too."""
    case.begin()
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(case.command, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        found = peaks(process)
    if process.returncode:
        raise BenchmarkError(f"{case.name}: exit {process.returncode}")
    return found


def show(compared: list[Case], count: int, runs: int) -> None:
    """Print the table."""
    loops = [case.median for case in compared if case.name in (_LOOP, _WALK)]
    table = Table("", "median", "events/s", "µs each", "× pathlib", "× os.walk", "wanted")
    table.title = f"{count:,} events, {runs} runs"
    for case in compared:
        ratios = (f"{each / case.median:.2f}" for each in loops)
        goal = "" if case.goal is None else f"≥ {case.goal:g}"
        speed, each = f"{count / case.median:,.0f}", f"{case.median / count * 1e6:.1f}"
        table.add_row(case.name, f"{case.median:.2f} s", speed, each, *ratios, goal)
    console.print(table)


def memory(folder: Path, sizes: tuple[int, ...]) -> dict[str, dict[int, int]]:
    """The peaks of our cases over a small and a large history."""
    found: dict[str, dict[int, int]] = {}
    for count in sizes:
        place = folder / f"memory-{count}"
        for case in cases(history(place, count))[2:]:
            found.setdefault(case.name, {})[count] = peak(case)
        shutil.rmtree(place)
    for name, figures in found.items():
        told = ", ".join(f"{size / 2**20:.1f} MiB over {count:,}" for count, size in figures.items())
        console.print(f"peak memory, {name}: {told}")
    return found


def as_json(compared: list[Case], count: int, peaks_: dict[str, dict[int, int]]) -> dict[str, Any]:
    """Everything measured, with what it was measured on."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"platform": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        "files": count,
        "seconds": {case.name: case.seconds for case in compared},
        "medians": {case.name: case.median for case in compared},
        "peak_bytes": peaks_,
    }


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--files", type=int, default=200_000, help="archived events, one in each file")
    add("--runs", type=int, default=3, help="runs of each")
    add("--limit", type=float, default=600.0, help="seconds after which a run is cut off")
    add("--folder", type=Path, default=FAST, help="where the archive and the ledgers lie (default: in memory)")
    add("--no-memory", action="store_true", help="measure no memory")
    add("--json", type=Path, help="where to keep the result (default: a new file in benchmarks/results/)")
    return parser.parse_args()


def main() -> None:
    """Measure, show and keep."""
    asked = arguments()
    with tempfile.TemporaryDirectory(prefix="sftpd-processor-bench-", dir=asked.folder) as work:
        folder = Path(work)
        made = history(folder / "history", asked.files)
        console.print(f"{asked.files:,} events in {work}")
        compared = cases(made)
        measure(compared, asked)
        made.compacted.ledger.rename(made.known.with_name("finished.db"))
        alone = limits(made)
        measure(alone, asked)
        show([*compared, *alone], asked.files, asked.runs)
        shutil.rmtree(folder / "history")
        found = {} if asked.no_memory else memory(folder, (asked.files // 4, asked.files))
    path = asked.json or RESULTS / f"reprocess-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(as_json([*compared, *alone], asked.files, found), indent=2) + "\n")
    console.print(f"kept in {path}")


if __name__ == "__main__":
    main()
