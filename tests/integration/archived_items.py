"""An archive that a ledger has made: three days of files of every verdict."""

from __future__ import annotations

import os
from datetime import date

from sftpd_processor.archive.compaction import compact
from sftpd_processor.pipeline.archive import Archive
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.sources.directory import DirectorySource
from tests.ledger_samples import array
from tests.replay_items import Office

EARLY = "2026-11-22 08:15:00.000"


def put(office: Office, **files: bytes) -> None:
    """Into the source's folder, a second apart."""
    for number, (name, raw) in enumerate(files.items()):
        path = office.folder / "in" / f"{name}.json"
        path.write_bytes(raw)
        mtime = office.clock.now // 1_000_000 * 10**9 + number * 10**9 + 7
        os.utime(path, ns=(mtime, mtime))


def poll(office: Office, wanting: tuple[str, ...] = ()) -> int:
    """Take what is in the folder, and write the copies; how many files were taken."""
    (settings,) = office.settings().sources
    intake = Intake(DirectorySource(settings), settings, office.ledger, lambda _type: wanting, lambda _recorded: None)  # type: ignore[arg-type]
    intake.poll()
    archive(office)
    return intake.tally.recorded


def archive(office: Office) -> None:
    while Archive(office.state, office.ledger).step():
        pass


def fill(office: Office) -> None:
    """Three days: events with and without conversation, arrays, duplicates, a partial, an invalid, a conflict."""
    put(
        office,
        a1=office.event(1, "a", dateCreated=EARLY),
        a2=array(office.event(2, "a"), office.event(3, "b"), office.event(1, "a", dateCreated=EARLY)),
        bad=b"{not json",
    )
    poll(office)
    office.clock.advance(86_400)
    put(
        office,
        b1=office.event(4, "b", customerUID="c1"),
        b2=office.event(1, "a", dateCreated=EARLY),
        b3=array(office.event(5), b'{"type": 5}'),
    )
    poll(office)
    office.clock.advance(86_400)
    put(office, c1=office.event(6, "a"), c2=office.event(4, "b", customerUID="c2"))
    poll(office)


def packed(office: Office, before: date = date(2026, 11, 24)) -> None:
    done = compact(office.state, office.ledger.copies.of_day, before, lambda: False)
    assert not done.problems
    assert done.days


def rooms(office: Office) -> tuple[str, ...]:
    return str(office.state / "archive"), str(office.state / "quarantine")
