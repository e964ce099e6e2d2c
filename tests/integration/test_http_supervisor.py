"""The supervisor of the listener's process: whatever that does, the socket stays open and another one is started."""

from __future__ import annotations

import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from sftpd_processor.config.settings import HttpSettings
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

        settings = HttpSettings.model_validate({"listen": "127.0.0.1:0", "auth": "none"})
        made.append(Supervisor(settings, command))
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
    """A process that ends at once is started again, with pauses that grow, and is told of as wrong meanwhile."""
    listener = supervised(FAILING)
    wait_until(lambda: listener.restarts >= 2)
    pauses = [float(line.split()[-2]) for line in caplog.messages if "exit code 7" in line]
    assert pauses == sorted(pauses)
    assert pauses[1] > pauses[0]
    wait_until(lambda: "it is not running" in (listener.wrong() or ""))


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
    assert listener._process is not None
    before = listener._process.pid
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: listener.restarts == 1 and listener.snapshot())
    assert listener._process.pid != before


def test_a_stubborn_one_is_killed_at_the_end(supervised: Make, caplog: pytest.LogCaptureFixture) -> None:
    """A process that does not heed SIGTERM is killed when the time is up, and none is started after that."""
    listener = supervised(DEAF)
    process = listener._process
    assert process is not None
    wait_until(lambda: _ignores_term(Path(f"/proc/{process.pid}/status")))
    listener.stop(0.3)
    assert process.returncode == -signal.SIGKILL
    assert "did not end within 0.3 s" in caplog.text
    assert listener.restarts == 0


def test_the_address_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where another program listens already, the start is refused with what to do, and no process is left."""
    monkeypatch.setattr("sftpd_processor.http.server._TAKEN_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as other:
        settings = HttpSettings.model_validate({"listen": f"127.0.0.1:{other.getsockname()[1]}", "auth": "none"})
        taken = Supervisor(settings, lambda *_: ["false"])
        with pytest.raises(PermanentError, match="in use"):
            taken.start()
        taken.stop(0.1)


def _ignores_term(status: Path) -> bool:
    (line,) = [line for line in status.read_text().splitlines() if line.startswith("SigIgn")]
    return bool(int(line.split()[1], 16) & (1 << (signal.SIGTERM - 1)))
