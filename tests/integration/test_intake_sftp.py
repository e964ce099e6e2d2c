"""Intake from real SFTP servers: the files go, their events are in the ledger once, through cuts and restarts too."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import SourceRefused, SourceUnavailable
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.sources.sftp import SftpSource
from sftpd_processor.testing.webio import Shares, Webio
from tests.ledger_samples import array, event, rows, sqlite_url, wanting
from tests.support import ServedFolder, wait_until


@contextmanager
def _intake(served: ServedFolder, state: Path, **changes: Any) -> Iterator[Intake]:
    """An intake of the served folder, on the ledger in `state`."""
    settings = SftpSourceSettings.model_validate(served.source(**changes))
    source, ledger = SftpSource(settings), Ledger(sqlite_url(state))
    ledger.open()
    try:
        yield Intake(source, settings, ledger, wanting, lambda _recorded: None)
    finally:
        source.close()
        ledger.close()


def _count(folder: Path, what: str) -> int:
    return int(rows(sqlite_url(folder), f"SELECT count(*) FROM {what}")[0][0])


@pytest.mark.parametrize("after", ["move", "delete", "keep"])
def test_a_folder_is_drained(sftp_server: ServedFolder, tmp_path: Path, after: str) -> None:
    """Every file is recorded once and then moved, deleted, or left; a second poll finds nothing new."""
    files = {f"{number:03}.json": event(str(number)) for number in range(150)}
    sftp_server.write(files)
    with _intake(sftp_server, tmp_path, after=after) as intake:
        intake.poll()
        intake.poll()
    assert _count(tmp_path, "events") == _count(tmp_path, "files") == 150
    left = {"move": ["processed"], "delete": [], "keep": sorted(files)}[after]
    assert sftp_server.names() == left
    if after == "move":
        moved = {path.name: path.read_bytes() for path in (sftp_server.folder / "processed").iterdir()}
        assert moved == files


def test_a_mixed_stream_is_accounted_for(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Duplicates, conflicts, arrays, broken and unknown files: each gets its verdict, none stays behind."""
    shares = Shares(duplicates=0.1, conflicts=0.05, broken=0.05, arrays=0.1, unknown=0.05)
    stream = list(Webio(seed=11).files(300, shares))
    sftp_server.write({file.name: file.data for file in stream})
    with _intake(sftp_server, tmp_path, after="delete", settle_seconds=0) as intake:
        intake.poll()
        verdicts = intake.tally.verdicts
    assert verdicts.total() == len({file.name for file in stream})
    kinds = [file.kind for file in stream]
    assert (verdicts["invalid"], verdicts["conflict"]) == (kinds.count("broken"), kinds.count("conflict"))
    assert sftp_server.names() == []


def test_a_file_moved_onto_a_taken_name_overwrites_nothing(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """The moved files keep all their bytes, whatever lay in the target folder before."""
    (sftp_server.folder / "processed").mkdir()
    (sftp_server.folder / "processed" / "1.json").write_bytes(b"older")
    sftp_server.write({"1.json": event()})
    with _intake(sftp_server, tmp_path) as intake:
        intake.poll()
    moved = sorted(path.read_bytes() for path in (sftp_server.folder / "processed").iterdir())
    assert moved == sorted([b"older", event()])


def test_a_dropped_connection_costs_only_another_poll(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Cut while files are taken: the error is one that heals, and the next polls take the rest exactly once."""
    sftp_server.write({f"{number:04}.json": event(str(number)) for number in range(1800)})
    with _intake(sftp_server, tmp_path, after="delete", operation_timeout_seconds=5) as intake:

        def cut() -> None:
            wait_until(lambda: intake.tally.recorded, 30, "the first batch")
            sftp_server.server.drop_connections()

        cutter = threading.Thread(target=cut)
        cutter.start()
        try:
            intake.poll()
        except SourceUnavailable:
            intake.poll()
        finally:
            cutter.join()
        intake.poll()
    assert _count(tmp_path, "events") == 1800
    assert _count(tmp_path, "files") == 1800
    assert sftp_server.names() == []


def test_a_server_that_is_away_is_said_and_found_again(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Stopped: `SourceUnavailable`, noted in the looks; started again, the same intake goes on."""
    sftp_server.write({"1.json": event("1")})
    with _intake(sftp_server, tmp_path, after="delete", connect_timeout_seconds=5) as intake:
        intake.poll()
        sftp_server.server.stop()
        sftp_server.write({"2.json": event("2")})
        with pytest.raises(SourceUnavailable):
            intake.poll()
        sftp_server.server.start()
        intake.poll()
    assert _count(tmp_path, "looks WHERE failure IS NOT NULL") == 1
    assert _count(tmp_path, "events") == 2
    assert sftp_server.names() == []


def test_a_file_that_grows_between_two_looks_is_read_again(
    sftp_server: ServedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Recorded, then changed before its disposal: it is not removed until its new bytes are recorded too."""
    sftp_server.write({"1.json": event("1")})
    with _intake(sftp_server, tmp_path, after="delete") as intake:
        record = intake._ledger.record

        def grow(*arguments: Any) -> Any:
            recorded = record(*arguments)
            if _count(tmp_path, "events") == 1:
                sftp_server.write({"1.json": array(event("1"), event("2"))})
            return recorded

        monkeypatch.setattr(intake._ledger, "record", grow)
        intake.poll()
    assert _count(tmp_path, "events") == 2
    assert sftp_server.names() == []


def test_links_folders_and_pipes_are_ignored(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """Only regular files are taken; nothing is read through a link, and nothing hangs on a pipe."""
    secret = tmp_path / "secret"
    secret.write_bytes(event("secret"))
    sftp_server.write({"1.json": event("1")})
    (sftp_server.folder / "link.json").symlink_to(secret)
    (sftp_server.folder / "folder.json").mkdir()
    os.mkfifo(sftp_server.folder / "pipe.json")
    with _intake(sftp_server, tmp_path, after="delete") as intake:
        intake.poll()
        assert intake.tally.last.ignored == 3
    assert rows(sqlite_url(tmp_path), "SELECT identity FROM events") == [('["inboundMessage","1"]',)]
    assert sftp_server.names() == ["folder.json", "link.json", "pipe.json"]


def test_names_that_are_not_utf8_do_not_stop_the_others(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """They are ignored under an escaped name; files with other odd, but safe names are taken."""
    os.close(os.open(os.fsencode(sftp_server.folder) + b"/\xff\xfe.json", os.O_CREAT | os.O_WRONLY))
    sftp_server.write({"żółć 🎉 'a\".json": event("1"), "line\nbreak.json": event("2")})
    with _intake(sftp_server, tmp_path, after="delete") as intake:
        intake.poll()
    ignored = rows(sqlite_url(tmp_path), "SELECT name FROM files WHERE state = 'ignored' ORDER BY name")
    assert ignored == [("\\udcff\\udcfe.json",), ("line\\nbreak.json",)]
    assert _count(tmp_path, "events") == 1


def test_a_folder_that_is_not_there_is_said(sftp_server: ServedFolder, tmp_path: Path) -> None:
    """The error names the folder, and the look keeps a note of it."""
    gone = str(sftp_server.folder / "gone")
    with _intake(sftp_server, tmp_path, folder=gone) as intake, pytest.raises(SourceRefused, match="check `folder`"):
        intake.poll()
    assert _count(tmp_path, "looks WHERE failure LIKE '%does not exist%'") == 1
