"""Grouping live posts into commits: who waits is told, whatever the ledger does."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pytest

from sftpd_processor.errors import InternalError, LedgerUnavailable, LedgerUnusable
from sftpd_processor.http import posts as module
from sftpd_processor.http.posts import Overloaded, Posts
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.live import Posted


class Intake:
    """Takes note of each commit; fails, or waits, when told to."""

    def __init__(self) -> None:
        self.commits: list[list[bytes]] = []
        self.error: Exception | None = None
        self.go_on = threading.Event()
        self.go_on.set()

    def record(self, posts: Sequence[bytes]) -> list[Posted]:
        assert self.go_on.wait(20)
        self.commits.append([*posts])
        if self.error is not None:
            raise self.error
        return [Posted("accepted", f"live/{raw.decode()}", "") for raw in posts]


@pytest.fixture
def intake() -> Intake:
    """An intake that takes everything."""
    return Intake()


@contextmanager
def grouped(intake: Intake, measures: Measures | None = None) -> Iterator[Posts]:
    """Posts into that intake."""
    posts = Posts(intake, lambda: None, measures or Measures())
    try:
        yield posts
    finally:
        intake.go_on.set()
        posts.close()


async def _settled(posts: Posts, bodies: Sequence[bytes]) -> list[Posted | BaseException]:
    return await asyncio.gather(*(posts.put(body) for body in bodies), return_exceptions=True)


def test_what_comes_during_a_commit_goes_into_the_next(intake: Intake) -> None:
    """The first post is committed alone, all that come meanwhile together, and each gets its own answer."""
    measures = Measures()

    async def run(posts: Posts) -> None:
        intake.go_on.clear()
        first = asyncio.ensure_future(posts.put(b"0"))
        while posts._waiting or posts._commits is None:
            await asyncio.sleep(0)
        others = asyncio.ensure_future(_settled(posts, [b"%d" % number for number in range(1, 40)]))
        while len(posts._waiting) < 39:
            await asyncio.sleep(0)
        intake.go_on.set()
        assert (await first).file == "live/0"
        assert [each.file for each in await others if isinstance(each, Posted)] == [f"live/{n}" for n in range(1, 40)]

    with grouped(intake, measures) as posts:
        asyncio.run(run(posts))
    assert [len(commit) for commit in intake.commits] == [1, 39]
    (noted,) = measures.snapshot()
    assert (noted["name"], sum(noted["counts"])) == ("post_commit_seconds", 40)


def test_a_commit_is_bounded(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """No commit holds more posts, or more bytes, than fit; one that is too large alone is committed alone."""
    monkeypatch.setattr(module, "_MOST_POSTS", 3)
    monkeypatch.setattr(module, "_MOST_BYTES", 10)
    bodies = [b"1", b"2", b"3", b"4", b"5" * 9, b"6" * 20, b"7"]
    with grouped(intake) as posts:
        asyncio.run(_settled(posts, bodies))
    assert intake.commits == [[b"1", b"2", b"3"], [b"4", b"5" * 9], [b"6" * 20], [b"7"]]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (LedgerUnavailable("the disk is full"), LedgerUnavailable),
        (LedgerUnusable("of a newer version"), LedgerUnusable),
        (ValueError("447700900001"), InternalError),
    ],
)
def test_a_commit_that_fails(
    intake: Intake, error: Exception, kind: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    """Everybody in it is told, it is logged once until it works again, and the next commit is tried anew."""
    caplog.set_level("INFO")

    async def run(posts: Posts) -> None:
        intake.error = error
        for _ in range(3):
            assert {type(each) for each in await _settled(posts, [b"1", b"2"])} == {kind}
        intake.error = None
        assert isinstance(await posts.put(b"3"), Posted)

    with grouped(intake) as posts:
        asyncio.run(run(posts))
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(said) == 1
    assert "447700900001" not in " ".join(said)
    assert re.fullmatch(r"live posts: works again after \d+ s, 3 failures", caplog.messages[-1])


def test_nobody_waits_for_ever(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a commit hangs, those in it and those behind it are told after a while; later ones are taken again."""
    monkeypatch.setattr(module, "_PATIENCE", 0.2)

    async def run(posts: Posts) -> None:
        intake.go_on.clear()
        assert {type(each) for each in await _settled(posts, [b"1", b"2", b"3"])} == {Overloaded}
        intake.go_on.set()
        assert (await posts.put(b"4")).file == "live/4"

    with grouped(intake) as posts:
        asyncio.run(run(posts))


def test_a_sender_who_is_gone(intake: Intake) -> None:
    """A post whose sender gave up before its commit is not recorded, and the others of its commit are."""

    async def run(posts: Posts) -> None:
        intake.go_on.clear()
        first = asyncio.ensure_future(posts.put(b"1"))
        while posts._waiting or posts._commits is None:
            await asyncio.sleep(0)
        gone, stays = asyncio.ensure_future(posts.put(b"2")), asyncio.ensure_future(posts.put(b"3"))
        while len(posts._waiting) < 2:
            await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        intake.go_on.set()
        await asyncio.gather(first, stays)

    with grouped(intake) as posts:
        asyncio.run(run(posts))
    assert intake.commits == [[b"1"], [b"3"]]


def test_what_is_held_in_memory_is_bounded(intake: Intake, monkeypatch: pytest.MonkeyPatch) -> None:
    """Room is claimed before a body is read; when there is none left, the post is refused, until some is given back."""
    monkeypatch.setattr(module, "_MOST_HELD", 100)
    with grouped(intake) as posts:
        posts.reserve(60)
        with pytest.raises(Overloaded, match="too much"):
            posts.reserve(60)
        posts.release(60)
        posts.reserve(100)
