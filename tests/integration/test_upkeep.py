"""The upkeep of a state folder: what goes, what stays, and that it goes on after it was stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger import upkeep as verbs
from sftpd_processor.ledger.upkeep import LedgerUpkeep
from sftpd_processor.upkeep import removal
from sftpd_processor.upkeep import upkeep as module
from tests.ledger_samples import Clock, opened, sqlite_url
from tests.upkeep_items import DAYS, FOLDER, Home, settings


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty one."""
    clock = Clock()
    with opened(sqlite_url(tmp_path), clock) as ledger:
        yield Home(tmp_path, ledger, clock)


def test_the_machine_forgets_in_the_right_order(home: Home) -> None:
    """Bytes leave the ledger at once; then the copy goes with the contents, and last of all the identity."""
    home.take("1.json")
    home.take("bad.json", b"?")
    first = home.run()
    assert (first.finished, first.released, first.errors) == (True, 2, [])
    home.clock.advance(31 * DAYS)
    second = home.run(keep_days=30, keep_identities_days=60)
    assert (second.days_removed, second.files_expired, second.events_expired, second.events_forgotten) == (1, 1, 1, 0)
    assert home.files() == [f"quarantine/webio/2026/11/22/bad.json{more}" for more in ("", ".reason.json")]
    assert sorted(path.name for path in (home.state / "archive" / "webio").iterdir()) == []
    third = home.run(keep_quarantine_days=30)
    assert (third.days_removed, third.files_expired, home.files()) == (1, 1, [])
    home.ledger.files.disposed([(number, "deleted") for number in home.rows("SELECT id FROM files")], 1)
    home.clock.advance(31 * DAYS)
    last = home.run(keep_days=30, keep_identities_days=60)
    assert (last.events_forgotten, last.files_forgotten) == (1, 2)
    assert home.rows("SELECT count(*) FROM files") == [0]


def test_nothing_happens_too_early(home: Home) -> None:
    """A day that is exactly so many days old still counts as kept."""
    home.take("1.json")
    home.clock.advance(30 * DAYS)
    report = home.run(keep_days=30, keep_quarantine_days=30, keep_identities_days=30, keep_dead_letters_days=30)
    assert (report.days_removed, report.files_expired) == (0, 0)
    assert home.files() == [f"{FOLDER}/1.json"]


def test_a_day_with_an_open_delivery_waits(home: Home) -> None:
    """The whole day stays until everything of it is delivered."""
    home.take("1.json")
    home.take("2.json", deliver=False)
    home.clock.advance(31 * DAYS)
    assert home.run(keep_days=30).files_expired == 0
    assert home.files() == [f"{FOLDER}/1.json", f"{FOLDER}/2.json"]
    home.take("3.json")
    assert home.run(keep_days=30).files_expired == 2
    assert home.files() == ["archive/webio/2026/12/23/3.json"]


def test_only_what_is_ours_is_removed(home: Home, tmp_path_factory: pytest.TempPathFactory) -> None:
    """Links are not followed, and what has not the shape of our paths stays; so do folders within a day."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "precious").write_text("x")
    day = home.state / "archive/webio/2020/01/01"
    (day / "inner").mkdir(parents=True)
    (day / "inner" / "theirs").write_text("x")
    (day / "old.json").symlink_to(elsewhere / "precious")
    (home.state / "archive/webio/2020/01/02").symlink_to(elsewhere)
    (home.state / "archive/linked").symlink_to(elsewhere)
    (home.state / "archive/webio/2020/01/03.zip").write_text("x")
    (home.state / "archive/webio/2020/01/notes.txt").write_text("x")
    report = home.run(keep_days=30)
    assert (report.errors, report.days_removed) == ([], 1)
    assert (elsewhere / "precious").read_text() == "x"
    left = sorted(str(path.relative_to(home.state / "archive")) for path in (home.state / "archive").rglob("*"))
    inner = ["", "/01", "/01/01", "/01/01/inner", "/01/01/inner/theirs", "/01/02", "/01/notes.txt"]
    assert left == ["linked", "webio", *(f"webio/2020{more}" for more in inner)]


def test_what_cannot_be_removed_stays_known(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A day that cannot be removed is told with its path, and the ledger does not call it gone; the others go."""
    home.take("1.json")
    home.clock.advance(DAYS)
    home.take("2.json")
    home.clock.advance(31 * DAYS)

    def refuse(state: Path, place: object, between: Callable[[], None]) -> bool:
        if FOLDER in str(place.stored):  # type: ignore[attr-defined]
            raise PermissionError(13, "Permission denied")
        return remove(state, place, between)  # type: ignore[arg-type]

    remove = removal.remove
    monkeypatch.setattr(module, "remove", refuse)
    report = home.run(keep_days=30)
    assert report.errors == [f"{home.state}/{FOLDER} cannot be removed: Permission denied; check who owns it"]
    assert home.rows("SELECT name FROM files WHERE gone IS NULL") == ["1.json"]
    assert home.files() == [f"{FOLDER}/1.json"]


