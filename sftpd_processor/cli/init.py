"""The verb `init`: the first configuration, from a few questions or from flags."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.lines import printable

if TYPE_CHECKING:
    from sftpd_processor.initial.answers import Answers, Place
    from sftpd_processor.initial.visit import Seen


def init(
    ctx: typer.Context,
    host: Annotated[str | None, typer.Option(help="The SFTP server's name or address.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65_535, help="Its port. Default: 22.")] = None,
    username: Annotated[str | None, typer.Option(help="The account on it.")] = None,
    password_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A file with its password.")] = None,
    password_stdin: Annotated[bool, typer.Option("--password-stdin", help="Its password on standard input.")] = False,
    key_file: Annotated[Path | None, typer.Option(metavar="FILE", help="A private key in place of it.")] = None,
    key_passphrase_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the key's passphrase.")
    ] = None,
    accept_host_key: Annotated[
        str | None, typer.Option(metavar="SHA256:…", help="The server's fingerprint, as its owner told you.")
    ] = None,
    folder: Annotated[str | None, typer.Option(help="The folder on it. Default: /webhooks.")] = None,
    handler: Annotated[str | None, typer.Option(metavar="log|jsonl", help="What is done with events first.")] = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="What to write. Default: as -c, or root's in /etc, or ./config.toml."),
    ] = None,
    service: Annotated[
        bool | None,
        typer.Option("--service/--no-service", help="Whether systemd runs it. Default: if FILE is in /etc."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite what is there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Take the defaults; never for the host key.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write the first configuration.

    Asks for what the flags leave open, shows the server's host key to be confirmed, logs in, looks at the folder, and
    writes a commented file and the secrets beside it. Secrets are never given as arguments, which others on this
    machine can see.
    """
    from sftpd_processor.cli.init_questions import Given, Questions

    _quiet(debug=ctx.obj.debug)
    place = _place(output or ctx.obj.config, service)
    _refuse_to_overwrite(place, force=force)
    given = Given(
        host, port, username, password_file, password_stdin, key_file, key_passphrase_file, accept_host_key, folder,
        handler, yes,
    )  # fmt: skip
    try:
        answers, seen = Questions(given, place).ask()
    except typer.Abort:
        sys.stderr.write("\nsftpd-processor: interrupted; nothing was written\n")
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    _write(answers, seen, place, as_json=as_json)


def _quiet(*, debug: bool) -> None:
    import logging

    from sftpd_processor.telemetry import set_up

    set_up(debug=debug, quiet=True)
    if not debug:  # it logs each kind of host key that the server has not
        logging.getLogger("paramiko").setLevel(logging.CRITICAL)


def _place(output: Path | None, service: bool | None) -> Place:
    from sftpd_processor.config.load import SYSTEM_CONFIG
    from sftpd_processor.initial.answers import Place, checked

    config = (output or (SYSTEM_CONFIG if os.geteuid() == 0 else Path("config.toml"))).absolute()
    place = Place(config, config.parent == SYSTEM_CONFIG.parent if service is None else service)
    try:
        if place.instance is not None:
            checked("instance", place.instance)
    except ValueError as error:
        raise typer.BadParameter(f"the name before .toml {error}", param_hint="--output") from None
    return place


def _refuse_to_overwrite(place: Place, *, force: bool) -> None:
    from sftpd_processor.errors import PermanentError
    from sftpd_processor.initial.writing import check_writable, in_the_way

    check_writable(place)
    if (there := in_the_way(place)) and not force:
        names = ", ".join(map(str, there))
        raise PermanentError(f"{names}: there already. Edit it, name another file by --output, or overwrite by --force")


def _write(answers: Answers, seen: Seen, place: Place, *, as_json: bool) -> None:
    from sftpd_processor.initial.writing import write

    written = [str(path) for path in write(answers, place)]
    commands = _commands(place)
    if as_json:
        sys.stdout.write(json.dumps(_data(answers, seen, written, commands)) + "\n")
        return
    sys.stdout.write("\n".join(["", "Written:", *(f"  {path}" for path in written), "Next:", ""]))
    sys.stdout.write("".join(f"  # {why}\n  {command}\n" for command, why in commands))


def _data(answers: Answers, seen: Seen, written: list[str], commands: list[tuple[str, str]]) -> dict[str, Any]:
    return {
        "written": written,
        "host_keys": [key.fingerprint for key in answers.trusted],
        "folder": {"entries": seen.entries, "complete": seen.complete, "to_take": seen.to_take},
        "commands": [command for command, _ in commands],
    }


def _commands(place: Place) -> list[tuple[str, str]]:
    """What to type next, and why."""
    from shlex import quote

    named = f"sftpd-processor -c {quote(printable(str(place.config)))}"
    if not place.service:
        return [
            (f"{named} check --live", "logs in once more, as configured"),
            (f"{named} once", "looks once, delivers, and ends: also for cron"),
            (f"{named} status", "what was done, and what waits"),
            (f"{named} run", "goes on until it is stopped"),
        ]
    unit = place.unit
    install = [] if _installed() else [("sftpd-processor service install", "the units and the account")]
    return [
        *install,
        (f"{named} check --live", "logs in, as configured"),
        (f"systemctl enable --now {unit}", "starts it, now and with the machine"),
        (f"systemctl status {unit}", "whether it is well"),
        (f"{named} status", "what was done, and what waits"),
        (f"journalctl -u {unit} -f", "what it says"),
    ]


def _installed() -> bool:
    from sftpd_processor.installation.shipped import UNITS

    return Path(UNITS / "sftpd-processor.service").exists()
