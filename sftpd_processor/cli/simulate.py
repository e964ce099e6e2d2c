"""The verb `simulate`: a pretend Webio writes event files, posts events live, or asks for custom values."""

from __future__ import annotations

import gc
import json
import random
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.errors import TransientError
from sftpd_processor.testing.webio import START, Shares, Webio

if TYPE_CHECKING:
    from sftpd_processor.cli.simulate_files import Written
    from sftpd_processor.cli.simulate_http import Answers
    from sftpd_processor.cli.simulate_listener import Listener

_FOR_FILES = {"to", "source"}
_FOR_EVENTS = {"mix", "duplicates", "conflicts", "half", "broken", "arrays", "lines", "unknown"}
_FOR_REQUESTS = {"url", "token_file", "clients"}
_UNFIT = {
    "files": _FOR_REQUESTS | {"customers"},
    "--live": _FOR_FILES | {"customers", "ask"},
    "--ask": _FOR_FILES | _FOR_EVENTS,
}


@dataclass(frozen=True, slots=True)
class Supply:
    """What is to be made: how many, how fast, out of the ordinary by which shares, and by which seed."""

    webio: Webio
    shares: Shares
    seed: int
    count: int
    rate: float


def simulate(  # one parameter per option
    ctx: typer.Context,
    to: Annotated[Path | None, typer.Option(help="A local folder to write into; made when absent.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Without --to: the configured source to write to. Default: the only one."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="Post the events to the public listener instead of writing files.")
    ] = False,
    ask: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Ask the public listener for this custom value instead; repeatable."),
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="That listener, like https://host:port. Default: the configured one.")
    ] = None,
    token_file: Annotated[
        Path | None, typer.Option(help="A file with the token to show it. Default: one of the configuration.")
    ] = None,
    clients: Annotated[int, typer.Option(min=1, max=1_000, help="How many connections to it at once.")] = 8,
    customers: Annotated[
        Path | None, typer.Option(help="With --ask: a file of customer ids, one a line. Default: made-up ones.")
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many files or requests.")] = 1_000,
    rate: Annotated[float, typer.Option(min=0, help="How many per second; 0 is as fast as it goes.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="The same seed makes the same ones. Default: another one each time.")
    ] = None,
    mix: Annotated[
        str | None, typer.Option(help='Event types by weight, for example "inboundMessage=3,payment=1".')
    ] = None,
    conversations: Annotated[int, typer.Option(min=1, help="How many conversations they belong to.")] = 500,
    duplicates: Annotated[float, typer.Option(help="Share (0 to 1) of files sent again, renamed.")] = 0.0,
    conflicts: Annotated[float, typer.Option(help="Share with a known identity, but other content.")] = 0.0,
    half: Annotated[float, typer.Option(help="Share of files cut off in the middle.")] = 0.0,
    broken: Annotated[float, typer.Option(help="Share of files that are no event at all.")] = 0.0,
    arrays: Annotated[float, typer.Option(help="Share of files with an array of events.")] = 0.0,
    lines: Annotated[float, typer.Option(help="Share of JSON Lines files (.jsonl).")] = 0.0,
    unknown: Annotated[float, typer.Option(help="Share of events of an unknown type.")] = 0.0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Write event files as Webio would, or call the public listener.

    And some as nobody should: to try things out, or for a load test.
    """
    gc.enable()
    _check_fit(ctx, "--live" if live else "--ask" if ask else "files")
    try:
        shares = Shares(duplicates, conflicts, half, broken, arrays, lines, unknown)
        number, webio = _webio(seed, mix, conversations)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    supply = Supply(webio, shares, number, count, rate)
    if not (live or ask):
        _finish(_files(ctx, to, source, supply), as_json)
        return
    answers = _requests(_listener(ctx, url, token_file), clients, supply, ask or (), customers)
    _finish(answers, as_json, losses=bool(answers.unexpected or answers.errors))


def parse_mix(text: str) -> dict[str, float]:
    """`"inboundMessage=3,payment=1"` → weights by type. Raises ValueError."""
    weights = {}
    for part in text.split(","):
        name, _, weight = part.partition("=")
        try:
            weights[name.strip()] = float(weight)
        except ValueError:
            raise ValueError(
                f"--mix: {part.strip()!r} is not TYPE=WEIGHT, for example inboundMessage=3,payment=1"
            ) from None
    return weights


def _check_fit(ctx: typer.Context, mode: str) -> None:
    given = [name for name in ctx.params if (source := ctx.get_parameter_source(name)) and source.name == "COMMANDLINE"]
    for name in given:
        if name in _UNFIT[mode]:
            goes = "without --live or --ask" if mode == "files" else f"with {mode}"
            raise typer.BadParameter(f"--{name.replace('_', '-')} means nothing {goes}")


def _files(ctx: typer.Context, to: Path | None, source: str | None, supply: Supply) -> Written:
    from sftpd_processor.cli.simulate_files import Written, file_target, write

    with file_target(ctx, to, source) as (name, put):
        written = Written(name, supply.seed)
        write(supply.webio.files(supply.count, supply.shares), put, written, count=supply.count, rate=supply.rate)
    return written


def _webio(seed: int | None, mix: str | None, conversations: int) -> tuple[int, Webio]:
    """The supply of events, and the seed that repeats it. Raises ValueError."""
    number = secrets.randbelow(2**32) if seed is None else seed
    start = datetime.now(UTC) if seed is None else START
    return number, Webio(number, parse_mix(mix) if mix else None, conversations, start)


def _listener(ctx: typer.Context, url: str | None, token_file: Path | None) -> Listener:
    from sftpd_processor.cli.simulate_listener import find_listener

    return find_listener(ctx.obj.config, url, token_file)


def _requests(
    listener: Listener, clients: int, supply: Supply, names: Sequence[str], customers: Path | None
) -> Answers:
    """Posts; or questions, when there are names to ask for."""
    from sftpd_processor.cli.simulate_http import Answers, live_posts, questions, send

    if names:
        answers = Answers("questions", listener.url + listener.custom_values_path, supply.seed)
        who = None if customers is None else _customers(customers, supply.seed)
        calls = questions(supply.webio, supply.count, names, who, listener)
    else:
        answers = Answers("posts", listener.url + listener.webhooks_path, supply.seed)
        calls = live_posts(supply.webio, supply.count, supply.shares, listener)
    send(calls, listener, answers, count=supply.count, clients=clients, rate=supply.rate)
    if not answers.statuses and not answers.interrupted:
        why = ", ".join(answers.errors)
        hint = "check the address, and that `sftpd-processor run` or `serve` runs there"
        raise TransientError(f"{answers.target}: no answer ({why}); {hint}")
    return answers


def _customers(path: Path, seed: int) -> Iterator[str]:
    """The ids in the file, in no order and without end."""
    try:
        ids = [line.strip() for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise typer.BadParameter(f"--customers {path}: {why}") from None
    if not ids:
        raise typer.BadParameter(f"--customers {path}: there is no id in it; put one on each line")
    chance = random.Random(seed)  # noqa: S311 - to be repeatable, not secret
    return iter(lambda: chance.choice(ids), None)


def _finish(result: Written | Answers, as_json: bool, *, losses: bool = False) -> None:
    typer.echo(json.dumps(result.as_json()) if as_json else result.as_text())
    if result.interrupted:
        raise typer.Exit(exit_codes.INTERRUPTED)
    if losses:
        raise typer.Exit(exit_codes.DONE_WITH_LOSSES)
