"""A replay that is stopped or dies, is resumed, and runs beside the daemon: nothing twice, nothing lost."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.errors import StateInUse
from sftpd_processor.handlers.api import DONE, Outcome
from sftpd_processor.ledger import candidates, replaying
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.replaying import Replaying, Step, Work
from sftpd_processor.reprocess import hands, lock
from sftpd_processor.reprocess.hands import Hands
from sftpd_processor.reprocess.job import Job
from sftpd_processor.reprocess.lock import alone, if_free
from tests.ledger_samples import Clock, arrival, batch, opened
from tests.replay_items import DEAD, RETRY, Office, State, lite
from tests.support import wait_until


@pytest.fixture
def office(tmp_path: Path, ledger: Ledger, url: str, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> Office:
    """A ledger of each kind, read three events a page."""
    monkeypatch.setattr(candidates, "PAGE", 3)
    monkeypatch.setattr(lock, "_PATIENCE", 0.0)
    return Office(tmp_path, ledger, url, clock)


def to_crm(_type: str) -> tuple[str, ...]:
    return ("crm",)


class Killed(BaseException):
    """The process has ended at this point."""


def die_at(monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """In the transaction of that number, from 1; nothing of it is written, nor is anything after it."""
    done: list[int] = []
    take = Replaying.take

    def dying(self: Replaying, *given: Any) -> Step:
        done.append(1)
        if len(done) >= number:
            raise Killed
        return take(self, *given)

    monkeypatch.setattr(Replaying, "take", dying)


def stopping_at(office: Office, monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """The stop comes while that event is handled, which ends after it was heard of, and before anything else is."""
    heard = threading.Event()
    stop = Hands.stop

    def told(self: Hands) -> None:
        stop(self)
        heard.set()
        wait_until(lambda: len(self._crew._results) == self._crew._under_way, what="the running one to end")

    def answer(number: int) -> Outcome:
        if number == at:
            office.stop.set()
            assert heard.wait(30)
        return DONE

    monkeypatch.setattr(Hands, "stop", told)
    office.crm.answer = answer


def test_a_stop_leaves_what_was_not_begun_as_it_was(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop no event begins; missing, failed and dead ones that were not begun are exactly what they were
    before; resumed, the rest is handled, and nothing a second time."""
    monkeypatch.setattr(candidates, "PAGE", 100)
    office.crm.answer = lambda number: RETRY if number == 7 else DEAD
    office.record(*(office.event(number) for number in (5, 6, 7)), wanting=to_crm)
    office.deliver()
    office.crm.forget()
    office.record(*(office.event(number) for number in (8, 9)))
    before = {name: office.rows(f"SELECT * FROM {name}") for name in ("deliveries", "attempts", "replayed")}
    stopping_at(office, monkeypatch, 5)
    report = office.run(workers=1)
    assert report.interrupted
    assert report.deliveries == {"crm": {"done": 1}}
    assert office.crm.numbers == [5]
    for name, rows in before.items():
        now = office.rows(f"SELECT * FROM {name}")
        assert {row for row in rows if row[0] != 1} == {row for row in now if row[0] != 1 and "put back" not in row}
    assert office.rows("SELECT delivery_id FROM attempts WHERE outcome = 'put back'") == [(1,)]
    assert office.ledger.replays.one(1).finished_at is None
    office.stop.clear()
    office.crm.forget()
    report = office.run(resumed=1)
    assert sorted(office.crm.numbers) == [6, 7, 8, 9]
    assert (report.interrupted, report.deliveries) == (False, {"crm": {"done": 5}})
    assert office.ledger.replays.one(1).finished_at is not None


