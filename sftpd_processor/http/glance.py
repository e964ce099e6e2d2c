"""A look at something that may be slow, or hang: shared by all who ask within a second, and waited for only so long."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

Seen = TypeVar("Seen")

_FRESH = 1.0  # seconds


class Glance(Generic[Seen]):
    """What a call returns. It runs in a thread of its own, of which there is never more than one."""

    def __init__(self, call: Callable[[], Seen], patience: float) -> None:
        """`patience`: seconds that the call may take; then those who asked are told, and it goes on by itself."""
        self._call = call
        self._patience = patience
        self._lock = threading.Lock()
        self._future: Future[Seen] | None = None
        self._began = self._ended = 0.0

    def seen(self) -> Seen:
        """The result, at most a second old. Raises what the call raised, or `TimeoutError`."""
        future = self._asked()
        return future.result(max(0.0, self._began + self._patience - time.monotonic()))

    def _asked(self) -> Future[Seen]:
        with self._lock:
            if self._future is None or (self._future.done() and time.monotonic() - self._ended > _FRESH):
                future: Future[Seen] = Future()
                threading.Thread(target=self._run, args=(future,), name="glance", daemon=True).start()
                self._future, self._began = future, time.monotonic()
            return self._future

    def _run(self, future: Future[Seen]) -> None:
        try:
            result = self._call()
        except BaseException as error:  # noqa: BLE001 - it belongs to those who asked
            self._ended = time.monotonic()
            future.set_exception(error)
        else:
            self._ended = time.monotonic()
            future.set_result(result)
