"""A service that hangs, is stopped in the midst of its work, or waits for its database: nothing is lost."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import make_url

from sftpd_processor.testing.servers import free_port
from tests.acceptance.support import events
from tests.support import ServedFolder, wait_until
from tests.systemd.service import SLOW, Service


def test_a_hung_daemon_is_ended_and_loses_nothing(service: Service, openssh: ServedFolder) -> None:
    """systemd ends a daemon that gives no sign of life, with a traceback of its threads in the journal, and no core;
    the next one does what was left, and what it does again has the key of before."""
    assert service.shown("WatchdogSec") == ["60"]
    service.machine.drop_in(service.unit, "watchdog", "WatchdogSec=3", "RestartSec=100ms")
    service.configure(service.source(openssh), handlers=[service.slow_handler()])
    openssh.write(events(300))
    service.start()
    wait_until(lambda: len(service.lines()) > 20, SLOW, "the first events")
    service.kill(signal.SIGSTOP)
    assert len(service.handled()) < 300, "it was stopped too late to show anything"
    service.wait_for_restart()
    service.wait_for_handled(f"m{number}" for number in range(300))
    assert "Watchdog timeout" in service.log
    assert "Fatal Python error: Aborted" in service.log
    assert "dumped core" not in service.log


def test_a_stop_in_the_midst_of_work_loses_nothing(service: Service, openssh: ServedFolder) -> None:
    """A stop lets the deliveries that run end, in time; the next start does the others, and none twice."""
    service.configure(service.source(openssh), handlers=[service.slow_handler()])
    openssh.write(events(300))
    service.start()
    wait_until(lambda: len(service.lines()) > 20, SLOW, "the first events")
    service.stop()
    shown = service.machine.show(service.unit, "Result", "ExecMainStatus", "ActiveState")
    assert shown == {"Result": "success", "ExecMainStatus": "0", "ActiveState": "inactive"}
    assert len(service.lines()) < 300, "it was stopped too late to show anything"
    service.start()
    service.wait_for_handled(f"m{number}" for number in range(300))
    assert len(service.lines()) == 300


def test_a_start_waits_for_its_database(service: Service, openssh: ServedFolder, postgres_url: str) -> None:
    """While the ledger's database cannot be reached the start goes on, beyond its timeout, and says what it waits for;
    the service is ready when the database comes."""
    service.machine.drop_in(service.unit, "timeout", "TimeoutStartSec=12s")
    port, real = free_port(), make_url(postgres_url)
    service.secret("database-url", real.set(port=port).render_as_string(hide_password=False))
    service.configure(service.source(openssh), state={"database": {"credential": "database-url"}})
    openssh.write(events(5))
    began = time.monotonic()
    service.machine.systemctl("start", "--no-block", service.unit)
    service.wait_for_status("starting, but the ledger cannot be opened yet")
    wait_until(lambda: time.monotonic() - began > 14, 20, "the end of the timeout")
    assert service.prop("ActiveState") == "activating"
    with forwarded(port, real.port):
        wait_until(lambda: service.prop("ActiveState") == "active", SLOW, "the service to be ready")
        service.wait_for_handled(f"m{number}" for number in range(5))
        service.stop()


@contextmanager
def forwarded(port: int, to: int | None) -> Iterator[None]:
    """While this lasts, one port leads to another."""
    relay = [sys.executable, "-m", "sftpd_processor.testing.relay", "--delay-ms", "0"]
    relay += ["--listen", f"127.0.0.1:{port}", "--to", f"127.0.0.1:{to}"]
    with subprocess.Popen(relay, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.terminate()
