"""Servers that fail at some files only: those wait, all others of the folder are taken, and nobody is held up."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from tests.faulty_server import Fault, FaultyServer, Request, hang, only, refuse
from tests.integration.fault_drill import COUNT, GRACE, Case, Drill, drilled
from tests.unit.scripted_sftp import CLOSE, DATA, FAILURE, OPEN, PERMISSION_DENIED, READ, packet, string

ANSWER = 1.5  # seconds: the timeout of the sources
UNREAD = r"1 of the files could not be read \(the first, {}-3\.json: {}\); they wait, and are asked for again at later"
LATE = "the server did not hand it out in time"
SAID = "the server said: no way"


def fourth(server: FaultyServer) -> bytes:
    """The name of the file that is not well."""
    return sorted(server.names())[3].encode()


def ill(kind: int, fault: Fault) -> Callable[[FaultyServer], None]:
    """The server that does so with one of the files."""
    return lambda server: server.faults.update({kind: only(fourth(server), fault)})


def by_single_bytes(request: Request) -> bytes:
    """A READ is answered by one byte, whatever was asked for."""
    return packet(DATA, request.number, string(b"x"))


def claims(size: int) -> Callable[[FaultyServer], None]:
    """The listing is wrong about the size of one file."""
    return lambda server: server.sizes.update({fourth(server): size})


def setting(name: str, value: object) -> Callable[[FaultyServer], None]:
    """The server with this property."""
    return lambda server: setattr(server, name, value)


CASES = [
    Case("hung-open", ill(OPEN, hang), UNREAD.format("hung-open", LATE), 2 * ANSWER + 1, COUNT - 1),
    Case("hung-read", ill(READ, hang), UNREAD.format("hung-read", LATE), 2 * ANSWER + 1, COUNT - 1),
    Case(
        "drips",
        ill(READ, by_single_bytes),
        UNREAD.format("drips", "the server hands it out in pieces of less than 512 bytes"),
        recorded=COUNT - 1,
    ),
    Case(
        "denied", ill(OPEN, refuse(PERMISSION_DENIED)), UNREAD.format("denied", SAID),
        recorded=COUNT - 1,
    ),
    Case(
        "broken", ill(READ, refuse(FAILURE)), UNREAD.format("broken", SAID), recorded=COUNT - 1
    ),
    Case("failing", ill(OPEN, refuse(FAILURE)), UNREAD.format("failing", SAID), recorded=COUNT - 1),
    Case("hung-close", ill(CLOSE, hang), seconds=ANSWER),
    Case("few-handles", setting("handles", 3)),
    Case("slow", setting("late", 0.05), seconds=10),
    Case("short-reads", setting("read_limit", 100)),
    Case("small-answers", setting("per_answer", 1)),
    Case("too-small", claims(7), recorded=COUNT - 1),
    Case("too-large", claims(7_000), recorded=COUNT - 1),
    Case("empty", claims(0), recorded=COUNT - 1),
    Case("immense", claims(2**63), recorded=COUNT - 1),
]  # fmt: skip

WAITING = {
    "hung-open": f"waiting: {LATE}",
    "hung-read": f"waiting: {LATE}",
    "drips": "waiting: the server hands it out in pieces of less than 512 bytes",
    "denied": f"waiting: {SAID}",
    "broken": f"waiting: {SAID}",
    "failing": f"waiting: {SAID}",
    "too-small": "waiting: it grew while it was read; it was listed with 7 bytes",
    "too-large": "waiting: it shrank while it was read; it was listed with 7000 bytes",
    "empty": "waiting: it grew while it was read; it was listed with 0 bytes",
    "immense": "ignored: 9223372036854775808 bytes are more than max_file_bytes (1048576)",
}


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """All of them, polled by one command."""
    with drilled(tmp_path_factory.mktemp("files"), CASES) as done:
        yield done


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_other_files_are_taken(drill: Drill, case: Case) -> None:
    """One bad file is the only one that is not recorded; the ledger says why, and the poll did not fail."""
    assert drill.recorded[case.name] == case.recorded
    assert drill.failure(case) is None
    reason = drill.states[f"{case.name}-3.json"]
    assert reason == WAITING.get(case.name, "recorded: ")


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_refused_file_is_told_in_one_line(drill: Drill, case: Case) -> None:
    """What the server will not hand out is told once, with the source, the file and the reason; the rest is silent."""
    lines = drill.lines(case)
    assert len(lines) == bool(case.said)
    assert all(re.search(rf" WARNING +source {case.name}: {case.said}", line) for line in lines)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_ends_in_time(drill: Drill, case: Case) -> None:
    """A bad file holds its folder up for its deadline at most."""
    assert drill.seconds(case) <= case.seconds + GRACE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_next_poll_makes_all_well(drill: Drill, case: Case) -> None:
    """When the fault is gone, the next poll takes the file that waited: each file once."""
    drill.check(case)


def test_the_command_has_not_failed(drill: Drill) -> None:
    """Exit 0 both times: files that wait are no failure; and nobody said anything else."""
    assert (drill.faulty.code, drill.sound.code) == (0, 0)
    assert len(drill.faulty.err.splitlines()) == sum(bool(case.said) for case in CASES)
    assert drill.sound.err == ""
