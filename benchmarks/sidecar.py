"""How fast the public listener answers, and that it loses nothing: benchmarks/sidecar.py.

Four parts, all on the real command in processes of their own: custom values beside bare servers on the same uvicorn;
their latency while the daemon drains a burst of files, beside idle; live posts, each durable before its answer, beside
what SQLite can commit on the same disk; and the listener killed while it is posted to. Needs wrk.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import platform
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.commits import bare_rows_per_second, ledger_rows_per_second
from benchmarks.drain import FAST, RESULTS, BenchmarkError, fast_server, fill
from benchmarks.listeners import QUESTION, Place, bare, headers, ours, place
from benchmarks.load import Connection, Pressed, Steady, event, milliseconds, need_wrk, press, press_posts, request

OURS, STARLETTE, ASGI = "sftpd-processor serve", "bare Starlette route", "bare ASGI function"
CLIENTS = 64
Result = dict[str, Any]
console = Console()


def custom_values(folder: Path, asked: argparse.Namespace) -> Result:
    """Questions per second, beside bare servers; the listener has one core and wrk the other."""
    rates: dict[str, list[float]] = {OURS: [], STARLETTE: [], ASGI: []}
    with _three_servers(folder) as ports:
        for number in range(asked.rounds):
            for name, port in ports.items():
                url = f"http://127.0.0.1:{port}{QUESTION}"
                pressed = press(url, headers(), seconds=asked.seconds, clients=32, core=1)
                _must_be_good(name, pressed)
                rates[name].append(pressed.per_second)
                console.log(f"custom values, round {number + 1}: {name} {pressed.per_second:,.0f}/s")
    medians = {name: statistics.median(each) for name, each in rates.items()}
    return {
        "per_second": {name: round(each) for name, each in medians.items()},
        "ours_to_starlette": round(medians[OURS] / medians[STARLETTE], 3),
        "ours_to_asgi": round(medians[OURS] / medians[ASGI], 3),
        "pinned": shutil.which("taskset") is not None,
    }


@contextmanager
def _three_servers(folder: Path) -> Iterator[dict[str, int]]:
    """All run at once, but only the one that is asked has anything to do."""
    with contextlib.ExitStack() as stack:
        where = place(folder / "values", journal=False)
        stack.enter_context(ours(where, core=0))
        ports = {OURS: where.port}
        for name, kind in ((STARLETTE, "starlette"), (ASGI, "asgi")):
            (folder / kind).mkdir()
            ports[name] = stack.enter_context(bare(kind, folder / kind, core=0))
        yield ports


def _must_be_good(name: str, pressed: Pressed) -> None:
    if pressed.bad or pressed.errors or not pressed.requests:
        raise BenchmarkError(f"{name}: {pressed}")


def during_a_drain(asked: argparse.Namespace) -> Result:
    """Latency at a steady pace while the daemon drains a folder of a real sshd, and afterwards, when it is idle.

    Half of the questions go to a bare server: what becomes slower there is the machine's doing.
    """
    with fast_server() as server:
        remote = Path(tempfile.mkdtemp(prefix="remote-", dir=server.root))
        folder = Path(tempfile.mkdtemp(prefix="sftpd-processor-bench-", dir=FAST))
        try:
            wanted = fill(remote, asked.files)
            where = place(folder / "drain", journal=True, server=server, remote=remote)
            with bare("starlette", folder) as port, ours(where, "run"):
                ports = {OURS: where.port, STARLETTE: port}
                began = time.monotonic()
                drain = _asked_until(ports, asked.rate, lambda: next(remote.iterdir(), None) is None)
                seconds = time.monotonic() - began
                _wait(lambda: where.journal.read_bytes().count(b"\n") >= len(wanted), "the deliveries")
                end = time.monotonic() + max(seconds, asked.seconds)
                idle = _asked_until(ports, asked.rate, lambda: time.monotonic() > end)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
    return {"files": asked.files, "drain_seconds": round(seconds, 1), "idle": idle, "drain": drain}


def _asked_until(ports: dict[str, int], rate: float, done: Callable[[], bool]) -> Result:
    question = request("GET", QUESTION, headers())
    with contextlib.ExitStack() as stack:
        each = {name: stack.enter_context(Steady(port, question, rate / 2)) for name, port in ports.items()}
        _wait(done, "the end of the drain")
    if bad := sum(steady.bad for steady in each.values()):
        raise BenchmarkError(f"{bad} questions were not answered with 200")
    return {name: milliseconds(steady.latencies) for name, steady in each.items()}


def _wait(done: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 600
    while not done():
        if time.monotonic() > deadline:
            raise BenchmarkError(f"waited in vain for {what}")
        time.sleep(0.05)


def live_posts(folder: Path, asked: argparse.Namespace) -> Result:
    """Posts per second of 64 clients, each with an event of its own, beside what the disk can commit."""
    found: Result = {}
    for title, journal in (("without handlers", False), ("with a jsonl handler", True)):
        rates = [
            _posted(folder / f"posts-{journal}-{number}", asked.seconds, journal=journal)
            for number in range(asked.rounds)
        ]
        found[title] = round(statistics.median(rates))
        console.log(f"live posts, {title}: {', '.join(f'{rate:,.0f}/s' for rate in rates)}")
    limits = {
        "SQLite, 64 rows in a commit": bare_rows_per_second(folder, CLIENTS, asked.seconds),
        "SQLite, one row in a commit": bare_rows_per_second(folder, 1, asked.seconds),
        "the ledger alone, 64 posts in a commit": ledger_rows_per_second(folder, CLIENTS, asked.seconds),
    }
    return {"per_second": found, "limits": {name: round(rate) for name, rate in limits.items()}}


def _posted(folder: Path, seconds: int, *, journal: bool) -> float:
    where = place(folder, journal=journal)
    with ours(where):
        pressed = press_posts(f"{where.url}/webhooks", headers(), folder.name, seconds=seconds, clients=CLIENTS)
        _must_be_good(OURS, pressed)
    kept = len(_identities(where))
    # wrk ends with a request of each connection under way, which may have been recorded without being counted.
    if not pressed.good <= kept <= pressed.good + CLIENTS:
        raise BenchmarkError(f"{pressed.good} posts were answered with 200, but the ledger has {kept} events")
    shutil.rmtree(folder)
    return pressed.per_second


def _identities(where: Place) -> set[str]:
    connection = sqlite3.connect(where.ledger)
    try:
        return {json.loads(identity)[1] for (identity,) in connection.execute("SELECT identity FROM events")}
    finally:
        connection.close()


def killed(folder: Path, asked: argparse.Namespace) -> Result:
    """kill -9 amid posts: whatever was answered with 200 must be in the ledger."""
    acknowledged = lost = 0
    for number in range(asked.kills):
        where = place(folder / f"killed-{number}", journal=False)
        with ours(where) as process:
            known = _post_until_it_dies(where, process, after=0.5 + 0.3 * number)
        acknowledged += len(known)
        lost += len(known - _identities(where))
    if not acknowledged:
        raise BenchmarkError("nothing was acknowledged before the kill")
    return {"kills": asked.kills, "acknowledged": acknowledged, "lost": lost}


def _post_until_it_dies(where: Place, process: subprocess.Popen[bytes], after: float) -> set[str]:
    known: set[str] = set()

    def post(client: int) -> None:
        with contextlib.suppress(OSError), Connection(where.port) as connection:
            for number in range(1_000_000):
                identity = f"{client}-{number}"
                body = json.dumps(event(identity)).encode()
                if connection.send(request("POST", "/webhooks", headers_, body)) == 200:
                    known.add(identity)

    headers_ = headers()
    threads = [threading.Thread(target=post, args=(client,)) for client in range(CLIENTS)]
    for thread in threads:
        thread.start()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    for thread in threads:
        thread.join()
    return known


def show(results: Result) -> None:
    """The tables: what was measured, and beside it what is wanted."""
    table = Table("what", "measured", "compared", "wanted", title="The sidecar")
    for row in _rows(results):
        table.add_row(*row)
    console.print(table)


def _rows(results: Result) -> Iterator[tuple[str, str, str, str]]:
    if values := results.get("values"):
        rates = values["per_second"]
        yield "custom values, GET", f"{rates[OURS]:,}/s", f"{values['ours_to_starlette']:.2f} × Starlette", "≥ 0.70 ×"
        yield STARLETTE, f"{rates[STARLETTE]:,}/s", "", ""
        yield ASGI, f"{rates[ASGI]:,}/s", f"ours {values['ours_to_asgi']:.2f} ×", ""
    if drain := results.get("drain"):
        for who, name in ((OURS, "p50"), (OURS, "p99"), (STARLETTE, "p99")):
            busy, idle = drain["drain"][who][name], drain["idle"][who][name]
            wanted = "≤ 2.00 ×" if (who, name) == (OURS, "p99") else ""
            yield (
                f"GET {name}, {who}",
                f"{busy:.2f} ms draining, {idle:.2f} ms idle",
                f"{busy / idle:.2f} × idle",
                wanted,
            )
        yield "that drain", f"{drain['files']:,} files in {drain['drain_seconds']} s", "", ""
    if posts := results.get("posts"):
        limit = posts["limits"]["SQLite, 64 rows in a commit"]
        for title, rate in posts["per_second"].items():
            yield f"live posts, {title}", f"{rate:,}/s", f"{rate / limit:.2f} × the limit", "≥ 3,000/s or ≥ 0.50 ×"
        for title, rate in posts["limits"].items():
            yield title, f"{rate:,}/s", "", ""
    if kill := results.get("kill"):
        yield f"{kill['kills']} × kill -9", f"{kill['acknowledged']:,} acknowledged", f"{kill['lost']} lost", "0 lost"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--rounds", type=int, default=5, help="rounds of each measurement; the median counts")
    add("--seconds", type=int, default=5, help="seconds of one measurement")
    add("--files", type=int, default=50_000, help="files of the drain")
    add("--rate", type=float, default=200.0, help="questions per second beside the drain")
    add("--kills", type=int, default=3, help="how often the listener is killed")
    add("--only", choices=("values", "drain", "posts", "kill"), help="only one of the four parts")
    add("--disk", type=Path, default=RESULTS, help="a folder on the disk that the ledger is measured on")
    add("--json", type=Path, help="where to keep the result (default: a new file in benchmarks/results/)")
    return parser.parse_args()


def main() -> int:
    """Measure, show and keep; 1 when something acknowledged was lost."""
    asked = arguments()
    need_wrk()
    asked.disk.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="sidecar-", dir=asked.disk))
    parts: dict[str, Callable[[], Result]] = {
        "values": lambda: custom_values(folder, asked),
        "drain": lambda: during_a_drain(asked),
        "posts": lambda: live_posts(folder, asked),
        "kill": lambda: killed(folder, asked),
    }
    try:
        results = {name: part() for name, part in parts.items() if asked.only in (None, name)}
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    show(results)
    machine = {"platform": platform.platform(), "python": platform.python_version()}
    path = asked.json or RESULTS / f"sidecar-{datetime.now(UTC):%Y%m%d-%H%M%S}.json"
    path.write_text(json.dumps({"machine": machine, **results}, indent=2) + "\n")
    console.print(f"kept in {path}")
    return int(bool(results.get("kill", {}).get("lost")))


if __name__ == "__main__":
    sys.exit(main())
