"""The supervisor of the listener's process: whatever that does, the socket stays open and another one is started."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sftpd_processor.errors import PermanentError
from sftpd_processor.http import supervisor as module
from sftpd_processor.http.supervisor import Supervisor
from tests.support import wait_until

ANSWERING = """
import socket, sys
control = socket.socket(fileno=int(sys.argv[2]))
while control.recv(100):
    control.sendall(b'[{"name": "values_answers", "labels": ["found"], "count": 3}]\\n')
"""
SILENT = "import signal; signal.pause()"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True)\nwhile True: signal.pause()"
FAILING = "raise SystemExit(7)"

Make = Callable[[str], Supervisor]


@pytest.fixture
def supervised(monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Starts a supervisor whose process runs a script; silence counts after 0.3 s."""
    for name, seconds in {"_LOOK_SECONDS": 0.05, "_SILENCE": 0.3, "_START": 2.0, "_ANSWER_SECONDS": 0.1}.items():
        monkeypatch.setattr(module, name, seconds)
    made: list[Supervisor] = []

    def make(script: str) -> Supervisor:
        def command(listening: int, control: int) -> Sequence[str]:
            return [sys.executable, "-S", "-c", script, str(listening), str(control)]

        made.append(Supervisor("127.0.0.1:0", command, b"the configuration"))
        made[-1].start()
        return made[-1]

    yield make
    for each in made:
        each.stop(0.5)


def test_what_it_noted_is_asked_for(supervised: Make) -> None:
    """What the process has noted comes back as it said it, and nothing is wrong."""
    listener = supervised(ANSWERING)
    wait_until(lambda: listener.snapshot() == [{"name": "values_answers", "labels": ["found"], "count": 3}])
    assert listener.wrong() is None


