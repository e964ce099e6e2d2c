"""What `doctor` finds out, held against facts that are known otherwise."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from sftpd_processor.doctor.scratch import MARK
from sftpd_processor.sources.ssh import login
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.doctor_items import everything, local, measure_little, served
from tests.support import ServedFolder, not_here, served_folder

ALL = (
    "list", "make_folder", "write", "read", "rename", "posix_rename", "move_to", "set_time", "delete", "remove_folder",
)  # fmt: skip


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these is about what is measured."""
    measure_little(monkeypatch)


def test_a_server_that_allows_all(sftp_server: ServedFolder) -> None:
    """Each step works on both servers, no file of the folder is touched, and nothing remains."""
    sftp_server.write({f"{n}.json": b"{}" for n in range(300)})
    before = everything(sftp_server.folder)
    outcome = served(sftp_server)
    assert everything(sftp_server.folder) == before
    assert outcome.rights == dict.fromkeys(ALL, "yes")
    assert outcome.found.listing is not None
    assert (outcome.found.listing.entries, outcome.found.listing.complete) == (300, True)
    assert outcome.found.listing.per_answer in {100, 128}  # OpenSSH's, asyncssh's
    assert {each.level for each in outcome.advice} == {"ok"}
    assert outcome.snippet == ""


def test_what_a_plain_client_sees(sftp_server: ServedFolder) -> None:
    """Whether RENAME overwrites, who the server is, and that times are whole seconds: as paramiko's client sees it."""
    outcome = served(sftp_server)
    with login(outcome.settings) as client, client.open_sftp() as plain:  # type: ignore[arg-type]
        sftp_server.write({"old": b"old", "taken": b"taken"})
        try:
            plain.rename(str(sftp_server.folder / "old"), str(sftp_server.folder / "taken"))
        except OSError:
            overwrites = False
        else:
            overwrites = (sftp_server.folder / "taken").read_bytes() == b"old"
        version = client.get_transport().remote_version
        cipher = client.get_transport().remote_cipher
    assert outcome.found.rename_replaces is overwrites
    assert outcome.found.ssh is not None
    assert (outcome.found.ssh.server, outcome.found.ssh.cipher) == (version, cipher)
    assert outcome.found.ssh.host_key == sftp_server.server.host_key_fingerprint
    assert outcome.found.time_grain_seconds == 1.0


