"""Many faulty servers at once: the real command polls all of them, once while they fail and once when they are well.

Each case is a source of its own, with a server of its own. What must hold for every one of them after the second run,
whatever the first one met, is checked here; what the first one shows is each case's own matter.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance.support import Desk, Ran
from tests.faulty_server import FaultyServer
from tests.unit.scripted_sftp import FOLDER

COUNT = 6  # files in each folder
GRACE = 5.0  # seconds that a busy machine may take for what takes none


@dataclass(frozen=True, slots=True)
class Case:
    """One fault. `name` becomes the name of the source."""

    name: str
    arrange: Callable[[FaultyServer], object]
    """Makes the server faulty; it holds its files by then."""
    said: str = ""
    """The one line on stderr, as a pattern; empty: none."""
    seconds: float = 0.0
    """The deadline by which the poll must have ended, less `GRACE`."""
    recorded: int = COUNT
    """Files of the healthy ones that are recorded all the same."""
    settings: dict[str, Any] = field(default_factory=dict)

    def files(self) -> dict[str, bytes]:
        """What is in the folder."""
        return {f"{self.name}-{n}.json": message(f"{self.name}-{n}") for n in range(COUNT)}

    def __str__(self) -> str:
        return self.name


def message(identity: str, **more: str) -> bytes:
    """The content of a file with one message."""
    fields = {"type": "inboundMessage", "communicationActionId": identity, "conversationId": identity}
    return json.dumps(fields | {"body": "text " * 40} | more).encode()


class Drill:
    """What both runs showed."""

    def __init__(self, folder: Path, cases: Sequence[Case], servers: dict[str, FaultyServer]) -> None:
        self.desk = Desk(folder)
        self.servers = servers
        for case in cases:
            servers[case.name].put(case.files())
        self.desk.configure(*(servers[case.name].source(name=case.name, **case.settings) for case in cases))
        for case in cases:
            case.arrange(servers[case.name])
        self.faulty: Ran = self.desk.run("once", "--json")
        self.recorded = Counter(source for (source,) in self.desk.rows("SELECT source FROM files WHERE sha256 NOTNULL"))
        self.states = dict(self.desk.rows("SELECT name, state || ': ' || coalesce(reason, '') FROM files ORDER BY id"))
        self._seconds = {
            source: (last - first) / 1e6
            for source, first, last in self.desk.rows(
                "SELECT source, min(started_at), max(finished_at) FROM looks GROUP BY source"
            )
        }
        for case in cases:
            servers[case.name].lift()
        self.sound: Ran = self.desk.run("once", "--json")

    def seconds(self, case: Case) -> float:
        """How long the first poll of this source took."""
        return float(self._seconds[case.name])

    def lines(self, case: Case) -> list[str]:
        """What was said of this source on stderr."""
        return [line for line in self.faulty.err.splitlines() if f"source {case.name}: " in line]

    def failure(self, case: Case) -> str | None:
        """Why its poll failed."""
        failure: str | None = self.faulty.data["sources"][case.name]["failure"]
        return failure

    def copies(self, case: Case) -> list[tuple[str, bytes]]:
        """The files in the archive, by name, as they were called on the server."""
        rows = self.desk.rows(
            f"SELECT name, archive_path FROM files WHERE source = '{case.name}' AND archived_at NOTNULL ORDER BY id"
        )
        return [(name, (self.desk.state / path).read_bytes()) for name, path in rows]

    def handled(self, case: Case) -> Counter[str]:
        """The files of this source whose event was handled, and how often."""
        mine = [line for line in self.desk.lines() if line["delivery"]["source"] == case.name]
        return Counter(f"{line['event']['communicationActionId']}.json" for line in mine)

    def verdicts(self, case: Case, name: str) -> list[str]:
        """What was recorded under this name."""
        return [
            verdict
            for (verdict,) in self.desk.rows(
                f"SELECT verdict FROM files WHERE source = '{case.name}' AND name = '{name}' AND state = 'recorded'"
                " ORDER BY id"
            )
        ]

    def check(self, case: Case, *, apart: str | None = None) -> None:
        """After the fault every file, `apart` from one, has one verdict, one copy, one delivery, and left once."""
        files, server = case.files(), self.servers[case.name]
        files.pop(apart or "", None)
        assert [name for name in server.names() if name in files] == []
        assert {name: server.gone[f"{FOLDER}/{name}".encode()] for name in files} == dict.fromkeys(files, 1)
        assert {name: self.verdicts(case, name) for name in files} == {name: ["accepted"] for name in files}
        assert sorted(copy for copy in self.copies(case) if copy[0] in files) == sorted(files.items())
        handled = self.handled(case)
        assert {name: handled[name] for name in files} == dict.fromkeys(files, 1)


@contextmanager
def drilled(folder: Path, cases: Sequence[Case]) -> Iterator[Drill]:
    """Both runs."""
    with ExitStack() as stack:
        servers = {case.name: stack.enter_context(FaultyServer()) for case in cases}
        drill = Drill(folder, cases, servers)
        stack.callback(drill.desk.close)
        yield drill
