"""Copies written anew without what is to go: plain ones, and the members of compacted days.

Each is written beside the old one, brought to the disk, and takes its place in one step: killed at any moment, either
the old one or the new one is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

from sftpd_processor.archive import plain
from sftpd_processor.archive.day import Day, Member, nanoseconds
from sftpd_processor.archive.notes import understood, written
from sftpd_processor.archive.packing import packing
from sftpd_processor.archive.places import REASON, REMNANT
from sftpd_processor.archive.turn import give_to_owner
from sftpd_processor.errors import PermanentError

_NEW = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC

Cuts = Mapping[str, bytes | None]
"""By the name of each copy what is left of it; None: nothing."""


def cut_plain(folder: Path, cuts: Cuts) -> None:
    """Plain copies of one folder; each after the note beside it in quarantine, since it is by the copy that a next run
    finds what is left to do."""
    for name, left in cuts.items():
        path, note = folder / name, folder / f"{name}{REASON}"
        if left is None:
            note.unlink(missing_ok=True)
            path.unlink(missing_ok=True)
            continue
        with suppress(FileNotFoundError, ValueError):  # there is none, or what a person has made of it
            said = json.loads(note.read_bytes()) | {"bytes": len(left), "sha256": sha256(left).hexdigest()}
            _replace(note, json.dumps(said, indent=2, ensure_ascii=False).encode() + b"\n", None)
        _replace(path, left, path.stat().st_mtime_ns)
    with suppress(FileNotFoundError):
        plain.sync(folder)


def cut_day(path: Path, cuts: Cuts) -> None:
    """A compacted day. Raises `PermanentError` when it cannot be read, or what was written is not what is read back."""
    part = path.with_name(path.name + REMNANT)
    with Day(path) as day:
        members = list(day.members())
        if len({member.name for member in members}) < len(members):
            raise PermanentError(f"{path} holds two copies of one name; unpack it, rename one, and run this again")
        kept = [member for member in members if cuts.get(member.name, b"") is not None]
        if kept:
            kept = kept if day.ordered else sorted(kept, key=_age)
            _pack(part, day, kept, cuts)
            _compare(part, day, kept, cuts)
    if kept:
        part.replace(path)
    else:
        path.unlink()
    with suppress(FileNotFoundError):
        plain.sync(path.parent)


def _pack(part: Path, day: Day, kept: list[Member], cuts: Cuts) -> None:
    with packing(part) as packer:
        for member in kept:
            left, note = cuts.get(member.name), understood(member.note)
            raw = day.read(member) if left is None else left
            if left is not None and note is not None:
                note = note._replace(sha256=sha256(left).hexdigest())
            modified = nanoseconds(member.modified) if note is None else note.mtime
            packer.add(member.name, raw, modified, member.note if note is None else written(note))


def _compare(part: Path, day: Day, kept: list[Member], cuts: Cuts) -> None:
    with Day(part) as new:
        for old, member in zip(kept, new.members(), strict=True):
            left = cuts.get(old.name)
            if member.name != old.name or new.read(member) != (day.read(old) if left is None else left):
                raise PermanentError(
                    f"{part} is not what was written into it: look at the disk; {day.path} stays as it is"
                )


def _age(member: Member) -> tuple[int, int, str]:
    """The order of a day: as recorded (what the ledger does not know comes first), by time of change, by name."""
    note = understood(member.note)
    modified = nanoseconds(member.modified) if note is None else note.mtime
    return 0 if note is None else note.recorded_at, modified, member.name


def _replace(path: Path, data: bytes, modified: int | None) -> None:
    part = path.parent.with_name(f"copy{REMNANT}")  # beside the day's folder, whose names are those of copies
    descriptor = os.open(part, _NEW, 0o640)
    with os.fdopen(descriptor, "wb") as file:
        give_to_owner(descriptor, part.parent)
        file.write(data)
        file.flush()
        if modified is not None:
            os.utime(descriptor, ns=(modified, modified))
        os.fsync(descriptor)
    part.replace(path)
