"""The notebook of a proof: what was sent, what was seen after each run, and in the end what is where.

It is a small SQLite database of its own, so that a million events take no memory and each check is one question to
it. The ledger is read as any program could read it, with SQL and without writing.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import quote

from sftpd_processor.certify.feed import SentFile
from sftpd_processor.certify.journals import read_journal, size_of
from sftpd_processor.certify.place import Found

SCHEMA = """
CREATE TABLE sent (name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL, readable INTEGER NOT NULL,
    flawed INTEGER NOT NULL)
    WITHOUT ROWID;
CREATE TABLE contained (name TEXT, position INTEGER, number INTEGER NOT NULL, variant INTEGER NOT NULL,
    PRIMARY KEY (name, position)) WITHOUT ROWID;
CREATE TABLE event (number INTEGER PRIMARY KEY, type TEXT NOT NULL);
CREATE TABLE wanted (handler TEXT NOT NULL, number INTEGER NOT NULL, rejected INTEGER NOT NULL,
    PRIMARY KEY (handler, number)) WITHOUT ROWID;

CREATE TABLE run (number INTEGER PRIMARY KEY, how TEXT NOT NULL, code INTEGER NOT NULL);
CREATE TABLE journal_size (run INTEGER, handler TEXT, size INTEGER NOT NULL, PRIMARY KEY (run, handler));
CREATE TABLE finished (delivery INTEGER PRIMARY KEY, run INTEGER NOT NULL);
CREATE TABLE in_flight (run INTEGER, delivery INTEGER, PRIMARY KEY (run, delivery)) WITHOUT ROWID;
CREATE TABLE look (id INTEGER PRIMARY KEY, listed INTEGER, recorded INTEGER, known INTEGER, waiting INTEGER,
    ignored INTEGER, vanished INTEGER);

CREATE TABLE file (id INTEGER PRIMARY KEY, name TEXT, state TEXT, verdict TEXT, sha256 TEXT, repeats INTEGER,
    archive_path TEXT);
CREATE TABLE known (id INTEGER PRIMARY KEY, file INTEGER, position INTEGER, lane TEXT);
CREATE TABLE delivery (id INTEGER PRIMARY KEY, event INTEGER, handler TEXT, state TEXT);
CREATE TABLE mark (seq INTEGER PRIMARY KEY, handler TEXT, number INTEGER, mark TEXT, key TEXT, run INTEGER);
CREATE TABLE torn (handler TEXT, run INTEGER);
CREATE TABLE copy (path TEXT PRIMARY KEY, sha256 TEXT) WITHOUT ROWID;
CREATE TABLE found (room TEXT, name TEXT, size INTEGER);
"""

_FINISHED = "('done', 'skipped', 'dead')"
_LEDGER = """
INSERT INTO file SELECT id, name, state, verdict, sha256, repeats, archive_path FROM ledger.files;
INSERT INTO known SELECT id, file_id, position, conversation FROM ledger.events;
INSERT INTO delivery SELECT id, event_id, handler, state FROM ledger.deliveries;
"""
_INDEXES = """
CREATE INDEX contained_number ON contained (number);
CREATE INDEX file_name ON file (name);
CREATE INDEX known_file ON known (file, position);
CREATE INDEX delivery_event ON delivery (event, handler);
CREATE INDEX mark_of ON mark (handler, number, seq);
CREATE INDEX found_name ON found (name);
CREATE TABLE first AS
    SELECT contained.number, contained.variant, known.id AS event, known.file, known.position, known.lane
    FROM known JOIN file ON file.id = known.file
    JOIN contained ON contained.name = file.name AND contained.position = known.position;
CREATE INDEX first_number ON first (number);
CREATE INDEX first_event ON first (event);
CREATE TABLE occasion AS
    SELECT handler, number, first.event, first.lane, delivery.id AS delivery, delivery.state
    FROM delivery JOIN first ON first.event = delivery.event;
