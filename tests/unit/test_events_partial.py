"""Files of which only some events can be read, and the limits on what one file may hold."""

from __future__ import annotations

import subprocess
import sys
from zoneinfo import ZoneInfo

import pytest

from sftpd_processor.events.parse import Parsed, Rejection, parse

ZONE = ZoneInfo("Europe/Dublin")
A, B = b'{"type":"payment","id":1}', b'{"type":"payment","id":2}'
PRETTY = b'{\n  "type": "payment",\n  "items": [\n    {"id": 1},\n    {"id": 2}\n  ]\n}'


def partly(raw: bytes) -> tuple[list[int], list[tuple[str, str]]]:
    """The positions of the good ones, and the faults of the others."""
    outcome = parse(raw, ZONE)
    assert isinstance(outcome, Parsed)
    told = outcome.rejected.faults if outcome.rejected else ()
    return [event.position for event in outcome.events], [(fault.where, fault.why) for fault in told]


@pytest.mark.parametrize(
    ("raw", "positions", "where", "why"),
    [
        (b"[" + A + b",{}," + B + b"]", [0, 2], "$[1].type", "is missing"),
        (b"[7," + A + b"]", [1], "$[0]", "must be a JSON object"),
        (A + b"\n\n\n{}\r\n" + B, [0, 2], "line 4: $.type", "is missing"),
        (A[:9] + b"\n" + A + b"\n" + B, [1, 2], "line 1, column 9", "cut short"),
        (A + b"\n" + B[:9], [0], "line 2, column 9", "cut short"),
        (b"ERROR sending\n" + A, [1], "line 1, column 1", "not valid JSON"),
        (b"42\n" + A, [1], "line 1: $", "must be a JSON object"),
        (b'"x"\n' + A + b"\n" + B, [1, 2], "line 1: $", "must be a JSON object"),
        (b'{"type":"payment","of":\n' + A + b"\n" + B, [1, 2], "line 1, column 23", "cut short"),
    ],
)
def test_good_members_are_given(raw: bytes, positions: list[int], where: str, why: str) -> None:
    """The good members are events, at their place among all; the bad one is told, whichever it is."""
    found, ((at, reason),) = partly(raw)
    assert found == positions
    assert at == where
    assert why in reason
    strict = parse(raw, ZONE, accept_partial=False)
    assert isinstance(strict, Rejection)
    assert [(fault.where, fault.why) for fault in strict.faults] == [(at, reason)]


def test_layout_is_told() -> None:
    """Partly good JSON Lines are told as lines, so that they wait until the file has settled; an array is not."""
    for raw, lines in ((A + b"\n{}", True), (b"[" + A + b",{}]", False)):
        outcome = parse(raw, ZONE)
        assert isinstance(outcome, Parsed)
        assert outcome.rejected is not None
        assert outcome.lines is lines


@pytest.mark.parametrize("raw", [*(PRETTY[:end] for end in range(1, len(PRETTY))), b'{"type":"payment","of":[\n' + A])
def test_cut_object_is_not_lines(raw: bytes) -> None:
    """An object over several lines, cut anywhere, is never taken for JSON Lines of the objects within it."""
    outcome = parse(raw, ZONE)
    assert isinstance(outcome, Rejection)
    assert "cut short" in outcome.faults[0].why


@pytest.mark.parametrize(
    "raw",
    [
        b"Dear Mrs Doyle,\n" + A + b"\nKind regards",  # one of three
        b"[x]\n" + A + b"\n" + B,  # begins as an array
        A + b" " + B,  # one line
        PRETTY + b"\n" + PRETTY,
    ],
)
def test_other_texts_are_not_lines(raw: bytes) -> None:
    """Less than half of the lines, an array, or one line alone is not JSON Lines: nothing of it is taken."""
    outcome = parse(raw, ZONE)
    assert isinstance(outcome, Rejection)
    assert outcome.total == 1


def test_no_good_member() -> None:
    """When none is good the file is rejected, with the faults of each."""
    for raw in (b"[{},{}]", b"{}\n{}", b"{]}\n{'a'}"):
        outcome = parse(raw, ZONE)
        assert isinstance(outcome, Rejection)
        assert outcome.total == 2


def test_faults_of_bad_members_are_counted() -> None:
    """Of 50 bad members the first 20 faults are told and the others counted."""
    outcome = parse(b"[" + A + b",{}" * 50 + b"]", ZONE)
    assert isinstance(outcome, Parsed)
    assert outcome.rejected is not None
    assert (len(outcome.rejected.faults), outcome.rejected.total) == (20, 50)


@pytest.mark.parametrize("raw", [b"[" + A + b"," + B + b",{}]", A + b"\n\n" + B + b"\n{}\n"])
def test_most_events(raw: bytes) -> None:
    """A file of more documents than allowed, good or bad, is rejected whole, by its count and the setting's name."""
    assert isinstance(parse(raw, ZONE, most_events=3), Parsed)
    outcome = parse(raw, ZONE, most_events=2)
    assert isinstance(outcome, Rejection)
    assert str(outcome) == "the file: holds 3 events; `max_file_events` allows 2"


def test_most_lists_and_objects() -> None:
    """An event that holds over 10,000 lists and objects is rejected by its place; its neighbours are not."""
    allowed = b'{"type":"payment","x":[' + b"[]," * 9_997 + b"0]}"
    heavy = b'{"type":"payment","x":[' + b"[]," * 9_999 + b"0]}"
    assert isinstance(parse(allowed, ZONE), Parsed)
    assert str(parse(heavy, ZONE)).startswith("$: holds too many lists and objects")
    assert partly(b"[" + allowed + b"," + heavy + b"]")[1][0][0] == "$[1]"
    positions, ((where, _),) = partly(A + b"\n" + heavy + b"\n" + B)
    assert (positions, where) == ([0, 2], "line 2: $")


def test_many_ordinary_lines() -> None:
    """JSON Lines may hold as many events as allowed: the limit on lists and objects is that of one event."""
    outcome = parse(b"\n".join([A] * 10_000), ZONE)
    assert isinstance(outcome, Parsed)
    assert (len(outcome.events), outcome.rejected) == (10_000, None)


def test_long_numbers_where_python_takes_shorter_ones() -> None:
    """Never raises, also where PYTHONINTMAXSTRDIGITS is below the 4,300 digits that the parser takes."""
    script = (
        "from zoneinfo import ZoneInfo\n"
        "from sftpd_processor.events.parse import parse\n"
        "raw = b'[{\"type\":\"a\",\"x\":' + b'9' * 4300 + b'}]'\n"
        "print(parse(raw, ZoneInfo('UTC')).events[0].identity)\n"
    )
    command = [sys.executable, "-c", script]
    ran = [
        subprocess.run(command, env={"PYTHONINTMAXSTRDIGITS": digits}, capture_output=True, check=False)
        for digits in ("640", "0", "4300")
    ]
    assert {(one.returncode, one.stderr) for one in ran} == {(0, b"")}
    assert len({one.stdout for one in ran}) == 1
