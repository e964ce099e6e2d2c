"""The ledger: the one truth about what has happened, as verbs."""

from __future__ import annotations

from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.deliveries import Deliveries
from sftpd_processor.ledger.figures import Figures
from sftpd_processor.ledger.files import Files
from sftpd_processor.ledger.recording import Recorder, Wanting
from sftpd_processor.ledger.records import Batch, Clock, Recorded, now


class Ledger:
    """All that is known, in one database. Safe to use from several threads.

    Every verb raises `LedgerUnavailable` when the database cannot be used now (then nothing was written) and
    `LedgerUnusable` when a person must act.
    """

    def __init__(self, url: str, clock: Clock = now) -> None:
        """`url` as SQLAlchemy writes it; opens nothing yet."""
        self._database = Database(url)
        self._recorder = Recorder(self._database, clock)
        self.files = Files(self._database, clock)
        self.deliveries = Deliveries(self._database, clock)
        self.figures = Figures(self._database)
        self.clock = clock

    def open(self) -> None:
        """Make or migrate the tables."""
        self._database.open()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def record(self, batch: Batch, wanting: Wanting) -> Recorded:
        """Make a batch of files, events and deliveries durable, in one transaction."""
        return self._recorder.record(batch, wanting)