def test_stopped_anywhere_it_goes_on(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped before any of its pieces, the next run comes to the same end; only a whole one counts as done."""
    monkeypatch.setattr(verbs, "AT_ONCE", 2)
    for number in range(6):
        home.take(f"{number}.json")
    home.clock.advance(31 * DAYS)
    home.upkeep.settings = settings(keep_days=30)
    pieces = 0
    while not (report := home.upkeep.run(_stop_after(pieces))).finished:
        assert home.ledger.upkeep.last(home.upkeep.machine) is None
        pieces += 1
    assert pieces > 6
    assert report.errors == []
    assert home.files() == []
    assert home.rows("SELECT DISTINCT gone FROM files") == ["expired"]
    assert home.ledger.upkeep.last(home.upkeep.machine) is not None


def _stop_after(pieces: int) -> Callable[[], bool]:
    left = iter([False] * pieces)
    return lambda: next(left, True)


def test_one_failing_step_does_not_stop_the_others(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """What goes wrong is told, and everything else is done."""

    def fail(*_: object) -> int:
        raise LedgerUnavailable("the ledger cannot be used now")

    home.take("1.json")
    home.clock.advance(31 * DAYS)
    monkeypatch.setattr(LedgerUpkeep, "drop_dead", fail)
    report = home.run(keep_dead_letters_days=1, keep_days=30)
    assert report.errors == ["the ledger cannot be used now"]
    assert (report.files_expired, report.finished) == (1, True)


def test_a_damaged_day_stops_nothing_but_itself(home: Home) -> None:
    """The other days are compacted, and counted; the rest of the upkeep is done; the damage is told."""
    home.take("1.json")
    (home.state / f"{FOLDER}.zip").write_bytes(b"PK")
    home.clock.advance(1 * DAYS)
    home.take("2.json")
    home.clock.advance(8 * DAYS)
    report = home.run(compact_after_days=7)
    assert (report.days_compacted, report.compacted, report.finished) == (1, 1, True)
    (told,) = report.errors
    assert f"{FOLDER}.zip cannot be read" in told
    report = home.run(keep_days=1)
    assert (report.days_removed, report.files_expired, home.files()) == (2, 2, [])


def test_days_are_compacted_and_expire_all_the_same(home: Home) -> None:
    """An old day becomes one file, which the ledger's places still lead to; later it goes as a whole."""
    home.take("1.json")
    home.take("2.json")
    home.clock.advance(8 * DAYS)
    report = home.run(compact_after_days=7)
    assert (report.days_compacted, report.compacted, report.errors) == (1, 2, [])
    assert home.files() == [f"{FOLDER}.zip"]
    assert home.rows("SELECT archive_path FROM files ORDER BY id") == [f"{FOLDER}/1.json", f"{FOLDER}/2.json"]
    home.clock.advance(30 * DAYS)
    report = home.run(compact_after_days=7, keep_days=30)
    assert (report.days_removed, report.files_expired, home.files()) == (1, 2, [])
