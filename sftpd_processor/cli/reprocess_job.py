"""From what is given to `reprocess` to its job, or to what is wrong with it and what to give instead."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sftpd_processor.cli.choosing import demand_known, demand_sources, given_options

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings
    from sftpd_processor.handlers.registry import Handlers
    from sftpd_processor.ledger.selection import Selection
    from sftpd_processor.reprocess.job import Job

_RATE = re.compile(r"(\d+(?:\.\d+)?)\s*(?:/\s*s)?", re.ASCII)
_FILES = frozenset({"--source", "--file", "--since", "--until", "--dry-run"})
_PACE = frozenset({"--rate", "--workers"})
_MODES = {
    "--resume": (_PACE, "goes on with what was asked for then"),
    "--record-only": (_FILES | {"PATH", "--as"}, "takes whole files and delivers nothing"),
    "--quarantine": (_FILES | _PACE | {"--all"}, "takes whole files, for all handlers"),
}
"""Options that leave room for few others: for which, and why."""
_APART = (
    ("--shadow", "--again", "--shadow runs over what is done as well, so it needs no --again"),
    ("--shadow", "--new-keys", "--shadow performs nothing, so it has no use for --new-keys"),
    ("--shadow", "--state", "--shadow runs over events in every state; leave --state out"),
    ("--shadow", "--handler", "--shadow names the handler that runs, --against the one to compare with; no --handler"),
    ("PATH", "--all", "--all is all that the ledger knows; leave it out, or the PATHs"),
)
_NEEDED = (
    ("--new-keys", "--again", "what runs for the first time has a new key anyway"),
    ("--shadow", "--effects", "what the handler would have done is written to that file"),
    ("--against", "--shadow", "it names the handler to compare with"),
    ("--effects", "--shadow", "it names the file for what is captured"),
    ("--as", "PATH", "it says how files outside the archive are read"),
    ("--record-only", "PATH", "it makes the ledger know files; name the archive, for example"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What was given, apart from what is about the output."""

    chosen: Selection
    paths: tuple[str, ...] = ()
    everything: bool = False
    again: bool = False
    new_keys: bool = False
    dry_run: bool = False
    record_only: bool = False
    read_as: str | None = None
    quarantine: bool = False
    shadow: str | None = None
    against: str | None = None
    effects: Path | None = None
    rate: str | None = None
    workers: int | None = None
    resume: int | None = None

    def options(self) -> list[str]:
        """Those that are given, as people write them."""
        given = {
            "PATH": self.paths, "--all": self.everything, "--again": self.again, "--new-keys": self.new_keys,
            "--dry-run": self.dry_run, "--record-only": self.record_only, "--as": self.read_as,
            "--quarantine": self.quarantine, "--shadow": self.shadow, "--against": self.against,
            "--effects": self.effects, "--rate": self.rate, "--workers": self.workers, "--resume": self.resume,
        }  # fmt: skip
        named = [name for name, value in given.items() if value not in (None, False, ())]
        return [*named, *given_options(self.chosen)]


def check(wishes: Wishes) -> None:
    """Raise `typer.BadParameter` for what cannot be meant; needs no configuration."""
    if "" in wishes.paths:  # as from a variable that is not set: must not stand for the working directory
        raise typer.BadParameter("a PATH is empty")
    for problem in _contradictions(wishes):
        raise typer.BadParameter(problem)
    if wishes.resume is None and not _chooses(wishes):
        raise typer.BadParameter("say what: PATHs, a choice (--since, --handler, --type, --file …), or --all")
    per_second(wishes.rate)


def job_of(wishes: Wishes, settings: Settings, handlers: Handlers) -> Job:
    """Raises `typer.BadParameter` for names that are not known, and PATHs where nothing is."""
    from sftpd_processor.reprocess.job import Job

    for name in (*wishes.chosen.handlers, *filter(None, [wishes.shadow])):
        demand_known("handler", name, handlers.names)
    if not wishes.paths:  # an archive of another machine may hold others
        demand_sources(wishes.chosen.sources, settings)
    if wishes.read_as is not None:
        demand_known("source", wishes.read_as, [source.name for source in settings.sources])
    return Job(
        paths=expanded(wishes.paths, settings.state.dir),
        read_as=wishes.read_as,
        selection=replace(wishes.chosen, handlers=(), states=_states(wishes)),
        handlers=wishes.chosen.handlers,
        again=wishes.again,
        new_keys=wishes.new_keys,
        record_only=wishes.record_only,
        quarantine=wishes.quarantine,
        shadow=wishes.shadow,
        against=wishes.against,
        effects=None if wishes.effects is None else str(wishes.effects.absolute()),
        rate=per_second(wishes.rate),
        workers=wishes.workers,
    )


def resumed(kept: Job, wishes: Wishes) -> Job:
    """The kept job, as fast as is asked for now."""
    rate = kept.rate if wishes.rate is None else per_second(wishes.rate)
    return replace(kept, rate=rate, workers=wishes.workers or kept.workers)


def per_second(text: str | None) -> float | None:
    """What `50` or `50/s` says; raises `typer.BadParameter`."""
    if text is None:
        return None
    found = _RATE.fullmatch(text.strip())
    if found is None or not float(found[1]):
        raise typer.BadParameter(f"--rate is how many a second, at most: 50, or 50/s; not {text!r}")
    return float(found[1])


def expanded(paths: Sequence[str], state: Path) -> tuple[str, ...]:
    """Absolute paths of what is there; a relative one may start in the state folder, as `why` and `status` show it.

    Raises `typer.BadParameter` for one that stands for nothing.
    """
    found: dict[str, None] = {}
    for path in paths:
        there = _there(Path.cwd(), path) or _there(state, path)
        if not there:
            raise typer.BadParameter(
                f"there is nothing at {path}; a file of a compacted day is chosen by --file NAME, without a PATH"
            )
        found |= dict.fromkeys(there)
    return tuple(found)


def _there(folder: Path, path: str) -> list[str]:
    if (folder / path).exists():
        return [os.path.normpath(folder / path)]
    # Not Path.glob: it takes no absolute patterns.
    return [os.path.normpath(folder / name) for name in sorted(glob.glob(path, root_dir=folder, recursive=True))]  # noqa: PTH207


def _contradictions(wishes: Wishes) -> Iterator[str]:
    given = wishes.options()
    for mode, (allowed, why) in _MODES.items():
        others = [name for name in given if name != mode and name not in allowed]
        if mode in given and others:
            yield f"{mode} {why}; it goes with {', '.join(sorted(allowed))} only, not with {', '.join(others)}"
    for one, other, why in _APART:
        if one in given and other in given:
            yield why
    for one, needed, why in _NEEDED:
        if one in given and needed not in given:
            yield f"{one} goes with {needed} only: {why}"
    if "done" in wishes.chosen.states and not wishes.again:
        yield "--state done is about what would run again; give --again as well"


def _chooses(wishes: Wishes) -> bool:
    return bool(wishes.paths or wishes.everything or wishes.quarantine or given_options(wishes.chosen))


def _states(wishes: Wishes) -> tuple[str, ...]:
    from sftpd_processor.reprocess.job import UNDONE

    if wishes.shadow is not None or wishes.record_only or wishes.quarantine:
        return ()
    return tuple(dict.fromkeys([*(wishes.chosen.states or UNDONE), *(["done"] if wishes.again else [])]))
