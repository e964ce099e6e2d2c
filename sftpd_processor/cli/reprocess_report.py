"""What `reprocess` says when it has ended, and what `status` says of replays."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpd_processor.cli.reprocess_plan import left_alone, problem_lines
from sftpd_processor.cli.table import table
from sftpd_processor.cli.words import clock, counted, duration, iso, listed

if TYPE_CHECKING:
    from sftpd_processor.ledger.replays import ReplayRow
    from sftpd_processor.reprocess.report import Report

STATES = ("done", "skipped", "failed", "dead")
_COMPARED = ("same", "different", "missing")


def report_lines(report: Report, goes_on: str) -> list[str]:
    """For people; `goes_on` is the command that resumes it."""
    rows = [
        (handler, *(f"{states.get(state, 0):,}" for state in STATES))
        for handler, states in sorted(report.deliveries.items())
    ]
    return [
        _amount(report),
        *(table([("handler", *STATES), *rows], right=range(1, 5)) if rows else []),
        *left_alone(report.skipped.items()),
        *problem_lines(report.problems),
        *(_comparison(report.comparison) if report.comparison else []),
        *_next(report, goes_on),
    ]


def _next(report: Report, goes_on: str) -> list[str]:
    if report.interrupted:
        return [f"NOT FINISHED; to go on with it: {goes_on}"]
    return ["what failed is tried again by the daemon; without one: sftpd-processor once"] if report.failed() else []


def _comparison(found: Mapping[str, Any]) -> list[str]:
    """Of a shadow run: what it would have done beside what was done, in all and by type."""
    kinds = {**found["by_type"], **({"in all": found} if len(found["by_type"]) > 1 else {})}
    rows = [(kind, *(f"{one[word]:,}" for word in _COMPARED), listed(one["outcomes"])) for kind, one in kinds.items()]
    differs = sorted(found["differs"].items(), key=lambda one: -one[1])
    return [
        "compared with what was done:",
        *(f"  {line}" for line in table([("type", *_COMPARED, "it would have been"), *rows], right=range(1, 4))),
        *(f"  different in {name}: {number:,}" for name, number in differs),
    ]


def _amount(report: Report) -> str:
    which = "" if report.replay is None else f"replay {report.replay}: "
    files = f" of {counted(report.files, 'file')}" if report.files else ""
    kinds = listed({"newly recorded": report.recorded, "not readable": report.invalid})
    details = f" ({kinds})" if kinds else ""
    return f"{which}{counted(report.events, 'event')}{files}{details}, in {duration(report.seconds)}"


def resume_command(number: int | None, config: Path | None) -> str:
    """What goes on with a replay; `config` as it was given by -c."""
    given = ["-c", str(config)] if config is not None else []
    return shlex.join(["sftpd-processor", *given, "reprocess", "--resume", str(number)])


def replay_data(row: ReplayRow, config: Path | None) -> dict[str, Any]:
    """A replay in the ledger, for `status --json`; without what was asked for, which may name a customer."""
    return {
        "replay": row.id,
        "started_at": iso(row.started_at),
        "finished_at": iso(row.finished_at),
        "resume": resume_command(row.id, config) if row.finished_at is None else None,
        "report": json.loads(row.report) if row.report else None,
    }


def replay_lines(data: dict[str, Any]) -> list[str]:
    """A replay, of `replay_data`, for people."""
    begun = f"{data['replay']}: begun {clock(data['started_at'])}"
    if data["resume"] is not None:
        return [f"{begun}, NOT FINISHED{_so_far(data['report'])}", f"  unless it runs now: {data['resume']}"]
    return [f"{begun}, took {duration(data['report']['seconds'])}{_so_far(data['report']) or ': nothing to do'}"]


def _so_far(report: dict[str, Any] | None) -> str:
    if report is None:
        return ""
    states: Counter[str] = Counter()
    for handler in report["deliveries"].values():
        states.update(handler)
    numbers = [listed({state: states[state] for state in STATES})]
    numbers += [f"{counted(report['recorded'], 'file')} newly recorded"] if report["recorded"] else []
    numbers += [f"{counted(report['invalid'], 'file')} not readable"] if report["invalid"] else []
    what = "; ".join(filter(None, numbers))
    return f": {what}" if what else ""
