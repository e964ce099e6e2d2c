"""Named points between the durable steps, where `certify` and the tests end the process without warning.

`SFTPD_PROCESSOR_KILL_AT=recorded:3` in the environment makes the process kill itself (SIGKILL, so that nothing is
tidied up) when it comes to the point `recorded` for the third time. Without it a point is an empty function.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from itertools import count

VARIABLE = "SFTPD_PROCESSOR_KILL_AT"

POINTS = {
    "recovered": "deliveries cut off by the last crash are pending again",
    "look-begun": "a look has its number, and nothing is listed yet",
    "listed": "a batch of the listing is here",
    "fetched": "files are in memory only",
    "recording": "events are read, and nothing of them is in the ledger",
    "committing": "files, events and deliveries are written, but not committed",
    "recorded": "files, events and deliveries are committed",
    "disposing": "the server is about to be asked to move or delete",
    "disposed": "the server has moved or deleted, and the ledger does not know",
    "disposal-noted": "the ledger knows what was moved or deleted",
    "look-ended": "the balance of a look is written",
    "copy-begun": "a local copy exists, and is empty",
    "copied": "local copies are written, and the ledger does not know",
    "copies-noted": "the ledger knows where the local copies are",
    "claimed": "deliveries are claimed, and no handler has begun",
    "handing-over": "a handler is about to be called",
    "handled": "a handler has returned, and the ledger does not know",
    "settling": "results are about to be written",
    "settled": "results are committed",
}
"""Every point on the way of a file, and what is true there."""

ASIDE = {
    "replay-begun": "a replay has its number, and has taken nothing",
    "replay-brought": "archived files are in the ledger, and their events have no deliveries yet",
    "replay-taken": "the next events of a replay are taken, with the results of those before",
    "replay-handing-over": "events of a replay are about to be handed over",
    "replay-settling": "the last results of a replay, or those of a slow handler, are about to be written",
    "day-written": "a compacted day is written beside its folder, and was not read back",
    "day-verified": "every byte of it was read back, and it has another name yet",
    "day-in-place": "it is in its place, and the plain copies are still there",
    "original-removed": "one more of them is removed",
    "originals-removed": "their folder is still there",
}
"""The same of a replay and of compacting a day, which `certify` does not wait for."""


def _kill_at(wanted: str) -> Callable[[str], None]:
    name, _, number = wanted.partition(":")
    times = count(1)
    last = int(number or 1)

    def reached(point: str) -> None:
        if point == name and next(times) == last:
            os.kill(os.getpid(), signal.SIGKILL)

    return reached


def _go_on(_point: str) -> None:
    """Nothing is to happen here."""


reached: Callable[[str], None] = _kill_at(os.environ[VARIABLE]) if VARIABLE in os.environ else _go_on
"""Called with the name of each point as the process comes to it."""
