"""What a proof is made of: the files that are sent, where the kills come, what the killed process gets to see."""

from __future__ import annotations

import json
import random
import tomllib
from collections import Counter
from pathlib import Path

import pytest
from pydantic import SecretStr

from sftpd_processor.certify.child import Child
from sftpd_processor.certify.feed import LARGEST_EVENT, NUMBER, Feed
from sftpd_processor.certify.journals import Mark, read_journal
from sftpd_processor.certify.kills import Kill, plan, reachable
from sftpd_processor.certify.stage import Stage
from sftpd_processor.config.load import load_settings
from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.events.parse import Parsed, parse
from sftpd_processor.points import POINTS, VARIABLE

SECRETS = {"password": "pass, word", "private_key": "-----BEGIN KEY\nabc\n", "private_key_passphrase": "open, sesame"}


def settings(tmp_path: Path) -> SftpSourceSettings:
    """A user's source, with secrets and limits."""
    return SftpSourceSettings(
        name="webio", host="sftp.example.com", username="acme", folder="/webhooks", after="delete", in_flight=7,
        host_keys=("SHA256:" + "A" * 43,), cron="*/5 * * * *", unknown_events="quarantine",
        **{name: SecretStr(text) for name, text in SECRETS.items()},
    )  # fmt: skip


def test_the_same_seed_sends_the_same_files() -> None:
    """Two feeds of one seed agree byte by byte, and another seed does not."""
    first, again, other = (list(Feed(seed, 3, 600).take(200)) for seed in (5, 5, 6))
    assert first == again
    assert first != other
    assert len({file.name for file in first}) == 200


@pytest.mark.parametrize("size", [1, 4])
def test_what_is_noted_of_a_file_is_what_is_in_it(size: int) -> None:
    """Readable files hold exactly the numbered events that are noted; the others cannot be read by the processor."""
    from zoneinfo import ZoneInfo

    files = list(Feed(1, size, 2000).take(500))
    for file in files:
        result = parse(file.data, ZoneInfo("UTC"))
        found = [json.loads(event.body)[NUMBER] for event in result.events] if isinstance(result, Parsed) else []
        assert found == [str(event.number) for event in file.events]
        assert len(file.data) <= LARGEST_EVENT * len(file.events) or not file.readable
        assert file.flawed == (isinstance(result, Parsed) and result.rejected is not None)
    assert sum(not file.readable for file in files) > 10
    assert sum(file.flawed for file in files) > 3


def test_repeats_and_conflicts_are_among_the_files() -> None:
    """Some events come in several files, and some of those with another content."""
    events = [event for file in Feed(1, 1, 2000).take(1000) for event in file.events]
    times = Counter(event.number for event in events)
    assert sum(number > 1 for number in times.values()) > 50
    assert sum(event.variant > 0 for event in events) > 10


def test_every_point_is_killed_at_first() -> None:
    """The plan begins with each point in turn, and goes on with points and instants, as many as were asked for."""
    points = reachable(POINTS, "move")
    kills = list(plan(points, 200, random.Random(1), 1.0))
    assert [kill.point for kill in kills[: len(points)]] == list(POINTS)
    assert len(kills) == 200
    assert sum(kill.point is None for kill in kills) > 50
    assert {kill.verb for kill in kills} == {"once", "run"}
    assert max(kill.occurrence for kill in kills) > 3


def test_a_source_that_keeps_its_files_has_fewer_points() -> None:
    """With `after = "keep"` nothing is disposed of, so those points are not asked for."""
    assert set(POINTS) - set(reachable(POINTS, "keep")) == {"disposing", "disposed", "disposal-noted"}


def test_a_kill_that_did_not_come_is_made_easier() -> None:
    """A point is tried at its first occurrence in a run of `once`; an instant in a run that does not end by itself."""
    assert Kill("run", "listed", 3).easier() == Kill("once", "listed", 1, tries=2)
    assert Kill("once", None, seconds=0.4).easier() == Kill("run", None, seconds=0.4, tries=2)


