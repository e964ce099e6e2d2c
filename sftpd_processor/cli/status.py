"""The verb `status`: what the ledger says of every source and every handler."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import alerts
from sftpd_processor.cli.configured import Configured, configured
from sftpd_processor.cli.lines import page
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.reprocess_report import replay_data, replay_lines
from sftpd_processor.cli.words import VERDICTS, clock, counted, iso, listed

if TYPE_CHECKING:
    from sftpd_processor.ledger.figures import SourceFigures
    from sftpd_processor.ledger.ledger import Ledger

STATES = ("recorded", "waiting", "ignored", "vanished")
DELIVERIES = ("done", "skipped", "pending", "running", "retrying", "dead")
_SHOWN = 10
_REPLAYS_SHOWN = 3


def status(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show what was done and what waits.

    Files by source and verdict, deliveries by handler, what is in quarantine. Reads the ledger only, so it may be
    asked at any time, also while the daemon runs.
    """
    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        data = figures(config, ledger) | {
            "replays": [replay_data(row, ctx.obj.config) for row in ledger.replays.last(_REPLAYS_SHOWN)]
        }
    sys.stdout.write(json.dumps(data) + "\n" if as_json else _text(data))


def figures(config: Configured, ledger: Ledger) -> dict[str, Any]:
    """Everything that is shown."""
    from sftpd_processor.handlers.registry import BUILT_INS
    from sftpd_processor.pipeline.live import SOURCE as LIVE

    sources = ledger.figures.sources()
    deliveries = ledger.figures.deliveries()
    breakers = ledger.figures.breakers()
    names = [source.name for source in config.settings.sources]
    names += [LIVE] if config.settings.http is not None else []
    # All functions of a module go by their own names, which only importing it would tell.
    handlers = [each.name for each in config.settings.handlers if ":" in each.use or each.use in BUILT_INS]
    return {
        "state": str(config.settings.state.dir),
        "sources": {name: _source(sources.get(name)) for name in dict.fromkeys([*names, *sources])},
        "handlers": {
            name: {state: deliveries.get(name, {}).get(state, 0) for state in DELIVERIES}
            | {"breaker": _breaker(breakers.get(name))}
            for name in dict.fromkeys([*handlers, *deliveries])
        },
        "alerts": alerts.open_causes(config.settings, ledger),
        "quarantine": [_problem(row) for row in ledger.figures.quarantined(_SHOWN)],
        "waiting": [_sighted(row) for row in ledger.figures.waiting(_SHOWN)],
        "ignored": [_sighted(row) for row in ledger.figures.ignored(_SHOWN)],
        "dead": [row | {"settled_at": iso(row["settled_at"])} for row in ledger.figures.dead(_SHOWN)],
    }


def _breaker(times: tuple[int, int] | None) -> dict[str, Any] | None:
    return times and {"open_since": iso(times[0]), "next_try": iso(times[1])}


def _sighted(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"first_seen": iso(row["first_seen"])}


def _problem(row: dict[str, Any]) -> dict[str, Any]:
    return row | {"reason": json.loads(row["reason"] or "{}")}


def _source(found: SourceFigures | None) -> dict[str, Any]:
    if found is None:
        return {
            "listed": 0,
            **dict.fromkeys(STATES, 0),
            "verdicts": dict.fromkeys(VERDICTS, 0),
            "corrected": 0,
            "last_look": None,
        }
    counts = {state: found.states.get(state, 0) for state in STATES}
    return {
        "listed": sum(found.states.values()),
        **counts,
        "verdicts": {verdict: found.verdicts.get(verdict, 0) for verdict in VERDICTS},
        "corrected": found.corrected,
        "unarchived": found.unarchived,
        "last_look": _look(found.last_look),
        "last_good_look": iso(found.last_good_look),
    }


def _look(look: dict[str, Any] | None) -> dict[str, Any] | None:
    return look and look | {time: iso(look[time]) for time in ("started_at", "finished_at")}


def _text(data: dict[str, Any]) -> str:
    lines: list[str] = []
    for name, source in data["sources"].items():
        lines += [f"source {name}", *(f"  {line}" for line in _source_lines(name, source))]
    for name, handler in data["handlers"].items():
        counts = {state: handler[state] for state in DELIVERIES}
        lines.append(f"handler {name}: {listed(counts) or 'no deliveries yet'}")
        if breaker := handler["breaker"]:
            since = clock(breaker["open_since"])
            lines.append(f"  FAILING since {since}: one delivery at a time is tried, and the others wait")
            lines.append(f"  next try: {clock(breaker['next_try'])}")
    lines += _section("Open alerts, the oldest first:", alerts.lines(data["alerts"]))
    lines += _section(
        "In quarantine, the latest first:", [line for row in data["quarantine"] for line in _quarantine_lines(row)]
    )
    lines += _section("Dead letters, the latest first:", [_dead_line(row) for row in data["dead"]])
    lines += _section("Replays, the latest first:", [line for each in data["replays"] for line in replay_lines(each)])
    lines += _section("Waiting, the oldest first:", [_sighted_line(row) for row in data["waiting"]])
    lines += _section("Ignored, the latest first:", [_sighted_line(row) for row in data["ignored"]])
    return page([*lines, f"state folder: {data['state']}"])


def _source_lines(name: str, source: dict[str, Any]) -> list[str]:
    from sftpd_processor.pipeline.live import SOURCE as LIVE

    if name == LIVE:
        lines = [f"live posts recorded: {listed(source['verdicts']) or 'none yet'}"]
    else:
        parts = " + ".join(f"{source[state]:,} {state}" for state in STATES)
        lines = [_look_line(name, source["last_look"]), f"files ever listed: {source['listed']:,} = {parts}"]
        if verdicts := listed(source["verdicts"]):
            lines.append(f"recorded files: {verdicts}")
    if source["corrected"]:
        lines.append(f"put in the place of files in quarantine, by `retry`: {source['corrected']:,}")
    if source.get("unarchived"):
        lines.append(f"local copies still to be written: {source['unarchived']:,}")
    return lines


def _look_line(name: str, look: dict[str, Any] | None) -> str:
    if look is None:
        return "never looked at yet"
    when = clock(look["finished_at"])
    if look["failure"]:
        return f"last look: {when}, FAILED: {look['failure'].removeprefix(f'source {name}: ')}"
    parts = " + ".join(f"{look[word]:,} {word}" for word in ("recorded", "known", "waiting", "ignored", "vanished"))
    return f"last look: {when}: {look['listed']:,} listed = {parts}"


def _quarantine_lines(row: dict[str, Any]) -> list[str]:
    faults = row["reason"].get("faults") or [{"where": "", "why": "no reason kept"}]
    where = row["archive_path"] or "its copy is still to be written"
    why = ": ".join(filter(None, [faults[0]["where"], faults[0]["why"]]))
    return [f"{row['source']}: {row['name']} ({row['verdict']}): {why}", f"  {where}"]


def _dead_line(row: dict[str, Any]) -> str:
    return (
        f"{row['handler']}: {row['type']} in {row['source']}/{row['file']}, after {counted(row['attempts'], 'attempt')}"
    )


def _sighted_line(row: dict[str, Any]) -> str:
    return f"{row['source']}: {row['name']}: {row['reason']}"


def _section(title: str, lines: list[str]) -> list[str]:
    return [title, *(f"  {line}" for line in lines)] if lines else []
