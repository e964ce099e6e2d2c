"""`sftpd-processor reprocess` as people use it; each command of docs/reprocess.md is run, and says what is shown."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shlex
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from sftpd_processor.cli.main import app
from sftpd_processor.errors import PermanentError
from tests.acceptance import reprocess_scenes
from tests.acceptance.reprocess_scenes import SCENES, bring, configure, message
from tests.acceptance.support import COMMAND, Desk

PAGE = (Path(__file__).parents[2] / "docs" / "reprocess.md").read_text()
BLOCKS = re.findall(r"^```console ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
_VARIABLE = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?|20\d\d/\d\d/\d\d|\d{4}-\d\d-\d\d"


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    """What the command changes in this process is put back: signals, and modules of handlers."""
    signals = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    path = [*sys.path]
    yield
    sys.path[:] = path
    for number, action in signals.items():
        signal.signal(number, action)


def run(desk: Desk, *arguments: str) -> Result:
    """The command in this process, which spares its start."""
    umask = os.umask(0)
    sys.modules.pop("replay_scene", None)
    try:
        return CliRunner().invoke(app, ["-c", str(desk.config), *arguments], catch_exceptions=False)
    finally:
        os.umask(umask)


def plain(text: str, desk: Desk) -> list[str]:
    """The lines of an output, without times and counts, which differ from run to run."""
    text = re.sub(_VARIABLE, "TIME", text.replace(str(desk.state), "/var/lib/sftpd-processor"))
    text = text.replace(f"-c {desk.config} ", "")
    return [re.sub(r"\b\d+(\.\d+)?\b", "N", line).strip() for line in text.splitlines() if line.strip()]


def played(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, str, str]]:
    """Each command of the page with what it shows and what it says, from the top."""
    assert [scene for scene, _ in BLOCKS] == list(SCENES)
    monkeypatch.chdir(desk.work)
    for scene, block in BLOCKS:
        SCENES[scene](desk)
        parts = re.split(r"^\$ sftpd-processor (.*)\n", block, flags=re.MULTILINE)[1:]
        for command, shown in zip(parts[::2], parts[1::2], strict=True):
            done = run(desk, *shlex.split(command))
            assert done.exit_code in {0, 3}, (command, done.output)
            yield command, shown, done.output


def test_the_page_is_true(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played from its top, each command says what the page shows, up to times and counts, and does it once."""
    for command, shown, said in played(desk, monkeypatch):
        assert plain(said, desk) == plain(shown, desk), command
    for handler, times in (("crm", 3), ("warehouse", 2)):
        noted = [tuple(json.loads(line)) for line in (desk.folder / handler).read_text().splitlines()]
        assert set(Counter(noted).values()) == {times}, "each event as often as was asked for, with one key"


