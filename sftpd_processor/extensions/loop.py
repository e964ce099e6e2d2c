"""One event loop in a thread of its own, for what handlers and providers do with asyncio."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from time import monotonic
from typing import Any, TypeVar

logger = logging.getLogger(__name__)

T = TypeVar("T")
GRACE_SECONDS = 5.0


class LoopThread:
    """Runs coroutines for other threads, each with a time limit. Starts when first needed."""

    def __init__(self, name: str, *, grace_seconds: float = GRACE_SECONDS) -> None:
        self._name = name
        self._grace = grace_seconds
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._closing = False
        self._knocked: float | None = None

    def run(self, work: Coroutine[Any, Any, T], timeout: float) -> T:
        """Wait for `work`'s result; it is cancelled after `timeout` seconds.

        Raises TimeoutError then, and also, a little later, when it does not let itself be cancelled or when
        something keeps the loop from running. Whatever `work` raises comes through.
        """
        future = asyncio.run_coroutine_threadsafe(_within(work, timeout), self._started())
        try:
            ok, value = future.result(timeout + self._grace)
        except TimeoutError:
            future.cancel()
            raise
        if ok:
            return value  # type: ignore[no-any-return]
        raise value

    def submit(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Start `work` and return at once; cancelling the future cancels the work. It must not raise SystemExit."""
        return asyncio.run_coroutine_threadsafe(work, self._started())

    def blocked_seconds(self) -> float:
        """For how long the loop has not come round, because what runs in it does not await; to be asked regularly."""
        knocked = self._knocked
        if knocked is None:
            knocked = self._knocked = monotonic()
            self._started().call_soon_threadsafe(self._opened_up)
        return monotonic() - knocked

    def _opened_up(self) -> None:
        self._knocked = None

    def close(self) -> None:
        """Cancel what still runs, stop the loop and end its thread. May be called when never started."""
        if self._loop is None or self._thread is None:
            return
        self._closing = True
        asyncio.run_coroutine_threadsafe(_cancel_others(), self._loop).add_done_callback(
            lambda _: self._loop and self._loop.call_soon_threadsafe(self._loop.stop)
        )
        self._thread.join(self._grace)
        if not self._thread.is_alive():
            self._loop.close()
        self._loop = self._thread = None

    def _started(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._serve, args=(self._loop,), name=self._name, daemon=True)
                self._thread.start()
            return self._loop

    def _serve(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while True:
            try:
                loop.run_forever()
            except (
                SystemExit,
                KeyboardInterrupt,
            ):  # a task of user code called exit(): asyncio lets it through
                logger.warning("event loop %s: a task tried to end the program; it goes on", self._name)
            if self._closing:
                return


async def _within(work: Coroutine[Any, Any, T], timeout: float) -> tuple[bool, Any]:
    """Whether it returned, and what it returned or raised; as a value, since asyncio would let SystemExit
    end the loop."""
    try:
        async with asyncio.timeout(timeout):
            return True, await work
    except BaseException as error:  # noqa: BLE001 (the caller's thread raises it again)
        return False, error


def being_cancelled() -> bool:
    """Whether a CancelledError here comes from whoever waits for this task, and not from what runs in it."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def _cancel_others() -> None:
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=1.0) if others else None
