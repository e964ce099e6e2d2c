"""What the program writes is for its owner and group only, however careless the shell was that started it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.acceptance.sidecar import Caller, http
from tests.acceptance.support import Desk, event, events, local, put
from tests.support import ServedFolder, wait_until


@pytest.fixture(autouse=True)
def open_to_all() -> Iterator[None]:
    """The umask that the commands inherit takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


def known(folder: Path) -> set[Path]:
    """Everything below a folder."""
    return {folder, *folder.rglob("*")}


@contextmanager
def modes_of(folder: Path) -> Iterator[dict[str, int]]:
    """The permissions of all that is made below `folder` meanwhile; filled at the end."""
    before, made = known(folder), dict[str, int]()
    yield made
    made |= {str(path.relative_to(folder)): stat.S_IMODE(path.lstat().st_mode) for path in known(folder) - before}


def too_open(modes: dict[str, int]) -> dict[str, str]:
    """What others may read, write or enter, or the group may write."""
    assert modes
    return {name: oct(mode) for name, mode in modes.items() if mode & 0o027}


def mixed() -> dict[str, bytes]:
    """Files that end in the archive, and in quarantine with a note."""
    return events(3) | {"bad.json": b"?", "again.json": event(1, "c1"), "other.json": event(2, "c2", body="changed")}


def test_what_once_writes(desk: Desk, openssh: ServedFolder) -> None:
    """State folder, lock, ledger, archive, quarantine with its notes, and the journal in a folder of its own."""
    openssh.write(mixed())
    journal = {"name": "journal", "use": "jsonl", "options": {"path": str(desk.folder / "new" / "deep" / "out.jsonl")}}
    desk.configure(openssh.source(settle_seconds=0), handlers=[journal])
    with modes_of(desk.folder) as modes:
        assert desk.run("once").code == 3
        assert desk.run("status").code == 0
    names = set(modes)
    assert names >= {
        "state",
        "state/lock",
        "state/ledger.db",
        "state/archive",
        "state/quarantine",
        "new/deep/out.jsonl",
    }
    assert sum(name.endswith(".reason.json") for name in names) == 2
    assert too_open(modes) == {}


def test_what_the_daemon_writes(desk: Desk) -> None:
    """Also what is there only while it runs: the write-ahead log and the shared memory of the ledger."""
    inbox = desk.folder / "in"
    inbox.mkdir(mode=0o700)
    desk.configure(local(inbox, settle_seconds=0.2))
    before = known(desk.folder)
    daemon = desk.daemon()
    put(inbox, mixed())
    wait_until(lambda: len(desk.quarantined()) == 4 and len(desk.keys()) == 3, 20, "the files to be taken")
    ours = [desk.state, *desk.state.rglob("*"), desk.journal]
    modes = {str(path.relative_to(desk.folder)): stat.S_IMODE(path.lstat().st_mode) for path in ours}
    assert {"state/ledger.db-wal", "state/ledger.db-shm"} <= set(modes)
    assert too_open(modes) == {}
    assert daemon.stop() == 0
    moved = inbox / "processed"
    assert moved not in before
    assert too_open({path.name: stat.S_IMODE(path.lstat().st_mode) for path in [moved]}) == {}


def is_there(desk: Desk, *names: str) -> bool:
    """Whether the state folder holds all of these; they may be patterns."""
    return all(any(desk.state.glob(name)) for name in names)


def state_modes(desk: Desk) -> dict[str, int]:
    """The permissions of the state folder and of everything in it."""
    return {str(path.relative_to(desk.folder)): stat.S_IMODE(path.lstat().st_mode) for path in known(desk.state)}


