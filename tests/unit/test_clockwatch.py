"""The watch over the machine's clock: what waits is neither late nor early when somebody sets it."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.clockwatch import ClockWatch
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import LookCounts, Settlement, Sighting
from tests.ledger_samples import SECOND, Clock, batch, entry, event, opened, record, rows, sqlite_url, wanting

HOURS = 3 * 3600


class Times:
    """A wall clock that can be set, and time that passes for it and for the steady clock alike."""

    def __init__(self, url: str, wall: Clock) -> None:
        self.url = url
        self.wall = wall
        self.steady = 5_000_000_000

    def read(self, _which: int) -> int:
        return self.steady

    def pass_by(self, seconds: float) -> None:
        self.wall.advance(seconds)
        self.steady += int(seconds * 1e9)

    def due(self) -> dict[str, int]:
        """When each delivery is due, in seconds from now by the wall clock."""
        found = rows(self.url, "SELECT state, due_at FROM deliveries ORDER BY id")
        return {f"{number} {state}": round((at - self.wall.now) / SECOND) for number, (state, at) in enumerate(found)}

    def seen(self) -> dict[str, int]:
        """How many seconds ago each file was first seen, by the wall clock."""
        found = rows(self.url, "SELECT state, first_seen FROM files WHERE state <> 'recorded'")
        return {state: round((self.wall.now - at) / SECOND) for state, at in found}


@pytest.fixture
def times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Times:
    made = Times(sqlite_url(tmp_path), Clock())
    monkeypatch.setattr(time, "clock_gettime_ns", made.read)
    return made


@pytest.fixture
def watch(times: Times) -> ClockWatch:
    """The watch, which is the ledger's clock."""
    return ClockWatch(times.wall)


@pytest.fixture
def ledger(times: Times, watch: ClockWatch) -> Iterator[Ledger]:
    """One delivery waits a minute for its retry, one is done, one due; one file waits since now, one is ignored."""
    made = Ledger(times.url, watch)
    made.open()
    try:
        look = made.files.begin_look("webio")
        record(made, *[(f"{number}.json", event(str(number), f"c{number}")) for number in range(3)])
        first, second, third = made.deliveries.claim("crm", 3, ordered=True)
        due = times.wall.now + 60 * SECOND
        made.deliveries.settle(
            "crm",
            [
                Settlement(first.id, "pending", 1, due, "again", failed=True),
                Settlement(second.id, "done", 1, times.wall.now, None),
                Settlement(third.id, "pending", 0, times.wall.now, None),
            ],
        )
        waiting = Sighting(entry("half.json"), "waiting", "it may be half-written")
        ignored = Sighting(entry("x.txt"), "ignored", "its name does not match include")
        made.record(batch(sightings=[waiting, ignored]), wanting)
        made.files.end_look("webio", look, LookCounts())
        yield made
    finally:
        made.close()


@pytest.mark.parametrize("jump", [HOURS, -HOURS, 6, -6, 86_400 * 365 * 10])
def test_what_waits_goes_on_waiting_as_long_as_before(
    ledger: Ledger, watch: ClockWatch, times: Times, jump: int
) -> None:
    """However the clock is set, a retry and a settling file have as far to go as without; what is done stays put."""
    watch.begin(ledger)
    done_at = rows(times.url, "SELECT due_at, settled_at FROM deliveries WHERE state = 'done'")
    times.pass_by(20)
    times.wall.advance(jump)
    assert watch.look(ledger)
    assert times.due()["0 pending"] == 40
    assert times.due()["2 pending"] == -20
    assert times.seen() == {"waiting": 20, "ignored": 20 + jump}
    assert rows(times.url, "SELECT due_at, settled_at FROM deliveries WHERE state = 'done'") == done_at
    assert not watch.look(ledger), "one jump was taken for two"


