from __future__ import annotations

import json
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.handlers.api import Handler, Outcome
from tests.handler_items import built, item, live, mistakes
from tests.support import wait_until

DONE = Outcome("done")


def program(folder: Path, code: str, timeout: float = 20.0, **options: Any) -> Handler:
    """A `command` handler that runs this Python code, with `folder` as its argument."""
    argv = [sys.executable, "-c", code, str(folder)]
    return built("command", folder, timeout=timeout, options={"argv": argv, **options})


def one(handler: Handler, claimed: Any = None) -> Outcome:
    (outcome,) = handler.handle([claimed or item()])
    return outcome


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state != "Z"


def test_the_event_comes_on_standard_input_and_the_rest_in_the_environment(tmp_path: Path) -> None:
    """The exact bytes, then the end of the input; key, attempt and origin as variables, ours passed on."""
    code = (
        "import json, os, sys; out = open(sys.argv[1] + '/out', 'w');"
        "json.dump([sys.stdin.read(), dict(os.environ)], out)"
    )
    claimed = item(body="✓ exactly\n".encode())
    assert one(program(tmp_path, code), claimed) == DONE
    body, environment = json.loads((tmp_path / "out").read_text())
    assert body == "✓ exactly\n"
    assert environment["PATH"] == os.environ["PATH"]
    assert {key: environment[key] for key in environment if key.startswith(("SFTPD_PROCESSOR_", "WEBIO_"))} == {
        "WEBIO_EVENT_TYPE": "inboundMessage",
        "SFTPD_PROCESSOR_KEY": "key-1",
        "SFTPD_PROCESSOR_ATTEMPT": "1",
        "SFTPD_PROCESSOR_ORIGIN": "sftp",
        "SFTPD_PROCESSOR_SOURCE": "webio",
        "SFTPD_PROCESSOR_FILE": "1.json",
        "SFTPD_PROCESSOR_HANDLER": "crm",
        "SFTPD_PROCESSOR_RECEIVED_AT": "2026-01-31T09:15:00+00:00",
    }


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("raise SystemExit(0)", DONE),
        ("raise SystemExit(75)", Outcome("retry", "asked to be tried again (exit code 75)")),
        (
            "import sys; print('no plan', file=sys.stderr); sys.exit(3)",
            Outcome("retry", "exit code 3: no plan"),
        ),
        ("import os; os.kill(os.getpid(), 9)", Outcome("retry", "ended by SIGKILL")),
    ],
)
def test_the_exit_code_says_what_became_of_it(tmp_path: Path, code: str, expected: Outcome) -> None:
    """0 is done, 75 asks for another try, and any other end is retried with what the program said."""
    assert one(program(tmp_path, code)) == expected


def test_only_the_end_of_standard_error_is_kept(tmp_path: Path) -> None:
    """A program that says a lot is neither blocked nor remembered in full."""
    code = "import sys; sys.stderr.write('x' * 5_000_000 + 'the end'); sys.exit(1)"
    outcome = one(program(tmp_path, code))
    assert outcome.detail.endswith("the end")
    assert len(outcome.detail) == len("exit code 1: ") + 300


def test_a_program_that_writes_much_and_reads_nothing_is_done(tmp_path: Path) -> None:
    """Neither a full standard output nor a large event left unread holds it up."""
    code = "import sys; sys.stdout.write('x' * 5_000_000)"
    assert one(program(tmp_path, code), item(body=b"x" * 1_000_000)) == DONE


def test_a_program_that_hangs_is_ended_with_all_its_children(tmp_path: Path) -> None:
    """At the timeout the whole group goes, even when it does not listen to SIGTERM."""
    code = (
        "import os, signal, sys, time; signal.signal(15, signal.SIG_IGN); child = os.fork();"
        "open(sys.argv[1] + f'/{os.getpid()}.pid', 'w').close(); time.sleep(120)"
    )
    outcome = one(program(tmp_path, code, timeout=1.0))
    assert outcome == Outcome("retry", "timed out after 1 s")
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    assert len(pids) == 2
    wait_until(lambda: not any(map(alive, pids)), what="both processes to end")


def test_a_child_that_keeps_the_pipes_open_holds_nothing_up(tmp_path: Path) -> None:
    """A background process may outlive the program; the delivery is done when the program is."""
    code = (
        "import os, sys, time\nif os.fork() == 0:\n"
        "    open(sys.argv[1] + f'/{os.getpid()}.pid', 'w').close(); time.sleep(120)\n"
    )
    started = time.monotonic()
    assert one(program(tmp_path, code, timeout=60)) == DONE
    assert time.monotonic() - started < 30
    wait_until(lambda: list(tmp_path.glob("*.pid")), what="the child to have started")
    (pid,) = [int(path.stem) for path in tmp_path.glob("*.pid")]
    os.kill(pid, 9)


