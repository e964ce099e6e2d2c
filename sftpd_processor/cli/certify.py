"""The verb `certify`: kill the command again and again at the user's own server, and prove that nothing is lost."""

from __future__ import annotations

import gc
import json
import logging
import secrets
import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured

if TYPE_CHECKING:
    from sftpd_processor.config.settings import SourceSettings

_LINE_SECONDS = 5.0


def certify(  # one parameter per option
    ctx: typer.Context,
    source: Annotated[str | None, typer.Option(help="The configured source. Default: the only one.")] = None,
    files: Annotated[int, typer.Option(min=1, help="How many files to send, at least.")] = 300,
    events_per_file: Annotated[int, typer.Option(min=1, help="Events in an ordinary file.")] = 3,
    kills: Annotated[int, typer.Option(min=0, help="How often to kill the command.")] = 60,
    cuts: Annotated[bool, typer.Option("--cuts/--no-cuts", help="Also cut connections at random moments.")] = True,
    seed: Annotated[int | None, typer.Option(help="Repeat an earlier run. Default: another one each time.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Keep the evidence in this local folder, which must be new or empty.")
    ] = None,
) -> None:
    """Prove on your server that crashes lose nothing.

    In a scratch folder beside your files, with pretend events and a throw-away ledger; it is removed in the end.
    """
    from sftpd_processor.certify.place import local_folder
    from sftpd_processor.certify.run import Wishes
    from sftpd_processor.certify.run import certify as prove

    gc.enable()
    config = configured(ctx)
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    chosen = _chosen(config, source)
    number = secrets.randbelow(2**32) if seed is None else seed
    folder = local_folder(keep)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the scratch folder is removed in any case
    options = Wishes(files, events_per_file, kills, cuts, number)
    report = None
    try:
        report = prove(chosen, options, folder, _teller())
    except KeyboardInterrupt:
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    finally:
        _put_away(folder, kept=keep is not None or (report is not None and not report.passed))
    sys.stdout.write(json.dumps(report.as_json()) + "\n" if as_json else report.as_text() + "\n")
    if not report.passed:
        sys.stderr.write(f"To repeat it: sftpd-processor certify --source {chosen.name} {options}\n")
    raise typer.Exit(exit_codes.DONE if report.passed else exit_codes.FAILED)


def _chosen(config: Configured, name: str | None) -> SourceSettings:
    names = ", ".join(one.name for one in config.settings.sources)
    chosen = [one for one in config.settings.sources if name in (None, one.name)]
    if len(chosen) != 1:
        problem = "there are several sources" if name is None else f"there is no source {name!r}"
        raise typer.BadParameter(f"{problem}; choose with --source: {names}")
    return chosen[0]


def _teller() -> Callable[[str], None]:
    """Say on stderr how far it is, now and then."""
    last = time.monotonic()

    def tell(text: str) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _LINE_SECONDS:
            last = now
            typer.echo(text, err=True)

    return tell


def _put_away(folder: Path, *, kept: bool) -> None:
    if kept:
        sys.stderr.write(f"The evidence (ledger, journals, logs, what was sent) is in {folder}\n")
    else:
        shutil.rmtree(folder, ignore_errors=True)
