"""A folder on this machine as a source: the same verbs and the same care as with a server."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.errors import SourceRefused
from sftpd_processor.sources.base import Entry, Miss, Moved, Removed
from sftpd_processor.sources.directory import DirectorySource, watch
from tests.integration.opened_sources import contents, files, listed, moves
from tests.support import wait_until

SIZES = (0, 1, 300, 32_767, 32_768, 32_769, 100_000, 1 << 20)
GONE = Miss("vanished", "it was gone when its turn came")


def source(folder: Path, **changes: Any) -> DirectorySource:
    """The source that reads this folder."""
    table = {"name": "local", "type": "directory", "folder": str(folder), **changes}
    return DirectorySource(DirectorySourceSettings.model_validate(table))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder."""
    path = tmp_path / "incoming"
    path.mkdir()
    return path


def write(folder: Path, content: dict[str, bytes]) -> dict[str, bytes]:
    """Put files into the folder."""
    for name, data in content.items():
        (folder / name).write_bytes(data)
    return content


def test_a_large_folder_is_listed_in_batches(folder: Path) -> None:
    """2,500 files come in batches of 1,000, each once, with size, time to the nanosecond, and as regular files."""
    write(folder, {f"{n}.json": b"x" * (n % 7) for n in range(2_500)})
    for n in range(2_500):
        os.utime(folder / f"{n}.json", ns=(0, 1_700_000_000_123_456_789 + n))
    batches = list(source(folder).look())
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    assert {entry for batch in batches for entry in batch} == {
        Entry(f"{n}.json", n % 7, 1_700_000_000_123_456_789 + n, regular=True) for n in range(2_500)
    }


def test_only_files_are_regular(folder: Path) -> None:
    """Folders, links, pipes and sockets are listed, but not as regular files."""
    write(folder, {"file": b"x"})
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "file")
    (folder / "dangling").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "socket"))
        regular = {name: entry.regular for name, entry in listed(source(folder)).items()}
    assert regular == {"file": True} | dict.fromkeys(["folder", "link", "dangling", "pipe", "socket"], False)


def test_files_of_every_size_and_name_are_read_exactly(folder: Path) -> None:
    """Every byte of every file comes, also under names of 255 bytes or not of UTF-8."""
    content = write(folder, {f"{size}.json": os.urandom(size) for size in SIZES})
    odd = write(folder, {"a b'\".json": b"1", "é" * 125 + ".json": b"2", "😀.json": b"3", "\udcff.json": b"4"})
    local = source(folder)
    assert {entry.name: data for entry, data in local.fetch(files(local))} == content | odd


def test_what_changed_since_the_listing_is_told_file_by_file(folder: Path) -> None:
    """A file that vanished, grew or shrank since the look is a miss of that kind; the others are read."""
    write(folder, {f"{n}.json": b"12345" for n in range(5)})
    local = source(folder)
    entries = files(local)
    (folder / "0.json").unlink()
    (folder / "1.json").write_bytes(b"123456")
    (folder / "2.json").write_bytes(b"1234")
    got = {entry.name: data for entry, data in local.fetch(entries)}
    assert {name: data.kind for name, data in got.items() if isinstance(data, Miss)} == {
        "0.json": "vanished",
        "1.json": "changed",
        "2.json": "changed",
    }
    assert got["3.json"] == got["4.json"] == b"12345"


def test_a_file_swapped_for_a_link_is_not_followed(folder: Path, tmp_path: Path) -> None:
    """Whoever may write to the folder cannot make a file outside of it be read."""
    write(folder, {"a.json": b"12345"})
    (tmp_path / "secret").write_bytes(b"54321")
    local = source(folder)
    entries = files(local)
    (folder / "a.json").unlink()
    (folder / "a.json").symlink_to(tmp_path / "secret")
    ((_, result),) = local.fetch(entries)
    assert isinstance(result, Miss)
    assert result.kind == "refused"


