"""The end of background loops: all are told at once, and waited for only so long."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from sftpd_processor.pipeline.loop import Loop

logger = logging.getLogger(__name__)

STOP_SECONDS = 20.0
"""How long a stop waits for what is under way; what has not ended then is done again after the next start."""


def end(loops: Sequence[Loop], seconds: float = STOP_SECONDS) -> None:
    """Stop them, and wait for what they have under way, so many seconds at most for all of them."""
    deadline = time.monotonic() + seconds
    for loop in loops:
        loop.stop()
    for loop in loops:
        if not loop.join(max(0.0, deadline - time.monotonic())):
            logger.warning("%s did not end within %g s; it is left behind", loop, STOP_SECONDS)
