"""The command before it does anything: its help, its start, and the secrets it keeps."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.support import Desk, event, local
from tests.support import ServedFolder

VERBS = (
    "init", "run", "serve", "once", "check", "doctor", "status", "why", "retry", "reprocess", "simulate", "certify",
    "demo", "token", "archive", "alerts", "service",
)  # fmt: skip
HEAVY = (
    "paramiko", "sqlalchemy", "pydantic", "httpx2", "apscheduler", "watchdog", "asyncssh", "rich.progress", "uvicorn",
    "starlette", "jwt", "prometheus_client", "uvloop", "apprise",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(desk: Desk, verb: str) -> None:
    """`VERB --help` exits with 0 and says more than its usage; it needs no configuration."""
    ran = desk.bare(verb, "--help")
    assert (ran.code, ran.err) == (0, "")
    assert f"Usage: sftpd-processor {verb}" in ran.out.replace("python -m sftpd_processor.cli.main", "sftpd-processor")
    assert len(ran.out.split()) > 20


def test_the_help_names_every_verb_and_exit_code(desk: Desk) -> None:
    """`--help` lists the verbs, and what each exit code means; without any argument the same is shown, exit 2."""
    ran = desk.bare("--help")
    assert ran.code == 0
    for word in (*VERBS, "--config", "--debug", "--version", "130 interrupted", "4 the server could not"):
        assert word in " ".join(ran.out.split())
    assert desk.bare().code == 2


def test_the_version(desk: Desk) -> None:
    """`--version` prints the name and a version."""
    ran = desk.bare("--version")
    assert ran.code == 0
    assert ran.out.split()[0] == "sftpd-processor"


def test_wrong_usage_is_exit_2(desk: Desk) -> None:
    """An unknown verb or option ends with 2 and is named."""
    for wrong in ("bogus", "--bogus"):
        ran = desk.bare(wrong)
        assert ran.code == 2
        assert wrong in ran.err


def test_the_start_is_light() -> None:
    """Importing the command loads none of the heavy libraries: --help answers at once."""
    source = f"import sys, sftpd_processor.cli.main; print([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_secret_is_shown(desk: Desk, openssh: ServedFolder, tmp_path: Path) -> None:
    """A password, a key's text, a token and a database's password appear in no output of any command, also with
    --debug and when things go wrong."""
    secret = "Pa55-not-for-eyes"
    openssh.write({"a.json": event(1), "bad.json": b"?"})
    source = openssh.source(settle_seconds=0, password=secret)
    wrong = openssh.source(name="wrong", username="nobody-here", password=secret)
    del wrong["private_key"]
    (tmp_path / "in").mkdir()
    http = {"name": "crm", "use": "http", "options": {"url": "http://127.0.0.1:9/", "headers": {"x-token": secret}}}
    desk.configure(source, wrong, local(tmp_path / "in"), handlers=[http], delivery={"max_attempts": 1})
    commands = [
        "--debug check --live",
        "check --live --json",
        "once",
        "--debug once",
        "status",
        "--debug status --json",
    ]
    told = [desk.run(*command.split()) for command in [*commands, "--debug simulate --source wrong --count 1"]]
    assert any(ran.code == 4 for ran in told)
    desk.configure(source | {"pasword": secret, "password": {"env": secret, "x": 1}})
    told += [desk.run("check", "--json"), desk.run("--debug", "check")]
    desk.configure(source, state={"dir": str(desk.state), "database": f"postgresql+psycopg://u:{secret}@127.0.0.1:9/x"})
    told += [desk.run("status"), desk.run("--debug", "once")]
    key = openssh.server.client_key_path.read_text().splitlines()[2]
    shown = [ran for ran in told if secret in ran.out + ran.err or key in ran.out + ran.err]
    assert shown == []
    written = b"".join(path.read_bytes() for path in desk.state.rglob("*") if path.is_file())
    assert secret.encode() not in written


def test_personal_data_is_not_logged(desk: Desk, openssh: ServedFolder) -> None:
    """Message texts, phone numbers and customer ids appear in no log or report, also with --debug."""
    body = {"body": "secret-text", "outboundChannelAddress": "447700900123", "customerUID": "CUST-77"}
    openssh.write({"a.json": event(1, **body), "b.json": event(1, **body | {"body": "secret-text-2"})})
    desk.configure(openssh.source(), handlers=[{"name": "log", "use": "log"}])
    told = [desk.run("--debug", "once"), desk.run("--debug", "status"), desk.run("status", "--json")]
    text = "".join(ran.out + ran.err for ran in told)
    assert "b.json" in text
    for private in ("secret-text", "447700900123", "CUST-77"):
        assert private not in text


def test_a_reader_that_goes_away(desk: Desk) -> None:
    """Output into a pipe that nobody reads ends without a traceback."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "sftpd_processor.cli.main", "--version"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, cwd=desk.work, check=False)
    os.close(writer)
    assert b"Traceback" not in done.stderr
