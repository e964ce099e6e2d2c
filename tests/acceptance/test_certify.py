"""The verb `certify` on real servers: the real command is killed again and again, and nothing is lost."""

from __future__ import annotations

import re
import signal
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.points import POINTS
from tests.acceptance.support import Desk, Ran, event, local, put
from tests.support import ServedFolder, wait_until

DISPOSAL = {"disposing", "disposed", "disposal-noted"}


def proven(ran: Ran) -> dict[str, Any]:
    """The report of a proof that passed."""
    assert ran.code == 0, ran.out + ran.err
    report: dict[str, Any] = ran.data
    assert report["passed"], report
    assert all(check["passed"] for check in report["checks"])
    assert (report["lost"], report["handled_twice"]) == (0, 0)
    return report


@pytest.mark.timeout(900)
def test_every_point_and_some_instants(desk: Desk, openssh: ServedFolder) -> None:
    """Killed at each point and twice more, with lines cut, on a real sshd: the proof passes, and leaves nothing."""
    own = event(1)
    openssh.write({"own.json": own})
    desk.configure(openssh.source())
    kills = len(POINTS) + 2
    options = ["--files", "90", "--kills", str(kills), "--seed", "7", "--json"]
    report = proven(desk.run("certify", *options, timeout=800, TMPDIR=str(desk.temporary)))
    assert set(report["kills"]["points"]) == set(POINTS)
    assert report["kills"]["all"] >= kills
    assert report["starts"] > kills
    assert report["files"] >= 90
    assert report["deliveries"] > 2 * report["events"]
    assert (openssh.names(), (openssh.folder / "own.json").read_bytes()) == (["own.json"], own)
    assert list(desk.temporary.iterdir()) == []
    assert not desk.state.exists()
    assert not desk.journal.exists()


@pytest.mark.timeout(300)
def test_a_folder_on_this_machine(desk: Desk, tmp_path: Path) -> None:
    """A directory source that keeps its files is proven the same way; the evidence may be kept."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    put(folder, {"own.json": event(1)})
    desk.configure(local(folder, after="keep"))
    kept = tmp_path / "evidence"
    report = proven(desk.run("certify", "--files", "24", "--kills", "2", "--json", "--keep", str(kept), timeout=250))
    assert set(report["kills"]["points"]) == set([point for point in POINTS if point not in DISPOSAL][:2])
    assert [path.name for path in folder.iterdir()] == ["own.json"]
    assert {"evidence.db", "state", "said.log", "config.toml"} <= {path.name for path in kept.iterdir()}


@pytest.mark.timeout(300)
def test_a_second_server_and_a_password(desk: Desk, asyncssh_server: ServedFolder) -> None:
    """With a password, on another server's software: a small proof passes, and its text says so in one sentence."""
    source = asyncssh_server.source(password=asyncssh_server.server.password, private_key=None, after="delete")
    desk.configure({key: value for key, value in source.items() if value is not None})
    ran = desk.run("certify", "--files", "20", "--kills", "2", timeout=250)
    assert ran.code == 0, ran.out + ran.err
    assert ran.out.splitlines()[-1].startswith("PASSED: killed ")
    assert re.search(r"^source webio, after = delete, scratch folder sftp://\S+$", ran.out, re.MULTILINE)
    assert asyncssh_server.names() == []


@pytest.mark.timeout(120)
def test_an_interrupt_leaves_nothing(desk: Desk, openssh: ServedFolder) -> None:
    """Ended by SIGTERM in the middle, it removes the scratch folder and what it had on this machine."""
    desk.configure(openssh.source())
    running = desk.start("certify", "--files", "50", "--kills", "500")
    folders = (openssh.folder.glob(".sftpd-processor-certify-*/incoming/*") for _ in iter(int, 1))
    wait_until(lambda: any(next(folders)), 60, "files on the server")
    running.signal(signal.SIGTERM)
    assert running.ended(60) == 130, running.log
    assert openssh.names() == []
    assert list(desk.temporary.iterdir()) == []


def test_a_folder_that_cannot_be_used(desk: Desk, tmp_path: Path) -> None:
    """Where the scratch folder cannot be made, one line says so; nothing is made in its place, or left."""
    desk.configure(local(tmp_path / "missing"))
    ran = desk.run("certify")
    assert (ran.code, ran.out, len(ran.err.splitlines())) == (4, "", 1)
    assert "cannot be made: No such file or directory" in ran.err
    assert not (tmp_path / "missing").exists()
    assert list(desk.temporary.iterdir()) == []


def test_a_file_must_fit_the_users_limit(desk: Desk, tmp_path: Path) -> None:
    """More events in a file than `max_file_bytes` allows are refused before anything is sent."""
    desk.configure(local(tmp_path, max_file_bytes=5000))
    ran = desk.run("certify", "--events-per-file", "20")
    assert (ran.code, ran.out) == (2, "")
    assert "more than max_file_bytes; ask for fewer" in ran.err


def test_the_source_must_be_told_when_there_are_several(desk: Desk, tmp_path: Path) -> None:
    """With two sources, or a name that is none of them, it says which there are."""
    desk.configure(local(tmp_path), local(tmp_path, name="other"))
    for options in ([], ["--source", "third"]):
        ran = desk.run("certify", *options)
        assert ran.code == 2
        assert "choose with --source: local, other" in " ".join(ran.err.split())
