"""The crew: the worker threads of one handler, and the watch over those that do not come back."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence

import pytest

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.handlers.api import DONE, Item, Outcome
from sftpd_processor.ledger.records import Claim
from sftpd_processor.pipeline import crew as module
from sftpd_processor.pipeline.breaker import Breaker
from sftpd_processor.pipeline.crew import Crew, Result
from tests.support import wait_until

AGAIN = Outcome("retry", "again")
Do = Callable[[int], Outcome]


class Scripted:
    """A handler that does what a function says for the number of each claim."""

    name = "scripted"

    def __init__(self, do: Do, batch_size: int) -> None:
        self.batch_size = batch_size
        self.do = do
        self.seen: list[int] = []

    def wants(self, event_type: str) -> bool:
        return True

    def open(self) -> None: ...

    def close(self) -> None: ...

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        numbers = [int(item.event_type) for item in items]
        self.seen += numbers
        return [self.do(number) for number in numbers]


class Room:
    """Crews under test, and what ends them."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.told = threading.Event()
        self.crews: list[Crew] = []
        self.handler = Scripted(lambda _: DONE, 1)

    def crew(self, do: Do, size: int = 2, timeout: float = 30.0, batch_size: int = 1, enough: int = 0) -> Crew:
        """`enough`: failures that open the breaker; 0: none do."""
        self.handler = Scripted(do, batch_size)
        breaker = Breaker("scripted", DeliverySettings(breaker_failures=enough))
        self.crews.append(Crew(self.handler, breaker, size, timeout, self.told.set))
        return self.crews[-1]

    def hang(self, _number: int) -> Outcome:
        assert self.released.wait(60)
        return DONE


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> Iterator[Room]:
    """Ends every thread of the test's crews, and fails when one is left."""
    monkeypatch.setattr(module, "_GRACE", 0.05)
    made = Room()
    yield made
    made.released.set()
    for crew in made.crews:
        crew.close()
    wait_until(lambda: not threads(), what="the crew's threads to end")


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "handler-scripted"]


def claim(number: int, lane: str | None = "a") -> Claim:
    return Claim(
        id=number, lane=lane, attempt=1, organisation="default", identity=f"i{number}", type=str(number),
        conversation=lane, time_zone="UTC", recorded_at=0, body=b"{}", origin="sftp", source="webio", file=None,
    )  # fmt: skip


def chunk(*numbers: int, lane: str | None = "a") -> list[Claim]:
    return [claim(number, lane) for number in numbers]


def gathered(crew: Crew, count: int) -> list[Result]:
    found: list[Result] = []

    def enough() -> bool:
        found.extend(crew.results())
        return len(found) >= count

    wait_until(enough, what=f"{count} results")
    return found


def states(results: list[Result]) -> dict[int, str | None]:
    return {claim.id: outcome.state if outcome else None for claim, outcome in results}


class Chunk(list[Claim]):
    """One that can be told to be gone."""


def test_a_thread_that_waits_holds_no_claims(room: Room) -> None:
    """When a chunk is done its claims are let go of, with the bodies of their events, while the thread waits."""
    crew = room.crew(lambda _: DONE)
    given = Chunk(chunk(1, 2))
    still_there = weakref.ref(given)
    crew.give([given])
    del given
    gathered(crew, 2)
    wait_until(lambda: still_there() is None, what="the chunk to be forgotten")
    assert threads()


def test_a_chunk_is_done_in_its_order(room: Room) -> None:
    """Claims of one chunk are handled one after another, in the order given, and every one has a result."""
    crew = room.crew(lambda _: DONE, size=4)
    crew.give([chunk(*range(50))])
    assert crew.busy
    assert states(gathered(crew, 50)) == dict.fromkeys(range(50), "done")
    assert room.handler.seen == list(range(50))
    assert not crew.busy
    assert room.told.is_set()


def test_chunks_are_done_at_the_same_time(room: Room) -> None:
    """Four chunks meet at a barrier that only four threads at once can pass."""
    barrier = threading.Barrier(4)

    def meet(_number: int) -> Outcome:
        barrier.wait(20)
        return DONE

    crew = room.crew(meet, size=4)
    crew.give([chunk(number) for number in range(4)])
    assert set(states(gathered(crew, 4)).values()) == {"done"}
    assert len(threads()) == 4


