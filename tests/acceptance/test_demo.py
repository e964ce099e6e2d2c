from __future__ import annotations

import json
import re
import shlex
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sftpd_processor.cli.main import app
from sftpd_processor.testing import servers
from sftpd_processor.testing.servers import find_sshd
from tests.support import not_here

PROGRAM = Path(sys.executable).with_name("sftpd-processor")


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, check=False, timeout=60)


def answers(address: str) -> bool:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except ConnectionRefusedError:
        return False
    return True


def check(results: dict[str, Any]) -> None:
    """The figures of a demo agree with each other and with what was put on the server."""
    files, written = results["files"], results["written"]
    assert files["listed"] == files["recorded"] + files["ignored"] + files["vanished"]
    assert files["recorded"] == sum(written.values()) - written["not for us"]
    assert results["on_the_server"] == {"processed": files["recorded"], "left": [".upload.json.part", "notes.txt"]}
    assert files["verdicts"]["duplicate"] == written["duplicate"]
    assert files["verdicts"]["conflict"] == written["conflict"]
    assert files["verdicts"]["invalid"] == written["half"] + written["broken"]
    lines = (Path(results["folder"]) / "events.jsonl").read_text().splitlines()
    keys = {json.loads(line)["delivery"]["key"] for line in lines}
    assert len(lines) == len(keys) == results["handlers"]["journal"]["done"]
    assert not any(counts["retrying"] or counts["dead"] for counts in results["handlers"].values())


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> subprocess.CompletedProcess[str]:
    """What a newcomer sees who runs the demo without a terminal."""
    return run("demo", "--folder", tmp_path_factory.mktemp("demo"))


def test_the_figures_are_true(tmp_path: Path) -> None:
    """`--json` prints only results, which balance; the server stays as long as it is asked to, and no longer."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    command = [str(PROGRAM), "demo", "--json", "--keep-serving", "--folder", str(tmp_path / "new")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        results = json.loads(process.stdout.readline())
        check(results)
        assert [one["exit_code"] for one in results["runs"]] == [3, 3]
        config = tmp_path / "new" / "config.toml"
        for verb in ("check --live", "simulate --count 10", "once"):
            assert run("-c", config, *verb.split()).returncode == 0, verb
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert process.stdout.read() == ""
    assert not answers(results["server"])


def test_the_story_is_plain_text(shown: subprocess.CompletedProcess[str]) -> None:
    """Without a terminal there is no colour, every verdict is in the story, and each example has its reason."""
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    assert all(
        re.search(rf"^ {word} +\d+ ", shown.stdout, re.MULTILINE) for word in ("accepted", "duplicate", "invalid")
    )
    assert "(conflict)\n    event 1: has the identity of an event recorded before, but other content" in shown.stdout
    assert "was it cut short?" in shown.stdout


def test_what_is_suggested_works(shown: subprocess.CompletedProcess[str]) -> None:
    """Every command under "Try next" runs as it is printed, after the server has gone."""
    lines = shown.stdout.partition("Try next\n")[2].splitlines()
    commands = [line.strip() for line in lines if not line.startswith("  #")]
    assert len(commands) == 5
    for command in commands[:-1]:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
    assert commands[-1].endswith("sftpd-processor demo --keep-serving")


def test_without_sshd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a machine without OpenSSH the demo is the same, with the server of the `demo` extra."""
    monkeypatch.setattr(servers, "find_sshd", lambda: None)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["demo", "--json", "--folder", str(tmp_path)])
    signal.signal(signal.SIGTERM, before)
    assert done.exit_code == 0, done.output
    check(json.loads(done.stdout))


def test_without_any_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without sshd and asyncssh the error says what to install, either of them."""
    monkeypatch.setattr(servers, "find_sshd", lambda: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    before = signal.getsignal(signal.SIGTERM)
    done = CliRunner().invoke(app, ["demo", "--folder", str(tmp_path)])
    signal.signal(signal.SIGTERM, before)
    assert "openssh-server" in str(done.exception)
    assert "'.[demo]'" in str(done.exception)


def test_what_is_there_is_left_alone(tmp_path: Path) -> None:
    """A folder that holds something is refused, and nothing is written into it."""
    (tmp_path / "mine").write_text("")
    done = run("demo", "--folder", tmp_path)
    assert done.returncode == 1
    assert (
        done.stderr
        == f"sftpd-processor: {tmp_path} is not empty: name another folder by --folder, or remove this one first\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]
