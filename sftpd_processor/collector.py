"""Python's garbage collector, and the C library's memory, in a process that runs for long."""

from __future__ import annotations

import gc


def spare_the_collector() -> None:
    """To be called when all is loaded: that stays, and looking for garbage among it again and again costs a tenth."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


def give_back() -> None:
    """Hand memory that is free to the system, which glibc does by itself only at the end of its heap."""
    import ctypes  # a short run has no use for it

    if (trim := getattr(ctypes.CDLL(None), "malloc_trim", None)) is not None:
        trim(0)
