"""A state folder with its ledger, and the upkeep of it, for the tests of upkeep."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftpd_processor.config.settings import ArchiveSettings
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.archive import Archive
from sftpd_processor.upkeep.report import Upkept
from sftpd_processor.upkeep.upkeep import Upkeep
from tests.ledger_samples import Clock, event, record, rows, settled, sqlite_url

FOLDER = "archive/webio/2026/11/22"
DAYS = 86_400
"""Seconds."""


class Home:
    """A state folder with its ledger, and the upkeep of it."""

    def __init__(self, state: Path, ledger: Ledger, clock: Clock) -> None:
        self.state = state
        self.url = sqlite_url(state)
        self.ledger = ledger
        self.clock = clock
        self.archive = Archive(state, ledger)
        self.upkeep = Upkeep(state, settings(), ledger)

    def take(self, name: str, raw: bytes | None = None, *, deliver: bool = True) -> None:
        """A file is recorded, archived, and what is in it delivered."""
        record(self.ledger, (name, raw or event(name)))
        while self.archive.step():
            pass
        for claim in self.ledger.deliveries.claim("crm", 9, ordered=False) if deliver else ():
            self.ledger.deliveries.settle("crm", [settled(claim.id)])

    def run(self, **changes: object) -> Upkept:
        """Once through."""
        self.upkeep.settings = settings(**changes)
        return self.upkeep.run(lambda: False)

    def rows(self, statement: str) -> list[Any]:
        """What a query finds; each row's first column."""
        return [row[0] for row in rows(self.url, statement)]

    def files(self) -> list[str]:
        """All that lies in the archive and the quarantine."""
        found = [path for room in ("archive", "quarantine") for path in (self.state / room).rglob("*")]
        return sorted(str(path.relative_to(self.state)) for path in found if not path.is_dir())


def settings(**changes: object) -> ArchiveSettings:
    """Nothing is ever done, but for the changes."""
    never = ("compact_after_days", "keep_days", "keep_quarantine_days", "keep_dead_letters_days")
    return ArchiveSettings.model_validate(dict.fromkeys([*never, "keep_identities_days"], 0) | changes)
