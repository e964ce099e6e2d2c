"""The loops that `reprocess` is measured against: each opens every archived file and runs `json.loads` on it, no more.

`pathlib` is how most people write it, `walk` is as fast as it goes with the standard library alone. `validate` is no
rival but a part of ours: it reads the archive and validates each event, in one process, and keeps nothing.

python benchmarks/loops.py pathlib|walk|validate STATE_FOLDER
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator


def by_pathlib(state: str) -> Iterator[str]:
    """The type of each event."""
    from pathlib import Path

    for path in sorted(Path(state, "archive").rglob("*.json")):
        yield json.loads(path.read_text(encoding="utf-8"))["type"]


def by_walk(state: str) -> Iterator[str]:
    """The type of each event."""
    for folder, folders, names in os.walk(os.path.join(state, "archive")):
        folders.sort()
        for name in sorted(names):
            with open(os.path.join(folder, name), "rb") as file:
                yield json.loads(file.read())["type"]


def by_validating(state: str) -> Iterator[str]:
    """The type of each event, plain or compacted."""
    from pathlib import Path
    from zoneinfo import ZoneInfo

    from sftpd_processor.archive.copies import Copies
    from sftpd_processor.events.parse import Rejection, parse

    zone = ZoneInfo("UTC")
    for copy in Copies(Path(state)).walk([Path(state, "archive")]):
        parsed = parse(copy.raw, zone)
        if not isinstance(parsed, Rejection):
            yield from (each.event.type for each in parsed.events)


LOOPS = {"pathlib": by_pathlib, "walk": by_walk, "validate": by_validating}


if __name__ == "__main__":
    print(sum(1 for _ in LOOPS[sys.argv[1]](sys.argv[2])))
