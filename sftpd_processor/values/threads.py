"""A few threads for work that blocks, so that none of it can stop the event loop, nor more than these threads."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from sftpd_processor.values.api import ProviderFailed

T = TypeVar("T")

MOST_WAITING = 1_000
"""Pieces of work that wait for a thread."""


class Threads:
    """At most `size` daemon threads, started when needed; used from one event loop.

    Work whose asker has gone before it began is not done. Work that has begun cannot be ended: its thread is held up
    until it returns, and when all of them are, further work is refused at once.
    """

    def __init__(self, name: str, size: int) -> None:
        self._name = name
        self._size = size
        self._started = 0
        self._stuck = 0
        self._waiting: SimpleQueue[_Work | None] = SimpleQueue()
        self._lock = threading.Lock()

    async def run(self, call: Callable[[], T]) -> T:
        """What `call` returns or raises. Raises ProviderFailed when all threads are stuck."""
        work = self._put(call)
        try:
            return cast("T", await asyncio.wrap_future(work.result))
        except asyncio.CancelledError:
            with self._lock:
                work.left = not work.result.cancel() and not work.result.done()
                self._stuck += work.left
            raise

    def close(self) -> None:
        """Let the threads end; those that are stuck end with the process."""
        for _ in range(self._started):
            self._waiting.put(None)

    def _put(self, call: Callable[[], object]) -> _Work:
        if self._stuck >= self._size:
            raise ProviderFailed(f"all its {self._size} threads are held up by calls that do not end")
        if self._waiting.qsize() >= MOST_WAITING:
            raise ProviderFailed("too much waits for its threads")
        if self._started < self._size:
            threading.Thread(target=self._serve, name=f"values-{self._name}-{self._started}", daemon=True).start()
            self._started += 1
        work = _Work(call)
        self._waiting.put(work)
        return work

    def _serve(self) -> None:
        while (work := self._waiting.get()) is not None:
            if work.result.set_running_or_notify_cancel():
                work.do()
                with self._lock:
                    self._stuck -= work.left


class _Work:
    """One call, and where its result goes."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: Future[Any] = Future()
        self.left = False
        self._call = call

    def do(self) -> None:
        try:
            self.result.set_result(self._call())
        except Exception as error:  # noqa: BLE001 (goes to the asker)
            self.result.set_exception(error)
        except BaseException as error:  # noqa: BLE001 (exit() would end the event loop of the asker)
            self.result.set_exception(ProviderFailed(type(error).__name__))
