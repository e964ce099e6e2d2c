"""SIGHUP: the running daemon goes over to a new configuration as a whole, or stays with the old one."""

from __future__ import annotations

import os
import pty
import signal
import socket
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.sidecar import Caller, http, listener_of, started, static
from tests.acceptance.support import Desk, Running, event, events, local, put
from tests.support import ServedFolder, wait_until

TWICE = """
import pathlib, time

def count(event):
    with open({path!r}, "a") as file:
        file.write(event.communication_action_id + "\\n")
    time.sleep(0.02)
"""


SLOW = """
import pathlib, time

def slow(event):
    with open({seen!r}, "a") as file:
        file.write(event.communication_action_id + "\\n")
    while not pathlib.Path({gate!r}).exists():
        time.sleep(0.01)
"""


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    """A folder on this machine that is a source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def reloaded(daemon: Running, said: str = "the configuration was read again: ") -> str:
    """Send SIGHUP and wait for its end; what was said since."""
    before = len(daemon.log)
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: said in daemon.log[before:], what=f"{said!r} in: {daemon.log[before:]}")
    return daemon.log[before:]


def journal(desk: Desk, name: str, **changes: Any) -> dict[str, Any]:
    """A `[[handlers]]` table that writes lines to a file of its own."""
    return {"name": name, "use": "jsonl", "options": {"path": str(desk.folder / f"{name}.jsonl")}, **changes}


def count(desk: Desk, name: str) -> int:
    """The lines that this handler has written."""
    path = desk.folder / f"{name}.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def connections(daemon: Running, server: ServedFolder) -> set[str]:
    """The connections to the server that the daemon's process holds, by inode."""
    pid, found = daemon.process.pid, set()
    mine = {os.readlink(each) for each in Path(f"/proc/{pid}/fd").iterdir() if each.exists()}
    for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[2].rpartition(":")[2], 16) == server.source()["port"] and f"socket:[{fields[9]}]" in mine:
            found.add(fields[9])
    return found


def test_what_is_new_begins_and_what_is_gone_ends(desk: Desk, openssh: ServedFolder, inbox: Path) -> None:
    """A source and a handler that are new begin, those that are gone end, and the untouched source keeps its
    connection; what each of them is called is said in one line."""
    webio = openssh.source(poll_seconds=0.2)
    desk.configure(webio, handlers=[journal(desk, "one"), journal(desk, "two")])
    daemon = desk.daemon()
    openssh.write({"1.json": event(1)})
    wait_until(lambda: (count(desk, "one"), count(desk, "two")) == (1, 1))
    before = connections(daemon, openssh)
    assert len(before) == 1
    desk.configure(webio, local(inbox, poll_seconds=0.2), handlers=[journal(desk, "one"), journal(desk, "three")])
    said = reloaded(daemon)
    assert "source local is new; handler two is gone; handler three is new\n" in said
    put(inbox, {"2.json": event(2)})
    openssh.write({"3.json": event(3)})
    wait_until(lambda: (count(desk, "one"), count(desk, "three")) == (3, 2))
    assert count(desk, "two") == 1
    assert connections(daemon, openssh) == before
    desk.configure(local(inbox, poll_seconds=0.2), handlers=[journal(desk, "one")])
    assert "source webio is gone; handler three is gone\n" in reloaded(daemon)
    wait_until(lambda: connections(daemon, openssh) == set(), what="its connection to be closed")
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_options_and_delivery_change_without_losing_anything(desk: Desk, inbox: Path) -> None:
    """With deliveries under way at each of many reloads, which change the handler's settings every time, each event
    reaches the handler once."""
    seen = desk.folder / "seen"
    desk.module("mine", TWICE.format(path=str(seen)))
    put(inbox, events(600))
    counting = {"name": "crm", "use": "mine:count"}
    desk.configure(local(inbox), handlers=[counting], delivery={"workers": 2})
    daemon, done = desk.daemon(), list[int]()
    wait_until(seen.exists)
    for workers in (3, 2, 3, 2):
        done.append(len(seen.read_text().splitlines()))
        desk.configure(local(inbox), handlers=[counting], delivery={"workers": workers})
        assert "[delivery] has changed" in reloaded(daemon)
    assert done[1] < 600, "the second reload, at least, is one under load"
    wait_until(lambda: len(seen.read_text().splitlines()) >= 600, 60, "all to be delivered")
    assert daemon.stop() == 0
    assert sorted(seen.read_text().splitlines()) == sorted(f"m{number}" for number in range(600))
    assert desk.rows("SELECT DISTINCT state, attempts FROM deliveries") == [("done", 1)]