@pytest.mark.parametrize("jump", [HOURS, -HOURS])
def test_what_is_written_before_the_jump_is_seen(ledger: Ledger, watch: ClockWatch, times: Times, jump: int) -> None:
    """A retry that is noted after the clock was set, and before the watch has seen it, is due within its pause too."""
    (claim,) = ledger.deliveries.claim("crm", 1, ordered=True)
    times.wall.advance(jump)
    due = ledger.clock() + 30 * SECOND
    ledger.deliveries.settle("crm", [Settlement(claim.id, "pending", 1, due, "again", failed=True)])
    assert watch.look(ledger)
    assert times.due() == {"0 pending": 60, "1 done": pytest.approx(0, abs=HOURS + 1), "2 pending": 30}


def test_time_that_passes_is_no_jump(ledger: Ledger, watch: ClockWatch, times: Times) -> None:
    """A day goes by, with the corrections of a time server: nothing is moved, and nothing said."""
    watch.begin(ledger)
    for correction in (1, -2, 3, -2, 4, -4) * 40:
        times.pass_by(360)
        times.wall.advance(correction)
        assert not watch.look(ledger)
        times.wall.advance(-correction)
    assert times.due()["0 pending"] == 60 - 86_400


def test_several_jumps_add_up(ledger: Ledger, watch: ClockWatch, times: Times) -> None:
    """Set forward, back and forward again, each jump is seen once, and waiting times are right in the end."""
    watch.begin(ledger)
    for jump in (HOURS, -2 * HOURS, 7, HOURS):
        times.pass_by(1)
        times.wall.advance(jump)
        assert watch.look(ledger)
    assert times.due()["0 pending"] == 56


def test_a_clock_set_back_while_nothing_ran(ledger: Ledger, watch: ClockWatch, times: Times) -> None:
    """At the start, a last look that lies in the future shows it: a retry is due within its pause, not hours later."""
    times.wall.advance(30 - HOURS)
    watch.begin(ledger)
    assert times.due()["0 pending"] == 60
    assert times.seen()["waiting"] == 0
    assert not watch.look(ledger)


def test_a_clock_set_back_is_seen_once(ledger: Ledger, watch: ClockWatch, times: Times) -> None:
    """After a look by the new time, later starts find nothing to move, though older looks lie in the future still."""
    times.wall.advance(30 - HOURS)
    watch.begin(ledger)
    ledger.files.begin_look("webio")
    times.pass_by(10)
    ClockWatch(times.wall).begin(ledger)
    assert times.due()["0 pending"] == 50
    assert times.seen()["waiting"] == 10


def test_a_clock_that_went_on_while_nothing_ran(ledger: Ledger, watch: ClockWatch, times: Times) -> None:
    """A stop of some hours is no jump: what became due meanwhile is due at once."""
    times.pass_by(HOURS)
    ClockWatch(times.wall).begin(ledger)
    assert times.due()["0 pending"] == 60 - HOURS
    assert times.seen()["waiting"] == HOURS


def test_an_empty_ledger_has_nothing_to_move(tmp_path: Path) -> None:
    """The very first start, before any look, neither fails nor changes anything."""
    with opened(sqlite_url(tmp_path)) as ledger:
        assert ledger.times.last() is None
        watch = ClockWatch()
        watch.begin(ledger)
        assert not watch.look(ledger)


@pytest.mark.parametrize(
    ("jump", "told"),
    [
        (HOURS, "the clock of this machine was set forward by 10800 s; waiting times are kept"),
        (-7.25, "the clock of this machine was set back by 7.2 s; waiting times are kept"),
    ],
)
def test_it_says_so(
    ledger: Ledger, watch: ClockWatch, times: Times, caplog: pytest.LogCaptureFixture, jump: float, told: str
) -> None:
    """One line for each jump tells the direction and by how much."""
    watch.begin(ledger)
    times.wall.advance(jump)
    with caplog.at_level(logging.WARNING):
        watch.look(ledger)
        watch.look(ledger)
    assert caplog.messages == [told]
