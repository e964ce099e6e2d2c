"""One faulty server alone: the whole command ends in time, with the exit code for it and a single line."""

from __future__ import annotations

import time

import pytest

from tests.acceptance.support import Desk
from tests.faulty_server import FaultyServer, Request, done_then_drop, hang
from tests.integration.fault_drill import GRACE, Case, message
from tests.integration.test_server_faults_lost import CASES as LOST
from tests.support import wait_until
from tests.unit.scripted_sftp import READDIR, RENAME

ALONE = ("hang-opendir", "hang-read", "hang-rename", "lost-renames", "banner", "subsystem", "garbage", "password",
         "host-key", "denied-folder")  # fmt: skip
CASES = [case for case in LOST if case.name in ALONE]
START = 4.0  # seconds that the command itself may take on a busy machine, to start and to stop


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_server_at_fault_ends_in_one_line_and_exit_code_4(desk: Desk, case: Case) -> None:
    """`once` ends within the fault's deadline and two seconds, with exit code 4 and one line; then all is well."""
    with FaultyServer() as server:
        server.put(case.files())
        desk.configure(server.source(name=case.name, **case.settings))
        case.arrange(server)
        began = time.monotonic()
        ran = desk.run("once")
        assert time.monotonic() - began < case.seconds + GRACE + START
        assert (ran.code, len(ran.err.splitlines())) == (4, 1)
        assert ran.err.startswith(f"sftpd-processor: source {case.name}: ")
        server.lift()
        assert desk.run("once").code == 0
        assert len(desk.lines()) == len(case.files())
        assert server.names() == []


def test_the_daemon_says_a_fault_once_and_that_it_is_over(desk: Desk) -> None:
    """`run` tells a hanging server in one line however often it tries, and says when it works again."""
    with FaultyServer() as server:
        server.put({"a.json": message("a")})
        desk.configure(server.source(reconnect_max_seconds=0.1, operation_timeout_seconds=0.5))
        asked: list[Request] = []
        server.faults[READDIR] = lambda request: asked.append(request) or hang(request)  # type: ignore[func-returns-value]
        daemon = desk.daemon()
        daemon.wait_for("did not answer within 0.5 s")
        tried = {id(request.engine) for request in asked}
        wait_until(lambda: len({id(request.engine) for request in asked}) >= len(tried) + 3, 30, "more tries")
        assert daemon.log.count("did not answer") == 1
        server.lift()
        daemon.wait_for("works again")
        wait_until(lambda: server.names() == [], 30, "the file to be moved")
        assert daemon.stop() == 0
        assert len(desk.lines()) == 1


def test_a_lost_reply_is_looked_up_and_never_assumed(desk: Desk) -> None:
    """Renames that were done before the line broke are neither repeated nor undone: the next look finds them gone."""
    files = {f"{n}.json": message(str(n)) for n in range(3)}
    with FaultyServer() as server:
        server.put(files)
        desk.configure(server.source())
        server.faults[RENAME] = done_then_drop
        assert desk.run("once").code == 4
        server.lift()
        assert desk.run("once").code == 0
        assert server.names("/in/processed") == sorted(files)
        assert desk.rows("SELECT count(*), sum(occurrence) FROM files") == [(3, 0)]
        assert len(desk.lines()) == 3
