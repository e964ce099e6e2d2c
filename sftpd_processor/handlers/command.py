"""The built-in `command`: one process per event, the event on its standard input."""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import IO, Annotated

from pydantic import Field, ValidationInfo, field_validator

from sftpd_processor.config.kinds import Place
from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome
from sftpd_processor.handlers.wanted import Wanted

TRY_AGAIN = 75  # EX_TEMPFAIL of sysexits.h
STDERR_CHARACTERS = 300
_GRACE_SECONDS = 2.0
_LOOK_SECONDS = 0.05
_EXPENDABLE = b"500"  # to the kernel, as if it used half of the machine's memory more than it does


class Options(BuiltinOptions):
    """`argv`: the program and its arguments, passed as they are: no shell, so no quoting, `|`, `>` or `$`.

    `max_memory_mb`: the most memory (address space, in MiB) that the program, and each of its children, may use.
    """

    argv: Annotated[list[str], Field(min_length=1)]
    max_memory_mb: Annotated[int, Field(strict=True, ge=1, le=1 << 30)] | None = None

    @field_validator("max_memory_mb")
    @classmethod
    def _can_be_limited(cls, most: int | None) -> int | None:
        if most is not None and not sys.platform.startswith("linux"):
            raise ValueError("needs Linux: other systems do not keep to such a limit")
        return most

    @field_validator("argv")
    @classmethod
    def _program_is_there(cls, argv: list[str], info: ValidationInfo) -> list[str]:
        program = _program(argv[0], Place.of(info).folder)
        if program is None:
            raise ValueError(f"no program {argv[0]!r} that can be run; give its full path")
        if any("\0" in argument for argument in argv):
            raise ValueError("an argument holds a NUL character")
        return [program, *argv[1:]]


def _program(name: str, base_dir: Path) -> str | None:
    """The full path of a program: found on PATH or, with a slash in it, from config.toml's folder."""
    return shutil.which(str(base_dir / name) if "/" in name else name)


class CommandHandler:
    """Exit code 0 is done; 75 asks to be tried again; any other is retried by the policy as well, and is a
    dead letter after the last attempt.

    The process leads a group of its own, which gets SIGTERM at the timeout and SIGKILL two seconds later.
    A background process that keeps standard error open does not hold up the delivery.

    It begins with the limit of memory, if one is set; beyond it the program's own allocations fail.
    And when the machine runs out of memory, Linux kills it, or a child of it, before the daemon (its
    `oom_score_adj` is raised).
    """

    batch_size = 1

    def __init__(self, name: str, wanted: Wanted, options: Options, timeout_seconds: float) -> None:
        self.name = name
        self._wanted = wanted
        self._argv = options.argv
        self._command = _limited(options.argv, options.max_memory_mb)
        self._timeout = timeout_seconds

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        """Nothing to open: that the program exists is checked with the configuration."""

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(item) for item in items]

    def close(self) -> None:
        """Nothing to close."""

    def capture(self, item: Item) -> Captured:
        stdin = item.body.decode("utf-8", "replace")
        effect = {"kind": "command", "argv": [*self._argv], "environment": _metadata(item), "stdin": stdin}
        return Captured(DONE, effect)

    def _one(self, item: Item) -> Outcome:
        try:
            return self._run(item)
        except OSError as error:
            return Outcome("retry", f"cannot run {self._argv[0]}: {error.strerror}")

    def _run(self, item: Item) -> Outcome:
        # The event lies in an unlinked file, not in a pipe: a program that does not read cannot hold us up.
        with tempfile.TemporaryFile() as stdin:
            stdin.write(item.body)
            stdin.seek(0)
            process = subprocess.Popen(  # noqa: S603 (the operator's own program, never a shell)
                self._command,
                stdin=stdin,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                env={**os.environ, **_metadata(item)},
            )
        _expose(process.pid)
        assert process.stderr is not None  # noqa: S101 (it is a pipe)
        with process.stderr as stderr:
            return self._outcome(process, stderr)

    def _outcome(self, process: subprocess.Popen[bytes], stderr: IO[bytes]) -> Outcome:
        deadline = time.monotonic() + self._timeout
        said = _Tail(stderr)
        try:
            said.until_exit(process, deadline)
            code = process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            _end_group(process)
            said.read()
            return Outcome("retry", f"timed out after {self._timeout:g} s{said}")
        said.read()
        if code == 0:
            return DONE
        if code == TRY_AGAIN:
            return Outcome("retry", f"asked to be tried again (exit code {TRY_AGAIN}){said}")
        return Outcome("retry", f"{_ending(code)}{said}")