@pytest.mark.timeout(10)
@pytest.mark.parametrize("kind", ["pipe", "folder", "socket"])
def test_a_file_swapped_for_something_else_does_not_hang(folder: Path, kind: str) -> None:
    """A pipe that nobody writes to, a folder or a socket is a miss, at once, and the others are read."""
    write(folder, {"a.json": b"1", "b.json": b"2"})
    local = source(folder)
    entries = listed(local)
    (folder / "a.json").unlink()
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "pipe":
            os.mkfifo(folder / "a.json")
        elif kind == "folder":
            (folder / "a.json").mkdir()
        else:
            listener.bind(str(folder / "a.json"))
        got = dict(local.fetch([entries["a.json"], entries["b.json"]]))
    assert isinstance(got[entries["a.json"]], Miss)
    assert got[entries["b.json"]] == b"2"


def test_a_pipe_with_a_writer_does_not_hang(folder: Path) -> None:
    """Also a pipe that is held open for writing, but has nothing to read, is a miss."""
    write(folder, {"a.json": b"1"})
    local = source(folder)
    entries = files(local)
    (folder / "a.json").unlink()
    os.mkfifo(folder / "a.json")
    descriptor = os.open(folder / "a.json", os.O_RDWR)
    try:
        ((_, result),) = local.fetch(entries)
    finally:
        os.close(descriptor)
    assert isinstance(result, Miss)


@pytest.mark.parametrize("target", ["absent", "a file"])
def test_a_folder_that_cannot_be_listed_is_refused(folder: Path, target: str) -> None:
    """The message names the source, the folder and the system's reason."""
    path = folder / "x"
    if target == "a file":
        path.write_bytes(b"")
    with pytest.raises(SourceRefused, match=f"^source local: the folder {path} cannot be listed: "):
        list(source(path).look())


def test_files_are_removed(folder: Path) -> None:
    """Removed files are gone; one that was gone before is told, and a folder is refused."""
    write(folder, {"a.json": b"", "b.json": b"", "c.json": b""})
    local = source(folder)
    entries = listed(local)
    (folder / "b.json").unlink()
    (folder / "c.json").unlink()
    (folder / "c.json").mkdir()
    results = dict(local.remove(list(entries.values())))
    assert results[entries["a.json"]] == Removed()
    assert results[entries["b.json"]] == GONE
    assert isinstance(refused := results[entries["c.json"]], Miss)
    assert refused.kind == "refused"


@pytest.mark.parametrize("nested", ["processed", "done/by/us"])
def test_files_are_moved_into_a_folder_that_is_made(folder: Path, nested: str) -> None:
    """The target is made with its parents, and files keep their names, contents and times."""
    content = write(folder, {f"{n}.json": b"%d" % n for n in range(50)})
    local = source(folder, move_to=nested)
    entries = files(local)
    assert dict(local.move(moves(entries))) == {entry: Moved(f"{nested}/{entry.name}") for entry in entries}
    assert contents(folder / nested) == content
    assert contents(folder) == {}
    assert {entry.mtime for entry in files(source(folder / nested))} == {entry.mtime for entry in entries}


def test_an_absolute_target_is_used_as_it_is(folder: Path, tmp_path: Path) -> None:
    """An absolute `move_to` need not lie under `folder`."""
    write(folder, {"a.json": b"{}"})
    target = tmp_path / "beside"
    local = source(folder, move_to=str(target))
    assert [result for _, result in local.move(moves(files(local)))] == [Moved(f"{target}/a.json")]
    assert contents(target) == {"a.json": b"{}"}


def test_a_taken_name_is_never_overwritten(folder: Path) -> None:
    """A file whose name is taken gets the suffix, then a number; what was there keeps its content."""
    local = source(folder)
    for turn in range(4):
        write(folder, {"a.json": b"%d" % turn})
        local.move(moves(files(local)))
    assert contents(folder / "processed") == {
        "a.json": b"0",
        "a.abcd1234.json": b"1",
        "a.abcd1234-2.json": b"2",
        "a.abcd1234-3.json": b"3",
    }


