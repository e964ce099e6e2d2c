"""How far a verb is, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import typer

_LINE_SECONDS = 5.0


@contextmanager
def progress(total: int, doing: str, done: str) -> Iterator[Callable[[int], None]]:
    """Yield what takes the number so far; for example `doing` is "writing", and `done` "files written"."""
    if not sys.stderr.isatty():
        yield _lines(total, done)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn(doing), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(doing, total=total)
        yield lambda number: bar.update(task, completed=number)


def _lines(total: int, done: str) -> Callable[[int], None]:
    last = time.monotonic()

    def show(number: int) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= _LINE_SECONDS:
            last = now
            typer.echo(f"{number:,} of {total:,} {done}", err=True)

    return show