@pytest.mark.parametrize("verb", ["run", "serve"])
def test_what_the_listener_writes(desk: Desk, verb: str) -> None:
    """The ledger and its helpers, whichever process makes them; with the daemon also the bell, and the copies of live
    posts. When it is stopped, and `once` has written what `serve` left to be copied, too."""
    (desk.folder / "in").mkdir()
    desk.configure(local(desk.folder / "in"), http=http(supervise=verb == "run"))
    running = desk.start(verb)
    webio = Caller(running)
    assert [webio.post(body).status_code for body in (event(1), b"<html>")] == [200, 400]
    ledger = ("ledger.db", "ledger.db-wal", "ledger.db-shm")
    copies = ("archive/live/*/*/*/*.json", "quarantine/live/**/*.reason.json")
    if verb == "run":
        wait_until(lambda: is_there(desk, "bell", *copies), 20, "the bell and the copies")
    assert is_there(desk, *ledger)
    assert too_open(state_modes(desk)) == {}
    assert running.stop() == 0
    assert desk.run("once").code in (0, 3)
    assert is_there(desk, *copies)
    assert too_open(state_modes(desk)) == {}


def test_a_ledger_elsewhere(desk: Desk) -> None:
    """A ledger that is named by its URL, in a folder that is there, is no more open than one in the state folder."""
    for name in ("in", "elsewhere"):
        (desk.folder / name).mkdir(mode=0o750)
    put(desk.folder / "in", mixed())
    url = f"sqlite:///{desk.folder}/elsewhere/books.db"
    desk.configure(local(desk.folder / "in"), state={"dir": str(desk.state), "database": url})
    with modes_of(desk.folder / "elsewhere") as modes:
        desk.run("once")
    assert too_open(modes) == {}


def test_what_simulate_writes(desk: Desk) -> None:
    """Pretended events look like real ones, and are kept in the same way."""
    with modes_of(desk.folder) as modes:
        assert desk.run("simulate", "--to", str(desk.folder / "made" / "here"), "--count", "5").code == 0
    assert len(modes) == 7
    assert too_open(modes) == {}


def test_what_a_command_and_a_function_write(desk: Desk) -> None:
    """A program and a function that are handlers inherit the narrow umask: what they write is no more open."""
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, {"a.json": event(1)})
    out = desk.folder
    desk.module("mine", f"def keep(event):\n    open('{out}/by-function', 'w').write(event.body)\n")
    command = {"argv": ["sh", "-c", f"cat > {out}/by-command"]}
    desk.configure(
        local(inbox),
        handlers=[
            {"name": "mine", "use": "mine:keep"},
            {"name": "program", "use": "command", "options": command},
        ],
    )
    assert desk.run("once").code == 0
    modes = {name: stat.S_IMODE((out / name).stat().st_mode) for name in ("by-function", "by-command")}
    assert too_open(modes) == {}


def test_what_demo_writes(desk: Desk) -> None:
    """The demo's folder, with its keys, its configuration and its state, is closed; the key is its owner's alone."""
    folder = desk.folder / "demo"
    with modes_of(desk.folder) as modes:
        done = desk.bare("demo", "--folder", str(folder))
        assert done.code == 0, done.err
    ours = {name: mode for name, mode in modes.items() if name.startswith("demo") and "__pycache__" not in name}
    assert too_open(ours) == {}
    assert ours["demo/client_key"] & 0o077 == 0


def test_nobody_else_can_read_them(desk: Desk) -> None:
    """Another account of the machine finds nothing to read: tried for real where the tests run as root."""
    inbox = desk.folder / "in"
    inbox.mkdir()
    put(inbox, mixed())
    desk.configure(local(inbox, settle_seconds=0))
    desk.run("once")
    for path in [desk.folder, *desk.folder.parents[:2]]:
        path.chmod(0o755)  # nothing above keeps strangers out
    found = ["sh", "-c", f"cat {desk.state}/ledger.db; ls {desk.state}; cat {desk.journal}; cat {desk.state}/lock"]
    identity = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else None
    if identity is not None:
        done = subprocess.run(found, capture_output=True, check=False, **identity)  # type: ignore[call-overload]
        assert done.stdout == b""
        assert done.stderr.count(b"Permission denied") == 4
    assert too_open({str(path): stat.S_IMODE(path.stat().st_mode) for path in known(desk.state)}) == {}
