"""What `reprocess` does once it is understood: the plan, the question, the run, and what is said of it."""

from __future__ import annotations

import gc
import json
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sftpd_processor.bell import Bell
from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.choosing import demand_known
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.lines import page
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.progress import replaying
from sftpd_processor.cli.reprocess_job import Wishes, job_of, resumed
from sftpd_processor.cli.reprocess_plan import plan_lines, quarantine_lines, totals
from sftpd_processor.cli.reprocess_report import report_lines, resume_command
from sftpd_processor.cli.signals import stop_at_signals
from sftpd_processor.cli.words import counted
from sftpd_processor.errors import PermanentError, ProcessorError, StateInUse
from sftpd_processor.state import StateFolder

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings
    from sftpd_processor.handlers.registry import Handlers
    from sftpd_processor.ledger.ledger import Ledger
    from sftpd_processor.reprocess.job import Job
    from sftpd_processor.reprocess.replay import Replay
    from sftpd_processor.reprocess.report import Report

UNASKED = 1_000
"""So many events are handled again without a question."""


def perform(ctx: typer.Context, wishes: Wishes, *, yes: bool, as_json: bool) -> None:
    """Plan, or ask and run; ends with the exit code."""
    from sftpd_processor.daemon import make_handlers
    from sftpd_processor.reprocess.replay import Replay

    gc.enable()
    config = configured(ctx)
    handlers = make_handlers(config.settings, config.folder)
    job = None if wishes.resume else job_of(wishes, config.settings, handlers)
    with _ledger(config.settings, wishes) as ledger:
        _check_against(wishes, handlers, ledger)
        job = job or _kept(ledger, wishes)
        replay = Replay(job, config.settings, ledger, handlers, wishes.resume)
        if wishes.dry_run:
            _show_plan(job, replay, as_json=as_json)
            return
        if not yes and wishes.resume is None:
            _ask(job, replay)
        stop = threading.Event()
        report = _run(replay, stop, ctx.obj.config)
    Bell(config.settings.state.dir).ring()
    _show_report(report, resume_command(report.replay, ctx.obj.config), as_json=as_json)
    raise typer.Exit(exit_code(report, stopped=stop.is_set()))


def _check_against(wishes: Wishes, handlers: Handlers, ledger: Ledger) -> None:
    """The handler to compare with may have left the configuration; then the ledger knows its deliveries still."""
    if wishes.against is not None and wishes.against not in handlers.names:
        known = [*handlers.names, *ledger.figures.deliveries()]
        demand_known("handler", wishes.against, known, "in the configuration or the ledger")


def _kept(ledger: Ledger, wishes: Wishes) -> Job:
    """The job to go on with."""
    from sftpd_processor.reprocess.job import Job

    row = ledger.replays.one(wishes.resume or 0)
    if row.finished_at is not None:
        raise PermanentError(f"replay {row.id} has come to its end; `sftpd-processor status` shows what came of it")
    return resumed(Job.from_json(row.job), wishes)


def exit_code(report: Report, *, stopped: bool) -> int:
    """The worst of what happened; `stopped` by a person, though perhaps at its very end."""
    if stopped and report.interrupted:
        return exit_codes.INTERRUPTED
    return exit_codes.DONE_WITH_LOSSES if report.unwell() else exit_codes.DONE


@contextmanager
def _ledger(settings: Settings, wishes: Wishes) -> Iterator[Ledger]:
    """The ledger that is there; for PATHs one is made, but not by --dry-run, which has one for itself then."""
    folder = settings.state.dir
    absent = settings.state.database is None and not (folder / "ledger.db").exists()
    if absent and wishes.paths and wishes.dry_run:
        import tempfile

        with tempfile.TemporaryDirectory() as scratch, _made(f"sqlite:///{scratch}/ledger.db", Path(scratch)) as ledger:
            yield ledger
    elif wishes.paths and not wishes.dry_run:
        with _made(settings.state.ledger_url(), folder) as ledger:
            yield ledger
    else:
        with opened_ledger(settings) as ledger:
            yield ledger


@contextmanager
def _made(url: str, folder: Path) -> Iterator[Ledger]:
    """Made, or led forward from an older version; while the daemon runs, that is left to it."""
    from sftpd_processor.ledger.ledger import Ledger

    ledger = Ledger(url)
    try:
        state = StateFolder(folder)
        try:
            state.hold()
        except StateInUse:
            ledger.check()
        else:
            ledger.open()
            state.release()
        yield ledger
    finally:
        ledger.close()


def _ask(job: Job, replay: Replay) -> None:
    """Before many events are delivered; where nobody can be asked, say how to go without."""
    if job.record_only or job.shadow is not None or (size := replay.size()) <= UNASKED:
        return
    amount = counted(size, "file" if job.paths or job.quarantine else "event")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter(f"it is about {amount}, and nobody is here to be asked; to do it, give --yes as well")
    sys.stderr.write(f"Looking through {amount}; --yes begins without.\n")
    plan = replay.plan()
    sys.stderr.write(page(quarantine_lines(plan) if job.quarantine else totals(plan)))
    typer.confirm("Go on?", abort=True, err=True)


def _run(replay: Replay, stop: threading.Event, config: Path | None) -> Report:
    def end() -> None:
        sys.stderr.write("Stopping after what runs now; once more to stop at once.\n")
        stop.set()

    stop_at_signals(end)
    try:
        with replaying() as watch:
            return replay.run(watch, stop)
    except ProcessorError:
        if replay.number is not None:
            sys.stderr.write(f"NOT FINISHED; to go on with it: {resume_command(replay.number, config)}\n")
        raise


def _show_plan(job: Job, replay: Replay, *, as_json: bool) -> None:
    plan = replay.plan()
    lines = quarantine_lines(plan) if job.quarantine else plan_lines(plan)
    _show({"dry_run": True, **plan.as_data()}, [*lines, "nothing was changed"], as_json=as_json)


def _show_report(report: Report, goes_on: str, *, as_json: bool) -> None:
    resume = goes_on if report.interrupted else None
    _show({"dry_run": False, **report.as_data(), "resume": resume}, report_lines(report, goes_on), as_json=as_json)


def _show(data: dict[str, Any], lines: list[str], *, as_json: bool) -> None:
    sys.stdout.write(json.dumps(data) + "\n" if as_json else page(lines))