def test_one_that_answers_is_left_alone(supervised: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A process that answers is not killed, however long it lives."""
    listener = supervised(ANSWERING)
    end = time.monotonic() + 1.0
    wait_until(lambda: time.monotonic() > end)
    assert (listener.wrong(), listener.restarts) == (None, 0)
    assert "killed" not in caplog.text


def test_a_silent_one_is_killed(
    supervised: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that does not answer is told of as wrong, killed, and another one is started."""
    monkeypatch.setattr(module, "_START", 0.5)
    listener = supervised(SILENT)
    assert listener.snapshot() == []
    wait_until(lambda: listener.restarts == 1)
    assert "the public listener has not answered for 0.5 s; it is killed" in caplog.text
    assert "the public listener ended (signal 9)" in caplog.text


def test_a_failing_one_is_started_again_and_again(supervised: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A process that ends at once is started again, with pauses that grow, is told of as wrong meanwhile, and is told
    in the log once, not at each start."""
    listener = supervised(FAILING)
    wait_until(lambda: listener.restarts == 1)
    first = listener._pause
    wait_until(lambda: listener.restarts >= 2)
    wait_until(lambda: listener._pause > first)
    wait_until(lambda: "it is not running" in (listener.wrong() or ""))
    (said,) = [message for message in caplog.messages if "exit code 7" in message]
    assert said == "the public listener ended (exit code 7); it is started again in 0.2 s"


def test_those_who_call_meanwhile_wait(supervised: Make) -> None:
    """While no process runs a caller can connect all the same: the socket is the daemon's."""
    listener = supervised(FAILING)
    assert listener._socket is not None
    with socket.create_connection(listener._socket.getsockname(), timeout=5):
        pass


def test_a_killed_one(supervised: Make) -> None:
    """After SIGKILL another process answers."""
    listener = supervised(ANSWERING)
    wait_until(listener.snapshot)
    assert listener._child is not None
    before = listener._child.process.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: listener.restarts == 1 and listener.snapshot())
    assert listener._child.process.pid != before


def _pid(listener: Supervisor) -> int:
    assert listener._child is not None
    return listener._child.process.pid


def test_another_one_takes_over(supervised: Make, caplog: pytest.LogCaptureFixture) -> None:
    """The new process answers before the old one is told to end; that counts as no restart and nothing is wrong."""
    caplog.set_level("INFO")
    listener = supervised(ANSWERING)
    wait_until(listener.snapshot)
    before = _pid(listener)
    listener.renew()
    assert _pid(listener) != before
    assert listener.snapshot()
    wait_until(lambda: not Path(f"/proc/{before}").exists(), what="the old one to end")
    assert (listener.wrong(), listener.restarts) == (None, 0)
    after = _pid(listener)
    os.kill(after, signal.SIGKILL)
    wait_until(lambda: listener.restarts == 1 and listener.snapshot(), what="the new one to be watched, too")


def test_one_that_cannot_take_over(supervised: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the new process ends or stays silent, the old one goes on, the new one is gone, and that is said."""
    listener = supervised(ANSWERING)
    wait_until(listener.snapshot)
    before, command = _pid(listener), listener._command
    monkeypatch.setattr(module, "_TAKE_OVER", 0.5)
    for script in (FAILING, SILENT):
        listener._command = lambda *_, script=script: [sys.executable, "-S", "-c", script]
        with pytest.raises(PermanentError, match="does not start with the new settings; the one before goes on"):
            listener.renew()
        assert _pid(listener) == before
        assert listener.snapshot()
    listener._command = lambda *_: ["/nowhere"]
    with pytest.raises(PermanentError, match="cannot be started: No such file"):
        listener.renew()
    listener._command = command
    listener.renew()
    assert _pid(listener) != before


def test_another_one_takes_over_from_one_that_has_just_died(supervised: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the supervisor waits to start one again, `renew` has started one already: there is never a second."""
    monkeypatch.setattr(module, "_FIRST_PAUSE", 1.0)
    before = _children()
    listener = supervised(FAILING)
    listener._pause = 0.5
    wait_until(lambda: "it is not running" in (listener.wrong() or ""), what="the pause before the next start")
    listener._command = lambda one, other: [sys.executable, "-S", "-c", ANSWERING, str(one), str(other)]
    listener.renew()
    wait_until(listener.snapshot)
    renewed, end = _pid(listener), time.monotonic() + 2.5
    wait_until(lambda: time.monotonic() > end, what="the pause to be over")
    assert _pid(listener) == renewed
    assert len(_children()) == len(before) + 1


def test_a_stop_while_another_one_takes_over(supervised: Make) -> None:
    """A stop does not wait for a process that has not begun to answer, says nothing of it, and leaves none behind."""
    listener = supervised(ANSWERING)
    wait_until(listener.snapshot)
    before, failed = _children(), list[Exception]()
    listener._command = lambda *_: [sys.executable, "-S", "-c", SILENT]

    def renew() -> None:
        try:
            listener.renew()
        except PermanentError as error:
            failed.append(error)

    renewing = threading.Thread(target=renew)
    renewing.start()
    wait_until(lambda: len(_children()) > len(before), what="the other process")
    listener.stop(5)
    renewing.join(5)
    assert not renewing.is_alive()
    assert not failed
    assert len(_children()) < len(before)


def _children() -> list[str]:
    tasks = Path("/proc/self/task").iterdir()
    return [pid for task in tasks for pid in (task / "children").read_text().split()]


def test_a_stubborn_one_is_killed_at_the_end(supervised: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A process that does not heed SIGTERM is killed when the time is up, and none is started after that."""
    listener = supervised(DEAF)
    assert listener._child is not None
    process = listener._child.process
    wait_until(lambda: _ignores_term(Path(f"/proc/{process.pid}/status")))
    listener.stop(0.3)
    assert process.returncode == -signal.SIGKILL
    assert "did not end within 0.3 s" in caplog.text
    assert listener.restarts == 0


def test_the_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program listens already, the start is refused with what to do, and no process is left."""
    monkeypatch.setattr("sftpd_processor.http.server._TAKEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = Supervisor(f"127.0.0.1:{other.getsockname()[1]}", lambda *_: ["false"], b"")
        with pytest.raises(PermanentError, match="in use"):
            taken.start()
        taken.stop(0.1)


def _ignores_term(status: Path) -> bool:
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("SigIgn")]
    return bool(int(line.split()[1], 16) & (1 << (signal.SIGTERM - 1)))
