"""When the archivist lets the ledger give memory back."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Unarchived
from sftpd_processor.pipeline.archive import Archive, Archivist
from tests.ledger_samples import Clock, event, opened, record, sqlite_url


class Counting(Archive):
    """An archive with `todo` batches of 1,000 copies to be written, which counts its rests."""

    def __init__(self, todo: int) -> None:
        self.todo = todo
        self.rests = 0

    def step(self) -> int:
        self.todo -= 1
        return 1000 if self.todo >= 0 else 0

    def write(self, files: Sequence[Unarchived]) -> None: ...

    def rest(self) -> None:
        self.rests += 1


def rests(archive: Counting, archivist: Archivist, steps: int) -> list[int]:
    """How often it has rested after each of so many steps."""
    found = []
    for _ in range(steps):
        archivist.step()
        found.append(archive.rests)
    return found


def test_it_rests_once_after_much_work() -> None:
    """After many copies it rests at the second step in a row that finds nothing, and not again until there was work."""
    archive = Counting(2)
    assert rests(archive, Archivist(archive), 6) == [0, 0, 0, 1, 1, 1]


def test_it_does_not_rest_after_little_work() -> None:
    """Where nothing was written, there is nothing to give back."""
    archive = Counting(0)
    assert rests(archive, Archivist(archive), 4) == [0, 0, 0, 0]


def test_the_ledger_works_on_after_a_rest(tmp_path: Path) -> None:
    """A rest closes only connections that nobody uses: a transaction under way is committed, another begins."""
    with opened(sqlite_url(tmp_path), Clock()) as ledger:
        record(ledger, ("1.json", event("a")))
        with ledger._database.write() as connection:
            ledger.rest()
            connection.exec_driver_sql("UPDATE files SET reason = 'kept'")
        assert _reasons(ledger) == ["kept"]
        record(ledger, ("2.json", event("b")))
        assert len(_reasons(ledger)) == 2


def _reasons(ledger: Ledger) -> list[str]:
    with ledger._database.read() as connection:
        return [reason for (reason,) in connection.exec_driver_sql("SELECT reason FROM files ORDER BY id")]
