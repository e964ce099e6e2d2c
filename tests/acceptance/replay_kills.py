"""A command that is killed again and again, and what is true afterwards, seen from outside."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from sftpd_processor.archive.copies import Copies
from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.points import VARIABLE
from tests.acceptance.support import Desk, event

DAYS = ("03", "04", "05")
HANDLERS = ("journal", "own")
_ARRAY = 3
_BYTES = 6_000_000
"""Of all files together, so that few of them are as much as is taken at once."""
_OFTEN = frozenset({"handing-over", "handled", "original-removed"})
"""Points that are reached once for each event or file."""
_MODULE = """
import os
from pathlib import Path

_NOTED = os.open(Path(__file__).with_name("own"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def own(event, delivery):
    os.write(_NOTED, f"{delivery.idempotency_key} {event.conversation_id}\\n".encode())
"""
_FILES = """
    SELECT source, name, mtime, size, occurrence, state, verdict, origin, recorded_at, sha256, events, repeats,
        archive_path, archived_at IS NULL, gone
    FROM files ORDER BY source, name, mtime"""
_EVENTS = """
    SELECT e.organisation, e.identity, e.type, e.conversation, f.name, e.position, e.created_at, e.recorded_at, e.body
    FROM events e JOIN files f ON f.id = e.file_id ORDER BY e.identity"""
_DELIVERIES = """
    SELECT e.identity, d.handler, d.lane, d.state
    FROM deliveries d JOIN events e ON e.id = d.event_id ORDER BY e.identity, d.handler"""
_SETTLED = """
    SELECT e.identity, d.handler FROM deliveries d JOIN events e ON e.id = d.event_id WHERE d.state = 'done'"""
_AGAIN = """
    SELECT e.identity, r.handler FROM replayed r JOIN events e ON e.id = r.event_id
    WHERE r.state = 'done' AND r.replay = {}"""


class Kill(NamedTuple):
    """One death: as it comes to `point` for the `occurrence`-th time; else after so many `seconds`."""

    point: str | None
    occurrence: int = 1
    seconds: float = 0.0


class Death(NamedTuple):
    """What was true when it was killed."""

    settled: frozenset[str]
    """Keys of the deliveries that were done."""
    noted: dict[str, int]
    """How much each handler had noted."""


def kills(chance: random.Random, points: Sequence[str], span: float) -> Iterator[Kill]:
    """Kills without end, as chance chooses: at points, or up to `span` seconds after the start."""
    while True:
        if chance.random() < 0.5:
            point = chance.choice(points)
            yield Kill(point, chance.randint(1, 40) if point in _OFTEN else chance.choice((1, 1, 2)))
        else:
            yield Kill(None, seconds=chance.uniform(0, span))


class Ordeal:
    """The state of a desk, whose archive is handled again by two handlers."""

    def __init__(self, desk: Desk, size: int) -> None:
        """`size`: files for each of three days."""
        self.desk = desk
        self.archive = desk.state / "archive"
        self.deaths = 0
        desk.bare("--version")  # what starts commands is ready then, so that each takes its own time only
        desk.module("noting", _MODULE)
        handlers: list[dict[str, Any]] = [
            {"name": "journal", "use": "jsonl", "options": {"path": str(desk.journal)}},
            {"name": "own", "use": "noting:own"},
        ]
        source = {"name": "webio", "type": "directory", "folder": str(desk.folder)}
        desk.configure(source, handlers=handlers, archive={"keep_days": 0})
        self._size = size
        self.lay_out()

    def lay_out(self) -> None:
        """Have the archive consist of plain files."""
        shutil.rmtree(self.archive, ignore_errors=True)
        for day in DAYS:
            folder = self.archive / "webio" / "2026" / "03" / day
            folder.mkdir(parents=True)
            for number, (name, raw) in enumerate(_files(day, self._size)):
                (folder / name).write_bytes(raw)
                os.utime(folder / name, ns=(number * 10**9,) * 2)

    def forget(self) -> None:
        """Lose the ledger, and what the handlers noted."""
        for name in ("ledger.db", "ledger.db-wal", "ledger.db-shm"):
            (self.desk.state / name).unlink(missing_ok=True)
        self.begin_notes()

    def begin_notes(self) -> None:
        """Have the handlers begin a new journal."""
        for handler in HANDLERS:
            self._journal(handler).unlink(missing_ok=True)

    def whole(self, *arguments: str) -> None:
        """Run a command to its end."""
        ran = self.desk.run(*arguments)
        assert ran.code == 0, ran.out + ran.err

    def killed(self, arguments: Sequence[str], kill: Kill) -> bool:
        """Whether it was killed, before it came to its end."""
        environment = {VARIABLE: f"{kill.point}:{kill.occurrence}"} if kill.point else {}
        running = self.desk.start(*arguments, **environment)
        try:
            code = running.process.wait(60 if kill.point else kill.seconds)
        except subprocess.TimeoutExpired:
            running.process.kill()
            code = running.ended()
        assert code in (0, -signal.SIGKILL), running.log
        self.deaths += code != 0
        return code != 0

    def replay(self, arguments: Sequence[str], ends: Iterator[Kill], most: int) -> list[Death]:
        """Replay with up to `most` kills, each time resumed, until it has come to its end."""
        before, _ = self._last()
        deaths: list[Death] = []
        order = list(arguments)
        while len(deaths) < most:
            if not self.killed(order, next(ends)):
                return deaths
            number, ended = self._last()
            deaths.append(self._death(number))
            if number != before:
                if ended:  # it was killed after its last word
                    return deaths
                order = ["reprocess", "--resume", str(number)]
        self.whole(*order)
        return deaths

    def unfinished(self) -> int:
        """How many replays have not come to their end."""
        return self.desk.rows("SELECT count(*) FROM replays WHERE finished_at IS NULL")[0][0]  # type: ignore[no-any-return]

    def truth(self) -> dict[str, list[tuple[Any, ...]]]:
        """What the ledger says, without the numbers of rows and the times of this very run."""
        asked = {"files": _FILES, "events": _EVENTS, "deliveries": _DELIVERIES}
        return {name: self.desk.rows(statement) for name, statement in asked.items()}

    def hashes(self) -> dict[str | None, str]:
        """Every copy that can be read, plain or compacted."""
        found = list(Copies(self.desk.state).walk([self.archive]))
        assert len({copy.stored for copy in found}) == len(found)
        return {copy.stored: sha256(copy.raw).hexdigest() for copy in found}

    def notes(self, handler: str) -> list[tuple[str, str]]:
        """Key and conversation of all that the handler was given, in this order."""
        return _notes(self._journal(handler).read_bytes())

    def in_order(self, handler: str) -> dict[str, list[str]]:
        """The keys of each conversation in the order in which the handler was given them first."""
        found: dict[str, list[str]] = {}
        for key, conversation in dict.fromkeys(self.notes(handler)):
            found.setdefault(conversation, []).append(key)
        return found

    def demand_none_twice(self, deaths: Sequence[Death]) -> None:
        """Fail when a handler was given again what was settled before it was killed."""
        for death in deaths:
            for handler, length in death.noted.items():
                given = _notes(self._journal(handler).read_bytes()[length:])
                assert not death.settled.intersection(key for key, _ in given), handler

    def days(self) -> list[str]:
        """What lies where the folders of the days were."""
        return sorted(path.name for path in (self.archive / "webio" / "2026" / "03").iterdir())

    def _death(self, replay: int | None) -> Death:
        rows: list[tuple[Any, ...]] = []
        if self._tables():
            apart = self.desk.rows("SELECT count(*) FROM replayed")[0][0]
            rows = self.desk.rows(_AGAIN.format(replay or 0) if apart else _SETTLED)
        settled = frozenset(idempotency_key("default", identity, handler) for identity, handler in rows)
        sizes = {name: path.stat().st_size for name in HANDLERS if (path := self._journal(name)).exists()}
        return Death(settled, sizes)

    def _last(self) -> tuple[int | None, bool]:
        """The number of the last replay, and whether it has come to its end."""
        found = self.desk.rows("SELECT id, finished_at FROM replays ORDER BY id DESC LIMIT 1") if self._tables() else []
        return (found[0][0], found[0][1] is not None) if found else (None, False)

    def _tables(self) -> bool:
        ledger = self.desk.state / "ledger.db"
        return ledger.exists() and bool(self.desk.rows("SELECT 1 FROM sqlite_schema WHERE name = 'replays'"))

    def _journal(self, handler: str) -> Path:
        return self.desk.journal if handler == "journal" else self.desk.folder / handler


def _files(day: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Messages of twenty conversations; one file holds several, and one brings a message again."""
    first, text = int(day) * 1_000_000, "x" * (_BYTES // size // len(DAYS))
    for number in range(first, first + size):
        yield f"e{number:08d}.json", event(number, f"c{number % 20}", text=text)
    several = [event(number, "c7") for number in range(first + size, first + size + _ARRAY)]
    yield f"several-{day}.json", b"[" + b",".join(several) + b"]"
    yield f"again-{day}.json", event(first, f"c{first % 20}", text=text)


def _notes(text: bytes) -> list[tuple[str, str]]:
    """Whole lines only: a kill may leave half of one, which is ended when the file is opened again."""
    return [found for line in text.split(b"\n") if (found := _note(line)) is not None]


def _note(line: bytes) -> tuple[str, str] | None:
    if not line.startswith(b"{"):
        key, _, conversation = line.decode().partition(" ")
        return (key, conversation) if conversation else None
    try:
        said = json.loads(line)
    except ValueError:
        return None
    return said["delivery"]["key"], said["event"]["conversationId"]
