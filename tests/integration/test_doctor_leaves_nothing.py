"""`doctor` leaves nothing behind: interrupted, cut off or hung at any step, on both servers."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pytest

from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings
from sftpd_processor.doctor.place import LocalPlace, Refused
from sftpd_processor.doctor.scratch import Scratch
from sftpd_processor.doctor.server import ServerPlace
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.sftp_pipeline import Pipeline
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.doctor_items import StopAt, measure_little, served
from tests.integration.opened_sources import clients, within
from tests.integration.test_sftp_handshake import account
from tests.support import ServedFolder, not_here, served_folder, wait_until

STEPS = 40
"""More than there are."""


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """None of these is about what is measured."""
    measure_little(monkeypatch)


def test_interrupted_anywhere(sftp_server: ServedFolder) -> None:
    """Whenever it is interrupted, it says so, and the folder is as it was."""
    sftp_server.write({"a.json": b"{}"})
    for number in range(1, STEPS):
        stop = StopAt(number)
        outcome = served(sftp_server, stop)
        assert sftp_server.names() == ["a.json"]
        assert outcome.found.left_behind == {}
        if not stop.is_set():
            break
        assert outcome.found.ended_early == "interrupted"
        assert outcome.said("problem") == ""
    else:
        pytest.fail(f"it never came to its end, in {STEPS} tries")
    assert number > 10


def test_cut_off_anywhere(sftp_server: ServedFolder) -> None:
    """Whenever the connection is lost, that is a problem with the step named, and all is removed over another one."""
    sftp_server.write({"a.json": b"{}"})
    for number in range(1, STEPS):
        stop = StopAt(number, sftp_server.server.drop_connections)
        outcome = served(sftp_server, stop)
        assert sftp_server.names() == ["a.json"]
        assert outcome.found.left_behind == {}
        if stop.asked < number:
            break
        assert outcome.found.ended_early is not None
        assert "it was at the step" in outcome.said("problem")
    else:
        pytest.fail(f"it never came to its end, in {STEPS} tries")
    assert number > 10


@contextmanager
def line(to: ServedFolder) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A line to the server that can be stopped, as when the other side hangs."""
    command = [sys.executable, "-m", "sftpd_processor.testing.relay", "--delay-ms", "0"]
    address = f"{to.server.host}:{to.server.port}"
    with subprocess.Popen([*command, "--to", address], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process, int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.kill()


def test_a_server_that_hangs_in_the_middle(openssh: ServedFolder) -> None:
    """A server that says no more ends it within its timeouts, and what then stays there is named with its path."""
    with line(openssh) as (process, port):
        stop = StopAt(6, lambda: process.send_signal(signal.SIGSTOP))
        with within(12):
            outcome = served(
                openssh, stop, port=port, operation_timeout_seconds=0.5, connect_timeout_seconds=0.5, move_to="done"
            )
    assert outcome.found.ended_early is not None
    assert "did not answer within" in outcome.found.ended_early
    left = {str(path) for path in openssh.folder.rglob("*")}
    assert left
    assert left <= set(outcome.found.left_behind)
    assert all(path in outcome.said("problem") for path in left)


def test_a_server_that_never_starts_sftp(tmp_path: Path) -> None:
    """A server that lets us in and then says no more is given up within the time for one answer."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    silent = tmp_path / "silent"
    silent.write_text("#!/bin/sh\nexec sleep 60\n")
    silent.chmod(0o755)
    with OpenSshServer(tmp_path / "root", sftp_server=silent) as server, served_folder(server) as folder, within(8):
        outcome = served(folder, operation_timeout_seconds=0.5)
    assert outcome.found.unreachable is not None
    assert "did not answer within 0.5 s" in outcome.said("problem")
    assert outcome.rights == {}


@pytest.mark.parametrize("fault", ["none", "silent", "drops"])
def test_a_login_without_sftp(openssh: ServedFolder, fault: str) -> None:
    """A server that lets us in, but refuses SFTP, never starts it or hangs up, is unreachable, and let go of."""
    with account(fault) as settings:
        with within(8):
            outcome = served(openssh, **settings)
        assert outcome.found.unreachable is not None
        assert outcome.found.unreachable.count("source webio") == 1
        port = settings["port"]
        assert isinstance(port, int)
        wait_until(lambda: not clients(port), 15, "the connection to end")


def test_answers_that_are_cut_short(openssh: ServedFolder) -> None:
    """A server that breaks the protocol is lost, as one that hangs up is, and not a crash."""
    place = ServerPlace(SftpSourceSettings.model_validate(openssh.source()))

    class Short:
        def call(self, kind: int, body: bytes, expected: int) -> bytes:
            return b"\0\0"

    for ask in (place.mode, place.mtime, place.read):
        place._opened = cast("Pipeline", Short())
        with pytest.raises(SourceUnavailable, match=r"source webio: .* broke the SFTP protocol"):
            ask("somewhere")
        assert place._opened is None


def test_a_folder_of_somebody_else_is_not_removed(tmp_path: Path) -> None:
    """A folder that could not be made because it is there already is not ours, and stays."""
    settings = DirectorySourceSettings.model_validate({"name": "local", "type": "directory", "folder": tmp_path})
    scratch = Scratch(LocalPlace(settings), settings)
    (tmp_path / "theirs").mkdir()
    with pytest.raises(Refused):
        scratch.folder(str(tmp_path / "theirs"))
    scratch.folder(str(tmp_path / "ours"))
    scratch.sweep()
    assert [path.name for path in tmp_path.iterdir()] == ["theirs"]
    assert scratch.left() == {}


def test_a_file_of_somebody_else_is_not_overwritten(openssh: ServedFolder) -> None:
    """A file is only ever written under a name that is free, here and on the server."""
    openssh.write({"theirs": b"theirs"})
    remote = ServerPlace(SftpSourceSettings.model_validate(openssh.source()))
    remote.open()
    here = LocalPlace(
        DirectorySourceSettings.model_validate({"name": "local", "type": "directory", "folder": openssh.folder})
    )
    for place in (remote, here):
        with pytest.raises(Refused):
            place.write(f"{openssh.folder}/theirs", b"ours")
    remote.close()
    assert (openssh.folder / "theirs").read_bytes() == b"theirs"
