"""The verb `retry`: dead letters once more, quarantined files once more, and a corrected file in place of one."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.bell import Bell
from sftpd_processor.cli.choosing import FileOption, SourceOption, TypeOption, selected
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.lines import more, page
from sftpd_processor.cli.moments import EXAMPLES
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.words import counted, iso
from sftpd_processor.errors import PermanentError

if TYPE_CHECKING:
    from sftpd_processor.ledger.ledger import Ledger
    from sftpd_processor.ledger.selection import Selection
    from sftpd_processor.pipeline.rereading import Reread, Rereader, Row

_MOST_SHOWN = 20
_LONGEST_REASON = 100
_NEXT = "A running daemon goes on with it within seconds; without one: sftpd-processor once"


def retry(
    ctx: typer.Context,
    handler: Annotated[list[str] | None, typer.Option(help="Only of this handler (again for more).")] = None,
    type_: TypeOption = None,
    source: SourceOption = None,
    file: FileOption = None,
    error: Annotated[str | None, typer.Option(help="Only where this is in the last error or the reason.")] = None,
    since: Annotated[str | None, typer.Option(help=f"Only what failed then or later: {EXAMPLES}.")] = None,
    until: Annotated[str | None, typer.Option(help="Only what failed before then.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    quarantined: Annotated[
        bool, typer.Option("--quarantined", help="Files in quarantine, read again with today's rules.")
    ] = False,
    corrected: Annotated[
        Path | None,
        typer.Option(help="A file that you have corrected, to be taken in place of the quarantined one of --file."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would happen.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Have dead letters delivered again, or files in quarantine read again.

    Without --quarantined or --corrected it is about dead letters: they get all their attempts anew, with the same
    idempotency keys. May be used while the daemon runs.
    """
    from sftpd_processor.daemon import make_handlers
    from sftpd_processor.pipeline.rereading import Rereader

    chosen = selected(handlers=handler, types=type_, sources=source, file=file, error=error, since=since, until=until)
    _demand_a_choice(chosen, everything=everything, quarantined=quarantined, corrected=corrected)
    config = configured(ctx)
    handlers = make_handlers(config.settings, config.folder)
    with opened_ledger(config.settings) as ledger:
        rereader = Rereader(config.settings, ledger, handlers.wanting, dry_run=dry_run)
        if corrected is not None:
            data = _correct(rereader, ledger.retries.quarantined(chosen), corrected)
        elif quarantined:
            data = _reread(rereader, ledger.retries.quarantined(chosen))
        else:
            data = _put_back(ledger, chosen, handlers.names, dry_run=dry_run)
    if not dry_run:
        Bell(config.settings.state.dir).ring()
    data |= {"dry_run": dry_run}
    sys.stdout.write(json.dumps(data) + "\n" if as_json else _text(data))


def _demand_a_choice(chosen: Selection, *, everything: bool, quarantined: bool, corrected: Path | None) -> None:
    from sftpd_processor.ledger.selection import Selection

    if quarantined and corrected is not None:
        raise typer.BadParameter("--quarantined reads the file as it came, --corrected another one: give one of them")
    if (quarantined or corrected is not None) and (chosen.handlers or chosen.types):
        raise typer.BadParameter("--handler and --type choose dead letters; choose files by --file or --source")
    if chosen == Selection() and not everything:
        raise typer.BadParameter("say which (--handler, --type, --file, --error, --since …), or --all")


def _put_back(ledger: Ledger, chosen: Selection, configured: Sequence[str], *, dry_run: bool) -> dict[str, Any]:
    found = ledger.retries.dead(chosen)
    wanted = [row for row in found if row["handler"] in configured]
    done = 0 if dry_run else ledger.retries.put_back([row["id"] for row in wanted])
    groups = Counter((row["handler"], row["type"], (row["detail"] or "")[:_LONGEST_REASON]) for row in wanted)
    return {
        "what": "dead letters",
        "found": len(found),
        "put_back": done,
        "without_handler": dict(Counter(row["handler"] for row in found if row["handler"] not in configured)),
        "groups": [
            {"handler": handler, "type": kind, "error": error, "count": count}
            for (handler, kind, error), count in groups.most_common()
        ],
        "deliveries": [row | {"settled_at": iso(row["settled_at"])} for row in wanted],
    }


