"""Servers that will not move or delete, or only say so: files stay known, and are handled once."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

import pytest

from sftpd_processor.sources.sftp_memory import TIMES_BACK
from tests.faulty_server import Fault, FaultyServer, only, pretend, refuse
from tests.integration.fault_drill import Case, Drill, drilled
from tests.unit.scripted_sftp import FAILURE, FOLDER, LSTAT, MKDIR, PERMISSION_DENIED, REMOVE, RENAME

DELETE = {"after": "delete"}
NONE = r"no file can be {}d on the server \({}\); going on as with after = \"keep\""
SOME = r"{} of the files could not be {}d on the server \(the first: {}\); tried again at each poll, but not said again"
SAID = "the server said: no way"
STILL = "the server said that it was gone, but it is still there"


def fault(kind: int, how: Fault) -> Callable[[FaultyServer], None]:
    """The server that does so at this kind of request."""
    return lambda server: server.faults.update({kind: how})


DENIED = refuse(PERMISSION_DENIED)
REFUSALS = [
    Case("rename-fails", fault(RENAME, refuse(FAILURE)), NONE.format("move", SAID)),
    Case("rename-denied", fault(RENAME, DENIED), NONE.format("move", SAID)),
    Case("look-denied", fault(LSTAT, DENIED), NONE.format("move", SAID)),
    Case("remove-denied", fault(REMOVE, DENIED), NONE.format("delete", SAID), settings=DELETE),
    Case(
        "mkdir-denied",
        fault(MKDIR, DENIED),
        NONE.format("move", f"the folder /in/processed cannot be made: {SAID}"),
    ),
    Case("one-rename", fault(RENAME, only(b"one-rename-3.json", DENIED)), SOME.format(1, "move", SAID)),
    Case(
        "one-remove",
        fault(REMOVE, only(b"one-remove-3.json", DENIED)),
        SOME.format(1, "delete", SAID),
        settings=DELETE,
    ),
]  # fmt: skip
LIARS = [
    Case("moves-nothing", fault(RENAME, pretend), SOME.format(6, "move", STILL)),
    Case("deletes-nothing", fault(REMOVE, pretend), SOME.format(6, "delete", STILL), settings=DELETE),
]
CASES = REFUSALS + LIARS


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """All of them, polled by one command."""
    with drilled(tmp_path_factory.mktemp("disposal"), CASES) as done:
        yield done


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_told_in_one_line(drill: Drill, case: Case) -> None:
    """One line names the source, what could not be done, the server's reason, and what happens next."""
    (line,) = drill.lines(case)
    assert re.search(rf"source {case}: {case.said}", line)
    assert drill.failure(case) is None


@pytest.mark.parametrize("case", CASES, ids=str)
def test_every_file_is_taken_in_time(drill: Drill, case: Case) -> None:
    """A server that does not dispose costs no recording, and no time."""
    assert {name for name, count in drill.handled(case).items() if count == 1} == set(case.files())
    assert drill.seconds(case) < 5


@pytest.mark.parametrize("case", REFUSALS, ids=str)
def test_the_next_poll_clears_the_folder(drill: Drill, case: Case) -> None:
    """When the right is given, the next run moves or deletes what was recorded: once, and without taking it again."""
    drill.check(case)


@pytest.mark.parametrize("case", LIARS, ids=str)
def test_a_server_that_only_says_so_is_found_out(drill: Drill, case: Case) -> None:
    """Files that are still there after they were said to be gone are read again a few times, as duplicates only."""
    server, files = drill.servers[case.name], case.files()
    for name, data in files.items():
        first, *others = drill.verdicts(case, name)
        assert first == "accepted"
        assert set(others) == {"duplicate"}
        assert len(others) <= TIMES_BACK + 1
        assert {copy for known, copy in drill.copies(case) if known == name} == {data}
    assert drill.handled(case) == dict.fromkeys(files, 1)
    assert server.names() == []
    assert {name: server.gone[f"{FOLDER}/{name}".encode()] for name in files} == dict.fromkeys(files, 1)


def test_the_command_has_not_failed(drill: Drill) -> None:
    """Exit 0 and one line each: everything was recorded and delivered."""
    assert (drill.faulty.code, drill.sound.code) == (0, 0)
    assert len(drill.faulty.err.splitlines()) == len(CASES)
    assert drill.sound.err == ""
