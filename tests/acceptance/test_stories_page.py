"""docs/stories.md: every command on it is run, and what it shows is what the command says."""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sftpd_processor.cli.main import app
from tests.acceptance.scenes import SCENES, all_sorts
from tests.acceptance.support import Desk

PAGE = (Path(__file__).parents[2] / "docs" / "stories.md").read_text()
BLOCKS = re.findall(r"^```console ([\w-]+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
_VARIABLE = r"\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(\+00:00)?|20\d\d/\d\d/\d\d"


def run(desk: Desk, command: str) -> str:
    """What the command prints; in this process, which spares twenty starts."""
    umask = os.umask(0)
    try:
        done = CliRunner().invoke(app, ["-c", str(desk.config), *shlex.split(command)])
    finally:
        os.umask(umask)
        sys.modules.pop("my_handlers", None)
    assert done.exit_code in {0, 1, 3}, (command, done.exception)
    return done.output


def plain(text: str, desk: Desk) -> list[str]:
    """The lines of an output, without times and counts, which differ from run to run."""
    text = re.sub(_VARIABLE, "TIME", text.replace(str(desk.state), "/var/lib/sftpd-processor"))
    return [re.sub(r"\b\d+\b", "N", line).strip() for line in text.splitlines() if line.strip()]


def commands(block: str) -> list[tuple[str, str]]:
    """Each command of a block with what is shown of its output."""
    parts = re.split(r"^\$ sftpd-processor (.*)\n", block, flags=re.MULTILINE)[1:]
    return list(zip(parts[::2], parts[1::2], strict=True))


def test_the_page_is_true(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Played from its top, each command prints what the page shows, up to times and counts."""
    assert [scene for scene, _ in BLOCKS] == list(SCENES)
    monkeypatch.chdir(desk.work)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for scene, block in BLOCKS:
        SCENES[scene](desk)
        for command, shown in commands(block):
            said, expected = plain(run(desk, command), desk), plain(shown, desk)
            assert said == expected, command


def test_the_examples_of_json_are_complete(desk: Desk) -> None:
    """The keys that the page shows for `why --json` and `retry --json` are those that are printed, at every level."""
    examples = [json.loads(block) for block in re.findall(r"^```json \w+\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)]
    all_sorts(desk)
    for command, example in zip(JSON, examples, strict=True):
        said = desk.run(*command.split(), "--json").data
        assert keys(example) == keys(said), command


JSON = ("why batch_20261122_113000.json", "retry --all --dry-run", "retry --all --quarantined --dry-run")
"""What the examples show, in the order of the page; made after `all_sorts`."""


def keys(data: object) -> object:
    """The keys of `data` at every level; of a list, those of the first item that has any."""
    if isinstance(data, dict):
        return {key: keys(value) for key, value in data.items()}
    return [keys(item) for item in data[:1]] if isinstance(data, list) else None
