"""The files of `simulate`: written into a local folder, or onto the server of a configured source."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from sftpd_processor.cli.progress import progress
from sftpd_processor.errors import PermanentError, SourceRefused
from sftpd_processor.testing.webio import KINDS, PretendFile

if TYPE_CHECKING:
    import paramiko

    from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings

Put = Callable[[PretendFile], None]


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


def write(files: Iterable[PretendFile], put: Put, written: Written, *, count: int, rate: float) -> None:
    """Put every file, `rate` per second (0: at once), counting in `written`; Ctrl-C ends it early."""
    began = time.monotonic()
    try:
        with progress(count, "writing", "files written") as show:
            for number, file in enumerate(files):
                if rate and (wait := began + number / rate - time.monotonic()) > 0:
                    time.sleep(wait)
                put(file)
                written.add(file)
                show(number + 1)
    except KeyboardInterrupt:
        written.interrupted = True
    written.seconds = time.monotonic() - began


def file_target(ctx: typer.Context, to: Path | None, source: str | None) -> AbstractContextManager[tuple[str, Put]]:
    """Where to write: its name, and what puts a file there."""
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
