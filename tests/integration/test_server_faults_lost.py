"""Servers that hang, hang up or make no sense: one clear line, in bounded time, and nothing is lost or doubled."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import asyncssh
import pytest

from tests.faulty_server import FaultyServer, Stage, after, done_then_drop, drop, hang, refuse
from tests.integration.fault_drill import COUNT, GRACE, Case, Drill, drilled
from tests.unit.scripted_sftp import (
    LSTAT,
    MKDIR,
    OPEN,
    OPENDIR,
    PERMISSION_DENIED,
    READ,
    READDIR,
    REMOVE,
    RENAME,
    STAT,
)

SILENT = r"the server did not answer within 1\.5 s"
LOST = r"(the connection was lost: .+|the server closed the connection)"
UNKNOWN = r"; it is not known whether the last \d files were {}: the next look tells"
ANSWER, LOGIN = 1.5, 2.0  # seconds: the timeouts of the sources
IMPATIENT = {"connect_timeout_seconds": LOGIN}
DELETE = {"after": "delete"}


def fault(kind: int, how: object) -> Callable[[FaultyServer], object]:
    """The server that does so at this kind of request."""
    return lambda server: server.faults.update({kind: how})  # type: ignore[dict-item]


def stage(name: Stage) -> Callable[[FaultyServer], object]:
    """The server that ends there."""
    return lambda server: setattr(server, "stage", name)


def other_key(server: FaultyServer) -> None:
    """Another host key, as a server has that was set up anew, or that somebody put in between."""
    server.key = asyncssh.generate_private_key("ssh-ed25519")


def in_small_answers(server: FaultyServer) -> None:
    """The listing breaks off in the middle."""
    server.per_answer = 2
    server.faults[READDIR] = after(2, drop)


CASES = [
    Case("hang-opendir", fault(OPENDIR, hang), SILENT, ANSWER + 1, recorded=0),
    Case("hang-readdir", fault(READDIR, hang), SILENT, ANSWER + 1, recorded=0),
    Case("hang-open", fault(OPEN, hang), f"no file was handed out in time: {SILENT}", 2 * ANSWER, recorded=0),
    Case("hang-read", fault(READ, hang), f"no file was handed out in time: {SILENT}", 2 * ANSWER, recorded=0),
    Case("hang-stat", fault(STAT, hang), SILENT, ANSWER + 1),
    Case("hang-mkdir", fault(MKDIR, hang), SILENT, ANSWER + 1),
    Case("hang-lstat", fault(LSTAT, hang), SILENT + UNKNOWN.format("moved"), ANSWER + 1),
    Case("hang-rename", fault(RENAME, hang), SILENT + UNKNOWN.format("moved"), ANSWER + 1),
    Case("hang-remove", fault(REMOVE, hang), SILENT + UNKNOWN.format("deleted"), ANSWER + 1, settings=DELETE),
    Case("drop-opendir", fault(OPENDIR, drop), LOST, recorded=0),
    Case("drop-listing", in_small_answers, LOST, recorded=0),
    Case("drop-open", fault(OPEN, drop), LOST, recorded=0),
    Case("drop-read", fault(READ, after(3, drop)), LOST, recorded=0),
    Case("drop-rename", fault(RENAME, after(2, drop)), LOST + UNKNOWN.format("moved")),
    Case("lost-renames", fault(RENAME, done_then_drop), LOST + UNKNOWN.format("moved")),
    Case("lost-rename", fault(RENAME, after(2, done_then_drop)), LOST + UNKNOWN.format("moved")),
    Case("lost-remove", fault(REMOVE, after(2, done_then_drop)), LOST + UNKNOWN.format("deleted"), settings=DELETE),
    Case(
        "banner",
        stage("banner"),
        r"no SSH server answered within 2 s, or it hung up",
        LOGIN,
        recorded=0,
        settings=IMPATIENT,
    ),
    Case(
        "key-exchange",
        stage("key exchange"),
        r"no SSH server answered within 2 s, or it",
        LOGIN,
        recorded=0,
        settings=IMPATIENT,
    ),
    Case(
        "login",
        stage("authentication"),
        r"the connection was lost during the login as 'webio'",
        LOGIN,
        recorded=0,
        settings=IMPATIENT,
    ),
    Case("channel", stage("channel"), r"the server did not start SFTP within 1\.5 s, or hung up", ANSWER, recorded=0),
    Case("subsystem", stage("subsystem"), r"the server did not start SFTP within 1\.5 s, or hung", ANSWER, recorded=0),
    Case("no-sftp", stage("no subsystem"), r"the server offers no SFTP to this account: .+", recorded=0),
    Case("closes", stage("close"), LOST, recorded=0),
    Case("garbage", stage("garbage"), r"the server broke the SFTP protocol: a message of \d+ bytes", recorded=0),
    Case(
        "password",
        lambda server: setattr(server, "password", "another"),
        r"the server refused the login as 'webio'; check username and password",
        recorded=0,
    ),
    Case("host-key", other_key, r"the host key of 127\.0\.0\.1:\d+ is not trusted. It shows ssh-ed25519 ", recorded=0),
    Case(
        "denied-folder",
        fault(OPENDIR, refuse(PERMISSION_DENIED)),
        r"the account may not list the folder '/in'; ask its owner for the right to read it",
        recorded=0,
    ),
    Case("drips", lambda server: setattr(server, "drip", 0.1), SILENT, ANSWER + 1, recorded=0),
]


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """All of them, polled by one command."""
    with drilled(tmp_path_factory.mktemp("lost"), CASES) as done:
        yield done


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_told_in_one_line(drill: Drill, case: Case) -> None:
    """One line names the source, its address and what is wrong; the poll of that source has failed."""
    (line,) = drill.lines(case)
    address = rf"127\.0\.0\.1:{drill.servers[case.name].port}"
    assert re.fullmatch(rf"sftpd-processor: source {case.name}: ({address}: )?{case.said}.*", line)
    assert re.search(address, line)
    assert drill.failure(case) is not None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_ends_in_time(drill: Drill, case: Case) -> None:
    """The poll of a broken server ends within its deadline and two seconds."""
    assert drill.seconds(case) <= case.seconds + GRACE


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_was_recorded_stays_recorded(drill: Drill, case: Case) -> None:
    """A fault at disposal costs no recording, and one before it records nothing by halves."""
    assert drill.recorded[case.name] == case.recorded
    assert case.recorded in (0, COUNT)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_next_poll_makes_all_well(drill: Drill, case: Case) -> None:
    """When the fault is gone, the next poll takes and clears the rest: each file once, also after a lost reply."""
    drill.check(case)


def test_the_command_says_that_a_server_failed(drill: Drill) -> None:
    """Exit 4, no other line, no traceback; when all is well again exit 0 and silence."""
    assert drill.faulty.code == 4
    assert len(drill.faulty.err.splitlines()) == len(CASES)
    assert drill.faulty.data["seconds"] <= max(case.seconds for case in CASES) + 2
    assert (drill.sound.code, drill.sound.err) == (0, "")
