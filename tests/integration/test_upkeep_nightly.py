"""When upkeep is done, and what does not wait for the night."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sftpd_processor.archive.turn import turn
from sftpd_processor.errors import StateInUse
from sftpd_processor.upkeep import nightly
from sftpd_processor.upkeep.nightly import Nightly, due_after
from tests.ledger_samples import Clock, opened, sqlite_url
from tests.upkeep_items import DAYS, Home, settings


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty one."""
    clock = Clock()
    with opened(sqlite_url(tmp_path), clock) as ledger:
        yield Home(tmp_path, ledger, clock)


def test_one_at_a_time(home: Home) -> None:
    """While another process is at the archive, upkeep refuses to begin; the daemon comes back later, in silence."""
    with turn(home.state):
        with pytest.raises(StateInUse, match="runs at this moment"):
            home.run()
        night = Nightly(home.upkeep, home.ledger, lambda: False)
        home.ledger.upkeep.done(home.upkeep.machine)
        home.clock.advance(2 * DAYS)
        assert night.step() == 60.0


def test_it_makes_up_for_what_was_missed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is due at the first start; then once for each time that has passed, however long nobody was there."""
    night = Nightly(home.upkeep, home.ledger, lambda: False)
    runs: list[object] = []
    monkeypatch.setattr(Nightly, "_tell", lambda _self, report: runs.append(report))
    night.step()
    night.step()
    assert runs == []
    home.clock.advance(10 * DAYS)
    restarted = Nightly(home.upkeep, home.ledger, lambda: False)
    restarted.step()
    restarted.step()
    assert len(runs) == 1
    home.clock.advance(DAYS)
    restarted.step()
    assert len(runs) == 2


def test_between_two_nights_bytes_leave_the_ledger(home: Home) -> None:
    """Raw bytes do not wait for the night; but while files are being taken, they wait, if not for ever."""
    busy = True
    night = Nightly(home.upkeep, home.ledger, lambda: busy)
    home.take("1.json")
    assert night.step() == 5.0
    assert home.rows("SELECT count(*) FROM contents") == [1]
    for _ in range(nightly._PATIENCE):
        night.step()
    assert home.rows("SELECT count(*) FROM contents") == [0]
    home.take("2.json")
    busy = False
    assert night.step() == 60.0
    assert home.rows("SELECT count(*) FROM contents") == [0]


def test_a_reload_counts_from_the_next_run_on(home: Home) -> None:
    """Other settings are taken while it runs."""
    night = Nightly(home.upkeep, home.ledger, lambda: False)
    night.step()
    home.take("1.json")
    night.configure(settings(keep_days=1))
    home.clock.advance(3 * DAYS)
    night.step()
    assert home.files() == []


def test_a_long_run_shows_that_it_lives(home: Home, caplog: pytest.LogCaptureFixture) -> None:
    """Before each piece the loop says that it gets on, and asks whether it is to end; what it did is one line."""
    night = Nightly(home.upkeep, home.ledger, lambda: False)
    night.step()
    home.take("1.json")
    home.clock.advance(3 * DAYS)
    night.busy_since = 0.0
    with caplog.at_level(logging.INFO):
        night.step()
    assert night.busy_since > 0.0
    assert [line for line in caplog.messages if line.startswith("upkeep: 1 file's bytes left the ledger; ")]
    home.clock.advance(3 * DAYS)
    night.stop()
    with caplog.at_level(logging.INFO):
        night.step()
    assert "stopped after" in caplog.messages[-1]


def test_the_time_of_day_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    """`upkeep_at` is that of the machine's clock, the next one after the moment given."""
    then = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
    due = due_after("03:10", then)
    assert due > then
    assert f"{due.astimezone():%H:%M:%S}" == "03:10:00"
    assert due_after("03:10", due.astimezone(UTC)) >= due