def test_the_examples_of_json_are_complete(desk: Desk) -> None:
    """The keys that the page shows are those that are printed, at every level."""
    examples = [json.loads(block) for block in re.findall(r"^```json \w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
    reprocess_scenes.bug(desk)
    for example, more in zip(examples, (["--dry-run"], []), strict=True):
        said = json.loads(run(desk, "reprocess", "--all", "--again", "--json", *more).stdout)
        assert keys(example) == keys(said)


def keys(data: object) -> object:
    """The keys of `data` at every level; of a list, those of the first item that has any."""
    if isinstance(data, dict):
        return {key: keys(value) for key, value in data.items()}
    return [keys(item) for item in data[:1]] if isinstance(data, list) else None


def many(desk: Desk) -> None:
    """More events than are handled without a question, in one file; and more handlers than one."""
    configure(desk)
    raw = b"[" + b",".join(message(n, f"c{n % 50}") for n in range(1_001)) + b"]"
    bring(desk, many=raw)


def test_many_events_are_asked_about(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody can be asked it is exit 2, without the customers that were named; a person sees the plan, and may
    say no."""
    many(desk)
    monkeypatch.setattr(sys, "argv", ["x", "reprocess", "--again", "--customer", "4711"])
    refused = run(desk, "reprocess", "--again", "--customer", "4711")
    assert refused.exit_code == 2
    assert "it is about 1,001 events, and nobody is here to be asked; to do it, give --yes as well" in refused.output
    assert "4711" not in refused.output
    code, screen = asked(desk, "n", "reprocess", "--all", "--again")
    assert (code, "1 file, 1,001 events: 1,001 deliveries would be made" in screen) == (1, True), screen
    assert desk.rows("SELECT 1 FROM replays") == []
    code, screen = asked(desk, "y", "reprocess", "--all", "--again")
    assert (code, "replay 1: 1,001 events" in screen) == (0, True), screen
    assert run(desk, "reprocess", "--all", "--again", "--yes", "--json").exit_code == 0


def asked(desk: Desk, answer: str, *arguments: str) -> tuple[int, str]:
    """Run it on a terminal and answer its question; the exit code, and all that was shown."""
    terminal, theirs = pty.openpty()
    command = [*COMMAND, "-c", str(desk.config), *arguments]
    process = subprocess.Popen(command, cwd=desk.work, stdin=theirs, stdout=theirs, stderr=theirs)
    os.close(theirs)
    screen, answered = b"", False
    with contextlib.suppress(OSError):  # the other side is closed
        while data := os.read(terminal, 65_536):
            screen += data
            if not answered and b"Go on?" in screen:
                os.write(terminal, f"{answer}\n".encode())
                answered = True
    os.close(terminal)
    return process.wait(), screen.decode()


def test_without_a_ledger(desk: Desk, tmp_path: Path) -> None:
    """--dry-run makes none; without PATHs the way to rebuild it is told; names of customers are nowhere."""
    configure(desk)
    bring(desk, a=message(1, "97011"), b=message(2, "97012"))
    reprocess_scenes.lost(desk)
    assert run(desk, "reprocess", str(desk.state / "archive"), "--dry-run", "--customer", "4711").exit_code == 0
    assert not (desk.state / "ledger.db").exists()
    with pytest.raises(PermanentError, match=rf"sftpd-processor reprocess {desk.state}/archive --record-only"):
        run(desk, "reprocess", "--all")
    done = run(desk, "reprocess", str(desk.state / "archive"), "--customer", "4711", "--json")
    assert json.loads(done.stdout)["deliveries"] == {"crm": {"done": 2}}
    assert "4711" not in done.output + run(desk, "status", "--json").output + run(desk, "status").output


def test_what_the_ledger_does_not_know(desk: Desk) -> None:
    """A replay that has ended or never was, and a handler that nothing was delivered to, are told in one line."""
    configure(desk)
    bring(desk, a=message(1, "97011"))
    assert run(desk, "reprocess", "--all", "--again").exit_code == 0
    for number, why in (("1", "replay 1 has come to its end"), ("2", "there is no replay 2")):
        with pytest.raises(PermanentError, match=why):
            run(desk, "reprocess", "--resume", number)
    compared = run(desk, "reprocess", "--all", "--shadow", "crm", "--against", "cmr", "--effects", "effects.jsonl")
    assert compared.exit_code == 2
    assert "no handler 'cmr' in the configuration or the ledger; did you mean 'crm'?" in compared.output


def test_what_failed_is_tried_again(desk: Desk) -> None:
    """What was done stays done although it fails --again; the report says how to try it once more, and that does it."""
    configure(desk)
    bring(desk, a=message(1, "97011"))
    (desk.folder / "crm-is-down").touch()
    failed = run(desk, "reprocess", "--all", "--again")
    last = failed.output.splitlines()[-1]
    assert (failed.exit_code, last.startswith("NOT FINISHED; to go on with it: sftpd-processor -c ")) == (3, True)
    assert desk.rows("SELECT state FROM deliveries") == [("done",)]
    (desk.folder / "crm-is-down").unlink()
    resumed = run(desk, *shlex.split(last.partition(f"-c {desk.config} ")[2]))
    assert (resumed.exit_code, resumed.output.splitlines()[-1].split()) == (0, ["crm", "1", "0", "0", "0"])