def test_a_source_changes_in_the_middle_of_a_drain(desk: Desk, openssh: ServedFolder) -> None:
    """Each reload in a drain closes the connection and opens another one; every file is taken once, none is left."""
    files = events(3000)
    openssh.write(files)
    desk.configure(openssh.source(in_flight=2))
    daemon, taken = desk.daemon(), list[int]()
    wait_until(desk.keys)
    for in_flight in (3, 2, 64):
        taken.append(len(desk.keys()))
        desk.configure(openssh.source(in_flight=in_flight))
        assert "source webio has changed" in reloaded(daemon)
    assert taken[0] < 3000, "the first reload, at least, is one in the drain"
    wait_until(lambda: openssh.names() == ["processed"], 60, "all to be moved aside")
    wait_until(lambda: len(desk.keys()) >= 3000, 60, "all to be delivered")
    wait_until(lambda: len(desk.archived()) >= 3000, 60, "all to be archived")
    assert daemon.stop() == 0
    assert len(set(desk.keys())) == len(desk.keys()) == 3000
    assert desk.archived() == files


def test_a_bad_configuration_is_refused(desk: Desk, inbox: Path) -> None:
    """All its mistakes are said, the old one goes on in every part, and the good one that follows is taken."""
    good = [journal(desk, "one")]
    desk.configure(local(inbox, poll_seconds=0.2), handlers=good)
    daemon = desk.daemon()
    refusal = "the configuration from before goes on"
    desk.configure(local(inbox, poll_second=1), handlers=good)
    assert "the new configuration is refused: sources[0].poll_second: " in reloaded(daemon, refusal)
    desk.configure(local(inbox, poll_seconds=9), handlers=[journal(desk, "two"), {"name": "x", "use": "nowhere:to"}])
    assert "handlers[1].use" in reloaded(daemon, refusal)
    desk.config.write_text("[state")
    assert "is not TOML" in reloaded(daemon, refusal)
    put(inbox, {"1.json": event(1)})
    wait_until(lambda: count(desk, "one") == 1)
    assert count(desk, "two") == 0
    desk.configure(local(inbox, poll_seconds=0.2), handlers=[*good, journal(desk, "two")])
    reloaded(daemon)
    put(inbox, {"2.json": event(2)})
    wait_until(lambda: (count(desk, "one"), count(desk, "two")) == (2, 1))
    assert daemon.stop() == 0


def test_what_only_a_restart_changes_is_named(desk: Desk, inbox: Path) -> None:
    """A new state folder, or another admin listener, is refused with its name, and nothing else is taken over."""
    desk.configure(local(inbox, poll_seconds=0.2), handlers=[])
    daemon = desk.daemon()
    kept, desk.state = desk.state, desk.folder / "elsewhere"
    desk.configure(local(inbox, poll_seconds=0.2), handlers=[journal(desk, "one")], admin={"listen": "127.0.0.1:0"})
    said = reloaded(daemon, "the configuration from before goes on")
    for key in ("state.dir", "admin"):
        assert f"refused: {key}: cannot be changed by a reload; restart the service for it" in said
    put(inbox, {"1.json": event(1)})
    desk.state = kept
    wait_until(lambda: desk.rows("SELECT count(*) FROM events") == [(1,)])
    assert count(desk, "one") == 0
    assert daemon.stop() == 0


