"""The command `sftpd-processor`. Each verb lives in a file of its own and imports what it needs when it is called."""

from __future__ import annotations

import gc
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from sftpd_processor.cli import (
    alerts,
    archive,
    certify,
    check,
    demo,
    doctor,
    exit_codes,
    init,
    once,
    reprocess,
    retry,
    run,
    serve,
    service,
    simulate,
    status,
    token,
    why,
)
from sftpd_processor.errors import ProcessorError

app = typer.Typer(
    name="sftpd-processor",
    help="The dependable inbox for Webio's SFTP hooks.",
    epilog="Exit codes: 0 done · 1 something failed · 2 wrong usage or configuration · 3 done, but files were "
    "quarantined or deliveries died · 4 the server could not be reached · 130 interrupted.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # half of the time of --help would go into drawing boxes
    pretty_exceptions_enable=False,
)


@dataclass(frozen=True, slots=True)
class Options:
    """What is given before the verb."""

    config: Path | None
    debug: bool


@app.callback()
def options(
    ctx: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config",
            "-c",
            help="The configuration. Default: $SFTPD_PROCESSOR_CONFIG, ./config.toml, "
            "/etc/sftpd-processor/config.toml, whichever comes first.",
        ),
    ] = None,
    debug: Annotated[bool, typer.Option("--debug", help="Log everything, and show tracebacks.")] = False,
    version: Annotated[  # noqa: ARG001 - acted on by its callback
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """The dependable inbox for Webio's SFTP hooks."""
    os.umask(0o027)  # what is written holds personal data: nothing for others
    ctx.obj = Options(config, debug)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        sys.stdout.write(f"sftpd-processor {version('sftpd-processor')}\n")
        raise typer.Exit


VERBS = (
    init.init, run.run, serve.serve, once.once, check.check, doctor.doctor, status.status, why.why, retry.retry,
    reprocess.reprocess, simulate.simulate, certify.certify, demo.demo,
)  # fmt: skip
for verb in VERBS:
    app.command()(verb)
app.command("replay", hidden=True)(reprocess.reprocess)
app.add_typer(token.app)
app.add_typer(archive.app)
app.add_typer(alerts.app)
app.add_typer(service.app)


def main() -> None:
    """Run the command; a failure becomes one readable message and an exit code."""
    gc.disable()  # importing makes no garbage, but looking for it takes a fifth of a start; long verbs enable it again
    try:
        app()
    except ProcessorError as error:
        _failed(error, str(error), error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # whoever read our output has gone
        sys.exit(exit_codes.FAILED)
    except Exception as error:  # noqa: BLE001 - the last resort
        told = f"internal error ({type(error).__name__}); please report it, with what --debug shows"
        _failed(error, told, exit_codes.FAILED)


def _failed(error: Exception, told: str, code: int) -> NoReturn:
    from sftpd_processor.telemetry import trace

    if "--debug" in sys.argv:
        sys.stderr.write(f"{trace(error)}\n")
    sys.stderr.write(f"sftpd-processor: {told}\n")
    sys.exit(code)


if __name__ == "__main__":
    main()
