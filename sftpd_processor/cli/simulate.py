"""The verb `simulate`: a pretend Webio writes event files into a local folder or onto the server."""

from __future__ import annotations

import gc
import json
import os
import secrets
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.errors import PermanentError, SourceRefused
from sftpd_processor.testing.webio import KINDS, START, PretendFile, Shares, Webio

if TYPE_CHECKING:
    import paramiko

    from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings

Put = Callable[[PretendFile], None]
_LINE_SECONDS = 5.0


@dataclass(slots=True)
class Written:
    """What has been written so far; the verb's result."""

    target: str
    seed: int
    kinds: Counter[str] = field(default_factory=Counter)
    size: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def add(self, file: PretendFile) -> None:
        """Count a file that is in place."""
        self.kinds[file.kind] += 1
        self.size += len(file.data)

    @property
    def files(self) -> int:
        """How many files are in place."""
        return self.kinds.total()

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "target": self.target,
            "seed": self.seed,
            "files": self.files,
            "bytes": self.size,
            "seconds": round(self.seconds, 3),
            "interrupted": self.interrupted,
            "kinds": {kind: self.kinds[kind] for kind in KINDS},
        }

    def as_text(self) -> str:
        """For people: a small table."""
        rows = [f"  {kind:<10} {self.kinds[kind]:>9,}" for kind in KINDS if self.kinds[kind]]
        end = ", interrupted" if self.interrupted else ""
        total = f"{self.files:,} files, {self.size:,} bytes in {self.seconds:.1f} s{end}"
        return "\n".join([f"{total} → {self.target} (seed {self.seed})", *rows])


def simulate(  # one parameter per option
    ctx: typer.Context,
    to: Annotated[Path | None, typer.Option(help="A local folder to write into; made when absent.")] = None,
    source: Annotated[
        str | None,
        typer.Option(help="Without --to: the configured source to write to. Default: the only one."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many files.")] = 1_000,
    rate: Annotated[float, typer.Option(min=0, help="Files per second; 0 is as fast as it goes.")] = 0.0,
    seed: Annotated[
        int | None, typer.Option(help="The same seed writes the same files. Default: another one each time.")
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
    """Write event files as Webio would.

    And some as nobody should: to try things out, or for a load test.
    """
    gc.enable()
    try:
        shares = Shares(duplicates, conflicts, half, broken, arrays, lines, unknown)
        number = secrets.randbelow(2**32) if seed is None else seed
        start = datetime.now(UTC) if seed is None else START
        webio = Webio(number, parse_mix(mix) if mix else None, conversations, start)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    with _target(ctx, to, source) as (name, put):
        written = Written(name, number)
        write(webio.files(count, shares), put, written, count=count, rate=rate)
    typer.echo(json.dumps(written.as_json()) if as_json else written.as_text())
    if written.interrupted:
        raise typer.Exit(130)


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


def write(files: Iterable[PretendFile], put: Put, written: Written, *, count: int, rate: float) -> None:
    """Put every file, `rate` per second (0: at once), counting in `written`; Ctrl-C ends it early."""
    began = time.monotonic()
    try:
        with _progress(count) as show:
            for number, file in enumerate(files):
                if rate and (wait := began + number / rate - time.monotonic()) > 0:
                    time.sleep(wait)
                put(file)
                written.add(file)
                show(number + 1)
    except KeyboardInterrupt:
        written.interrupted = True
    written.seconds = time.monotonic() - began


def _target(ctx: typer.Context, to: Path | None, source: str | None) -> AbstractContextManager[tuple[str, Put]]:
    if to is None:
        return _configured(ctx.obj.config, source)
    if source is not None:
        raise typer.BadParameter("give either --to or --source, not both")
    return _local_folder(to)


@contextmanager
def _local_folder(folder: Path) -> Iterator[tuple[str, Put]]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise typer.BadParameter(f"--to {folder}: {error.strerror}") from None

    def put(file: PretendFile) -> None:  # plain strings: a Path for each of many small files would be felt
        whole = f"{folder}/{file.name}"
        first = whole if file.kind == "half" else f"{folder}/.{file.name}.part"
        with open(first, "wb", buffering=0) as new:  # noqa: PTH123
            new.write(file.data)
        if first != whole:
            os.replace(first, whole)  # noqa: PTH105

    try:
        yield str(folder), put
    except OSError as error:
        raise PermanentError(f"{folder}: a file could not be written: {error.strerror}") from error


@contextmanager
def _sftp_folder(settings: SftpSourceSettings) -> Iterator[tuple[str, Put]]:
    from sftpd_processor.sources.ssh import open_sftp

    client = open_sftp(settings)
    folder = settings.folder.rstrip("/")

    def put(file: PretendFile) -> None:
        name = f"{folder}/{file.name}"
        if file.kind == "half":
            _upload(client, name, file.data)
            return
        part = f"{folder}/.{file.name}.part"
        _upload(client, part, file.data)
        _rename(client, part, name)

    try:
        yield f"sftp://{settings.host}:{settings.port}/{folder.removeprefix('/')}", put
    except OSError as error:
        raise SourceRefused(
            f"{settings.name}: the server did not take a file into {settings.folder}: {error}."
            " Check that the folder exists and that the account may write to it."
        ) from error
    finally:
        _close(client)


def _close(client: paramiko.SFTPClient) -> None:
    channel = client.get_channel()
    client.close()
    if channel is not None:
        channel.get_transport().close()


def _upload(client: paramiko.SFTPClient, path: str, data: bytes) -> None:
    with client.open(path, "wb") as remote:
        remote.set_pipelined(True)
        remote.write(data)


def _rename(client: paramiko.SFTPClient, old: str, new: str) -> None:
    try:
        client.posix_rename(old, new)  # replaces, as when the same seed is written again
    except OSError:
        client.rename(old, new)


def _configured(config: Path | None, name: str | None) -> AbstractContextManager[tuple[str, Put]]:
    from sftpd_processor.config.load import find_config, load_settings

    settings = load_settings(find_config(config))
    names = ", ".join(one.name for one in settings.sources)
    chosen = [one for one in settings.sources if name in (None, one.name)]
    if len(chosen) != 1:
        problem = "there are several sources" if name is None else f"there is no source {name!r}"
        raise typer.BadParameter(f"{problem}; choose with --source: {names}")
    return _for_source(chosen[0])


def _for_source(
    settings: SftpSourceSettings | DirectorySourceSettings,
) -> AbstractContextManager[tuple[str, Put]]:
    if settings.type == "directory":
        return _local_folder(Path(settings.folder))
    return _sftp_folder(settings)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    """Show how far it is on stderr: a bar on a terminal, now and then a line elsewhere."""
    if not sys.stderr.isatty():
        yield _lines(total)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("writing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("writing", total=total)
        yield lambda done: bar.update(task, completed=done)


def _lines(total: int) -> Callable[[int], None]:
    last = time.monotonic()

    def show(done: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _LINE_SECONDS:
            last = now
            typer.echo(f"{done:,} of {total:,} files written", err=True)

    return show
