"""docs/logs.md says what the program says, and names every field."""

from __future__ import annotations

import json
import re
from pathlib import Path

from sftpd_processor import repeats
from sftpd_processor.telemetry import FIELDS, PRIORITIES

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "logs.md").read_text()


def section(heading: str) -> str:
    """The text under a heading."""
    return PAGE.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def test_every_field_is_explained() -> None:
    """The table has each field and no other, under both of its names."""
    cells = re.findall(r"^\| (`.*?) \| (`.*?) ?…? \|", section("Fields"), re.MULTILINE)
    named = [name for cell, _ in cells for name in re.findall(r"`(\w+)`", cell)]
    assert sorted(named) == sorted(FIELDS)
    capital = [name for _, cell in cells for name in re.findall(r"`(\w+)`", cell)]
    assert set(capital) <= {name.upper() for name in FIELDS}


def test_the_examples_have_fields_that_exist() -> None:
    """The lines in JSON are lines in JSON, and the queries ask for fields that there are."""
    lines = [json.loads(line) for line in re.findall(r"^\{.*\}$", PAGE, re.MULTILINE)]
    assert len(lines) == 2
    assert all(line.keys() <= {"timestamp", "level", "logger", "message", *FIELDS} for line in lines)
    asked = re.findall(r" ([A-Z_]+)=", section("Asking the journal"))
    assert len(asked) >= 5
    assert {name.lower() for name in asked} <= set(FIELDS)


def test_the_numbers_are_the_programs() -> None:
    """Priorities and distances are those of the program."""
    told = "error 3, warning 4, info 6, debug 7"
    assert told in PAGE
    assert {PRIORITIES[level] for level in (10, 20, 30, 40)} == {int(number) for number in re.findall(r"\d", told)}
    minutes = {repeats._FIRST_SUMMARY, repeats._QUIET, repeats._TOGETHER}
    assert (minutes, repeats._SUMMARY, repeats._OUTAGES) == ({600.0}, 3600.0, 3)


def test_the_messages_are_the_programs() -> None:
    """What a failure that comes again is told with is in the source, word for word."""
    source = (ROOT / "sftpd_processor" / "repeats.py").read_text()
    for words in (
        "still failing",
        "works again after ",
        "fails on and off ",
        "; from now on summed up: ",
        " on and off",
    ):
        assert words in source
        assert words.strip() in section("What fails again and again")
