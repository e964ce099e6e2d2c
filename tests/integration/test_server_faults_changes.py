"""Files that change while they are looked at, and names that no file should have: what is taken is what was there."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator

import pytest

from tests.faulty_server import MTIME, FaultyServer, Request, only
from tests.integration.fault_drill import Case, Drill, drilled, message
from tests.unit.scripted_sftp import FOLDER, OPEN, READ, named, usual

LINES = b'{"type": "x"}\n' * 5_000  # read in several pieces


def changing(kind: int, change: Callable[[bytes], bytes | None], mtime: int = MTIME) -> Callable[[FaultyServer], None]:
    """The fourth file changes, or goes, at this kind of request; afterwards it has this time."""

    def change_it(request: Request) -> None:
        files, path = request.server.files, request.path
        if (now := change(files[path])) is None:
            del files[path]
        else:
            files[path], request.server.mtimes[path] = now, mtime

    def arrange(server: FaultyServer) -> None:
        server.faults[kind] = only(sorted(server.names())[3].encode(), change_it)

    return arrange


def padded(server: FaultyServer) -> None:
    """The fourth file loses a blank at its end each time it is opened."""
    server.files[f"{FOLDER}/{sorted(server.names())[3]}".encode()] += b" " * 50
    changing(OPEN, lambda data: data[:-1])(server)


def strange(server: FaultyServer) -> None:
    """The listing holds all that it should not."""
    server.strange += [named(name, usual(2, mode)) for name, mode in STRANGE.items()]
    server.strange += server.listed()[1:4]  # some that were listed already


FILE = stat.S_IFREG | 0o644
STRANGE = {
    b"link.json": stat.S_IFLNK | 0o777,
    b"folder.json": stat.S_IFDIR | 0o755,
    b"device.json": stat.S_IFBLK | 0o644,
    b"pipe.json": stat.S_IFIFO | 0o644,
    b"socket.json": stat.S_IFSOCK | 0o644,
    b"untyped.json": 0o644,
    b"": FILE,
    b"../x.json": FILE,
    b"/etc/x.json": FILE,
    b"a/b.json": FILE,
    b"a\\b.json": FILE,
    b"n" * 251 + b".json": FILE,
    b"n" * 70_000 + b".json": FILE,
    b"\xff\xfe.json": FILE,
    b"nul\0.json": FILE,
    b"line\n.json": FILE,
    b"escape\x1b[31m.json": FILE,
    b"\xe2\x80\xa8.json": FILE,
}
OTHER = message("replaced-x")

VANISHES = Case("vanishes", changing(OPEN, lambda _: None))
GROWS = Case("grows", changing(OPEN, lambda data: data + b" ", MTIME + 1))
GROWS_LATER = Case("grows-later", changing(READ, lambda data: data + b" "))
SHRINKS = Case("shrinks", padded)
REPLACED = Case("replaced", changing(OPEN, lambda _: OTHER, MTIME + 5))
ODD = Case("strange", strange)
CASES = [VANISHES, GROWS, GROWS_LATER, SHRINKS, REPLACED, ODD]


@pytest.fixture(scope="module")
def drill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drill]:
    """All of them, polled by one command."""
    with drilled(tmp_path_factory.mktemp("changes"), CASES) as done:
        yield done


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nobody_is_disturbed(drill: Drill, case: Case) -> None:
    """Exit 0, not a word on stderr, without waiting; every other file is taken once."""
    assert (drill.faulty.code, drill.faulty.err, drill.sound.code, drill.sound.err) == (0, "", 0, "")
    assert drill.seconds(case) < 5
    drill.check(case, apart=f"{case}-3.json")


def test_a_file_that_goes_before_it_is_opened_has_vanished(drill: Drill) -> None:
    """It is told as vanished, and never becomes anything else."""
    assert drill.states["vanishes-3.json"] == "vanished: it was gone when its turn came"
    assert drill.verdicts(VANISHES, "vanishes-3.json") == []
    assert drill.handled(VANISHES)["vanishes-3.json"] == 0


@pytest.mark.parametrize("case", [GROWS, GROWS_LATER, SHRINKS], ids=str)
def test_a_file_that_changes_waits_until_it_stands_still(drill: Drill, case: Case) -> None:
    """As long as it changes it waits; then its last bytes are taken, once, and it leaves the folder once."""
    name = f"{case}-3.json"
    assert drill.states[name].startswith("waiting: it ")
    assert drill.verdicts(case, name) == ["accepted"]
    server = drill.servers[case.name]
    assert dict(drill.copies(case))[name] == server.files[f"{FOLDER}/processed/{name}".encode()]
    assert drill.handled(case)[name] == server.gone[f"{FOLDER}/{name}".encode()] == 1


def test_a_file_that_is_replaced_is_another_file(drill: Drill) -> None:
    """What was read is recorded; the later time makes it another file, read again, and its event known."""
    assert drill.verdicts(REPLACED, "replaced-3.json") == ["accepted", "duplicate"]
    assert drill.handled(REPLACED)["replaced-x.json"] == 1
    assert [data for name, data in drill.copies(REPLACED) if name == "replaced-3.json"] == [OTHER, OTHER]
    assert drill.servers["replaced"].gone[b"/in/replaced-3.json"] == 1


def test_strange_names_are_never_touched(drill: Drill) -> None:
    """What is no file, or not called like one, is ignored with its reason: never opened, moved or deleted."""
    files = {f"{FOLDER}/{name}".encode() for name in ODD.files()}
    targets = {f"{FOLDER}/processed/{name}".encode() for name in ODD.files()}
    assert drill.servers["strange"].touched == files | targets
    ignored = drill.desk.rows("SELECT name, reason FROM files WHERE source = 'strange' AND state = 'ignored'")
    assert len(ignored) == len(STRANGE)
    assert all(reason and name.isprintable() for name, reason in ignored)


def test_a_name_listed_twice_is_taken_once(drill: Drill) -> None:
    """Entries that the server repeats are one file each."""
    assert drill.handled(ODD) == dict.fromkeys(ODD.files(), 1)
