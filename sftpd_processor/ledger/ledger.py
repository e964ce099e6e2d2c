"""The ledger: the one truth about what has happened, as verbs."""

from __future__ import annotations

from sftpd_processor.ledger.alerts import Alerts
from sftpd_processor.ledger.copies import KeptCopies
from sftpd_processor.ledger.database import Database
from sftpd_processor.ledger.deliveries import Deliveries
from sftpd_processor.ledger.figures import Figures
from sftpd_processor.ledger.files import Files
from sftpd_processor.ledger.forgetting import LedgerForgetting
from sftpd_processor.ledger.holdings import Holdings
from sftpd_processor.ledger.recording import Recorder, Wanting
from sftpd_processor.ledger.records import Batch, Clock, Recorded, now
from sftpd_processor.ledger.replays import Replays
from sftpd_processor.ledger.retries import Retries
from sftpd_processor.ledger.rhythm import Rhythm
from sftpd_processor.ledger.stories import Stories
from sftpd_processor.ledger.times import Times
from sftpd_processor.ledger.totals import Totals
from sftpd_processor.ledger.upkeep import LedgerUpkeep


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
        self.times = Times(self._database)
        self.stories = Stories(self._database)
        self.retries = Retries(self._database, clock)
        self.replays = Replays(self._database, clock)
        self.totals = Totals(self._database, clock)
        self.alerts = Alerts(self._database)
        self.rhythm = Rhythm(self._database)
        self.copies = KeptCopies(self._database)
        self.upkeep = LedgerUpkeep(self._database, clock)
        self.holdings = Holdings(self._database)
        self.forgetting = LedgerForgetting(self._database, clock)
        self.clock = clock

    def open(self) -> None:
        """Make or migrate the tables."""
        self._database.open()

    def check(self) -> None:
        """Raise `LedgerUnusable` unless the tables are those of this version; changes nothing."""
        self._database.check()

    def rest(self) -> None:
        """Give back the memory that work took; to be called when there is none."""
        self._database.rest()

    def close(self) -> None:
        """Let go of the database."""
        self._database.close()

    def record(self, batch: Batch, wanting: Wanting, *, dry_run: bool = False) -> Recorded:
        """Make a batch of files, events and deliveries durable, in one transaction; undone with `dry_run`."""
        return self._recorder.record(batch, wanting, dry_run=dry_run)

    def reread(self, file: int, batch: Batch, wanting: Wanting, *, dry_run: bool = False) -> Recorded:
        """Take what is new in a recorded file that was read again; `batch` holds it as its one arrival."""
        return self._recorder.reread(file, batch, wanting, dry_run=dry_run)
