"""One replay at a time: two would hand over the same events."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from sftpd_processor.archive.turn import if_unlocked
from sftpd_processor.errors import StateInUse
from sftpd_processor.ledger.ledger import Ledger

LOCK = "replay.lock"
_PATIENCE, _PAUSE = 2.0, 0.05  # seconds; the daemon holds it for a moment now and then


@contextmanager
def alone(state: Path, ledger: Ledger) -> Iterator[None]:
    """Hold the right to replay. The locks go with the process, however that ends.

    Raises `StateInUse` when another process holds it, and `PermanentError` when the folder cannot be written.
    """
    with ExitStack() as held:
        deadline = time.monotonic() + _PATIENCE
        while not held.enter_context(if_free(state, ledger)):
            held.pop_all().close()
            if time.monotonic() > deadline:
                raise StateInUse(
                    f"another replay runs on {state}, or on its ledger; `sftpd-processor status` shows it. Try again "
                    "when it has ended"
                )
            time.sleep(_PAUSE)
        yield


@contextmanager
def if_free(state: Path, ledger: Ledger) -> Iterator[bool]:
    """Hold it if no replay runs; whether that is so. Raises `PermanentError` when the folder cannot be written."""
    with if_unlocked(state, LOCK) as here:
        if not here:
            yield False
            return
        with ledger.replays.alone() as everywhere:
            yield everywhere
