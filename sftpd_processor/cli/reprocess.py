"""The verb `reprocess`, `replay` too: archived events handled again. Here are its options only."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sftpd_processor.cli import choosing
from sftpd_processor.cli.reprocess_job import Wishes, check
from sftpd_processor.cli.reprocess_work import UNASKED, perform

_Paths = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="PATH",
        help="Archived files, folders, compacted days (.zip) and patterns. Without any: what the ledger knows.",
    ),
]
_Handler = Annotated[list[str] | None, typer.Option(help="Only for this handler (again for more).")]
_State = Annotated[
    list[str] | None,
    typer.Option(
        help="Only what is in this state at the handler (again for more): missing, failed or dead; done with --again. "
        "Default: the first three."
    ),
]
_All = Annotated[bool, typer.Option("--all", help="All that the ledger knows.")]
_Again = Annotated[bool, typer.Option("--again", help="Also what is done already; with the same idempotency keys.")]
_NewKeys = Annotated[
    bool, typer.Option("--new-keys", help="With --again: with other keys, so that receivers take it as new.")
]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what would be done.")]
_Yes = Annotated[bool, typer.Option("--yes", "-y", help=f"Do not ask, also for more than {UNASKED:,} events.")]
_Rate = Annotated[str | None, typer.Option(help="Deliveries a second, at most: 50, or 50/s.")]
_Workers = Annotated[
    int | None, typer.Option(min=1, max=256, help="Events each handler works on at once. Default: as configured.")
]
_RecordOnly = Annotated[
    bool, typer.Option("--record-only", help="Only make the ledger know the files at PATH; deliver nothing.")
]
_As = Annotated[str | None, typer.Option("--as", help="Read files that lie in no archive as those of this source.")]
_Quarantine = Annotated[bool, typer.Option("--quarantine", help="Files in quarantine, read again with today's rules.")]
_Shadow = Annotated[
    str | None, typer.Option(help="Only find out what this handler would do, and compare it with what was done.")
]
_Against = Annotated[str | None, typer.Option(help="With --shadow: the handler to compare it with.")]
_Effects = Annotated[Path | None, typer.Option(help="With --shadow: the file for what it would have done.")]
_Resume = Annotated[int | None, typer.Option(min=1, metavar="ID", help="Go on with the replay of this number.")]
_Json = Annotated[bool, typer.Option("--json", help="Print the plan or the report as JSON.")]


def reprocess(  # one parameter per option
    ctx: typer.Context,
    paths: _Paths = None,
    since: choosing.SinceOption = None,
    until: choosing.UntilOption = None,
    source: choosing.SourceOption = None,
    type_: choosing.TypeOption = None,
    conversation: choosing.ConversationOption = None,
    customer: choosing.CustomerOption = None,
    customer_file: choosing.CustomerFileOption = None,
    handler: _Handler = None,
    verdict: choosing.VerdictOption = None,
    state: _State = None,
    file: choosing.FileOption = None,
    everything: _All = False,
    again: _Again = False,
    new_keys: _NewKeys = False,
    dry_run: _DryRun = False,
    yes: _Yes = False,
    rate: _Rate = None,
    workers: _Workers = None,
    record_only: _RecordOnly = False,
    read_as: _As = None,
    quarantine: _Quarantine = False,
    shadow: _Shadow = None,
    against: _Against = None,
    effects: _Effects = None,
    resume: _Resume = None,
    as_json: _Json = False,
) -> None:
    """Handle archived events again.

    What is missing, dead or failed at the chosen handlers is delivered; with --again also what is done. Order within a
    conversation is kept. May be used while the daemon runs, and interrupted at any moment.
    """
    chosen = choosing.selected(
        handlers=handler, types=type_, sources=source, file=file, since=since, until=until, conversations=conversation,
        customers=customer, customer_file=customer_file, verdicts=verdict, states=state,
    )  # fmt: skip
    wishes = Wishes(
        chosen=chosen, paths=tuple(paths or ()), everything=everything, again=again, new_keys=new_keys,
        dry_run=dry_run, record_only=record_only, read_as=read_as, quarantine=quarantine, shadow=shadow,
        against=against, effects=effects, rate=rate, workers=workers, resume=resume,
    )  # fmt: skip
    check(wishes)
    perform(ctx, wishes, yes=yes, as_json=as_json)
