"""The verb `once`: one poll of every source, deliveries until nothing is due, then the end."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.signals import stop_at_signals
from sftpd_processor.cli.words import VERDICTS, counted, listed

if TYPE_CHECKING:
    from sftpd_processor.daemon import Report


def once(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Poll once, deliver what is due, and exit.

    Every source is polled until it holds nothing new, and deliveries go on until none is due. Files that may be
    half-written, and deliveries that wait for another attempt, are left to the next run.
    """
    from sftpd_processor.daemon import Daemon

    config = configured(ctx)
    daemon = Daemon(config.configuration, config.folder)
    stop_at_signals(daemon.stop)
    with _progress(shown=not as_json and sys.stderr.isatty()) as watch:
        report = daemon.once(watch)
    for name in report.intakes:  # the archive and the handlers have told theirs in the log
        if name in report.failures:
            sys.stderr.write(f"sftpd-processor: {report.failures[name]}\n")
    sys.stdout.write(json.dumps(as_data(report)) + "\n" if as_json else as_text(report))
    raise typer.Exit(exit_code(report))


def exit_code(report: Report) -> int:
    """The worst of what happened."""
    if report.interrupted:
        return exit_codes.INTERRUPTED
    if report.failures:
        return max(failure.exit_code for failure in report.failures.values())
    return exit_codes.DONE_WITH_LOSSES if report.quarantined or report.died else exit_codes.DONE


def as_data(report: Report) -> dict[str, Any]:
    """For `--json`."""
    return {
        "seconds": round(report.seconds, 3),
        "interrupted": report.interrupted,
        "sources": {
            name: {
                "recorded": intake.tally.recorded,
                "events": intake.tally.events,
                "disposed": intake.tally.disposed,
                **{word: intake.tally.verdicts[word] for word in VERDICTS},
                "waiting": intake.tally.last.waiting,
                "ignored": intake.tally.last.ignored,
                "failure": _failure(report, name),
            }
            for name, intake in report.intakes.items()
        },
        "handlers": {
            name: {
                **{word: deliverer.settled[state] for word, state in STATES.items()},
                "not tried": report.untried.get(name, 0),
                "breaker_open": name in report.untried,
                "failure": _failure(report, f"handler {name}"),
            }
            for name, deliverer in report.deliverers.items()
        },
    }


def _failure(report: Report, name: str) -> str | None:
    return str(report.failures[name]) if name in report.failures else None


LEFT = ("waiting", "ignored")
STATES = {"done": "done", "skipped": "skipped", "to be retried": "pending", "dead": "dead"}


def as_text(report: Report) -> str:
    """For people: a line for each source and each handler."""
    data = as_data(report)
    lines = [f"source {name}: {_source_text(source)}" for name, source in data["sources"].items()]
    for name, handler in data["handlers"].items():
        lines.append(f"handler {name}: {_handler_text(handler)}")
    lines.append(f"{'interrupted after' if report.interrupted else 'in'} {report.seconds:.1f} s")
    if report.quarantined:
        lines.append(f"{counted(report.quarantined, 'file')} went into quarantine: sftpd-processor status shows why")
    return "\n".join([*lines, ""])


def _source_text(source: dict[str, Any]) -> str:
    recorded = "nothing new"
    if source["recorded"]:
        verdicts = listed({verdict: source[verdict] for verdict in VERDICTS})
        recorded = f"{counted(source['recorded'], 'file')} recorded ({verdicts})"
    parts = ["FAILED (see above)"] if source["failure"] else []
    return "; ".join([*parts, recorded, *filter(None, [listed({word: source[word] for word in LEFT})])])


def _handler_text(handler: dict[str, Any]) -> str:
    parts = ["FAILED (see above)"] if handler["failure"] else []
    parts.append(listed({word: handler[word] for word in (*STATES, "not tried")}) or "nothing to deliver")
    if handler["breaker_open"]:
        parts.append("all that was tried last failed, so the others wait")
    return "; ".join(parts)


@contextmanager
def _progress(*, shown: bool) -> Iterator[Callable[[Report], None]]:
    """A line on the terminal that follows the work."""
    if not shown:
        yield lambda _report: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        files = progress.add_task("files recorded", total=None)
        deliveries = progress.add_task("deliveries", total=None)

        def watch(report: Report) -> None:
            tallies = [intake.tally for intake in report.intakes.values()]
            found = sum(tally.listed for tally in tallies)
            recorded = sum(tally.recorded for tally in tallies)
            events = sum(tally.events for tally in tallies) * len(report.deliverers)
            progress.update(files, completed=recorded, total=max(found, recorded))
            progress.update(
                deliveries, completed=sum(d.settled.total() for d in report.deliverers.values()), total=events
            )

        yield watch
