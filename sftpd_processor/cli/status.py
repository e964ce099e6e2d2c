"""The verb `status`: what the ledger says of every source and every handler."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli.configured import Configured, configured

if TYPE_CHECKING:
    from sftpd_processor.ledger.figures import SourceFigures
    from sftpd_processor.ledger.ledger import Ledger

STATES = ("recorded", "waiting", "ignored", "vanished")
VERDICTS = ("accepted", "duplicate", "invalid", "conflict")
DELIVERIES = ("done", "skipped", "pending", "running", "retrying", "dead")
_SHOWN = 10


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show what was done and what waits.

    Files by source and verdict, deliveries by handler, what is in quarantine. Reads the ledger only, so it may be asked at any time, also while the daemon runs.
    """
    from sftpd_processor.errors import PermanentError
    from sftpd_processor.ledger.ledger import Ledger

    config = configured(ctx)
    state = config.settings.state
    if state.database is None and not (state.dir / "ledger.db").exists():
        raise PermanentError(f"there is no ledger in {state.dir} yet; `sftpd-processor once` or `run` makes it")
    ledger = Ledger(state.ledger_url())
    try:
        data = figures(config, ledger)
    finally:
        ledger.close()
    sys.stdout.write(json.dumps(data) + "\n" if as_json else _text(data))


def figures(config: Configured, ledger: Ledger) -> dict[str, Any]:
    """Everything that is shown."""
    sources = ledger.figures.sources()
    deliveries = ledger.figures.deliveries()
    names = [source.name for source in config.settings.sources]
    # All functions of a module go by their own names, which only importing it would tell.
    handlers = [each.name for each in config.settings.handlers if ":" in each.use or "." not in each.use]
    return {
        "state": str(config.settings.state.dir),
        "sources": {name: _source(sources.get(name)) for name in dict.fromkeys([*names, *sources])},
        "handlers": {
            name: {state: deliveries.get(name, {}).get(state, 0) for state in DELIVERIES}
            for name in dict.fromkeys([*handlers, *deliveries])
        },
        "quarantine": ledger.figures.quarantined(_SHOWN),
        "waiting": ledger.figures.waiting(_SHOWN),
    }


def _source(found: SourceFigures | None) -> dict[str, Any]:
    if found is None:
        return {
            "listed": 0,
            **dict.fromkeys(STATES, 0),
            "verdicts": dict.fromkeys(VERDICTS, 0),
            "last_look": None,
        }
    counts = {state: found.states.get(state, 0) for state in STATES}
    return {
        "listed": sum(found.states.values()),
        **counts,
        "verdicts": {verdict: found.verdicts.get(verdict, 0) for verdict in VERDICTS},
        "unarchived": found.unarchived,
        "last_look": found.last_look,
        "last_good_look": found.last_good_look,
    }


def _text(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, source in data["sources"].items():
        lines += [f"source {name}", *(f"  {line}" for line in _source_lines(source))]
    for name, handler in data["handlers"].items():
        counts = ", ".join(f"{number:,} {state}" for state, number in handler.items() if number)
        lines.append(f"handler {name}: {counts or 'no deliveries yet'}")
    lines += _listed("In quarantine, the latest first:", data["quarantine"], "archive_path")
    lines += _listed("Waiting, the oldest first:", data["waiting"], "reason")
    return "\n".join([*lines, f"state folder: {data['state']}", ""])


def _source_lines(source: dict[str, Any]) -> list[str]:
    verdicts = ", ".join(f"{number:,} {verdict}" for verdict, number in source["verdicts"].items() if number)
    parts = " + ".join(f"{source[state]:,} {state}" for state in STATES)
    lines = [_look_line(source["last_look"]), f"files ever listed: {source['listed']:,} = {parts}"]
    if verdicts:
        lines.append(f"recorded files: {verdicts}")
    if source.get("unarchived"):
        lines.append(f"local copies still to be written: {source['unarchived']:,}")
    return lines


def _look_line(look: dict[str, Any] | None) -> str:
    if look is None:
        return "never looked at yet"
    from sftpd_processor.ledger.records import moment

    when = moment(look["finished_at"]).strftime("%Y-%m-%d %H:%M:%S UTC")
    if look["failure"]:
        return f"last look: {when}, FAILED: {look['failure']}"
    parts = " + ".join(f"{look[word]:,} {word}" for word in ("recorded", "known", "waiting", "ignored", "vanished"))
    return f"last look: {when}: {look['listed']:,} listed = {parts}"


def _listed(title: str, rows: list[dict[str, Any]], last: str) -> list[str]:
    if not rows:
        return []
    return [
        title,
        *(f"  {row['source']}: {row['name']}: {row[last] or 'its copy is still to be written'}" for row in rows),
    ]
