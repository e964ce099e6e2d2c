"""The verbs `archive list|cat|verify|forget|upkeep`: looking into the local copies, and what is done to them."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from sftpd_processor.cli import archive_forget, archive_list, archive_upkeep, choosing, exit_codes
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.lines import more, page
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.words import counted

app = typer.Typer(
    name="archive",
    help="Look into the local copies of recorded files, verify them, and forget a person's data.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
_TOLD = {
    "ok": "as they were recorded",
    "gone": "removed on purpose",
    "unwritten": "still to be written, their bytes are in the ledger",
    "missing": "MISSING",
    "different": "DIFFERENT from what was recorded",
    "torn": "compacted days that CANNOT BE READ",
    "unknown": "not known to the ledger",
    "leftover": "still there, though they were to be removed",
}
_ADVICE = {
    "missing": "put them back from a backup, at the same place",
    "different": "put them back from a backup, at the same place",
    "torn": "put them back from a backup; their files count as missing until then",
    "unknown": "`sftpd-processor reprocess --record-only PATH` makes the ledger know them; or move them elsewhere",
    "leftover": "run the same `archive forget` again, or remove them",
}


@app.command("list")
def list_(
    ctx: typer.Context,
    since: choosing.SinceOption = None,
    until: choosing.UntilOption = None,
    source: choosing.SourceOption = None,
    type_: choosing.TypeOption = None,
    conversation: choosing.ConversationOption = None,
    customer: choosing.CustomerOption = None,
    customer_file: choosing.CustomerFileOption = None,
    verdict: choosing.VerdictOption = None,
    file: choosing.FileOption = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Show so many at most.")] = None,
    as_json: _Json = False,
) -> None:
    """Show the recorded files that fit, in the order recorded, and where the copy of each lies now.

    Type, conversation and customer are those of the events that a file brought first.
    """
    chosen = choosing.selected(
        types=type_, sources=source, file=file, since=since, until=until, conversations=conversation,
        customers=customer, customer_file=customer_file, verdicts=verdict,
    )  # fmt: skip
    config = configured(ctx)
    choosing.demand_sources(chosen.sources, config.settings)
    with opened_ledger(config.settings) as ledger:
        archive_list.show(config.settings.state.dir, ledger.holdings.chosen(chosen), limit, as_json=as_json)


@app.command()
def cat(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|EVENT-ID",
            help="As `why` takes it; or where the copy lies, as `archive list` and `why` show it.",
        ),
    ],
) -> None:
    """Write the exact bytes of one recorded file to standard output.

    They are compared with what was recorded first; nothing is written when they differ.
    """
    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        raw = archive_list.exact(config.settings.state.dir, ledger, what)
    sys.stdout.buffer.write(raw)
    sys.stdout.buffer.flush()


@app.command()
def verify(
    ctx: typer.Context,
    paths: Annotated[
        list[Path] | None, typer.Argument(metavar="PATH", help="Copies, folders or compacted days. Default: all.")
    ] = None,
    as_json: _Json = False,
) -> None:
    """Hash every copy again, and compare it with the ledger; exit code 1 when something is missing or different.

    May be used while the daemon runs.
    """
    from sftpd_processor.archive.verification import KINDS, Verification
    from sftpd_processor.cli.progress import progress

    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        verification = Verification(config.settings.state.dir, ledger, paths or ())
        with progress(verification.size(), "verifying", "files verified") as tell:
            findings = verification.run(tell)
    counts = {kind: findings.counts[kind] for kind in KINDS}
    data = {"ok": not findings.bad, "counts": counts, "first": findings.first}
    sys.stdout.write(json.dumps(data) + "\n" if as_json else page(_lines(data)))
    raise typer.Exit(exit_codes.FAILED if findings.bad else exit_codes.DONE)


def _lines(data: dict[str, Any]) -> list[str]:
    lines: list[str] = []
    for kind, told in _TOLD.items():
        if number := data["counts"][kind]:
            lines.append(f"{counted(number, 'copy', 'copies') if kind != 'torn' else f'{number:,}'} {told}")
            first = data["first"].get(kind, [])
            lines += [f"  {where}" for where in first]
            lines += [f"  {line}" for line in more(number - len(first), "copy", "copies") if first]
            lines += [f"  what to do: {_ADVICE[kind]}"] if kind in _ADVICE else []
    return lines or ["there is nothing to verify yet"]


app.command("forget")(archive_forget.forget)
app.command("upkeep")(archive_upkeep.upkeep)
