from __future__ import annotations

import asyncio
import threading

import pytest

from sftpd_processor.values import threads
from sftpd_processor.values.api import ProviderFailed
from sftpd_processor.values.threads import Threads


async def given_up(work: asyncio.Task[None]) -> None:
    work.cancel()
    await asyncio.wait([work])


def test_only_work_that_has_begun_holds_up_a_thread() -> None:
    """What was given up while it waited is not done, and counts no more; the thread is there again when it returns."""
    begun, let_go, done = threading.Event(), threading.Event(), []

    def hang() -> None:
        begun.set()
        let_go.wait(30)

    async def main() -> None:
        pool = Threads("x", 1)
        try:
            first = asyncio.create_task(pool.run(hang))
            assert await asyncio.to_thread(begun.wait, 10)
            waiting = [asyncio.create_task(pool.run(lambda: done.append(1))) for _ in range(5)]
            await asyncio.sleep(0)
            for each in waiting:
                await given_up(each)
            await given_up(first)
            with pytest.raises(ProviderFailed, match="all its 1 threads are held up"):
                await pool.run(lambda: None)
            let_go.set()
            while pool._stuck:
                await asyncio.sleep(0.001)
            assert await pool.run(lambda: 7) == 7
        finally:
            let_go.set()
            pool.close()

    asyncio.run(main())
    assert done == []


def test_not_without_end_waits_for_a_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line is bounded; beyond it work is refused at once."""
    monkeypatch.setattr(threads, "MOST_WAITING", 3)
    begun, let_go = threading.Event(), threading.Event()

    def hang() -> None:
        begun.set()
        let_go.wait(30)

    async def main() -> None:
        pool = Threads("x", 1)
        try:
            tasks = [asyncio.create_task(pool.run(hang))]
            assert await asyncio.to_thread(begun.wait, 10)
            tasks += [asyncio.create_task(pool.run(hang)) for _ in range(3)]
            await asyncio.sleep(0)
            with pytest.raises(ProviderFailed, match="too much waits"):
                await pool.run(lambda: None)
        finally:
            let_go.set()
            pool.close()
        await asyncio.gather(*tasks)

    asyncio.run(main())


def test_exit_in_a_thread_is_a_failure_of_that_call() -> None:
    """It ends neither the thread nor the event loop."""

    def leave() -> None:
        raise SystemExit(1)

    async def main() -> None:
        pool = Threads("x", 1)
        for _ in range(2):
            with pytest.raises(ProviderFailed, match="SystemExit"):
                await pool.run(leave)
        assert await pool.run(lambda: 7) == 7
        pool.close()

    asyncio.run(main())