def test_a_handler_that_cannot_be_opened_refuses_all(desk: Desk, inbox: Path) -> None:
    """What shows only when a handler is opened refuses the configuration, too, and leaves nothing of it behind."""
    desk.configure(local(inbox, poll_seconds=0.2), handlers=[journal(desk, "one")])
    daemon = desk.daemon()
    bad = {"name": "bad", "use": "jsonl", "options": {"path": str(desk.folder / "no" / "such" / "folder.jsonl")}}
    desk.configure(handlers=[journal(desk, "new"), bad])
    assert "refused" in reloaded(daemon, "the configuration from before goes on")
    put(inbox, {"1.json": event(1)})
    wait_until(lambda: count(desk, "one") == 1)
    assert daemon.stop() == 0


def test_the_listener_goes_over_without_a_gap(desk: Desk, inbox: Path) -> None:
    """While requests come without a pause, a reload changes what is answered, and not one request fails."""
    daemon, caller = started(desk, local(inbox), values=[static(**{"1": {"balance": "old"}})])
    port = int(caller.address.rpartition(":")[2])
    before, answers, enough = listener_of(daemon), [], threading.Event()

    def ask() -> None:
        while not enough.is_set():
            answer = caller.ask("balance", customer="1")
            answers.append((answer.status_code, answer.json()))

    asking = [threading.Thread(target=ask) for _ in range(4)]
    for each in asking:
        each.start()
    wait_until(lambda: len(answers) > 50)
    desk.configure(local(inbox), http=http(), values=[static(**{"1": {"balance": "new"}})])
    assert "values accounts has changed" in reloaded(daemon)
    wait_until(lambda: (200, {"balance": "new"}) in answers)
    wait_until(lambda: answers[-50:] == [(200, {"balance": "new"})] * 50)
    enough.set()
    for each in asking:
        each.join()
    assert {status for status, _ in answers} == {200}
    wait_until(lambda: not Path(f"/proc/{before}").exists(), what="the process from before to end")
    assert listener_of(daemon) != before
    assert Caller(daemon).address.endswith(f":{port}")
    assert daemon.stop() == 0


def test_what_the_listener_is_made_of_can_refuse_it(desk: Desk, inbox: Path) -> None:
    """A table that cannot be read refuses a configuration that is as before; the process goes on answering."""
    table = desk.folder / "customers.csv"
    table.write_text("customerUID,balance\n1,10\n")
    values = [{"name": "accounts", "use": "static", "options": {"csv": str(table)}}]
    daemon, caller = started(desk, local(inbox), values=values)
    assert caller.ask("balance", customer="1").json() == {"balance": "10"}
    table.write_bytes(b"\xff\xfe\x00")
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("refused")
    assert caller.ask("balance", customer="1").json() == {"balance": "10"}
    assert daemon.stop() == 0


def test_a_listener_that_dies_comes_back_with_what_holds(desk: Desk, inbox: Path) -> None:
    """Started again while the file holds something else, bad or good, it has the configuration that was taken over."""
    daemon, caller = started(desk, local(inbox), values=[static(**{"1": {"balance": "10"}})])
    for text in ("nonsense", desk.config.read_text().replace("10", "20").replace(str(desk.state), str(desk.work))):
        desk.config.write_text(text)
        before = listener_of(daemon)
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{before}").exists())  # noqa: B023 - called at once
        assert caller.ask("balance", customer="1").json() == {"balance": "10"}
    assert daemon.stop() == 0