def test_a_program_that_closes_standard_error_is_waited_for(tmp_path: Path) -> None:
    """The end of standard error is not the end of the program, and the timeout still holds."""
    code = "import os, sys, time; os.close(2); time.sleep(0.3); open(sys.argv[1] + '/late', 'w').close()"
    assert one(program(tmp_path, code)) == DONE
    assert (tmp_path / "late").exists()
    hangs = "import os, time; os.close(2); time.sleep(120)"
    assert one(program(tmp_path, hangs, timeout=0.5)).detail == "timed out after 0.5 s"


def test_there_is_no_shell(tmp_path: Path) -> None:
    """An argument is an argument, whatever is in it."""
    handler = built("command", tmp_path, options={"argv": ["touch", "--", f"{tmp_path}/$(id) *"]})
    assert one(handler) == DONE
    assert (tmp_path / "$(id) *").exists()


def test_a_hostile_type_does_not_break_the_call(tmp_path: Path) -> None:
    """An unknown type may hold NUL or be very long; the program runs all the same."""
    assert one(program(tmp_path, ""), live(item(type="evil\0" + "x" * 1_000_000))) == DONE


def test_a_program_that_is_not_there_is_a_configuration_error(tmp_path: Path) -> None:
    """Found when the configuration is read; a program beside it is found by `./name`."""
    found = mistakes(lambda: built("command", tmp_path, options={"argv": ["no-such-program"]}))
    assert "no-such-program" in found["handlers[0].options.argv"]
    (tmp_path / "mine").write_text("#!/bin/sh\nexit 75\n")
    (tmp_path / "mine").chmod(0o755)
    handler = built("command", tmp_path, options={"argv": ["./mine"]})
    assert "75" in one(handler).detail
    (tmp_path / "mine").unlink()
    assert one(handler).detail.endswith("No such file or directory")


def test_several_run_at_once(tmp_path: Path) -> None:
    """Calls from several threads run several processes."""
    code = (
        "import os, sys, time, pathlib; here = pathlib.Path(sys.argv[1]);"
        "(here / os.environ['SFTPD_PROCESSOR_KEY']).touch()\n"
        "while len(list(here.glob('key-*'))) < 4: time.sleep(0.01)"
    )
    handler = program(tmp_path, code)
    outcomes: list[Outcome] = []

    def run(number: int) -> None:
        outcomes.extend(handler.handle([item(number)]))

    threads = [threading.Thread(target=run, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert outcomes == [DONE] * 4


HOG = """
import sys, time
while b"Max address space         unlimited" in open("/proc/self/limits", "rb").read():
    time.sleep(0.01)
hoard = []
try:
    for _ in range(64):
        hoard.append(b"x" * (64 << 20))
except MemoryError:
    hoard.clear()
    sys.exit("out of memory")
"""


def test_a_memory_hog_is_held_to_its_limit(tmp_path: Path) -> None:
    """With `max_memory_mb` a program that wants 4 GiB is refused them: its attempt fails, and says why."""
    outcome = one(program(tmp_path, HOG, max_memory_mb=256))
    assert outcome == Outcome("retry", "exit code 1: out of memory")


def test_the_limit_of_memory_holds_for_children_too(tmp_path: Path) -> None:
    """A shell that is limited cannot start a program that uses more."""
    script = f"""
until grep -q 'Max address space *536870912 *536870912' /proc/self/limits; do sleep 0.01; done
{sys.executable} -c 'len(b"x" * (1 << 30))' 2>/dev/null || exit 3"""
    handler = built("command", tmp_path, options={"argv": ["sh", "-c", script], "max_memory_mb": 512})
    assert one(handler) == Outcome("retry", "exit code 3")


def test_without_a_limit_there_is_none(tmp_path: Path) -> None:
    """A program may use a quarter of a GiB when nothing else is said."""
    assert one(program(tmp_path, "import sys; sys.exit(len(b'x' * (256 << 20)) != 256 << 20)")) == DONE


def test_the_kernel_would_kill_the_program_before_the_daemon(tmp_path: Path) -> None:
    """Its `oom_score_adj` is 500, whatever it was when the program began, and that of its children; ours is not."""
    before = Path("/proc/self/oom_score_adj").read_text()
    is_raised = "grep -q '^500$' /proc/self/oom_score_adj"
    script = f'until {is_raised}; do sleep 0.01; done; sh -c "{is_raised}"'
    handler = built("command", tmp_path, options={"argv": ["sh", "-c", script]})
    assert one(handler) == DONE
    assert Path("/proc/self/oom_score_adj").read_text() == before != "500\n"


@pytest.mark.parametrize("limit", [0, -1, 1.5, "1G", True])
def test_a_limit_that_makes_no_sense_is_a_configuration_error(tmp_path: Path, limit: object) -> None:
    """Anything but a whole number of MiB is found when the configuration is read."""
    found = mistakes(lambda: built("command", tmp_path, options={"argv": ["true"], "max_memory_mb": limit}))
    assert list(found) == ["handlers[0].options.max_memory_mb"]


def test_a_program_that_ends_at_once_can_still_be_limited(tmp_path: Path) -> None:
    """One that has ended before its limit could be set is done all the same."""
    handler = built("command", tmp_path, options={"argv": ["true"], "max_memory_mb": 64})
    assert [one(handler) for _ in range(50)] == [DONE] * 50
