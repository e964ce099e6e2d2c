"""Listing and reading on real servers: what is there is what comes, byte for byte, or is named as missed."""

from __future__ import annotations

import os
import random
import shutil
import socket
import time
from pathlib import Path

import pytest

from sftpd_processor.errors import SourceRefused
from sftpd_processor.sources.base import Entry, Miss
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.opened_sources import files, listed, opened
from tests.support import ServedFolder, not_here, served_folder

SIZES = (0, 1, 300, 32_767, 32_768, 32_769, 100_000, 1 << 20)
ODD_NAMES = (
    "with blanks .json", " leading.json", "trailing.json ", "quo'te\".json", "a;b&c|d$e`f`.json", "*?[x].json",
    "-rf.json", "~.json", "%00.json", "ünïcode.json", "日本語.json", "emoji-😀.json", "e\u0301.json", "\u202egpj.json",
    "back\\slash.json", "tab\tinside.json", "CON", "...", "a" * 250 + ".json", "é" * 125 + ".json",
)  # fmt: skip


def read(served: ServedFolder, **changes: int) -> dict[str, bytes | Miss]:
    """What a source with these settings lists and reads."""
    with opened(served, **changes) as source:
        return {entry.name: content for entry, content in source.fetch(files(source))}


@pytest.fixture
def mixed(sftp_server: ServedFolder) -> dict[str, bytes]:
    """Files of all sizes in the served folder."""
    content = {f"{size}.json": random.Random(size).randbytes(size) for size in SIZES}
    sftp_server.write(content)
    return content


def test_a_large_folder_is_listed_in_batches(sftp_server: ServedFolder) -> None:
    """2,500 files come in batches of 1,000, each once, with its size, its time to the second, and as a regular file."""
    sftp_server.write({f"{n}.json": b"x" * (n % 700) for n in range(2_500)})
    for n in range(2_500):
        os.utime(sftp_server.folder / f"{n}.json", (5, 1_700_000_000 + n))
    with opened(sftp_server) as source:
        batches = list(source.look())
    assert [len(batch) for batch in batches] == [1000, 1000, 500]
    seconds = 1_000_000_000
    assert {entry for batch in batches for entry in batch} == {
        Entry(f"{n}.json", n % 700, (1_700_000_000 + n) * seconds, regular=True) for n in range(2_500)
    }


def test_only_files_are_regular(sftp_server: ServedFolder) -> None:
    """Folders, links (also to files, or to nothing), pipes and sockets are listed, but not as regular files."""
    folder = sftp_server.folder
    sftp_server.write({"file": b"x"})
    (folder / "folder").mkdir()
    (folder / "link").symlink_to(folder / "file")
    (folder / "dangling").symlink_to(folder / "nothing")
    os.mkfifo(folder / "pipe")
    with socket.socket(socket.AF_UNIX) as listener, opened(sftp_server) as source:
        listener.bind(str(folder / "socket"))
        regular = {name: entry.regular for name, entry in listed(source).items()}
    assert regular == {"file": True} | dict.fromkeys(["folder", "link", "dangling", "pipe", "socket"], False)


def test_an_empty_folder_is_an_empty_look(sftp_server: ServedFolder) -> None:
    """Nothing there is nothing listed, and no error."""
    with opened(sftp_server) as source:
        assert list(source.look()) == []


@pytest.mark.parametrize("in_flight", [1, 64])
def test_files_of_every_size_are_read_exactly(
    sftp_server: ServedFolder, mixed: dict[str, bytes], in_flight: int
) -> None:
    """Files around the sizes of packets are read byte for byte, whether one or many are under way."""
    assert read(sftp_server, in_flight=in_flight) == mixed


@pytest.mark.parametrize("in_flight", [1, 64])
def test_many_files_are_read_exactly(sftp_server: ServedFolder, in_flight: int) -> None:
    """With hundreds of files none gets the content of another one."""
    content = {f"{n}.json": b'{"n": %d}' % n for n in range(600)}
    sftp_server.write(content)
    assert read(sftp_server, in_flight=in_flight) == content


def test_odd_names_are_listed_and_read(sftp_server: ServedFolder) -> None:
    """Blanks, quotes, signs of the shell, emoji and names of 255 bytes reach the server as they are."""
    content = {name: name.encode() for name in ODD_NAMES}
    assert max(len(name.encode()) for name in ODD_NAMES) == 255
    sftp_server.write(content)
    assert read(sftp_server) == content


def test_a_name_that_is_not_utf8_is_listed_and_read(sftp_server: ServedFolder) -> None:
    """A name of any bytes can be named to the server again."""
    Path(os.fsdecode(os.fsencode(sftp_server.folder) + b"/\xff\xfe.json")).write_bytes(b"{}")
    assert read(sftp_server) == {"\udcff\udcfe.json": b"{}"}


