"""The archive: exact local copies in their places, whatever the names, the crashes and the disk do."""

from __future__ import annotations

import contextlib
import errno
import json
import os
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from sftpd_processor.errors import TransientError
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.pipeline.archive import Archive
from tests.ledger_samples import Clock, event, opened, record, rows, sqlite_url

_DAY = "2026/11/22"


@pytest.fixture
def clock() -> Clock:
    """The ledger's clock: noon, UTC."""
    return Clock()


@pytest.fixture
def ledger(tmp_path: Path, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger beside the archive."""
    with opened(sqlite_url(tmp_path), clock) as ledger:
        yield ledger


@pytest.fixture
def archive(tmp_path: Path, ledger: Ledger) -> Archive:
    """The archive of a state folder."""
    return Archive(tmp_path / "state", ledger)


def _tree(tmp_path: Path) -> dict[str, bytes]:
    state = tmp_path / "state"
    return {str(path.relative_to(state)): path.read_bytes() for path in state.rglob("*") if path.is_file()}


def _paths(tmp_path: Path) -> list[str]:
    return [path for (path,) in rows(sqlite_url(tmp_path), "SELECT archive_path FROM files ORDER BY id")]


def _short(raw: bytes) -> str:
    return sha256(raw).hexdigest()[:8]


def test_copies_lie_by_source_and_day_with_their_exact_bytes(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """Accepted files and duplicates go to the archive, invalid ones and conflicts to quarantine."""
    odd = b"\xef\xbb\xbf\r\n" + event("1") + b"\n\n"
    record(ledger, ("a.json", odd), ("b.json", event("1")), ("c.json", event("1", body="other")), ("d.json", b"\xff\0"))
    assert archive.step() == 4
    tree = _tree(tmp_path)
    assert tree.pop(f"archive/webio/{_DAY}/a.json") == odd
    assert tree.pop(f"archive/webio/{_DAY}/b.json") == event("1")
    assert tree.pop(f"quarantine/webio/{_DAY}/c.json") == event("1", body="other")
    assert tree.pop(f"quarantine/webio/{_DAY}/d.json") == b"\xff\0"
    assert set(tree) == {f"quarantine/webio/{_DAY}/{name}.json.reason.json" for name in "cd"}
    assert _paths(tmp_path)[3] == f"quarantine/webio/{_DAY}/d.json"
    assert archive.step() == 0


def test_the_day_is_the_one_of_recording_in_utc(ledger: Ledger, archive: Archive, tmp_path: Path, clock: Clock) -> None:
    """A file recorded a microsecond before midnight lies in its own day, however late its copy is written."""
    clock.advance(12 * 3600 - 0.001)
    record(ledger, ("a.json", event("1")))
    clock.advance(1)
    record(ledger, ("a.json", event("2")), source="other")
    clock.advance(86_400 * 40)
    archive.step()
    assert set(_tree(tmp_path)) == {"archive/webio/2026/11/22/a.json", "archive/other/2026/11/23/a.json"}


def test_copies_are_readable_by_the_group_alone(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """Under umask 027, files have mode 0640 and folders 0750."""
    before = os.umask(0o027)
    try:
        record(ledger, ("a.json", event()), ("b.json", b"bad"))
        archive.step()
    finally:
        os.umask(before)
    modes: dict[bool, set[int]] = {True: set(), False: set()}
    for path in (tmp_path / "state").rglob("*"):
        modes[path.is_dir()].add(path.stat().st_mode & 0o7777)
    assert modes == {True: {0o750}, False: {0o640}}


def test_a_name_taken_by_other_content_gets_the_sum(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """The first keeps the name, the others get the first eight digits of their SHA-256 before the ending."""
    for action in "123":
        record(ledger, ("a.json", event(action)))
    archive.step()
    expected = {f"archive/webio/{_DAY}/a.json": event("1")}
    expected |= {f"archive/webio/{_DAY}/a.{_short(event(action))}.json": event(action) for action in "23"}
    assert _tree(tmp_path) == expected
    assert sorted(_paths(tmp_path)) == sorted(expected)


def test_the_same_bytes_under_one_name_share_a_copy(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """A file sent again on the same day needs no second copy; both rows point at the one."""
    record(ledger, ("a.json", event()))
    archive.step()
    record(ledger, ("a.json", event()))
    archive.step()
    assert list(_tree(tmp_path)) == [f"archive/webio/{_DAY}/a.json"]
    assert set(_paths(tmp_path)) == {f"archive/webio/{_DAY}/a.json"}


@pytest.mark.parametrize("name", ["a" * 250 + ".json", "é" * 125 + ".json", "a" * 255, "🎉" * 63 + "abc"])
def test_names_of_255_bytes_fit(ledger: Ledger, archive: Archive, tmp_path: Path, name: str) -> None:
    """In the archive, and in quarantine with the reason beside it; taken twice, too."""
    assert len(name.encode()) == 255
    record(ledger, (name, event("1")), (name, b"bad 1"))
    record(ledger, (name, event("2")), (name, b"bad 2"))
    archive.step()
    tree = _tree(tmp_path)
    assert sorted(tree[path] for path in _paths(tmp_path)) == sorted([event("1"), event("2"), b"bad 1", b"bad 2"])
    assert all(len(part.encode()) <= 255 for path in tree for part in path.split("/"))
    quarantined = [path for path in _paths(tmp_path) if path.startswith("quarantine")]
    assert {json.loads(tree[path + ".reason.json"])["file"] for path in quarantined} == {name}


def test_names_of_reasons_do_not_collide(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """A file that is named like another one's reason is kept beside it, each with its own reason."""
    record(ledger, ("a.json", b"bad 1"), ("a.json.reason.json", b"bad 2"), ("a.json", b"bad 3"))
    archive.step()
    tree = _tree(tmp_path)
    paths = _paths(tmp_path)
    assert [tree[path] for path in paths] == [b"bad 1", b"bad 2", b"bad 3"]
    assert [json.loads(tree[f"{path}.reason.json"])["sha256"] for path in paths] == [
        sha256(raw).hexdigest() for raw in (b"bad 1", b"bad 2", b"bad 3")
    ]


def test_the_reason_says_what_where_and_what_to_do(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """Of an invalid file its faults; of a conflict, which event and where the first one came from."""
    record(ledger, ("good.json", event("1")), ("bad.json", b'{"type": "payment", "conversationId": {}}'))
    record(ledger, ("other.json", event("1", body="other")))
    archive.step()
    tree = _tree(tmp_path)
    bad = json.loads(tree[f"quarantine/webio/{_DAY}/bad.json.reason.json"])
    assert (bad["file"], bad["source"], bad["verdict"], bad["bytes"]) == ("bad.json", "webio", "invalid", 41)
    assert bad["problems"] == [{"where": "$.conversationId", "why": "must be a text (a number is taken too)"}]
    assert bad["problems_in_all"] == 1
    assert bad["recorded"] == "2026-11-22T12:00:00+00:00"
    assert "Webio" in bad["what_to_do"]
    other = json.loads(tree[f"quarantine/webio/{_DAY}/other.json.reason.json"])
    assert (other["verdict"], other["problems"][0]["where"]) == ("conflict", "event 1")
    assert "good.json" in str(other["problems"][0]["recorded_from"])


@pytest.mark.parametrize("length", [0, 1, 40])
def test_a_copy_cut_short_by_a_crash_is_completed(
    ledger: Ledger, archive: Archive, tmp_path: Path, length: int
) -> None:
    """A beginning of the right bytes that nobody is known to own is this copy, half-written."""
    record(ledger, ("a.json", event("1")), ("b.json", b"bad"))
    folder = tmp_path / "state" / "archive/webio" / _DAY
    folder.mkdir(parents=True)
    (folder / "a.json").write_bytes(event("1")[:length])
    archive.step()
    assert (folder / "a.json").read_bytes() == event("1")
    assert len(_tree(tmp_path)) == 3


def test_a_crash_before_the_mark_is_mended_by_doing_it_again(
    ledger: Ledger, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Written but not marked: the next step finds its own copies, reasons too, and only marks them."""
    record(ledger, ("a.json", event("1")), ("b.json", b"bad"))
    with monkeypatch.context() as crash:
        crash.setattr(ledger.files, "archived", lambda _done: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            archive.step()
    before = _tree(tmp_path)
    assert Archive(tmp_path / "state", ledger).step() == 2
    assert _tree(tmp_path) == before
    assert len(before) == 3


def test_an_older_version_is_not_taken_for_a_torn_copy(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """A file that was archived and has grown since keeps its old copy; the new bytes lie beside it."""
    record(ledger, ("a.jsonl", event("1") + b"\n"))
    archive.step()
    grown = event("1") + b"\n" + event("2") + b"\n"
    record(ledger, ("a.jsonl", grown))
    archive.step()
    assert _tree(tmp_path) == {
        f"archive/webio/{_DAY}/a.jsonl": event("1") + b"\n",
        f"archive/webio/{_DAY}/a.{_short(grown)}.jsonl": grown,
    }


def test_an_older_version_of_the_same_batch_is_not_overwritten(
    ledger: Ledger, archive: Archive, tmp_path: Path
) -> None:
    """Two versions of a file, the second beginning with the first, archived in one step: both copies are kept."""
    short, grown = event("1") + b"\n", event("1") + b"\n" + event("2") + b"\n"
    record(ledger, ("a.jsonl", short))
    record(ledger, ("a.jsonl", grown))
    archive.step()
    tree = _tree(tmp_path)
    assert [tree[path] for path in _paths(tmp_path)] == [short, grown]


def test_a_link_in_the_place_of_a_copy_is_not_followed(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """Nothing is written outside the state folder: neither through a dangling link nor through one to a file."""
    outside, victim = tmp_path / "outside", tmp_path / "victim"
    victim.write_bytes(b"")
    folder = tmp_path / "state" / "archive/webio" / _DAY
    folder.mkdir(parents=True)
    (folder / "a.json").symlink_to(outside)
    (folder / "b.json").symlink_to(victim)
    record(ledger, ("a.json", event("1")), ("b.json", event("2")))
    with contextlib.suppress(TransientError):  # refusing is as good as another name
        archive.step()
    assert not outside.exists()
    assert victim.read_bytes() == b""


def test_a_disk_that_is_full_stops_the_archive_and_nothing_is_lost(
    ledger: Ledger, archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error says that the bytes are safe; when there is room again the copies are completed."""
    for number in range(5):
        record(ledger, (f"{number}.json", event(str(number))))
    real, left = os.write, [150]

    def write(descriptor: int, data: bytes | memoryview) -> int:
        if not left[0]:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        part = bytes(data)[: left[0]]
        left[0] -= len(part)
        return real(descriptor, part)

    with monkeypatch.context() as full:
        full.setattr(os, "write", write)
        with pytest.raises(TransientError, match=r"No space left.*nothing is lost"):
            archive.step()
    assert archive.step() == 5
    assert _tree(tmp_path) == {f"archive/webio/{_DAY}/{number}.json": event(str(number)) for number in range(5)}


def test_a_folder_that_was_removed_meanwhile_is_made_again(ledger: Ledger, archive: Archive, tmp_path: Path) -> None:
    """An operator who cleans up under a running daemon costs one failed step at most."""
    record(ledger, ("a.json", event("1")))
    archive.step()
    (tmp_path / "state" / "archive/webio" / _DAY / "a.json").unlink()
    (tmp_path / "state" / "archive/webio" / _DAY).rmdir()
    record(ledger, ("b.json", event("2")))
    try:
        archive.step()
    except TransientError:
        assert archive.step() == 1
    assert (tmp_path / "state" / "archive/webio" / _DAY / "b.json").read_bytes() == event("2")
