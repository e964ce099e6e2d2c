"""How fast rows become durable on a disk, without any of our work: the limit that live posts are measured against."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.load import event
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.live import LiveIntake

_PRAGMAS = ("journal_mode = WAL", "synchronous = FULL", "cache_size = -8000", "wal_autocheckpoint = 4000")
"""As the ledger has them."""


def bare_rows_per_second(folder: Path, together: int, seconds: float) -> float:
    """Rows of one event each, `together` in a transaction, into one table with a unique key."""
    connection = sqlite3.connect(folder / f"bare-{together}.db", isolation_level=None)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    connection.execute(
        "CREATE TABLE events (id INTEGER PRIMARY KEY, identity TEXT NOT NULL UNIQUE, body BLOB NOT NULL)"
    )
    body = json.dumps(event("IDENTITY")).encode()

    def commit(number: int) -> None:
        rows = [(f"{number}-{index}", body) for index in range(together)]
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany("INSERT INTO events (identity, body) VALUES (?, ?)", rows)
        connection.execute("COMMIT")

    try:
        return together * _per_second(commit, seconds)
    finally:
        connection.close()


def ledger_rows_per_second(folder: Path, together: int, seconds: float) -> float:
    """Live posts, `together` in a transaction, parsed and recorded by our ledger, with no listener before it."""
    ledger = Ledger(f"sqlite:///{folder / 'ledger-alone.db'}")
    intake = LiveIntake(HttpSettings(listen="127.0.0.1:1", auth="none"), ledger, lambda _type: (), measures=Measures())
    try:
        return together * _per_second(
            lambda number: intake.record(
                [json.dumps(event(f"{number}-{index}")).encode() for index in range(together)]
            ),
            seconds,
        )
    finally:
        ledger.close()


def _per_second(step: Callable[[int], object], seconds: float) -> float:
    step(-1)  # what is opened or compiled once is not counted
    began = time.perf_counter()
    number = 0
    while time.perf_counter() - began < seconds:
        step(number)
        number += 1
    return number / (time.perf_counter() - began)
