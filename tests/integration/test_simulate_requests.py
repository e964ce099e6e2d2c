"""The verb simulate, as a client of the public listener: what it sends, what it reports, and how it ends."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

from sftpd_processor.testing.servers import free_port
from tests.integration.pretend_listener import Asked, Reply, pretend_listener
from tests.integration.test_simulate import run
from tests.support import wait_until

TOKEN = "header.payload.signature-not-for-eyes"
ODD = "--duplicates 0.1 --conflicts 0.1 --half 0.1 --broken 0.1 --arrays 0.1 --lines 0.1 --unknown 0.1"


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


def accepted(_asked: Asked) -> tuple[int, Any]:
    return 200, {"file": "live/x.json", "verdict": "accepted"}


def call(reply: Reply, token_file: Path, arguments: str) -> tuple[Result, list[Asked]]:
    """What the verb says after sending to a listener that answers so, and what came there."""
    with pretend_listener(reply) as listener:
        result = run("--url", listener.url, "--token-file", str(token_file), *arguments.split())
    return result, listener.asked


def test_the_same_events_as_in_files(token_file: Path, tmp_path: Path) -> None:
    """--live posts exactly the bodies that the same seed writes as files, each with the token."""
    assert run("--to", str(tmp_path / "in"), "--count", "200", "--seed", "4", *ODD.split()).exit_code == 0
    result, asked = call(accepted, token_file, f"--live --count 200 --seed 4 {ODD}")
    assert result.exit_code == 0, result.output
    assert Counter(each.body for each in asked) == Counter(path.read_bytes() for path in (tmp_path / "in").iterdir())
    assert {(each.method, each.path, each.headers["x-webio-token"]) for each in asked} == {("POST", "/webhooks", TOKEN)}


def test_the_report_counts_by_answer(token_file: Path) -> None:
    """Statuses, verdicts, kinds and latencies of every answer are reported; a refused half file is no failure."""

    def reply(asked: Asked) -> tuple[int, Any]:
        try:
            json.loads(asked.body)
        except ValueError:
            return 400, {"error": "it breaks off", "verdict": "invalid"}
        return accepted(asked)

    result, _ = call(reply, token_file, "--live --count 100 --seed 1 --half 0.2 --json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    half = report["kinds"]["half"]
    assert 0 < half < 50
    assert report["requests"] == 100
    assert report["statuses"] == {"200": 100 - half, "400": half}
    assert report["verdicts"] == {"accepted": 100 - half, "invalid": half}
    assert (report["errors"], report["unexpected"]) == ({}, 0)
    latency = report["latency_ms"]
    assert 0 < latency["p50"] <= latency["p90"] <= latency["p99"] <= latency["p99.9"] <= latency["max"]


def test_questions_as_webio_asks_them(token_file: Path) -> None:
    """--ask sends a GET with all names, a customer and a number of the supply; about one in ten has no customer."""
    result, asked = call(lambda _: (200, {}), token_file, "--ask balance --ask dueDate --count 300 --seed 1")
    assert result.exit_code == 0, result.output
    assert len(asked) == 300
    assert {(each.method, each.path) for each in asked} == {("GET", "/custom-values")}
    assert all(each.query["param1"] == ["balance"] and each.query["param2"] == ["dueDate"] for each in asked)
    assert all(each.query["outboundChannelAddress"][0].startswith("447700900") for each in asked)
    customers = Counter(each.query["customerUID"][0] for each in asked)
    assert 10 < customers.pop("null") < 60
    assert all(100_000 <= int(customer) < 100_500 for customer in customers)


def test_customers_of_a_file(token_file: Path, tmp_path: Path) -> None:
    """--customers asks for those ids, every one of them, and still some times for none."""
    (tmp_path / "ids").write_text("A-1\n\nA-2\nA-3\n")
    arguments = f"--ask balance --count 200 --customers {tmp_path}/ids"
    _, asked = call(lambda _: (200, {}), token_file, arguments)
    assert {each.query["customerUID"][0] for each in asked} == {"A-1", "A-2", "A-3", "null"}


def test_a_slow_listener_cannot_hide(token_file: Path) -> None:
    """With a rate, latency counts from when a request was due: one slow answer shows in all those waiting behind it."""
    first = threading.Event()

    def reply(_asked: Asked) -> tuple[int, Any]:
        if not first.is_set():
            first.set()
            threading.Event().wait(1.0)
        return 200, {}

    result, _ = call(reply, token_file, "--ask x --count 20 --clients 1 --rate 100 --json")
    assert json.loads(result.stdout)["latency_ms"]["p50"] > 500


def test_the_rate_is_kept(token_file: Path) -> None:
    """Ten requests at 50 a second take at least the nine pauses between them, however many clients there are."""
    result, _ = call(lambda _: (200, {}), token_file, "--ask x --count 10 --rate 50 --json")
    assert json.loads(result.stdout)["seconds"] >= 9 / 50


def test_so_many_clients_at_once(token_file: Path) -> None:
    """--clients connections are used at the same time, and no more."""
    meeting = threading.Barrier(6, timeout=20)
    present: list[int] = []

    def reply(_asked: Asked) -> tuple[int, Any]:
        meeting.wait()
        present.append(meeting.n_waiting)
        return 200, {}

    result, _ = call(reply, token_file, "--ask x --count 12 --clients 6")
    assert result.exit_code == 0, result.output
    assert len(present) == 12


@pytest.mark.parametrize("status", [400, 401, 404, 503])
def test_refused_though_right(token_file: Path, status: int) -> None:
    """Answers that are no success, to requests that are right, end with 3, are counted, and show no token."""
    result, _ = call(lambda _: (status, {"error": "no"}), token_file, "--live --count 5")
    assert result.exit_code == 3
    assert f"{status}: 5" in result.stdout
    assert "refused: 5" in result.stdout
    assert "5 of the answers are no success" in result.stdout
    assert ("token verify" in result.stdout) is (status == 401)
    assert TOKEN not in result.output


def test_some_are_not_answered(token_file: Path) -> None:
    """A listener that hangs up at times is counted as such; the others go on, and the exit code is 3."""
    numbers = iter(range(1000))
    result, _ = call(lambda _: None if next(numbers) % 4 == 3 else (200, {}), token_file, "--ask x --count 40 --json")
    assert result.exit_code == 3
    report = json.loads(result.stdout)
    assert report["errors"] == {"connection lost": 10}
    assert report["statuses"] == {"200": 30}


def test_nobody_listens(token_file: Path) -> None:
    """Where nothing listens it ends at once, with 1 and a message that says what to check."""
    url = f"http://127.0.0.1:{free_port()}"
    command = [sys.executable, "-m", "sftpd_processor.cli.main", "simulate", "--live", "--url", url]
    done = subprocess.run(
        [*command, "--token-file", str(token_file), "--count", "1000000"],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert "no answer (connection refused); check the address" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_ends_with_what_was_answered(token_file: Path) -> None:
    """An interrupt ends the command with 130, and the report counts what was answered until then."""
    with pretend_listener(accepted) as listener:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "sftpd_processor.cli.main", "simulate", "--live", "--url", listener.url,
                "--token-file", str(token_file), "--count", "1000000", "--rate", "200", "--json",
            ],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_until(lambda: len(listener.asked) >= 20, 30, "the first posts")
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=20)
        finally:
            process.kill()
    assert (process.returncode, err) == (130, "")
    report = json.loads(out)
    assert report["interrupted"] is True
    assert 12 <= report["requests"] <= len(listener.asked)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--live --ask x", "--ask means nothing with --live"),
        ("--live --to in", "--to means nothing with --live"),
        ("--ask x --source webio", "--source means nothing with --ask"),
        ("--ask x --half 0.1", "--half means nothing with --ask"),
        ("--live --customers f", "--customers means nothing with --live"),
        ("--to in --clients 3", "--clients means nothing without --live or --ask"),
        ("--ask x --customers missing", "missing: No such file"),
        ("--ask x --customers empty", "there is no id in it"),
        ("--live --token-file missing", "--token-file"),
        ("--live --token-file two-lines", "one line of ASCII"),
        ("--live --url ftp://a", "--url must be like"),
        ("--live --url http://user:Pa55@a", "--url must be like"),
    ],
)
def test_wrong_input_is_refused(
    token_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: str, says: str
) -> None:
    """Options that do not go together, and files that cannot be used, end with 2 and a message that names them."""
    monkeypatch.chdir(tmp_path)
    Path("empty").write_text("\n")
    Path("two-lines").write_text("one\ntwo\n")
    defaults = ["--url", "http://127.0.0.1:1", "--token-file", str(token_file)] if "--to" not in arguments else []
    result = run(*defaults, *arguments.split())
    assert result.exit_code == 2
    assert says in " ".join(result.stderr.replace("│", " ").split())
    assert "Pa55" not in result.stderr
