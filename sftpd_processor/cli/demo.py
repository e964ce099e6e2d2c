"""The verb `demo`: the whole main job on a throw-away server, so that a newcomer sees what it does.

Nothing in it is pretended but Webio and the server's owner: the runs are the real command `once`, in processes of
their own, and every figure that is shown comes from `status --json` or from the files they wrote.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.demo_stage import LEFT_ALONE, SETTLE_SECONDS, UNFINISHED, Stage, throw_away_server
from sftpd_processor.errors import PermanentError

if TYPE_CHECKING:
    from rich.console import Console

    from sftpd_processor.testing.servers import ThrowAwayServer

_MOST_EXAMPLES = 3
_PLAIN_WIDTH = 110

VERDICTS = {
    "accepted": "new events, handed to the handlers",
    "duplicate": "came before; kept, but not delivered again",
    "partial": "some of its events are unreadable, the others were taken; in quarantine",
    "conflict": "a known event with other content; in quarantine",
    "invalid": f"unreadable, also after {SETTLE_SECONDS} s of standing still; in quarantine",
}
OTHERS = {
    "waiting": "may be half-written; for the next run",
    "vanished": "seen half-written; finished later, as another file",
    "ignored": "not a name to take; left alone",
}
PURPOSES = {
    "journal": "every event, a line each",
    "opt-outs": "messages that say STOP",
    "payments": "fails at first, so is tried again",
}


def demo(
    folder: Annotated[
        Path | None,
        typer.Option(help="Where to put everything; must be new or empty. Default: a new folder for temporary files."),
    ] = None,
    keep_serving: Annotated[
        bool, typer.Option("--keep-serving", help="Keep the server until Ctrl-C, to go on trying things out.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Show the main job on a throw-away server.

    On this machine, with sample files; takes a few seconds.
    """
    from rich.console import Console

    plain = None if sys.stdout.isatty() else _PLAIN_WIDTH
    console = Console(quiet=as_json, highlight=False, markup=False, soft_wrap=True, width=plain)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the server is stopped in any case
    try:
        stage = _stage(folder)
        with throw_away_server(stage.folder / "server") as server:
            results = _play(stage, server, console)
            sys.stdout.write(json.dumps(results) + "\n") if as_json else _show(stage, results, console)
            sys.stdout.flush()
            if keep_serving:
                _serve(stage, server, console)
    except KeyboardInterrupt:
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    except OSError as error:
        raise PermanentError(f"the demo cannot write its files: {error}; choose another place by --folder") from error


def _stage(folder: Path | None) -> Stage:
    if folder is None:
        return Stage(Path(tempfile.mkdtemp(prefix="sftpd-processor-demo-")))
    folder.mkdir(parents=True, exist_ok=True)
    if any(folder.iterdir()):
        raise PermanentError(f"{folder} is not empty: name another folder by --folder, or remove this one first")
    return Stage(folder)


def _play(stage: Stage, server: ThrowAwayServer, console: Console) -> dict[str, Any]:
    """The demo itself; returns its results."""
    stage.configure(server)
    kind = "the machine's own sshd" if type(server).__name__ == "OpenSshServer" else "asyncssh"
    console.print(f"1. A throw-away SFTP server ({kind}) listens at {server.host}:{server.port}.")
    stage.write_files()
    odd = stage.written.total() - stage.written["event"]
    console.print(
        f"2. A pretend Webio puts {stage.written.total()} files into its folder, {odd} of them out of the ordinary. "
        f"{UNFINISHED} more are still\n   being uploaded, and {len(LEFT_ALONE)} others are not for us."
    )
    console.print("3. First run: everything is fetched, recorded, delivered, and moved aside on the server.")
    _echo(stage, stage.once(), console)
    stage.finish_files()
    time.sleep(SETTLE_SECONDS)
    console.print(
        f"4. {UNFINISHED} uploads have ended, and {SETTLE_SECONDS} s has passed: what still cannot be read stays that "
        "way. Second run:"
    )
    _echo(stage, stage.once(), console)
    return _results(stage, server)


def _echo(stage: Stage, output: str, console: Console) -> None:
    console.print(f"   $ {_command(stage, 'once')}", style="bold")
    console.print("".join(f"     {line}\n" for line in output.splitlines()), style="dim")


def _results(stage: Stage, server: ThrowAwayServer) -> dict[str, Any]:
    status = stage.status()
    moved = stage.webhooks / "processed"
    examples = _examples(stage.folder / "state" / "quarantine")
    return {
        "folder": str(stage.folder),
        "server": f"{server.host}:{server.port}",
        "written": {**stage.written, "unfinished": UNFINISHED, "not for us": len(LEFT_ALONE)},
        "runs": stage.runs,
        "files": status["sources"]["webio"],
        "handlers": status["handlers"],
        "examples": examples,
        "on_the_server": {
            "processed": sum(1 for _ in moved.iterdir()),
            "left": sorted(entry.name for entry in stage.webhooks.iterdir() if entry != moved),
        },
        "try_next": _try_next(stage, examples[0]["reason_file"]),
    }


