"""The ledger of a configuration, for verbs that work beside a running daemon."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
        raise _absent(state.dir)
    ledger = Ledger(state.ledger_url())
    try:
        ledger.check()
        yield ledger
    finally:
        ledger.close()


def _absent(folder: Path) -> PermanentError:
    if (folder / "archive").is_dir():
        rebuild = shlex.join(["sftpd-processor", "reprocess", str(folder / "archive"), "--record-only"])
        return PermanentError(
            f"there is no ledger in {folder}, but an archive; to rebuild the ledger from it: {rebuild}"
        )
    return PermanentError(f"there is no ledger in {folder} yet; `sftpd-processor once` or `run` makes it")
