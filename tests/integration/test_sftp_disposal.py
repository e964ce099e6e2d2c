"""Moving and removing on real servers: nothing is ever overwritten, and what is refused is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.sources.base import Miss, Moved, Removed
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.opened_sources import contents, files, listed, moves, opened
from tests.support import ServedFolder, not_here, served_folder


@pytest.fixture(params=[OpenSshServer, AsyncsshServer])
def read_only(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ServedFolder]:
    """A folder with three files, for an account that may only read it."""
    if request.param is OpenSshServer and find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    with request.param(tmp_path / "root", read_only=True) as server, served_folder(server) as served:
        served.write({f"{n}.json": b"{}" for n in range(3)})
        yield served


@pytest.mark.parametrize("in_flight", [1, 64])
def test_files_are_removed(sftp_server: ServedFolder, in_flight: int) -> None:
    """Removed files are gone from the server, the others are not."""
    sftp_server.write({f"{n}.json": b"" for n in range(300)} | {"keep.txt": b""})
    with opened(sftp_server, in_flight=in_flight) as source:
        entries = [entry for entry in files(source) if entry.name != "keep.txt"]
        assert set(source.remove(entries)) == {(entry, Removed()) for entry in entries}
    assert sftp_server.names() == ["keep.txt"]


@pytest.mark.parametrize("in_flight", [1, 64])
def test_files_are_moved_into_a_folder_that_is_made(sftp_server: ServedFolder, in_flight: int) -> None:
    """The target folder is made when absent, and files keep their names and contents there."""
    content = {f"{n}.json": b"%d" % n for n in range(300)}
    sftp_server.write(content)
    with opened(sftp_server, in_flight=in_flight) as source:
        results = dict(source.move(moves(files(source))))
    assert {entry.name: result for entry, result in results.items()} == {n: Moved(f"processed/{n}") for n in content}
    assert sftp_server.names() == ["processed"]
    assert contents(sftp_server.folder / "processed") == content


def test_a_second_batch_goes_into_the_same_folder(sftp_server: ServedFolder) -> None:
    """A target folder that is there already is used as it is."""
    with opened(sftp_server) as source:
        for name in ("a.json", "b.json"):
            sftp_server.write({name: b"{}"})
            source.move(moves(files(source)))
    assert contents(sftp_server.folder / "processed") == {"a.json": b"{}", "b.json": b"{}"}


def test_a_nested_target_is_made_with_its_parents(sftp_server: ServedFolder) -> None:
    """`move_to` may lie several folders deep, none of which is there yet."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server, move_to="done/by/us") as source:
        assert [result for _, result in source.move(moves(files(source)))] == [Moved("done/by/us/a.json")]
    assert contents(sftp_server.folder / "done/by/us") == {"a.json": b"{}"}


def test_an_absolute_target_is_used_as_it_is(sftp_server: ServedFolder) -> None:
    """An absolute `move_to` need not lie under `folder`."""
    inside, target = sftp_server.folder / "inside", sftp_server.folder / "beside"
    inside.mkdir()
    (inside / "a.json").write_bytes(b"{}")
    with opened(sftp_server, folder=str(inside), move_to=str(target)) as source:
        assert [result for _, result in source.move(moves(files(source)))] == [Moved(f"{target}/a.json")]
    assert contents(target) == {"a.json": b"{}"}


def test_a_taken_name_is_never_overwritten(sftp_server: ServedFolder) -> None:
    """A file whose name is taken gets the suffix, then a number; what was there keeps its content, on every server."""
    target = sftp_server.folder / "processed"
    target.mkdir()
    with opened(sftp_server) as source:
        for turn in range(4):
            sftp_server.write({"a.json": b"%d" % turn})
            source.move(moves(files(source)))
    assert contents(target) == {
        "a.json": b"0",
        "a.abcd1234.json": b"1",
        "a.abcd1234-2.json": b"2",
        "a.abcd1234-3.json": b"3",
    }


@pytest.mark.parametrize("kind", ["folder", "dangling link"])
def test_a_name_taken_by_something_else_is_left_alone(sftp_server: ServedFolder, kind: str) -> None:
    """A folder or a link of that name in the target counts as taken as well."""
    target = sftp_server.folder / "processed"
    target.mkdir()
    if kind == "folder":
        (target / "a.json").mkdir()
    else:
        (target / "a.json").symlink_to("nowhere")
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server) as source:
        assert [result for _, result in source.move(moves(files(source)))] == [Moved("processed/a.abcd1234.json")]
    assert (target / "a.json").is_symlink() is (kind != "folder")
    assert contents(target) == {"a.abcd1234.json": b"{}"}


