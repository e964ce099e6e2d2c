"""A small, hand-made world as a proof leaves it: server, ledger, copies and journals, in which all is well.

Six files: one with event 1, its duplicate, a conflict with it, JSON Lines with events 2 and 3, one with event 7 (which
the handler `picky` rejects), and one that is invalid. In the first run, which is killed, `journal` and `lines` handle
events 1 and 2, and event 2 is still running; the second run does the rest and ends by itself.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from typing import Self

from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.feed import NUMBER, SentEvent, SentFile
from sftpd_processor.certify.inspection import inspect
from sftpd_processor.certify.place import LocalPlace
from sftpd_processor.certify.stage import HANDLERS, Stage
from sftpd_processor.certify.verdict import Check
from sftpd_processor.config.settings import DirectorySourceSettings

KILLED = -9
LEDGER = """
CREATE TABLE files (id INTEGER, name, state, verdict, sha256, repeats, archive_path, archived_at);
CREATE TABLE events (id INTEGER, file_id, position, conversation);
CREATE TABLE deliveries (id INTEGER, event_id, handler, state, settled_at);
CREATE TABLE looks (id INTEGER, listed, recorded, known, waiting, ignored, vanished, finished_at, failure);
"""
FILES = {
    "a.json": ("accepted", (SentEvent(1, "messageSend", 0),)),
    "b.json": ("duplicate", (SentEvent(1, "messageSend", 0),)),
    "c.json": ("conflict", (SentEvent(1, "messageSend", 1),)),
    "d.jsonl": ("accepted", (SentEvent(2, "payment", 0), SentEvent(3, "setStatus", 0))),
    "e.json": ("accepted", (SentEvent(7, "setStatus", 0),)),
    "f.json": ("invalid", ()),
}
EVENTS = {1: (1, 0, "A"), 2: (4, 0, "A"), 3: (4, 1, "A"), 7: (5, 0, "B")}
"""Of each event, which is also its row: the row of its file, its position there, its conversation."""
DELIVERIES = [
    ("journal", 1), ("journal", 2), ("journal", 3), ("journal", 7), ("lines", 1), ("lines", 2), ("lines", 3),
    ("lines", 7), ("flaky", 2), ("picky", 3), ("picky", 7),
]  # fmt: skip


def data(name: str) -> bytes:
    """What is in the file; what it says plays no part, only that it stays the same."""
    return f"the bytes of {'a.json' if name == 'b.json' else name}".encode()


class World:
    """See above. What a test spoils it with before `look` gives the world back, to be chained."""

    def __init__(self, folder: Path) -> None:
        source = folder / "source"
        source.mkdir()
        self.stage = Stage(folder / "local")
        self.stage.state.mkdir(parents=True)
        self.stage.log.write_text("in 0.1 s\n")
        self.place = LocalPlace(DirectorySourceSettings(name="local", folder=source))
        self.server = Path(self.place.incoming) / "processed"
        self.evidence = Evidence(":memory:")
        self._write_files()
        self._first_run()
        self._second_run()

    def look(self, after: str = "move") -> dict[str, Check]:
        """What the inspection says, by title."""
        with closing(self.evidence):
            return {check.title: check for check in inspect(self.evidence, self.stage, self.place, after)}

    def failing(self, after: str = "move") -> list[str]:
        """The titles of the checks that fail."""
        return [title for title, check in self.look(after).items() if not check.passed]

    def ledger(self, *statements: str) -> Self:
        """Change the ledger."""
        with closing(sqlite3.connect(self.stage.ledger)) as connection, connection:
            for statement in statements:
                connection.execute(statement)
        return self

    def copy(self, name: str) -> Path:
        """The local copy of a file."""
        good = FILES[name][0] in ("accepted", "duplicate")
        return self.stage.state / ("archive" if good else "quarantine") / "local" / name

    def mark(self, handler: str, *lines: str) -> Self:
        """Append lines such as "b 1" to a journal."""
        with self.stage.journal(handler).open("a") as journal:
            for line in lines:
                mark, number = line.split()
                key = sha256(f"{handler} {number}".encode()).hexdigest()[:32]
                told = {"event": {NUMBER: number}, "delivery": {"key": key}}
                journal.write(f"{json.dumps(told) if handler == 'lines' else f'{mark} {number} 1 {key}'}\n")
        return self

    def edit(self, handler: str, old: str, new: str) -> Self:
        """Change a journal; both texts are as long as each other, so that lines stay where they are."""
        assert len(old) == len(new)
        path = self.stage.journal(handler)
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))
        return self

    def tear(self, handler: str) -> Self:
        """Append a line that was cut off."""
        with self.stage.journal(handler).open("a") as journal:
            journal.write("b 2")
        return self

    def rekey(self, handler: str) -> Self:
        """Give the last line of a journal another key."""
        path = self.stage.journal(handler)
        path.write_text(path.read_text()[:-9] + "00000000\n")
        return self

    def swap(self, handler: str) -> Self:
        """Change the order of the last two lines of a journal."""
        path = self.stage.journal(handler)
        *lines, first, second = path.read_text().splitlines(keepends=True)
        path.write_text("".join([*lines, second, first]))
        return self

    def ran(self, run: int, code: int) -> Self:
        """Note the end of a run."""
        journals = {name: self.stage.journal(name) for name in HANDLERS}
        self.evidence.ran(run, f"run {run}", code, journals, self.stage.ledger)
        return self

    def _write_files(self) -> None:
        sent = [SentFile(name, data(name), events) for name, (_, events) in FILES.items()]
        self.evidence.sent(sent)
        self.place.put(sent)
        self.server.mkdir()
        for name in FILES:
            (Path(self.place.incoming) / name).rename(self.server / name)
            copy = self.copy(name)
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(data(name))
            if "quarantine" in copy.parts:
                copy.with_name(f"{name}.reason.json").write_text("{}")

    def _first_run(self) -> None:
        statements = list(filter(str.strip, LEDGER.split(";")))
        for number, (name, (verdict, _)) in enumerate(FILES.items(), 1):
            path, digest = self.copy(name).relative_to(self.stage.state), sha256(data(name)).hexdigest()
            values = f"{number}, '{name}', 'recorded', '{verdict}', '{digest}', 0, '{path}', 1"
            statements.append(f"INSERT INTO files VALUES ({values})")
        statements += [f"INSERT INTO events VALUES ({n}, {f}, {p}, '{c}')" for n, (f, p, c) in EVENTS.items()]
        for number, (handler, event) in enumerate(DELIVERIES, 1):
            known = handler in ("journal", "lines") and event <= 2
            state = ("done" if event == 1 else "running") if known else "pending"
            settled = 10 if state == "done" else "NULL"
            statements.append(f"INSERT INTO deliveries VALUES ({number}, {event}, '{handler}', '{state}', {settled})")
        statements.append("INSERT INTO looks VALUES (1, 8, 6, 0, 1, 1, 0, 5, NULL)")
        self.ledger("PRAGMA synchronous = OFF", *statements)
        self.mark("journal", "b 1", "e 1", "b 2", "e 2")
        self.mark("lines", "e 1", "e 2")
        self.ran(1, KILLED)

    def _second_run(self) -> None:
        self.ledger(
            "UPDATE deliveries SET state = 'done', settled_at = 20 WHERE state <> 'done'",
            "UPDATE deliveries SET state = 'dead' WHERE handler = 'picky' AND event_id = 7",
        )
        self.mark("journal", "b 2", "e 2", "b 3", "e 3", "b 7", "e 7")
        self.mark("lines", "e 2", "e 3", "e 7")
        self.mark("flaky", "b 2", "f 2", "b 2", "e 2")
        self.mark("picky", "b 3", "e 3", "b 7", "r 7")
        self.ran(2, 0)