def _reread(rereader: Rereader, found: list[Row]) -> dict[str, Any]:
    return {
        "what": "quarantined files",
        "found": len(found),
        "files": [_file(rereader.take(file)) for file in found],
    }


def _correct(rereader: Rereader, found: list[Row], corrected: Path) -> dict[str, Any]:
    if not found:
        raise PermanentError("no file in quarantine fits; `sftpd-processor why NAME` tells what became of it")
    if len(found) > 1:
        raise PermanentError(
            f"{len(found):,} files in quarantine fit; name exactly one by --file, and by --source or --since where "
            "that is not enough"
        )
    return {"what": "a corrected file", "found": 1, "files": [_file(rereader.correct(found[0], corrected))]}


def _file(one: Reread) -> dict[str, Any]:
    return {
        "source": one.file["source"],
        "file": one.file["name"],
        "was": one.file["verdict"],
        "verdict": one.verdict,
        "new_events": one.events,
        "wrong": one.wrong,
    }


def _text(data: dict[str, Any]) -> str:
    if not data["found"]:
        return page(["no dead letter fits" if data["what"] == "dead letters" else "no file in quarantine fits"])
    lines, changes = _letter_lines(data) if data["what"] == "dead letters" else _file_lines(data)
    return page([*lines, *(["nothing was changed"] if data["dry_run"] else [_NEXT] if changes else [])])


def _letter_lines(data: dict[str, Any]) -> tuple[list[str], int]:
    """The lines, and how many deliveries are due now."""
    number = len(data["deliveries"]) if data["dry_run"] else data["put_back"]
    lines = [f"{counted(number, 'dead letter')} {'would be' if data['dry_run'] else 'put back, to be'} tried again"]
    for group in data["groups"][:_MOST_SHOWN]:
        error = group["error"] or "no error kept"
        lines.append(f"  {group['count']:,} × {group['handler']}, {group['type']}: {error}")
    hidden = more(len(data["groups"]) - _MOST_SHOWN, "kind; --json has them all", "kinds; --json has them all")
    lines += [f"  {line}" for line in hidden]
    for name, count in data["without_handler"].items():
        lines.append(f"{counted(count, 'dead letter')} of {name} left alone: it is no handler in the configuration")
    return lines, number


def _file_lines(data: dict[str, Any]) -> tuple[list[str], int]:
    """The lines, and how many new events there are."""
    files, taken = data["files"], sum(one["new_events"] for one in data["files"])
    lines: list[str] = []
    for one in files[:_MOST_SHOWN]:
        lines.append(f"{one['source']}/{one['file']}: {_becomes(one, data)}")
        if one["wrong"]:
            lines.append(f"  still wrong: {one['wrong']}")
    lines += more(len(files) - _MOST_SHOWN, "file; --json has them all", "files; --json has them all")
    if len(files) > 1:
        changed = sum(one["verdict"] != one["was"] or one["new_events"] > 0 for one in files)
        lines.append(f"of {counted(len(files), 'file')}, {changed:,} changed; {counted(taken, 'new event')}")
    return lines, taken


def _becomes(one: dict[str, Any], data: dict[str, Any]) -> str:
    new = counted(one["new_events"], "new event")
    if data["what"] == "a corrected file":
        return f"{'would be' if data['dry_run'] else 'was'} replaced; the corrected one is {one['verdict']}, {new}"
    if one["verdict"] == one["was"] and not one["new_events"]:
        return f"left as it is, {one['was']}"
    if data["dry_run"]:
        return f"is {one['was']}, would be {one['verdict']}, {new}"
    return f"was {one['was']}, is {one['verdict']} now, {new}"