def test_a_rename_that_overwrites(asyncssh_server: ServedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose RENAME overwrites is told from one whose does not."""
    monkeypatch.setattr(asyncssh.SFTPServer, "rename", lambda _, old, new: os.replace(old, new))
    outcome = served(asyncssh_server)
    assert outcome.found.rename_replaces is True
    assert "A rename overwrites" in outcome.said("note")
    assert outcome.said("problem") == ""


def refuse(*_: object) -> None:
    raise asyncssh.SFTPPermissionDenied("not for you")


def unsupported(*_: object) -> None:
    raise asyncssh.SFTPOpUnsupported("what is that")


REFUSALS: list[tuple[str, Callable[..., None], str, dict[str, Any], dict[str, Any]]] = [
    ("posix_rename", unsupported, "posix_rename", {}, {}),
    ("rename", refuse, "rename", {}, {"after": "keep"}),
    ("rename", refuse, "rename", {"after": "delete"}, {}),
    ("setstat", refuse, "set_time", {}, {}),
]


@pytest.mark.parametrize(("verb", "act", "right", "source", "changes"), REFUSALS)
def test_one_refusal(
    asyncssh_server: ServedFolder,
    monkeypatch: pytest.MonkeyPatch,
    verb: str,
    act: Callable[..., None],
    right: str,
    source: dict[str, Any],
    changes: dict[str, Any],
) -> None:
    """What is refused is told with the server's words, the other steps go on, and only what follows is suggested."""
    monkeypatch.setattr(asyncssh.SFTPServer, verb, act)
    outcome = served(asyncssh_server, **source)
    assert outcome.found.rights[right].answer == "no"
    assert ("not for you" in outcome.found.rights[right].why) or ("what is that" in outcome.found.rights[right].why)
    assert outcome.rights["delete"] == "yes"
    assert outcome.changes == changes
    assert asyncssh_server.names() == []


def test_deleting_is_refused(asyncssh_server: ServedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nothing may be deleted, what the examination made is named with its path, and `move` is suggested."""
    monkeypatch.setattr(asyncssh.SFTPServer, "remove", refuse)
    outcome = served(asyncssh_server, after="delete")
    assert outcome.rights["delete"] == "no"
    assert outcome.changes == {"after": "move"}
    left = {str(path) for path in asyncssh_server.folder.rglob("*")}
    assert left
    assert set(outcome.found.left_behind) == left
    assert all(path in outcome.said("problem") for path in left)


def test_no_folders_may_be_made(asyncssh_server: ServedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a folder of its own the steps go on beside Webio's files, unless the source would take such names."""
    monkeypatch.setattr(asyncssh.SFTPServer, "mkdir", refuse)
    (asyncssh_server.folder / "processed").mkdir()
    outcome = served(asyncssh_server)
    assert outcome.rights == dict.fromkeys(ALL, "yes") | {"make_folder": "no", "remove_folder": "untried"}
    assert outcome.said("problem") == ""
    assert asyncssh_server.names() == ["processed"]
    careful = served(asyncssh_server, include=["*"], exclude=[])
    assert careful.rights["write"] == "untried"
    assert asyncssh_server.names() == ["processed"]


def test_an_account_that_may_only_read(tmp_path: Path) -> None:
    """On both servers: reading works, the rest is refused or not tried, and `keep` is the only suggestion."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    for number, kind in enumerate((OpenSshServer, AsyncsshServer)):
        with kind(tmp_path / str(number), read_only=True) as server, served_folder(server) as folder:
            outcome = served(folder)
            assert outcome.rights == dict.fromkeys(ALL, "untried") | {
                "list": "yes", "make_folder": "no", "write": "no",
            }  # fmt: skip
            assert outcome.changes == {"after": "keep"}
            assert "could not be tried" in outcome.said("problem")
            assert served(folder, after="keep").said("problem") == ""
            assert folder.names() == []


def test_another_file_system(openssh: ServedFolder, tmp_path: Path) -> None:
    """A `move_to` on another file system is found out, and a folder inside the source's is suggested."""
    aside = Path("/dev/shm") / tmp_path.name
    assert aside.parent.stat().st_dev != openssh.folder.stat().st_dev
    try:
        for outcome in (served(openssh, move_to=str(aside)), local(openssh.folder, move_to=str(aside))):
            assert outcome.rights["move_to"] == "no"
            assert outcome.found.other_file_system is True
            assert outcome.changes == {"move_to": "processed"}
            assert "another file system" in outcome.said("problem")
            assert not aside.exists()
            assert openssh.names() == []
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def test_a_target_that_is_there(sftp_server: ServedFolder) -> None:
    """A `move_to` that exists keeps its files; one whose upper folders are missing is made and removed with them."""
    target = sftp_server.folder / "done"
    target.mkdir()
    (target / "a.json").write_bytes(b"1")
    before = everything(sftp_server.folder)
    for move_to in ("done", "done/deep/er"):
        assert served(sftp_server, move_to=move_to).rights["move_to"] == "yes"
        assert everything(sftp_server.folder) == before


@pytest.mark.parametrize("name", ["nowhere", "a-file"])
def test_a_wrong_folder(sftp_server: ServedFolder, name: str) -> None:
    """A folder that is not there, or is none, is a problem with a reason; nothing else is tried, or made."""
    sftp_server.write({"a-file": b""})
    outcome = served(sftp_server, folder=str(sftp_server.folder / name))
    assert outcome.rights == {"list": "no"}
    assert "cannot be listed" in outcome.said("problem")
    assert outcome.found.unreachable is None
    assert sftp_server.names() == ["a-file"]


def test_odd_names_in_the_folder(openssh: ServedFolder) -> None:
    """Names that are not UTF-8 do no harm, and a scratch folder left by a killed run is named, not removed."""
    (openssh.folder / os.fsdecode(b"\xff.json")).write_bytes(b"")
    stray = MARK + "0123abcd"
    (openssh.folder / stray).mkdir()
    (openssh.folder / f"{MARK}\x1b[31m").mkdir()
    outcome = served(openssh)
    assert outcome.found.strays == [stray]
    assert stray in outcome.said("note")
    assert len(openssh.names()) == 3


def test_a_folder_with_the_sticky_bit(sftp_server: ServedFolder) -> None:
    """The sticky bit, with which ours may be moved but not Webio's, is pointed out."""
    assert "sticky" not in served(sftp_server).said("note")
    sftp_server.folder.chmod(0o1777)
    assert "sticky" in served(sftp_server).said("note")


def test_a_local_folder(tmp_path: Path) -> None:
    """A folder on this machine: all works, times are finer than a second, no server is spoken of, nothing remains."""
    (tmp_path / "a.json").write_bytes(b"{}")
    before = everything(tmp_path)
    outcome = local(tmp_path)
    assert outcome.rights == dict.fromkeys(ALL, "yes")
    assert outcome.found.rename_replaces is False
    assert (outcome.found.ssh, outcome.found.open_files, outcome.found.round_trip_seconds) == (None, None, None)
    assert outcome.found.time_grain_seconds is not None
    assert outcome.found.time_grain_seconds < 1
    assert {each.level for each in outcome.advice} == {"ok"}
    assert everything(tmp_path) == before
    assert local(tmp_path / "nowhere").rights == {"list": "no"}


def test_a_local_folder_that_is_read_only() -> None:
    """Where the system lets nobody write, that is told in its words, and `keep` is suggested."""
    outcome = local(Path("/proc/self"))
    assert outcome.rights["list"] == "yes"
    assert outcome.rights["make_folder"] == outcome.rights["write"] == "no"
    assert outcome.found.rights["write"].why in {"No such file or directory", "Permission denied"}
    assert outcome.changes == {"after": "keep"}


def test_two_at_once_do_not_meet(sftp_server: ServedFolder) -> None:
    """Two examinations of one folder at the same time keep out of each other's way."""
    outcomes = []
    threads = [threading.Thread(target=lambda: outcomes.append(served(sftp_server, move_to="done"))) for _ in "ab"]
    (sftp_server.folder / "done").mkdir()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [outcome.rights for outcome in outcomes] == [dict.fromkeys(ALL, "yes")] * 2
    assert sftp_server.names() == ["done"]
