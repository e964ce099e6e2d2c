"""The ledger of a configuration, for verbs that work beside a running daemon."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from sftpd_processor.errors import PermanentError

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings
    from sftpd_processor.ledger.ledger import Ledger


@contextmanager
def opened_ledger(settings: Settings) -> Iterator[Ledger]:
    """The ledger that is there already.

    Raises `PermanentError` when there is none yet, and `LedgerUnusable` when it is of another version of this program.
    """
    from sftpd_processor.ledger.ledger import Ledger

    state = settings.state
    if state.database is None and not (state.dir / "ledger.db").exists():
        raise PermanentError(f"there is no ledger in {state.dir} yet; `sftpd-processor once` or `run` makes it")
    ledger = Ledger(state.ledger_url())
    try:
        ledger.check()
        yield ledger
    finally:
        ledger.close()