def test_it_never_has_more_threads_than_its_size(room: Room) -> None:
    """A hundred chunks for three workers make three threads, also when given again and again."""
    crew = room.crew(lambda _: DONE, size=3)
    for first in range(0, 100, 10):
        crew.give([chunk(number) for number in range(first, first + 10)])
    assert len(gathered(crew, 100)) == 100
    assert len(threads()) <= 3


def test_a_retry_gives_the_rest_of_its_chunk_back_untried(room: Room) -> None:
    """What follows a retry in one conversation is not handled, and comes back without an outcome."""
    crew = room.crew(lambda number: AGAIN if number == 2 else DONE)
    crew.give([chunk(1, 2, 3, 4), chunk(11, 12, lane="b")])
    assert states(gathered(crew, 6)) == {1: "done", 2: "retry", 3: None, 4: None, 11: "done", 12: "done"}
    assert set(room.handler.seen) == {1, 2, 11, 12}


def test_of_a_batch_only_the_first_retry_of_a_lane_counts(room: Room) -> None:
    """In one call for many, later retries of a conversation have used no attempt; without a conversation all have."""
    crew = room.crew(lambda number: DONE if number == 1 else AGAIN, batch_size=10)
    batch = [*chunk(1, 2, 3), *chunk(4, 5, lane="b"), *chunk(6, 7, lane=None)]
    crew.give([batch])
    expected = {1: "done", 2: "retry", 3: None, 4: "retry", 5: None, 6: "retry", 7: "retry"}
    assert states(gathered(crew, 7)) == expected


