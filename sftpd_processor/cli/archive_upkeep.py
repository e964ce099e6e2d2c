"""The verb `archive upkeep`: what the daemon does every night, done now."""

from __future__ import annotations

import json
import sys
from typing import Annotated

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.lines import page
from sftpd_processor.cli.opened import opened_ledger


def upkeep(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Do now what the daemon does every night, as `[archive]` in the configuration says.

    Bytes leave the ledger whose copies are on disk, days are compacted, and what has had its time is removed. May be
    used while the daemon runs, and where there is none, from cron.
    """
    from sftpd_processor.upkeep.upkeep import Upkeep

    settings = configured(ctx).settings
    with opened_ledger(settings) as ledger:
        report = Upkeep(settings.state.dir, settings.archive, ledger).run(lambda: False)
    lines = [str(report), *(f"NOT DONE: {error}" for error in report.errors)]
    sys.stdout.write(json.dumps(report.as_data()) + "\n" if as_json else page(lines))
    raise typer.Exit(exit_codes.FAILED if report.errors else exit_codes.DONE)