def _examples(quarantine: Path) -> list[dict[str, str]]:
    """A few quarantined files, each for another reason."""
    found: dict[str, dict[str, str]] = {}
    for path in sorted(quarantine.rglob("*.reason.json")):
        note = json.loads(path.read_text())
        example = {"name": note["file"], "verdict": note["verdict"], "reason_file": str(path), **note["problems"][0]}
        found.setdefault(example["why"], example)
    # A conflict first, and then the reasons with the most words, which tell a newcomer the most.
    telling = sorted(found.values(), key=lambda example: (example["verdict"], -len(example["why"])))
    return telling[:_MOST_EXAMPLES]


def _try_next(stage: Stage, reason: str) -> dict[str, str]:
    """What is said of a command → the command; all of them work without the server."""
    return {
        "what the ledger knows": _command(stage, "status"),
        "why one file was refused": f"cat {shlex.quote(reason)}",
        "the first events delivered": f"head -n 2 {shlex.quote(str(stage.folder / 'events.jsonl'))}",
        "the configuration, and the handlers": f"cat {shlex.quote(str(stage.config))} "
        f"{shlex.quote(str(stage.folder / 'demo_handlers.py'))}",
        "the same with a server that stays": f"{_program()} demo --keep-serving",
    }


def _program() -> str:
    """How this program was called, so that what is suggested can be pasted."""
    called = sys.argv[0]
    found = shutil.which("sftpd-processor")
    if found and Path(called).exists() and Path(found).samefile(called):
        return "sftpd-processor"
    with contextlib.suppress(ValueError):
        called = str(Path(called).relative_to(Path.cwd()))
    return shlex.quote(called)


def _command(stage: Stage, verb: str) -> str:
    return f"{_program()} -c {shlex.quote(str(stage.config))} {verb}"


def _show(stage: Stage, results: dict[str, Any], console: Console) -> None:
    """The results, at a glance."""
    files, server = results["files"], results["on_the_server"]
    verdicts = [(word, files["verdicts"][word], meaning) for word, meaning in VERDICTS.items()]
    others = [(word, files[word], meaning) for word, meaning in OTHERS.items() if files[word]]
    _table(console, f"What became of the {files['listed']} files ever listed", ["files"], verdicts + others)
    handlers = [
        (name, counts["done"], counts["skipped"], counts["retrying"], PURPOSES[name])
        for name, counts in results["handlers"].items()
    ]
    _table(console, "What was delivered to the handlers", ["done", "skipped", "to be retried"], handlers)
    console.print("Refused, for example", style="bold")
    for example in results["examples"]:
        console.print(f"  {example['name']} ({example['verdict']})\n    {example['where']}: {example['why']}")
        if first := example.get("recorded_from"):
            console.print(f"    the first one came in {first}")
    console.print("\nWhere things are", style="bold")
    state = stage.folder / "state"
    for what, where in (
        ("on the server, moved", f"{stage.webhooks / 'processed'} ({server['processed']} files)"),
        ("on the server, left alone", ", ".join(server["left"])),
        ("local copies", f"{state / 'archive'}"),
        ("quarantine, with reasons", f"{state / 'quarantine'}"),
        ("ledger", f"{state / 'ledger.db'}"),
        ("delivered events", f"{stage.folder / 'events.jsonl'}, {stage.folder / 'opt-outs.txt'}"),
    ):
        console.print(f"  {what:<27}{where}")
    console.print("\nTry next", style="bold")
    for what, command in results["try_next"].items():
        console.print(f"  # {what}", style="dim")
        console.print(f"  {command}")


def _table(console: Console, title: str, numbers: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD if console.is_terminal else None, pad_edge=True, padding=(0, 1))
    table.add_column("", no_wrap=True)
    for name in numbers:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", overflow="fold")
    for row in rows:
        table.add_row(*map(str, row))
    console.print(title, style="bold")
    console.print(table)
    console.print()


def _serve(stage: Stage, server: ThrowAwayServer, console: Console) -> None:
    """Keep the server, until Ctrl-C or SIGTERM."""
    console.print(f"\nThe server stays at {server.host}:{server.port} until Ctrl-C. In another terminal:", style="bold")
    for verb in ("check --live", "simulate --count 1000 --duplicates 0.05", "once", "run"):
        console.print(f"  {_command(stage, verb)}")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
