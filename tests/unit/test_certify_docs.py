"""docs/certify.md says what the program does."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.certify.report import Report
from sftpd_processor.certify.verdict import Check
from sftpd_processor.cli import certify as verb
from sftpd_processor.cli import exit_codes
from sftpd_processor.config.settings import DirectorySourceSettings
from sftpd_processor.points import POINTS
from tests.unit.certify_world import World

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "certify.md").read_text()


def block(name: str) -> str:
    """The text of the block with this name."""
    found = re.search(rf"^```text {name}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    assert found is not None
    return found[1]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    """A report as a proof fills it, of one kill at each point."""
    made = Report(DirectorySourceSettings(name="local", folder=tmp_path), "/scratch", seed=1, cutting=True)
    for point in (*POINTS, None):
        made.kill(point)
    made.checks.append(Check("it comes to rest", "lost", 1, 0))
    made.checks += World(tmp_path).look().values()
    made.checks.append(Check("each point was reached", "other", len(POINTS), 0))
    return made


def test_the_points_are_all_there() -> None:
    """The table names every point, in their order, with what is true there."""
    assert re.findall(r"^\| `([a-z][\w-]+)` \| (.*) \|$", PAGE, re.MULTILINE) == list(POINTS.items())


def test_the_report_shown_is_of_this_program(report: Report) -> None:
    """What is shown has the lines of a report, up to figures and names."""

    def plain(text: str) -> list[str]:
        return [re.sub(r"[\d,]+|sftp://\S+|/\S+", "*", " ".join(line.split())) for line in text.splitlines()]

    shown, printed = plain(block("report")), plain(report.as_text())
    assert len(shown) == len(printed)
    assert shown[2:-1] == printed[2:-1]
    assert shown[-1].startswith("PASSED: killed * times")


def test_the_json_shown_has_the_keys_of_this_program(report: Report) -> None:
    """The JSON that is shown has every key, and no other."""
    shown: dict[str, Any] = json.loads(block("json"))
    made = report.as_json()
    assert list(shown) == list(made)
    assert list(shown["kills"]) == list(made["kills"])
    assert list(shown["checks"][0]) == list(made["checks"][0])


def test_the_options_and_exit_codes_are_those_of_the_verb() -> None:
    """Every option but --source and --json has a row, and every exit code that the verb can end with."""
    rows = re.findall(r"^\| `--([a-z-]+)(?: \w+)?` \|", PAGE, re.MULTILINE)
    names = [name.replace("_", "-") for name in inspect.signature(verb.certify).parameters]
    expected = [name for name in names if name not in ("ctx", "source", "as-json")]
    assert rows == [name.replace("cuts", "no-cuts") for name in expected]
    codes = re.findall(r"^\| (\d+) \|", PAGE, re.MULTILINE)
    every = {value for name, value in vars(exit_codes).items() if name.isupper()}
    assert {int(code) for code in codes} == every - {exit_codes.DONE_WITH_LOSSES}


def test_a_failed_check_is_told_with_names(report: Report, tmp_path: Path) -> None:
    """A fault makes the whole fail; the text and the JSON name what is at fault and how many."""
    report.checks.append(Check("each file is here", "lost", 10, 7, ("a.json", "b.json")))
    assert not report.passed
    assert "FAILED         10  each file is here" in report.as_text()
    assert "7  faults, such as: a.json; b.json" in report.as_text()
    assert report.as_text().splitlines()[-1] == ("FAILED: 1 of 24 checks; lost 7, handled twice 0, other faults 0.")
    assert report.as_json()["lost"] == 7
    assert report.as_json()["checks"][-1]["examples"] == ["a.json", "b.json"]