def test_the_search_for_a_free_name_ends(folder: Path) -> None:
    """Where every name that is tried is taken, the file stays and is refused."""
    taken = ["a.json", "a.abcd1234.json", *(f"a.abcd1234-{turn}.json" for turn in range(2, 40))]
    (folder / "processed").mkdir()
    write(folder / "processed", dict.fromkeys(taken, b"old"))
    write(folder, {"a.json": b"new"})
    local = source(folder)
    ((_, result),) = local.move(moves(files(local)))
    assert isinstance(result, Miss)
    assert result.kind == "refused"
    assert contents(folder) == {"a.json": b"new"}


def test_a_file_that_is_gone_has_vanished(folder: Path) -> None:
    """Files that somebody else took are told, and the others are moved."""
    write(folder, {"a.json": b"", "b.json": b""})
    local = source(folder)
    entries = listed(local)
    (folder / "a.json").unlink()
    results = dict(local.move(moves(list(entries.values()))))
    assert results == {entries["a.json"]: GONE, entries["b.json"]: Moved("processed/b.json")}


def test_a_target_that_is_a_file_refuses_every_move(folder: Path) -> None:
    """Where `move_to` names a file, the files stay where they are."""
    content = write(folder, {"a.json": b"{}", "processed": b"a file"})
    local = source(folder)
    ((_, result),) = local.move(moves([listed(local)["a.json"]]))
    assert isinstance(result, Miss)
    assert result.kind == "refused"
    assert contents(folder) == content


@pytest.mark.skipif(os.geteuid() == 0, reason="root may do everything")
def test_what_may_not_be_read_or_moved_is_refused(folder: Path) -> None:
    """Rights that are missing are told file by file with the system's reason."""
    write(folder, {"a.json": b"{}"})
    local = source(folder)
    entries = files(local)
    (folder / "a.json").chmod(0)
    folder.chmod(0o500)
    outcomes = [local.fetch(entries)[0][1], local.remove(entries)[0][1], local.move(moves(entries))[0][1]]
    folder.chmod(0o700)
    assert [outcome.kind for outcome in outcomes if isinstance(outcome, Miss)] == ["refused"] * 3


@pytest.fixture
def woken(folder: Path) -> Iterator[threading.Event]:
    """Set whenever the watch of the folder calls."""
    event = threading.Event()
    stop = watch(folder, event.set)
    yield event
    stop()


def test_the_watch_wakes_for_a_new_file(folder: Path, woken: threading.Event) -> None:
    """A file that is made in the folder is noticed at once."""
    (folder / "a.json").touch()
    assert woken.wait(5)


def test_the_watch_wakes_for_a_file_that_is_renamed_into_the_folder(
    folder: Path, tmp_path: Path, woken: threading.Event
) -> None:
    """A file that is written elsewhere and moved in, as careful programs do, is noticed."""
    (tmp_path / "a.part").write_bytes(b"{}")
    (tmp_path / "a.part").rename(folder / "a.json")
    assert woken.wait(5)


def test_the_watch_wakes_when_a_writer_is_done(folder: Path, tmp_path: Path) -> None:
    """A file that was there before and is written to is noticed when it is closed."""
    with (folder / "a.json").open("wb") as file:
        event = threading.Event()
        stop = watch(folder, event.set)
        try:
            file.write(b"{}")
            file.close()
            assert event.wait(5)
        finally:
            stop()


def test_a_stopped_watch_calls_no_more(folder: Path) -> None:
    """After its end the watch has no thread, and nothing wakes the poll."""
    before, event = set(threading.enumerate()), threading.Event()
    watch(folder, event.set)()
    (folder / "a.json").touch()
    wait_until(lambda: not set(threading.enumerate()) - before, what="the threads of the watch to end")
    assert not event.is_set()


def test_a_folder_that_is_not_there_cannot_be_watched(folder: Path) -> None:
    """A missing folder raises what the system says, for the caller to explain."""
    with pytest.raises(OSError, match="No such file"):
        watch(folder / "absent", lambda: None)
