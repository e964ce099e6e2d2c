"""Raw bytes leave the ledger when their copy is on disk; from then on the copy is what counts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.config.settings import Settings
from sftpd_processor.ledger.records import Arrival
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.ledger.upkeep import Copied, LedgerUpkeep
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.pipeline.rereading import Rereader
from sftpd_processor.upkeep import release
from tests.ledger_samples import Clock, batch, entry, opened, sqlite_url, wanting
from tests.upkeep_items import DAYS, FOLDER, Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    """An empty one."""
    clock = Clock()
    with opened(sqlite_url(tmp_path), clock) as ledger:
        yield Home(tmp_path, ledger, clock)


def test_a_copy_that_is_not_there_keeps_its_bytes(home: Home) -> None:
    """The ledger lets go of bytes only when the copy is there, and as long as they are; then the last one is safe."""
    for name in ("gone.json", "torn.json", "link.json", "good.json"):
        home.take(name)
    folder = home.state / FOLDER
    (folder / "gone.json").unlink()
    (folder / "torn.json").write_bytes(b"{")
    (folder / "link.json").rename(folder / "elsewhere")
    (folder / "link.json").symlink_to("elsewhere")
    report = home.run()
    assert (report.released, report.missing) == (1, 3)
    names = "SELECT name FROM files WHERE id IN (SELECT file_id FROM contents) ORDER BY name"
    assert home.rows(names) == ["gone.json", "link.json", "torn.json"]


def test_the_disk_is_asked_before_bytes_go(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the disk does not confirm what was written to it, no byte leaves the ledger, and that is told."""

    def refuse(folder: Path) -> None:
        raise OSError(5, os.strerror(5), str(folder))

    home.take("1.json")
    monkeypatch.setattr(release, "sync", refuse)
    report = home.run(keep_days=30)
    assert (report.released, report.finished) == (0, True)
    assert "Input/output error" in report.errors[0]
    assert home.rows("SELECT count(*) FROM contents") == [1]


def test_the_disk_is_asked_once(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """One pass synchronises a file system once, and the next one looks only at what is new."""
    asked: list[Path] = []
    monkeypatch.setattr(release, "sync", asked.append)
    seen: list[int] = []
    copied = LedgerUpkeep.copied

    def watched(self: LedgerUpkeep, before: int, after: int) -> list[Copied]:
        seen.append(after)
        return copied(self, before, after)

    monkeypatch.setattr(LedgerUpkeep, "copied", watched)
    for name in ("1.json", "2.json", "3.json"):
        home.take(name)
    assert home.upkeep.release.news(lambda: False) == (3, 0)
    assert len(asked) == 1
    home.take("4.json")
    assert home.upkeep.release.news(lambda: False) == (1, 0)
    assert (seen[0], seen[2] > 0, len(asked)) == (0, True, 2)
    home.take("5.json")
    assert home.upkeep.release.news(lambda: True) == (0, 0)
    assert home.upkeep.release.news(lambda: False) == (1, 0)


def test_a_compacted_copy_is_a_copy(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes that were not released before their day was compacted are released after it."""
    home.take("1.json")
    home.clock.advance(8 * DAYS)
    monkeypatch.setattr(LedgerUpkeep, "release", lambda *_: 0)
    assert home.run(compact_after_days=7).released == 0
    monkeypatch.undo()
    assert (home.files(), home.run().released) == ([f"{FOLDER}.zip"], 1)


def test_a_quarantined_file_is_read_again_from_its_copy(home: Home) -> None:
    """When its bytes have left the ledger, those of the copy count; a copy that is damaged is told, and not taken."""
    raw = b'{"type": "somethingNew", "communicationActionId": "1"}'
    result = reader(whole(home, unknown_events="quarantine").sources[0])(raw)
    home.ledger.record(batch(Arrival(entry("good.json", raw), raw, result)), wanting)
    home.take("bad.json", b"?")
    assert home.run().released == 2
    place = "webio/2026/11/22"
    (home.state / f"quarantine/{place}/bad.json").write_bytes(b"!")
    rereader = Rereader(whole(home), home.ledger, wanting, dry_run=False)
    good, bad = (rereader.take(row) for row in home.ledger.retries.quarantined(Selection()))
    assert (good.verdict, good.events) == ("accepted", 1)
    assert "is not what was recorded" in bad.wrong
    while home.archive.step():
        pass
    assert (home.state / f"archive/{place}/good.json").read_bytes() == raw
    assert not (home.state / f"quarantine/{place}/good.json").exists()


def whole(home: Home, **rules: object) -> Settings:
    """A configuration of the source by such rules."""
    source = {"name": "webio", "type": "directory", "folder": "/srv/webio"} | rules
    return Settings.model_validate({"state": {"dir": str(home.state)}, "sources": [source]})
