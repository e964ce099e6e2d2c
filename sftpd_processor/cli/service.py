"""The verb `service`: put the systemd service of this program into place, and take it away again."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sftpd_processor.installation.service import Service
    from sftpd_processor.installation.steps import Step

app = typer.Typer(
    name="service",
    help="Install the systemd service of this program, or remove it.\n\nConfigurations, secrets,"
    " state and drop-ins are never touched.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Root = Annotated[Path, typer.Option(metavar="DIR", help="A folder that stands for /, for making packages.")]
Prefix = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        help="Where the service finds the program, in bin/. Default: what has this one in versions/, or"
        " /opt/sftpd-processor.",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print what was done as JSON.")]


@app.command()
def install(
    root: Root = Path("/"),
    prefix: Prefix = None,
    restart: Annotated[bool, typer.Option("--restart", help="Restart the services that run.")] = False,
    without_packages: Annotated[
        bool,
        typer.Option("--without-packages", help="Go on without packages that were added to the version before."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Install or upgrade the service: units, account, a sample configuration, and the command.

    May be repeated. PREFIX/bin then leads to this program. What runs goes on unchanged until it is restarted.
    """
    _tell(_service(root, prefix).install(restart=restart, without=without_packages), as_json=as_json)


@app.command()
def uninstall(root: Root = Path("/"), prefix: Prefix = None, as_json: AsJson = False) -> None:
    """Stop the services and remove what `service install` put into place.

    What is left (configuration, secrets, state, the program) is told, with the commands that remove it.
    """
    _tell(_service(root, prefix).uninstall(), as_json=as_json)


def _service(root: Path, prefix: Path | None) -> Service:
    from pathlib import PurePosixPath

    from sftpd_processor.installation.service import Service
    from sftpd_processor.installation.versions import own_prefix

    if prefix is not None and not prefix.is_absolute():
        raise typer.BadParameter("must be an absolute path", param_hint="--prefix")
    os.umask(0o022)  # every account may read units and run the program
    root = root.absolute()
    return Service(root, PurePosixPath(prefix) if prefix is not None else own_prefix(root))


def _tell(steps: Iterator[Step], *, as_json: bool) -> None:
    told = []
    for step in steps:
        told.append(step)
        if step.text and not as_json:
            sys.stdout.write(f"{step.text}\n")
    if as_json:
        sys.stdout.write(json.dumps({"steps": [asdict(step) for step in told]}) + "\n")
    elif not any(step.text for step in told):
        sys.stdout.write("nothing to do: everything is in place\n")