def test_a_batch_handler_gets_no_more_than_its_batch(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk longer than the handler's batch is handed over in several calls, in order."""
    sizes: list[int] = []
    crew = room.crew(lambda _: DONE, batch_size=4)
    original = room.handler.handle

    def measured(items: Sequence[Item]) -> Sequence[Outcome]:
        sizes.append(len(items))
        return original(items)

    monkeypatch.setattr(room.handler, "handle", measured)
    crew.give([chunk(*range(10))])
    gathered(crew, 10)
    assert sizes == [4, 4, 2]
    assert room.handler.seen == list(range(10))


def test_one_that_never_returns_is_given_up(room: Room) -> None:
    """After its time a hanging call has failed; the rest of its chunk comes back untried."""
    crew = room.crew(lambda number: room.hang(number) if number == 1 else DONE, size=1, timeout=0.1)
    crew.give([chunk(1, 2)])
    results = gathered(crew, 2)
    assert states(results) == {1: "retry", 2: None}
    assert [outcome.detail for _, outcome in results if outcome] == ["it did not return within 0.1 s"]
    assert crew.lost == 1
    assert not crew.busy


def test_another_thread_takes_its_place(room: Room) -> None:
    """What waited behind a hanging call is done by a new thread, and the crew takes more."""
    crew = room.crew(lambda number: room.hang(number) if number == 1 else DONE, size=1, timeout=0.1)
    crew.give([chunk(1), chunk(2, lane="b")])
    assert states(gathered(crew, 2)) == {1: "retry", 2: "done"}
    wait_until(lambda: crew.hungry, what="a free thread")
    crew.give([chunk(3, lane="c")])
    assert states(gathered(crew, 1)) == {3: "done"}


def test_the_late_result_is_not_listened_to(room: Room) -> None:
    """When the thread given up does return, no second result appears, and it ends."""
    crew = room.crew(lambda number: room.hang(number) if number == 1 else DONE, size=1, timeout=0.1)
    crew.give([chunk(1, 2, 3)])
    gathered(crew, 3)
    room.released.set()
    wait_until(lambda: not threads(), what="the late thread to end")
    assert crew.results() == []
    assert room.handler.seen == [1]
    assert crew.hungry
    assert crew.lost == 0


def test_too_many_lost_threads_end_its_hunger(room: Room) -> None:
    """With four threads lost for each worker no more work is taken; when they come back, it is again."""
    crew = room.crew(room.hang, size=1, timeout=0.02)
    for number in range(4):
        wait_until(lambda: crew.hungry, what=f"hunger after {number} lost threads")
        crew.give([chunk(number)])
        gathered(crew, 1)
    assert crew.lost == 4
    assert not crew.hungry
    room.released.set()
    wait_until(lambda: crew.hungry, what="hunger once the lost threads came back")


def test_it_tells_when_to_look_for_late_ones(room: Room) -> None:
    """While something runs, the next check is due within the time limit and its grace; idle, there is none."""
    crew = room.crew(room.hang, timeout=20.0)
    assert crew.next_check() is None
    crew.give([chunk(1)])
    wait_until(lambda: room.handler.seen, what="the call")
    check = crew.next_check()
    assert check is not None
    assert 15 < check <= 20.05
    room.released.set()
    gathered(crew, 1)
    assert crew.next_check() is None


def test_work_given_is_watched_at_once(room: Room) -> None:
    """There is a next check as soon as work was given, also before its thread has begun: else nobody looks again."""
    missing = 0
    for number in range(50):
        crew = room.crew(room.hang, size=1, timeout=20.0)
        crew.give([chunk(number)])
        missing += crew.next_check() is None
    assert missing == 0


def test_hunger_is_room_for_work(room: Room) -> None:
    """It is hungry before the first work, not while work waits or all threads work, and again afterwards."""
    crew = room.crew(room.hang, size=1)
    assert crew.hungry
    crew.give([chunk(1), chunk(2, lane="b")])
    assert not crew.hungry
    room.released.set()
    gathered(crew, 2)
    wait_until(lambda: crew.hungry, what="hunger after the work")


def test_recall_gives_back_what_was_not_begun(room: Room) -> None:
    """Recalled chunks come back untried; what runs goes on to its end."""
    crew = room.crew(room.hang, size=1)
    crew.give([chunk(1, 2), chunk(3, 4, lane="b")])
    wait_until(lambda: room.handler.seen, what="the first call")
    crew.recall()
    assert states(gathered(crew, 2)) == {3: None, 4: None}
    room.released.set()
    assert 1 in states(gathered(crew, 1))


def test_close_ends_idle_threads(room: Room) -> None:
    """After `close` no thread of the crew is left, whether it worked or waited."""
    crew = room.crew(lambda _: DONE, size=4)
    crew.give([chunk(number) for number in range(8)])
    gathered(crew, 8)
    assert threads()
    crew.close()
    wait_until(lambda: not threads(), what="the threads to end")


def test_close_does_not_wait_for_one_that_hangs(room: Room) -> None:
    """Closing returns at once while a handler hangs; its thread ends when the handler does."""
    crew = room.crew(room.hang, size=1)
    crew.give([chunk(1)])
    wait_until(lambda: room.handler.seen, what="the call")
    began = time.monotonic()
    crew.close()
    assert time.monotonic() - began < 5
    assert threads()


def test_keys_are_made_of_what_makes_the_event() -> None:
    """The idempotency key depends on organisation, identity and handler, each apart, and on nothing else."""
    key = idempotency_key("default", "i", "crm")
    assert key == idempotency_key("default", "i", "crm")
    others = [("acme", "i", "crm"), ("default", "j", "crm"), ("default", "i", "log"), ("defaulti", "", "crm")]
    assert len({key, *(idempotency_key(*other) for other in others)}) == 5


def test_what_was_claimed_while_the_breaker_opened_is_given_back(room: Room) -> None:
    """Work that arrives when the breaker has just opened comes back untried, except a single one: that is the probe."""
    crew = room.crew(lambda _: AGAIN, enough=2)
    crew.give([chunk(1, lane=None), chunk(2, lane=None)])
    gathered(crew, 2)
    room.told.clear()
    crew.give([chunk(number, lane=None) for number in range(3, 10)])
    assert [(claimed.id, outcome) for claimed, outcome in gathered(crew, 7)] == [(n, None) for n in range(3, 10)]
    assert room.told.is_set()
    crew.give([chunk(10, lane=None)])
    gathered(crew, 1)
    assert sorted(room.handler.seen) == [1, 2, 10]
    assert not crew.busy
