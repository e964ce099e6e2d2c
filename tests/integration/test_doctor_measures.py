"""What `doctor` measures, held against facts that are known otherwise: clocks, times, distances, limits."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import asyncssh
import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.doctor import examination
from sftpd_processor.doctor.server import ServerPlace
from sftpd_processor.testing.relay import relay_process
from sftpd_processor.testing.servers import OpenSshServer, find_sshd
from tests.integration.doctor_items import attributes, measure_little, served
from tests.support import ServedFolder, not_here, served_folder


def test_openssh_is_known(openssh: ServedFolder) -> None:
    """OpenSSH refuses a plain RENAME onto a taken name, offers posix-rename, and keeps 1,100 files open."""
    outcome = served(openssh)
    assert outcome.found.rename_replaces is False
    assert outcome.rights["posix_rename"] == "yes"
    assert outcome.found.open_files is not None
    assert (outcome.found.open_files.most, outcome.found.open_files.refusal) == (1100, None)


def test_the_clock_of_this_machine_agrees_with_itself(sftp_server: ServedFolder) -> None:
    """On one machine the offset is nothing, within the uncertainty that is told, which is below a second."""
    clock = served(sftp_server).found.clock
    assert clock is not None
    assert abs(clock.offset) <= clock.uncertainty + 0.02
    assert clock.uncertainty < 0.6


@pytest.mark.parametrize("shift", [3_600, -86_400 * 3])
def test_a_wrong_clock(asyncssh_server: ServedFolder, monkeypatch: pytest.MonkeyPatch, shift: int) -> None:
    """A server's clock that is off is told with its distance and direction."""
    monkeypatch.setattr(asyncssh.SFTPServer, "lstat", lambda _, path: attributes(path, lambda t: t + shift))
    outcome = served(asyncssh_server)
    assert outcome.found.clock is not None
    assert abs(outcome.found.clock.offset - shift) <= outcome.found.clock.uncertainty + 0.02
    said = {3_600: "60.0 minutes ahead of ours", -86_400 * 3: "3.0 days behind ours"}[shift]
    assert said in outcome.said("note")
    assert outcome.rights["set_time"] == "no"


def test_times_of_two_seconds(asyncssh_server: ServedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that keeps even seconds only, as FAT does, is found out, and settle_seconds is fitted to it."""
    monkeypatch.setattr(asyncssh.SFTPServer, "lstat", lambda _, path: attributes(path, lambda t: t // 2 * 2))
    outcome = served(asyncssh_server, settle_seconds=2)
    assert outcome.found.time_grain_seconds == 2.0
    assert outcome.changes == {"settle_seconds": 10}
    assert served(asyncssh_server).changes == {}


def test_few_open_files(tmp_path: Path) -> None:
    """A server that keeps 16 descriptors is found out, all are closed again, and in_flight is fitted to it."""
    program = shutil.which("sftp-server", path="/usr/lib/openssh:/usr/libexec/openssh:/usr/lib/ssh:/usr/libexec")
    if find_sshd() is None or program is None:
        not_here("OpenSSH's sftp-server", "openssh-server")
    wrapper = tmp_path / "few-handles"
    wrapper.write_text(f'#!/bin/sh\nulimit -n 16\nexec {program} "$@"\n')
    wrapper.chmod(0o755)
    with OpenSshServer(tmp_path / "root", sftp_server=wrapper) as server, served_folder(server) as folder:
        outcome = served(folder)
        assert folder.names() == []
        folder.write({"a.json": b"{}"})
        place = ServerPlace(SftpSourceSettings.model_validate(folder.source()))
        place.open()
        again = [place.hold_open(f"{folder.folder}/a.json", 1100) for _ in "ab"]
        place.close()
        assert again == [outcome.found.open_files] * 2
    files = outcome.found.open_files
    assert files is not None
    assert 5 <= files.most < 16
    assert files.refusal == "Failure"
    assert outcome.changes == {"in_flight": files.most - 2}
    assert {each.level for each in outcome.advice} == {"ok", "note"}


def test_the_round_trip_is_measured(openssh: ServedFolder) -> None:
    """The round trip through a line of 20 ms takes 20 ms and a little, and in_flight = 1 is too few there."""
    with relay_process(openssh.server.host, openssh.server.port, 10.0) as port:
        began = time.monotonic()
        outcome = served(openssh, port=port, in_flight=1)
        assert time.monotonic() - began < 30
    assert outcome.found.round_trip_seconds is not None
    assert 0.02 <= outcome.found.round_trip_seconds < 0.2
    assert outcome.changes == {"in_flight": 256}


def test_a_listing_that_takes_too_long(sftp_server: ServedFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing is given up when its time is over, in the middle, and the steps after it go on."""
    measure_little(monkeypatch)
    monkeypatch.setattr(examination, "_LISTING_SECONDS", 0.0)
    sftp_server.write({f"{number}.json": b"" for number in range(2_500)})
    outcome = served(sftp_server)
    assert outcome.found.listing is not None
    assert (outcome.found.listing.entries, outcome.found.listing.complete) == (1_000, False)
    assert set(outcome.rights.values()) == {"yes"}
    assert outcome.found.ended_early is None