def test_listeners_come_move_and_go(desk: Desk, inbox: Path) -> None:
    """A public listener that is new is bound; at another address the new one answers and the old one is gone; one
    whose address is taken refuses the configuration."""
    desk.configure(local(inbox))
    daemon = desk.daemon()
    desk.configure(local(inbox), http=http(), values=[static(**{"1": {"balance": "10"}})])
    reloaded(daemon)
    first = Caller(daemon)
    with socket.create_server(("127.0.0.3", 0)) as taken:
        desk.configure(local(inbox), http=http(listen=f"127.0.0.3:{taken.getsockname()[1]}"))
        assert "refused: " in reloaded(daemon, "the configuration from before goes on")
    assert first.ask("balance", customer="1").status_code == 200
    desk.configure(local(inbox), http=http(listen=first.address.replace("127.0.0.1", "127.0.0.2")))
    assert "[http] has changed" in reloaded(daemon)
    daemon.wait_for("public listener: 127.0.0.2:")
    with pytest.raises(Exception, match="refused"):
        first.ask("balance", customer="1")
    desk.configure(local(inbox))
    reloaded(daemon)
    assert daemon.stop() == 0


def test_the_log_goes_over(desk: Desk, inbox: Path) -> None:
    """The level and the format of the log are those of the new configuration from then on."""
    desk.configure(local(inbox, poll_seconds=0.2))
    daemon = desk.daemon()
    desk.configure(local(inbox, poll_seconds=0.2), log={"format": "json", "level": "debug"})
    daemon.signal(signal.SIGHUP)
    daemon.wait_for('"level": "debug"')
    desk.configure(local(inbox, poll_seconds=0.2), log={"level": "error"})
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: daemon.log.count("[log] has changed") == 2)
    assert daemon.stop() == 0
    assert not daemon.log.endswith("stopped\n")


def test_reloads_that_come_fast(desk: Desk, inbox: Path) -> None:
    """Twenty signals in a row end in a daemon that works."""
    desk.configure(local(inbox, poll_seconds=0.2))
    daemon = desk.daemon()
    for _ in range(20):
        daemon.signal(signal.SIGHUP)
    daemon.wait_for("the configuration was read again: as before")
    put(inbox, {"1.json": event(1)})
    wait_until(lambda: len(desk.keys()) == 1)
    assert daemon.stop() == 0
    assert "Traceback" not in daemon.log


def test_a_stop_in_the_middle_of_a_reload(desk: Desk, inbox: Path) -> None:
    """While a reload waits for a call of a handler that is gone, SIGTERM is heeded: nothing new begins, the call comes
    to its end, and counts."""
    seen, gate = desk.folder / "seen", desk.folder / "gate"
    desk.module("slow", SLOW.format(seen=str(seen), gate=str(gate)))
    put(inbox, {"1.json": event(1), "2.json": event(2, "other")})
    slow = {"name": "slow", "use": "slow:slow", "events": ["inboundMessage"]}
    desk.configure(local(inbox), handlers=[slow])
    daemon = desk.daemon()
    wait_until(lambda: seen.exists() and len(seen.read_text().splitlines()) == 2)
    desk.configure(local(inbox), handlers=[{"name": "slow", "use": "slow:slow"}, journal(desk, "new")])
    before = time.monotonic()
    daemon.signal(signal.SIGHUP)
    wait_until(lambda: time.monotonic() > before + 2.5, what="the reload to wait for the calls")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "the configuration was read again" in daemon.log, 15, "the reload not to wait any more")
    gate.touch()
    assert daemon.ended() == 0
    assert desk.rows("SELECT state, attempts FROM deliveries") == [("done", 1)] * 2


def test_a_terminal_that_has_gone_ends_it(desk: Desk, inbox: Path) -> None:
    """Run in a terminal that is closed, it ends as for SIGTERM, instead of going on where nobody sees it."""
    desk.configure(local(inbox, poll_seconds=0.2))
    pid, terminal = pty.fork()
    if pid == 0:
        from tests.acceptance.support import COMMAND

        os.execv(COMMAND[0], [*COMMAND, "-c", str(desk.config), "run"])
    said = b""
    while b"ready: " not in said:
        said += os.read(terminal, 1000)
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
