"""What a process and all below it cost the machine, from /proc (Linux only)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")
_KIB = 1024
_LOOK_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Cost:
    """One process at one moment, in bytes and seconds.

    `rss` is all that is resident; `own` the part of it that is in no file, and `files` the rest, by the file's name.
    `ended` is the processor time of its children that have ended. `switches`: how often a thread of it was woken.
    """

    pid: int
    name: str
    rss: int
    own: int
    files: dict[str, int]
    cpu: float
    ended: float
    threads: int
    switches: int


def together(costs: Sequence[Cost]) -> int:
    """Resident bytes of several processes, with what they share counted once.

    The kernel's own figure (PSS) shares a library out among all programs of the machine, so it depends on the others.
    """
    names = {name for each in costs for name in each.files}
    return sum(each.own for each in costs) + sum(max(each.files.get(name, 0) for each in costs) for name in names)


def tree(pid: int) -> list[Cost]:
    """A process and all below it, the oldest first."""
    return [cost(one) for one in _family(pid)]


def peaks(process: subprocess.Popen[bytes]) -> int:
    """Wait for its end; the peaks of resident bytes of it and of all below it, added up."""
    found: dict[int, int] = {}
    while process.poll() is None:
        for pid in _family(process.pid):
            with contextlib.suppress(OSError):  # ended while we looked
                found[pid] = max(found.get(pid, 0), _peak(pid))
        time.sleep(_LOOK_SECONDS)
    return sum(found.values())


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return sum(int(line.split()[1]) * _KIB for line in lines if line.startswith("VmHWM:"))


def _family(pid: int) -> list[int]:
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            below.setdefault(int(_fields(stat)[1]), []).append(int(stat.parent.name))
        except OSError:  # ended while we looked
            continue
    found = [pid]
    for one in found:
        found += sorted(below.get(one, ()))
    return found


def cost(pid: int) -> Cost:
    """One process. Raises OSError when there is none."""
    place = Path("/proc") / str(pid)
    fields = _fields(place / "stat")
    switches = [_switches(task) for task in (place / "task").iterdir()]
    own, files = _memory(place)
    return Cost(
        pid,
        _name(place),
        own + sum(files.values()),
        own,
        files,
        (int(fields[11]) + int(fields[12])) / _TICKS,
        (int(fields[13]) + int(fields[14])) / _TICKS,
        len(switches),
        sum(switches),
    )


def _fields(stat: Path) -> list[str]:
    """Those after the name, which may hold anything: state, parent, … as proc_pid_stat(5) numbers them, from 3 on."""
    return stat.read_text().rpartition(")")[2].split()


def _memory(place: Path) -> tuple[int, dict[str, int]]:
    """What is in no file, and what is, by its name; from the blocks of smaps, each of which has a head line."""
    own, files, name = 0, Counter[str](), ""
    for line in (place / "smaps").read_text().splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            name = words[5] if len(words) > 5 else ""
        elif words[0] == "Rss:":
            files[name] += int(words[1]) * _KIB
        elif words[0] == "Anonymous:":
            files[name] -= int(words[1]) * _KIB
            own += int(words[1]) * _KIB
    return own, dict(files)


def _name(place: Path) -> str:
    """The verb of ours; of another program its name."""
    words = (place / "cmdline").read_bytes().decode(errors="replace").split("\0")
    return next((word for word in words if word in ("run", "serve")), (place / "comm").read_text().strip())


def _switches(task: Path) -> int:
    lines = (task / "status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("voluntary_ctxt", "nonvoluntary_ctxt")))