def test_what_changed_since_the_listing_is_told_file_by_file(sftp_server: ServedFolder) -> None:
    """A file that vanished, grew or shrank between look and fetch is a miss of that kind; the others are read."""
    sftp_server.write({f"{n}.json": b"12345" for n in range(40)})
    folder = sftp_server.folder
    with opened(sftp_server) as source:
        entries = files(source)
        (folder / "7.json").unlink()
        (folder / "8.json").write_bytes(b"123456")
        (folder / "9.json").write_bytes(b"1234")
        (folder / "10.json").write_bytes(b"")
        got = {entry.name: content for entry, content in source.fetch(entries)}
    kinds = {name: content.kind for name, content in got.items() if isinstance(content, Miss)}
    assert kinds == {"7.json": "vanished", "8.json": "changed", "9.json": "changed", "10.json": "changed"}
    assert all(got[f"{n}.json"] == b"12345" for n in range(11, 40))


def test_what_became_a_folder_is_refused(sftp_server: ServedFolder) -> None:
    """A name that stands for a folder by the time of the fetch is a miss, and does not disturb the others."""
    sftp_server.write({"a.json": b"{}", "b.json": b"[]"})
    with opened(sftp_server) as source:
        entries = files(source)
        (sftp_server.folder / "a.json").unlink()
        (sftp_server.folder / "a.json").mkdir()
        got = {entry.name: content for entry, content in source.fetch(entries)}
    assert isinstance(got["a.json"], Miss)
    assert got["a.json"].kind == "refused"
    assert got["b.json"] == b"[]"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_refused(sftp_server: ServedFolder) -> None:
    """A file without the right to read is a miss, with the server's words, and the others are read."""
    sftp_server.write({"a.json": b"{}", "b.json": b"[]"})
    (sftp_server.folder / "a.json").chmod(0)
    got = read(sftp_server)
    assert isinstance(got["a.json"], Miss)
    assert got["a.json"].kind == "refused"
    assert got["b.json"] == b"[]"


def test_a_folder_that_is_not_there_is_refused(sftp_server: ServedFolder) -> None:
    """A missing folder is for a person to mend: the message names it, and the setting to check."""
    absent = f"{sftp_server.folder}/absent"
    with opened(sftp_server, folder=absent) as source, pytest.raises(SourceRefused) as caught:
        list(source.look())
    assert f"the folder '{absent}' does not exist there; check `folder`" in str(caught.value)
    assert f"source webio: {sftp_server.server.host}:{sftp_server.server.port}: " in str(caught.value)


def test_a_folder_that_is_a_file_is_refused(sftp_server: ServedFolder) -> None:
    """A `folder` that names a file is refused with its name."""
    sftp_server.write({"a.json": b"{}"})
    folder = f"{sftp_server.folder}/a.json"
    with opened(sftp_server, folder=folder) as source, pytest.raises(SourceRefused, match=r"/a\.json"):
        list(source.look())


@pytest.mark.skipif(os.geteuid() == 0, reason="root may list everything")
def test_a_folder_that_may_not_be_listed_is_refused(sftp_server: ServedFolder) -> None:
    """A folder without the right to list it is refused, and the message says whom to ask for what."""
    sftp_server.folder.chmod(0o300)
    with opened(sftp_server) as source, pytest.raises(SourceRefused, match=r"may not list the folder .* ask its owner"):
        list(source.look())


def test_a_refused_folder_leaves_the_source_usable(sftp_server: ServedFolder) -> None:
    """When the folder appears later, the next look lists it."""
    later = sftp_server.folder / "later"
    with opened(sftp_server, folder=str(later)) as source:
        with pytest.raises(SourceRefused):
            list(source.look())
        later.mkdir()
        (later / "a.json").write_bytes(b"{}")
        assert list(listed(source)) == ["a.json"]


def test_a_relative_folder_begins_at_the_logins_folder(sftp_server: ServedFolder) -> None:
    """`folder` need not be absolute."""
    sftp_server.write({"a.json": b"{}"})
    with opened(sftp_server, folder=sftp_server.folder.name) as source:
        assert [content for _, content in source.fetch(files(source))] == [b"{}"]


def test_a_look_that_is_not_finished_leaves_the_source_usable(sftp_server: ServedFolder) -> None:
    """A consumer that stops in the middle of a listing can fetch, and look again from the beginning."""
    sftp_server.write({f"{n}.json": b"%d" % n for n in range(2_100)})
    with opened(sftp_server) as source:
        batch = next(iter(source.look()))
        assert all(content == entry.name.removesuffix(".json").encode() for entry, content in source.fetch(batch))
        assert len(listed(source)) == 2_100


def test_a_server_with_few_handles_gives_every_file(tmp_path: Path) -> None:
    """Where sshd may hold a dozen files open, 64 at once are refused, yet each file is read."""
    program = shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec")
    if find_sshd() is None or program is None:
        not_here("OpenSSH's sftp-server", "openssh-server")
    wrapper = tmp_path / "few-handles"
    wrapper.write_text(f'#!/bin/sh\nulimit -n 16\nexec {program} "$@"\n')
    wrapper.chmod(0o755)
    content = {f"{n}.json": b'{"n": %d}' % n for n in range(1_000)}
    with OpenSshServer(tmp_path / "root", sftp_server=wrapper) as server, served_folder(server) as served:
        served.write(content)
        began = time.monotonic()
        assert read(served) == content
        assert time.monotonic() - began < 20