def test_two_files_that_come_to_want_one_name_are_both_kept(sftp_server: ServedFolder) -> None:
    """A file's second name may be another file's own: in one batch, neither replaces the other."""
    target = sftp_server.folder / "processed"
    target.mkdir()
    (target / "a.json").write_bytes(b"old")
    sftp_server.write({"a.json": b"one", "a.abcd1234.json": b"two"})
    with opened(sftp_server) as source:
        source.move(moves(sorted(files(source), reverse=True)))
    assert sorted(contents(target).values()) == [b"old", b"one", b"two"]


def test_a_long_name_is_shortened_to_fit(sftp_server: ServedFolder) -> None:
    """A name of 255 bytes that is taken is shortened before the suffix, so that the server accepts it."""
    name = "é" * 125 + ".json"
    target = sftp_server.folder / "processed"
    target.mkdir()
    (target / name).write_bytes(b"old")
    sftp_server.write({name: b"new"})
    with opened(sftp_server) as source:
        source.move(moves(files(source)))
    assert contents(target) == {name: b"old", "é" * 120 + ".abcd1234.json": b"new"}


def test_a_file_that_is_gone_has_vanished(sftp_server: ServedFolder) -> None:
    """Files that somebody else took are told, and the others are moved or removed."""
    sftp_server.write({"a.json": b"", "b.json": b"", "c.json": b"", "d.json": b""})
    with opened(sftp_server) as source:
        entries = listed(source)
        (sftp_server.folder / "a.json").unlink()
        (sftp_server.folder / "c.json").unlink()
        moved = dict(source.move(moves([entries["a.json"], entries["b.json"]])))
        removed = dict(source.remove([entries["c.json"], entries["d.json"]]))
    gone = Miss("vanished", "it was gone when its turn came")
    assert moved == {entries["a.json"]: gone, entries["b.json"]: Moved("processed/b.json")}
    assert removed == {entries["c.json"]: gone, entries["d.json"]: Removed()}


def test_a_target_that_is_a_file_refuses_every_move(sftp_server: ServedFolder) -> None:
    """Where `move_to` names a file, the files stay where they are and are refused, not said to be gone."""
    sftp_server.write({"a.json": b"{}", "processed": b"a file"})
    with opened(sftp_server) as source:
        ((_, result),) = source.move(moves([listed(source)["a.json"]]))
    assert isinstance(result, Miss)
    assert result.kind == "refused"
    assert contents(sftp_server.folder) == {"a.json": b"{}", "processed": b"a file"}


def test_a_folder_is_not_removed_as_a_file(sftp_server: ServedFolder) -> None:
    """What became a folder since the look is refused and stays."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server) as source:
        entries = files(source)
        (sftp_server.folder / "a.json").unlink()
        (sftp_server.folder / "a.json").mkdir()
        ((_, result),) = source.remove(entries)
    assert isinstance(result, Miss)
    assert result.kind == "refused"
    assert sftp_server.names() == ["a.json"]


def test_a_read_only_account_may_list_and_read(read_only: ServedFolder) -> None:
    """Reading needs no right to write."""
    with opened(read_only) as source:
        assert sorted(content for _, content in source.fetch(files(source))) == [b"{}"] * 3


@pytest.mark.parametrize("there", [True, False])
def test_a_read_only_account_cannot_move(read_only: ServedFolder, there: bool) -> None:
    """Every move is refused with the server's words, whether or not the target folder is there; nothing changes."""
    if there:
        (read_only.folder / "processed").mkdir()
    before = read_only.names()
    with opened(read_only) as source:
        results = source.move(moves(files(source)))
    assert len(results) == 3
    for _, result in results:
        assert isinstance(result, Miss)
        assert result.kind == "refused"
        assert "the server said: " in result.reason
    assert read_only.names() == before


def test_a_read_only_account_cannot_remove(read_only: ServedFolder) -> None:
    """Every removal is refused with the server's words; nothing changes."""
    with opened(read_only) as source:
        results = source.remove(files(source))
    assert [result.kind for _, result in results if isinstance(result, Miss)] == ["refused"] * 3
    assert len(read_only.names()) == 3
