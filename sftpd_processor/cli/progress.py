"""How far a verb is, on standard error: a bar on a terminal, now and then a line elsewhere."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from sftpd_processor.cli.words import duration

if TYPE_CHECKING:
    from sftpd_processor.reprocess.report import Progress

_LINE_SECONDS = 5.0
_RATE_SECONDS = 30.0
"""The rate is that of the last so many seconds."""


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


@contextmanager
def replaying() -> Iterator[Callable[[Progress], None]]:
    """Yield what takes how far a replay is."""
    speed = Speed()
    if not sys.stderr.isatty():
        yield _told(speed)
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
    from rich.progress import Progress as Bar

    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}", markup=False))
    with Bar(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("")

        def show(so_far: Progress) -> None:
            told = f"{so_far.unit}{speed.told(so_far)}"
            bar.update(task, total=so_far.total, completed=so_far.at, description=told)

        yield show


class Speed:
    """How fast a replay goes, and when it will be done."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._seen: deque[tuple[float, int]] = deque()

    def told(self, so_far: Progress) -> str:
        """`, 1,200/s, 2 min 5 s left; 11,900 done, 3 failed`, and why nothing happens. To be called often."""
        now = self._clock()
        self._seen.append((now, so_far.at))
        while len(self._seen) > 2 and now - self._seen[0][0] > _RATE_SECONDS:
            self._seen.popleft()
        began, first = self._seen[0]
        rate = (so_far.at - first) / (now - began) if now > began else 0.0
        pace = f", {rate:,.0f}/s" if rate else ""
        left = f", {duration((so_far.total - so_far.at) / rate)} left" if rate and so_far.at < so_far.total else ""
        waiting = f"; {so_far.waiting}" if so_far.waiting else ""
        return f"{pace}{left}; {so_far.done:,} done, {so_far.failed:,} failed{waiting}"


def _told(speed: Speed) -> Callable[[Progress], None]:
    last = time.monotonic()

    def show(so_far: Progress) -> None:
        nonlocal last
        told = speed.told(so_far)
        if (now := time.monotonic()) - last >= _LINE_SECONDS:
            last = now
            typer.echo(f"{so_far.at:,} of {so_far.total:,} {so_far.unit}{told}", err=True)

    return show