class _Tail:
    """The end of what a program says on standard error, read without ever waiting for its end."""

    def __init__(self, stderr: IO[bytes]) -> None:
        self._fd = stderr.fileno()
        self._end = b""
        os.set_blocking(self._fd, False)

    def __str__(self) -> str:
        text = self._end.decode("utf-8", "replace").strip()[-STDERR_CHARACTERS:]
        return f": {text}" if text else ""

    def until_exit(self, process: subprocess.Popen[bytes], deadline: float) -> None:
        """Read until the pipe is closed, the process has ended, or the deadline has passed."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._fd, selectors.EVENT_READ)
            while process.poll() is None and time.monotonic() < deadline:
                if selector.select(_LOOK_SECONDS) and self._chunk() == b"":
                    return

    def read(self) -> None:
        """What lies in the pipe now; bounded, since a background process may go on writing."""
        for _ in range(64):
            if not self._chunk():
                return

    def _chunk(self) -> bytes | None:
        try:
            chunk = os.read(self._fd, 65_536)
        except BlockingIOError:
            return None
        # Four bytes are the longest character of UTF-8.
        self._end = (self._end + chunk)[-4 * STDERR_CHARACTERS :]
        return chunk


def _limited(argv: list[str], most_memory: int | None) -> list[str]:
    """The shell sets the limit and becomes the program.

    Setting it from here comes too late for children that the program starts at once, and what Python runs between fork
    and exec may hang in a process with threads. A limit that is lower already stays.
    """
    if most_memory is None:
        return argv
    return ["/bin/sh", "-c", f'ulimit -v {most_memory << 10} 2>/dev/null; exec "$@"', "sh", *argv]


def _expose(pid: int) -> None:
    """When memory runs out, the kernel is to end this process and not the daemon."""
    with suppress(OSError):  # it has ended already, or has taken other rights
        Path(f"/proc/{pid}/oom_score_adj").write_bytes(_EXPENDABLE)


def _end_group(process: subprocess.Popen[bytes]) -> None:
    _signal_group(process, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        process.wait(_GRACE_SECONDS)
    _signal_group(process, signal.SIGKILL)
    process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _ending(code: int) -> str:
    if code >= 0:
        return f"exit code {code}"
    try:
        return f"ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"ended by signal {-code}"


def _metadata(item: Item) -> dict[str, str]:
    delivery = item.delivery
    values = {
        "WEBIO_EVENT_TYPE": item.event_type,
        "SFTPD_PROCESSOR_KEY": delivery.idempotency_key,
        "SFTPD_PROCESSOR_ATTEMPT": str(delivery.attempt),
        "SFTPD_PROCESSOR_ORIGIN": delivery.origin,
        "SFTPD_PROCESSOR_SOURCE": delivery.source,
        "SFTPD_PROCESSOR_FILE": delivery.file or "",
        "SFTPD_PROCESSOR_HANDLER": delivery.handler,
        "SFTPD_PROCESSOR_RECEIVED_AT": delivery.received_at.isoformat(),
    }
    # A variable cannot hold NUL and is bounded by the kernel; an unknown event type may be anything.
    return {name: _clean(value) for name, value in values.items()}


def _clean(value: str) -> str:
    return value.replace("\0", "")[:1000].encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")


def build(name: str, wanted: Wanted, options: Options, context: HandlerContext) -> CommandHandler:
    return CommandHandler(name, wanted, options, context.timeout_seconds)