def test_no_secret_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The secrets are in the child's environment only, under names of our own, and are found there by the command."""
    stage = Stage(tmp_path)
    stage.known_hosts.write_text("[127.0.0.1]:99 ssh-ed25519 AAAA\n")
    changes = {"host": "127.0.0.1", "port": 99, "known_hosts": str(stage.known_hosts), "folder": "/webhooks/.scratch"}
    stage.configure(settings(tmp_path), **changes)
    written = "".join(path.read_text() for path in tmp_path.iterdir())
    assert not any(secret in written for secret in SECRETS.values())
    assert not any(secret in repr(stage) for secret in SECRETS.values())
    for name, value in stage.environment().items():
        monkeypatch.setenv(name, value)
    source = load_settings(stage.config).sources[0]
    assert isinstance(source, SftpSourceSettings)
    for name, text in SECRETS.items():
        assert getattr(source, name).get_secret_value() == text
    assert (source.host, source.port, source.host_keys) == ("127.0.0.1", 99, ())


def test_the_users_limits_are_kept(tmp_path: Path) -> None:
    """What the user set stays, but for when to look and what is to be taken; the state folder is our own."""
    stage = Stage(tmp_path)
    stage.configure(settings(tmp_path), folder="/webhooks/.scratch")
    config = tomllib.loads(stage.config.read_text())
    (source,) = config["sources"]
    assert (source["after"], source["in_flight"], source["folder"]) == ("delete", 7, "/webhooks/.scratch")
    assert not {"cron", "unknown_events"} & set(source)
    assert config["state"] == {"dir": "state"}


def test_nothing_of_the_users_environment_reaches_the_child(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings in the environment are the user's; only the kill that is wanted is handed on."""
    monkeypatch.setenv("SFTPD_PROCESSOR__STATE__DIR", "/var/lib/precious")
    monkeypatch.setenv(VARIABLE, "recorded:9")
    stage = Stage(tmp_path)
    ours = {name: text for name, text in stage.environment("listed:2").items() if name.startswith("SFTPD_PROCESSOR")}
    assert ours == {VARIABLE: "listed:2"}
    assert VARIABLE not in stage.environment()


def test_lines_belong_to_the_run_that_wrote_them(tmp_path: Path) -> None:
    """A line is of the run in which the journal grew beyond its beginning, also one whose end a kill cut off."""
    key = "k" * 32
    path = tmp_path / "journal"
    path.write_text(f"\nb 1 1 {key}\n" + f"e 1 1 {key}")
    first = path.stat().st_size
    with path.open("a") as journal:
        journal.write(f"\nb 2 1 {key}\ne 2")
    second = path.stat().st_size
    with path.open("a") as journal:
        journal.write("\n")
    torn: list[int] = []
    marks = list(read_journal(path, [(1, first), (2, second), (3, second + 1)], torn, jsonl=False))
    assert marks == [Mark(1, "b", key, 1), Mark(1, "e", key, 1), Mark(2, "b", key, 2)]
    assert torn == [2]


def test_a_run_that_goes_on_for_too_long_is_killed(tmp_path: Path) -> None:
    """After its time the process is killed; it is known to have been late, and how much memory it took."""
    child = Child(["--help"], {}, tmp_path / "log")
    try:
        ended = child.wait(0.05)  # never told to go
    finally:
        child.close()
    assert ended.killed
    assert ended.late
    assert ended.memory > 0


def test_a_run_ends_by_itself(tmp_path: Path) -> None:
    """A run that is told to go is the real command: it prints what the command prints, and has its exit code."""
    log = tmp_path / "log"
    for arguments, code in ((["--version"], 0), (["-c", "/nowhere/config.toml", "status"], 2)):
        child = Child(arguments, {}, log)
        child.go()
        assert child.wait(60).code == code
        child.close()
    assert "sftpd-processor 0." in log.read_text()
    assert "there is no such file" in log.read_text()