CREATE INDEX occasion_of ON occasion (handler, number);
CREATE TABLE effect AS
    SELECT handler, number, min(seq) AS began, min(CASE WHEN mark IN ('e', 'r') THEN seq END) AS closed
    FROM mark GROUP BY handler, number;
CREATE UNIQUE INDEX effect_of ON effect (handler, number);
CREATE TABLE again AS
    SELECT handler, number, run, before, before_run FROM (
        SELECT handler, number, mark, run, lag(mark) OVER past AS before, lag(run) OVER past AS before_run
        FROM mark WINDOW past AS (PARTITION BY handler, number ORDER BY seq))
    WHERE before <> 'f' AND NOT (before = 'b' AND mark <> 'b');
ANALYZE;
"""


class Evidence:
    """The notebook. Its methods may be called by several threads."""

    def __init__(self, path: Path | str) -> None:
        """`path`: of a new file, or ":memory:"."""
        address = path if path == ":memory:" else f"file:{quote(str(path))}"
        self._connection = sqlite3.connect(address, uri=True, check_same_thread=False, isolation_level=None)
        self._lock = threading.RLock()
        for setting in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -32768", "temp_store = FILE"):
            self._connection.execute(f"PRAGMA {setting}")
        self._connection.executescript(SCHEMA)
        self._last_settled = 0

    def close(self) -> None:
        """Close the notebook; the file stays."""
        self._connection.close()

    def ask(self, question: str, *values: object) -> list[tuple[Any, ...]]:
        """What the notebook answers to SQL."""
        with self._lock:
            return self._connection.execute(question, values).fetchall()

    def some(self, question: str, named: Mapping[str, object], most: int) -> list[tuple[Any, ...]]:
        """The first `most` rows of the answer to a question with named values."""
        with self._lock:
            return self._connection.execute(question, named).fetchmany(most)

    def number(self, question: str, *values: object) -> int:
        """The one number that is the answer."""
        return int(self.ask(question, *values)[0][0] or 0)

    def note(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        """Write rows, streaming; those that are there already stay as they are."""
        with self._transaction() as connection:
            rows = iter(rows)
            if (first := next(rows, None)) is not None:
                marks = ", ".join("?" * len(first))
                statement = f"INSERT OR IGNORE INTO {table} VALUES ({marks})"  # noqa: S608 - our own names
                connection.execute(statement, first)
                connection.executemany(statement, rows)

    def sent(self, files: Iterable[SentFile]) -> None:
        """Note files that are about to be sent."""
        files = list(files)
        hashed = ((f, sha256(f.data).hexdigest()) for f in files)
        self.note("sent", ((f.name, digest, len(f.data), f.readable, f.flawed) for f, digest in hashed))
        numbered = ((f.name, at, event) for f in files for at, event in enumerate(f.events))
        self.note("contained", ((name, at, event.number, event.variant) for name, at, event in numbered))
        self.note("event", ((event.number, event.type) for f in files for event in f.events))

    def wanted(self, handlers: Mapping[str, tuple[str, ...] | None], rejects: str, every: int) -> None:
        """Note which handler is to get which events; the handler `rejects` refuses one of `every`."""
        for handler, types in handlers.items():
            marks = ", ".join("?" * len(types or ()))
            condition = "" if types is None else f"WHERE type IN ({marks})"
            rejected = f"number % {every} = 0" if handler == rejects else "0"
            self.ask(f"INSERT INTO wanted SELECT ?, number, {rejected} FROM event {condition}", handler, *types or ())  # noqa: S608

    def ran(self, run: int, how: str, code: int, journals: Mapping[str, Path], ledger: Path) -> None:
        """Note what is there after a run: how long the journals are, and what the ledger says is done."""
        self.note("run", [(run, how, code)])
        self.note("journal_size", [(run, name, size_of(path)) for name, path in journals.items()])
        with self._ledger(ledger) as connection:
            if connection is not None:
                self._snapshot(connection, run)

    def waiting(self, ledger: Path) -> dict[str, int]:
        """What the ledger says is still to be done, by what it is."""
        questions = {
            "files that wait": "SELECT count(*) FROM ledger.files WHERE state = 'waiting'",
            "files without a copy": "SELECT count(*) FROM ledger.files"
            " WHERE state = 'recorded' AND archived_at IS NULL",
            "deliveries": "SELECT count(*) FROM ledger.deliveries WHERE state IN ('pending', 'running')",
            "files not recorded": "SELECT (SELECT count(*) FROM sent) - count(*) FROM ledger.files"
            " WHERE state = 'recorded'",
        }
        with self._ledger(ledger) as connection:
            if connection is None:
                return {"everything": 1}
            found = {what: int(connection.execute(question).fetchone()[0]) for what, question in questions.items()}
        return {what: number for what, number in found.items() if number > 0}

    def collect(self, ledger: Path, journals: Mapping[str, Path], builtin: str) -> str:
        """Note what is in the ledger and in the journals at the end; returns what its integrity check says."""
        with self._ledger(ledger) as connection:
            if connection is None:
                return "there is no ledger"
            for statement in filter(str.strip, _LEDGER.split(";")):
                connection.execute(statement)
            sound = str(connection.execute("PRAGMA ledger.integrity_check").fetchone()[0])
        sequence = count(1)
        for handler, path in journals.items():
            ends = self.ask("SELECT run, size FROM journal_size WHERE handler = ? ORDER BY run", handler)
            torn: list[int] = []
            marks = read_journal(path, ends, torn, jsonl=handler == builtin)
            self.note("mark", ((next(sequence), handler, *mark) for mark in marks))
            self.note("torn", ((handler, run) for run in torn))
        return sound

    def copies(self, state: Path) -> None:
        """Note what is in the archive and the quarantine."""
        paths = (path for room in ("archive", "quarantine") for path in (state / room).rglob("*") if path.is_file())
        self.note("copy", ((str(path.relative_to(state)), sha256(path.read_bytes()).hexdigest()) for path in paths))

    def there(self, found: Iterable[Found]) -> None:
        """Note what is on the server."""
        self.note("found", found)

    def prepare(self) -> None:
        """Put together what was noted, so that it can be asked."""
        with self._lock:
            self._connection.executescript(_INDEXES)

    def _snapshot(self, connection: sqlite3.Connection, run: int) -> None:
        connection.execute(
            f"INSERT OR IGNORE INTO finished SELECT id, ? FROM ledger.deliveries WHERE state IN {_FINISHED}"  # noqa: S608
            " AND settled_at >= ?",
            (run, self._last_settled),
        )
        connection.execute("INSERT INTO in_flight SELECT ?, id FROM ledger.deliveries WHERE state = 'running'", (run,))
        connection.execute(
            "INSERT OR IGNORE INTO look SELECT id, listed, recorded, known, waiting, ignored, vanished"
            " FROM ledger.looks WHERE finished_at IS NOT NULL AND failure IS NULL"
        )
        latest = connection.execute("SELECT max(settled_at) FROM ledger.deliveries").fetchone()[0]
        self._last_settled = latest or self._last_settled

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            self._connection.execute("BEGIN")
            try:
                yield self._connection
            finally:
                self._connection.execute("COMMIT")

    @contextmanager
    def _ledger(self, path: Path) -> Iterator[sqlite3.Connection | None]:
        """The notebook with the ledger beside it, read only; None before the ledger is made."""
        if not path.exists():
            yield None
            return
        with self._lock:
            self._connection.execute("ATTACH ? AS ledger", (f"file:{quote(str(path))}?mode=ro",))
            try:
                made = self._connection.execute(
                    "SELECT count(*) FROM ledger.sqlite_master WHERE name = 'deliveries'"
                ).fetchone()[0]
                with self._transaction():
                    yield self._connection if made else None
            finally:
                self._connection.execute("DETACH ledger")