@lite
def test_nothing_begins_after_a_stop_between_two_pages(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a page that was taken already when the stop came nothing is handed over."""
    office.record(*(office.event(number, "a") for number in range(1, 10)))
    handed_over: list[str] = []
    take = Hands.take

    def stopped_at_the_second(self: Hands, works: Sequence[Work]) -> None:
        take(self, works)
        if office.crm.calls:
            office.stop.set()

    monkeypatch.setattr(Hands, "take", stopped_at_the_second)
    monkeypatch.setattr(hands, "reached", handed_over.append)
    assert office.run(workers=1).interrupted
    assert handed_over == ["replay-handing-over"]
    assert office.crm.numbers == sorted(office.states()) == [1, 2, 3]
    office.stop.clear()
    monkeypatch.undo()
    office.run(resumed=1)
    assert office.crm.numbers == list(range(1, 10))


@pytest.mark.parametrize("again", [False, True])
def test_a_replay_that_died_does_again_only_what_was_not_settled(
    office: Office, monkeypatch: pytest.MonkeyPatch, *, again: bool
) -> None:
    """Killed before the results of later pages are written, a resumed replay hands over those pages, and not the
    first, which was settled; also when it runs what is done once more."""
    office.record(*(office.event(number, "a") for number in range(1, 10)), wanting=to_crm)
    office.record(*(office.event(number) for number in range(10, 13)))
    office.crm.answers = {2: [DEAD], 5: [DEAD], 7: [DEAD]}
    office.deliver()
    office.crm.forget()
    job: dict[str, Any] = {"again": again, "workers": 1}
    with monkeypatch.context() as patched:
        die_at(patched, 4)
        with pytest.raises(Killed):
            office.run(**job)
    first = list(office.crm.numbers)
    assert first == (list(range(1, 10)) if again else [2, 5, 7])
    office.crm.forget()
    report = office.run(**job, resumed=1)
    assert office.crm.numbers == [*([4, 5, 6, 7, 8, 9] if again else [5, 7]), 10, 11, 12]
    assert not report.interrupted
    assert report.deliveries == {"crm": {"done": 12 if again else 6}}
    assert {state.state for state in office.states().values()} == {"done"}


@lite
def test_missing_ones_settled_before_an_interruption_are_not_done_ones_of_a_run_again(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `again`, a resumed replay leaves alone what it has itself delivered for the first time."""
    office.record(*(office.event(number) for number in range(1, 13)))
    with monkeypatch.context() as patched:
        die_at(patched, 4)
        with pytest.raises(Killed):
            office.run(again=True, workers=1)
    office.crm.forget()
    office.run(again=True, resumed=1, workers=1)
    assert office.crm.numbers == list(range(4, 13))
    assert office.rows("SELECT count(*) FROM replayed") == [(0,)]


@lite
def test_dead_letters_alone_are_resumed_too(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a replay of dead letters had taken when it died is pending, and no dead letter any more: resumed, the
    replay still has it delivered."""
    office.record(*(office.event(number) for number in range(1, 10)), wanting=to_crm)
    office.crm.answer = lambda _number: DEAD
    office.deliver()
    office.crm.answer = lambda _number: DONE
    office.crm.forget()
    with monkeypatch.context() as patched:
        die_at(patched, 3)
        with pytest.raises(Killed):
            office.run(states=("dead",))
    office.crm.forget()
    office.run(states=("dead",), resumed=1)
    office.clock.advance(3600)
    office.deliver()
    assert sorted(office.crm.numbers) == list(range(1, 10))
    assert {state.state for state in office.states().values()} == {"done"}


def test_a_starting_daemon_leaves_a_living_replay_alone(office: Office) -> None:
    """What a replay works on stays running when a daemon starts beside it; what a dead replay left behind is pending
    again, at the start of the daemon as of the next replay."""
    deliveries = office.ledger.deliveries
    office.record(*(office.event(number) for number in (1, 2)), wanting=to_crm)
    office.crm.answer = lambda _number: DEAD
    office.deliver()
    office.record(office.event(3), wanting=to_crm)

    def answer(_number: int) -> Outcome:
        with if_free(office.state, office.ledger) as free:
            assert not free
        assert deliveries.recover(beside_replay=True) in ({"crm": 1}, {})
        assert [state.state for state in office.states().values()].count("running") >= 1
        with pytest.raises(StateInUse, match="another replay runs"):
            office.run()
        return DONE

    deliveries.claim("crm", 1, ordered=True)
    office.crm.answer = answer
    report = office.run(workers=1)
    assert report.deliveries == {"crm": {"done": 2}}
    assert office.states()[3] == State("pending", 1, None)
    with if_free(office.state, office.ledger) as free:
        assert free


def test_what_a_dead_replay_left_running_is_pending_again(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon, or the next replay, makes it pending; of a single one the attempt counts, of several none does."""
    office.record(*(office.event(number) for number in (1, 2)), wanting=to_crm)
    office.crm.answer = lambda _number: DEAD
    office.deliver()
    for recover in (office.ledger.deliveries.recover, office.ledger.deliveries.recover_orphans):
        with monkeypatch.context() as patched:
            die_at(patched, 2)
            with pytest.raises(Killed):
                office.run()
        assert {state.state for state in office.states().values()} == {"running"}
        assert office.ledger.deliveries.recover(beside_replay=True) == {}
        assert recover() == {"crm": 2}
        assert {state.state for state in office.states().values()} == {"pending"}
        assert {state.attempts for state in office.states().values()} == {0}


def test_two_replays_at_once_are_refused(office: Office, url: str, tmp_path: Path) -> None:
    """The second one raises `StateInUse`, and changes nothing."""
    office.record(office.event(1))
    with alone(office.state, office.ledger), pytest.raises(StateInUse):
        office.run()
    if "postgresql" in url:  # another machine on the same ledger
        (elsewhere := tmp_path / "elsewhere").mkdir()
        with opened(url) as other, alone(elsewhere, other), pytest.raises(StateInUse):
            office.run()
    assert office.rows("SELECT count(*) FROM replays") == [(0,)]
    assert office.run().deliveries == {"crm": {"done": 1}}


def test_the_daemon_claims_nothing_that_a_replay_is_just_taking(
    office: Office, monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    """A delivery that is due is taken by the daemon's claim or by the replay, never by both."""
    office.record(*(office.event(number, f"c{number}") for number in (1, 2, 3)), wanting=to_crm)
    office.crm.answer = lambda _number: RETRY
    office.deliver()
    office.crm.answer = lambda _number: DONE
    office.clock.advance(3600)
    claimed: list[int] = []
    existing = replaying.existing

    def slow(*given: Any) -> Any:
        found = existing(*given)
        if found and not claiming.is_alive():
            claiming.start()
            claiming.join(0.5)
        return found

    with opened(url, office.clock) as other:

        def claim() -> None:
            claimed.extend(each.id for each in other.deliveries.claim("crm", 10, ordered=True))

        claiming = threading.Thread(target=claim)
        monkeypatch.setattr(replaying, "existing", slow)
        report = office.run()
        claiming.join(30)
    assert sum(report.deliveries.get("crm", {}).values()) + len(claimed) == 3


def test_an_event_that_arrives_meanwhile_is_handled_once(office: Office, url: str) -> None:
    """An event that the replay brings from the archive, and that a poll or a live post brings at that very moment, is
    handled once, whoever was first to record it."""
    (day := office.state / "archive/webio/2026/11/22").mkdir(parents=True)
    for number in (1, 2):
        (day / f"{number}.json").write_bytes(office.event(number, "ab"[number - 1]))
    office.record(office.event(2, "b"), wanting=to_crm, source="live")
    with opened(url, office.clock) as other:

        def answer(number: int) -> Outcome:
            if number == 1 and len(office.crm.calls) == 1:
                arrived = batch(arrival("post.json", office.event(1, "a"), 9), source="live")
                assert other.record(arrived, to_crm).verdicts == {"duplicate": 1}
                assert other.deliveries.claim("crm", 0, ordered=True) == []
            return DONE

        office.crm.answer = answer
        report = office.run(paths=(str(day),))
    assert office.crm.numbers == [1]
    assert report.skipped == {"waits for its first attempt already": 1}
    office.deliver()
    assert office.crm.numbers == [1, 2]


@lite
def test_a_job_comes_back_from_the_ledger_as_it_was(office: Office) -> None:
    """What is kept of a job is all that a resumed replay needs."""
    office.record(office.event(1))
    office.run(types=("inboundMessage",), since=1, again=True, rate=5.5, states=("missing",))
    kept = Job.from_json(office.ledger.replays.one(1).job)
    assert (kept.selection.types, kept.selection.since, kept.again, kept.rate) == (("inboundMessage",), 1, True, 5.5)
    assert kept.selection.states == ("missing",)
