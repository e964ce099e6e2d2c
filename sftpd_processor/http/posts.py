"""Live posts on their way into the ledger: all that come while one commit runs go into the next one."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple, Protocol

from sftpd_processor.errors import InternalError, ProcessorError, TransientError
from sftpd_processor.measures import Measures
from sftpd_processor.repeats import Repeats

if TYPE_CHECKING:  # it would load the ledger, which the first post does
    from sftpd_processor.pipeline.live import Posted

logger = logging.getLogger(__name__)

_MOST_POSTS = 500
_MOST_BYTES = 4 << 20  # of one commit; what is parsed can take forty times as much
_MOST_HELD = 64 << 20  # bytes of all posts under way
_PATIENCE = 15.0  # seconds
_MANY = 8  # posts of one commit, after which the next one waits a moment for more
_MOMENT = 0.003  # seconds: a commit costs as much, however few are in it


class Overloaded(TransientError):
    """More is under way than fits into memory, or the ledger takes too long."""


class _Post(NamedTuple):
    raw: bytes
    came: float
    done: asyncio.Future[Posted]


class Recording(Protocol):
    """What records posts."""

    def record(self, posts: Sequence[bytes]) -> list[Posted]:
        """As `LiveIntake` does."""


class Posts:
    """Groups posts into commits. All methods belong to the event loop."""

    def __init__(self, intake: Recording, committed: Callable[[], None], measures: Measures) -> None:
        """`committed` is called in another thread after each commit."""
        self._intake = intake
        self._committed = committed
        self._measures = measures
        self._waiting: deque[_Post] = deque()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="record-live")
        self._commits: asyncio.Task[None] | None = None
        self._held = 0
        self._repeats = Repeats()

    def reserve(self, size: int) -> None:
        """Claim room for a post that is about to be read; `release` gives it back. Raises `Overloaded`."""
        if self._held + size > _MOST_HELD:
            raise Overloaded("too much is being posted at once")
        self._held += size

    def release(self, size: int) -> None:
        """Give room back."""
        self._held -= size

    async def put(self, raw: bytes) -> Posted:
        """What became of one post, once it is durable. Raises what the ledger raises, and `Overloaded`."""
        loop = asyncio.get_running_loop()
        post = _Post(raw, time.monotonic(), loop.create_future())
        self._waiting.append(post)
        if self._commits is None or self._commits.done():
            self._commits = loop.create_task(self._commit_all())
        return await post.done

    def close(self) -> None:
        """Let the commit under way end."""
        self._worker.shutdown()

    async def _commit_all(self) -> None:
        loop = asyncio.get_running_loop()
        while batch := self._next():
            commit = loop.run_in_executor(self._worker, self._commit, [post.raw for post in batch])
            while not (await asyncio.wait((commit,), timeout=_PATIENCE))[0]:
                self._give_up(batch)
            if (error := commit.exception()) is not None:
                self._failed(batch, error)
            else:
                self._done(batch, commit.result())
            if len(batch) >= _MANY:
                await asyncio.sleep(_MOMENT)

    def _commit(self, bodies: list[bytes]) -> list[Posted]:
        posted = self._intake.record(bodies)
        self._committed()
        return posted

    def _next(self) -> list[_Post]:
        """The oldest posts, as many as go into one commit; not those whose senders have given up."""
        batch: list[_Post] = []
        size = 0
        while self._waiting and len(batch) < _MOST_POSTS:
            if batch and size + len(self._waiting[0].raw) > _MOST_BYTES:
                break
            post = self._waiting.popleft()
            if not post.done.done():
                batch.append(post)
                size += len(post.raw)
        return batch

    def _done(self, batch: list[_Post], posted: list[Posted]) -> None:
        if said := self._repeats.works():
            logger.info("live posts: %s", said, extra={"failures": self._repeats.failures})
        now = time.monotonic()
        self._measures.observe_many("post_commit_seconds", seconds=[now - post.came for post in batch])
        for post, each in zip(batch, posted, strict=True):
            if not post.done.done():
                post.done.set_result(each)

    def _give_up(self, batch: list[_Post]) -> None:
        """Nobody waits for ever; who sends it again will be told that it is a duplicate, if it went in after all."""
        _tell((*batch, *self._waiting), Overloaded(f"it could not be recorded within {_PATIENCE:g} s"))
        self._waiting.clear()

    def _failed(self, batch: list[_Post], error: BaseException) -> None:
        mistake = None if isinstance(error, ProcessorError) else error
        text = f"{error}; they are answered with 503, so that Webio can send them again"
        if mistake is not None:
            text = "internal error; please report it"
            error = InternalError(f"internal error: {type(mistake).__name__}")
        if said := self._repeats.failed(text, type(mistake or error).__name__):
            logger.error("live posts: %s", said, extra={"failures": self._repeats.failures}, exc_info=mistake)
        _tell(batch, error)


def _tell(posts: Iterable[_Post], error: BaseException) -> None:
    for post in posts:
        if not post.done.done():
            post.done.set_exception(error)
