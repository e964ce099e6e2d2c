"""Python's garbage collector in a process that runs for long."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """To be called when all is loaded: that stays, and looking for garbage among it again and again costs a tenth."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()
