"""The end of background loops: all are told at once, and waited for only so long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence

from sftpd_processor.pipeline.loop import Loop

logger = logging.getLogger(__name__)

STOP_SECONDS = 20.0
"""How long a stop waits for what is under way; what has not ended then is done again after the next start."""

_LOOK = 0.2  # seconds


def end(loops: Sequence[Loop], seconds: float = STOP_SECONDS, go_on: Callable[[], bool] = lambda: True) -> list[Loop]:
    """Stop them, and wait for what they have under way: so many seconds at most for all, and only while `go_on`.

    Those that have not ended are returned.
    """
    deadline = time.monotonic() + seconds
    for loop in loops:
        loop.stop()
    left = [loop for loop in loops if not _ended(loop, deadline, go_on)]
    for loop in left:
        logger.warning("%s did not end within %.0f s; it is left behind", loop, seconds)
    return left


def _ended(loop: Loop, deadline: float, go_on: Callable[[], bool]) -> bool:
    while not loop.join(max(0.0, min(_LOOK, deadline - time.monotonic()))):
        if time.monotonic() >= deadline or not go_on():
            return False
    return True
