"""The daemon's side of the public listener: it holds the socket, and keeps a process running that answers it.

The socket stays open when the process dies, so that those who call meanwhile wait for the next one instead of being
refused. The process notices by a second socket, the control, when the daemon is gone.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

from sftpd_processor.errors import PermanentError
from sftpd_processor.http.server import address_of, bind
from sftpd_processor.repeats import Repeats

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between two starts
_TOLD = (0, -signal.SIGTERM)
_GOOD = 60.0  # seconds after which a process counts as one that works
_LOOK_SECONDS = 5.0
_START = 120.0  # seconds until its first answer: it imports the user's modules
_SILENCE = 15.0  # seconds without an answer after which it is ended
_ANSWER_SECONDS = 1.0
_TAKE_OVER = 20.0  # seconds until the first answer of one that is to take over
_AGAIN = 0.05  # seconds between two questions to it

Command = Callable[[int, int], Sequence[str]]
"""How to start the listener, given the descriptors of its socket and of its control; it reads its configuration from
standard input."""


class _Child:
    """One process of the listener, and the daemon's end of its control."""

    def __init__(self, listening: socket.socket, command: Command, configuration: bytes) -> None:
        """Hands it the text of the configuration as its standard input: the file may be another one by now."""
        self.control, theirs = socket.socketpair()
        self.control.settimeout(_ANSWER_SECONDS)
        handed = (listening.fileno(), theirs.fileno())
        try:
            with _file_of(configuration) as given:
                self.process = subprocess.Popen(  # noqa: S603 - our own command
                    command(*handed), pass_fds=handed, stdin=given, process_group=0
                )
        except OSError:
            self.control.close()
            raise
        finally:
            theirs.close()
        self.patience = _START
        self._answered = time.monotonic()
        self._asking = threading.Lock()
        self.ended = threading.Event()
        threading.Thread(target=self._reap, name="listener-end", daemon=True).start()

    def _reap(self) -> None:
        """A thread of its own waits without a time-out: with one, `wait` looks twenty times a second."""
        self.process.wait()
        self.ended.set()

    @property
    def silent(self) -> float:
        """Seconds without an answer."""
        return time.monotonic() - self._answered

    def ask(self) -> list[dict[str, Any]] | None:
        """What it has noted since it started; None when it does not answer."""
        with self._asking:
            try:
                answer = self._answer()
            except (OSError, ValueError):
                return None
            if answer is not None:
                self._answered, self.patience = time.monotonic(), _SILENCE
            return answer

    def _answer(self) -> list[dict[str, Any]] | None:
        self.control.sendall(b"\n")
        answer = bytearray()
        while not answer.endswith(b"\n"):
            part = self.control.recv(65_536)
            if not part:
                return None
            answer += part
        noted: list[dict[str, Any]] = json.loads(answer.splitlines()[-1])  # those before are late answers
        return noted

    def signal(self, number: int) -> None:
        """Send it a signal, if it runs."""
        self.process.send_signal(number)


class Supervisor:
    """Starts the listener, starts it again whenever it ends, and stops it."""

    def __init__(self, address: str, command: Command, configuration: bytes) -> None:
        """`configuration` is the text of the configuration that holds."""
        self.address = address
        self.configuration = configuration
        """What each process that is started from now on reads."""
        self._command = command
        self._socket: socket.socket | None = None
        self._child: _Child | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="listener", daemon=True)
        self._changing = threading.Lock()
        self._repeats = Repeats()
        self._pause = _FIRST_PAUSE
        self.restarts = 0

    def bind(self) -> None:
        """Take the address. Raises `PermanentError` when it cannot be had."""
        if self._socket is None:
            self._socket = bind(self.address)

    def start(self) -> None:
        """Bind and begin. Raises `PermanentError` when the address cannot be had."""
        self.bind()
        assert self._socket is not None, "it is bound"  # noqa: S101
        logger.info("public listener: %s", address_of(self._socket))
        self._child = self._spawned()
        self._thread.start()

    def renew(self) -> None:
        """Let another process take over, which reads the settings anew; the one of now answers until that one does.

        Raises `PermanentError` when that one does not begin to answer; then the one of now goes on.
        """
        with self._changing:
            if self._stopped.is_set() or self._socket is None or self._child is None:
                return
            try:
                fresh = self._spawned()
            except OSError as error:
                raise PermanentError(f"the public listener cannot be started: {error.strerror}") from None
        if not _begins(fresh, self._stopped):
            _kill(fresh)
            if self._stopped.is_set():
                return
            raise PermanentError("the public listener does not start with the new settings; the one before goes on")
        with self._changing:
            former, self._child = self._child, fresh
            if self._stopped.is_set():
                fresh.signal(signal.SIGTERM)  # `begin_stop` told the former one only
        former.signal(signal.SIGTERM)

    def begin_stop(self) -> None:
        """Take no new connection, and let the listener end what it has under way."""
        with self._changing:
            self._stopped.set()
            if self._socket is not None:
                self._socket.close()
            if self._child is not None:
                self._child.signal(signal.SIGTERM)

    def stop(self, timeout: float) -> None:
        """End it, within so many seconds."""
        self.begin_stop()
        if self._child is None:
            return
        if not self._child.ended.wait(timeout):
            logger.warning("the public listener did not end within %g s; it is killed", timeout)
            _kill(self._child)
        self._thread.join()
        self._child.control.close()  # which the thread has done, unless another one took over meanwhile

    def snapshot(self) -> list[dict[str, Any]]:
        """What the listener has noted since it started; nothing when it does not answer."""
        return [] if self._child is None else self._child.ask() or []

    def wrong(self) -> str | None:
        """What is wrong with the listener, None when nothing is."""
        child = self._child
        if child is None or child.ended.is_set():
            return f"it is not running; it has been started again {self.restarts} times"
        return None if child.silent < child.patience else f"it has not answered for {child.silent:.0f} s"

    def _watch(self) -> None:
        while not self._stopped.is_set() and self._child is not None:
            began, child = time.monotonic(), self._child
            code = self._await_end(child)
            child.control.close()
            if self._stopped.is_set():
                return
            if child is not self._child:
                continue  # another one has taken over
            self._ended(code, good=time.monotonic() - began > _GOOD)
            if not self._stopped.wait(self._pause):
                self._restart(child)

    def _await_end(self, child: _Child) -> int:
        """Wait until the process has ended, or end it when it is silent; its exit code."""
        while not child.ended.wait(_LOOK_SECONDS):
            if child.ask() is not None and (said := self._repeats.works()):
                logger.info("the public listener %s", said)
            if child.silent > child.patience:
                logger.error("the public listener has not answered for %g s; it is killed", child.patience)
                child.signal(signal.SIGKILL)
        return child.process.returncode

    def _ended(self, code: int, *, good: bool) -> None:
        told = code in _TOLD
        self._pause = _FIRST_PAUSE if told or good else min(self._pause * 2, _LONGEST_PAUSE)
        if told:
            logger.info("the public listener was told to end; another one is started")
        elif said := self._repeats.failed(f"ended ({_told(code)}); it is started again in {self._pause:.1f} s"):
            logger.error("the public listener %s", said)

    def _restart(self, ended: _Child) -> None:
        """Start another one in place of the one that has ended, unless `renew` has done so meanwhile."""
        try:
            with self._changing:
                if not self._stopped.is_set() and self._socket is not None and self._child is ended:
                    self.restarts += 1
                    self._child = self._spawned()
        except OSError as error:
            logger.error("the public listener cannot be started: %s", error.strerror)  # noqa: TRY400 - told in one line

    def _spawned(self) -> _Child:
        assert self._socket is not None, "bind() comes first"  # noqa: S101
        return _Child(self._socket, self._command, self.configuration)


def _file_of(text: bytes) -> BinaryIO:
    """An open file without a name, in memory where there are such files; it may hold secrets."""
    memory = getattr(os, "memfd_create", None)
    file: BinaryIO = open(memory("configuration"), "w+b") if memory else tempfile.TemporaryFile()  # noqa: PTH123, SIM115
    file.write(text)
    file.seek(0)
    return file


def _begins(child: _Child, stopped: threading.Event) -> bool:
    """Whether it gives its first answer soon enough."""
    deadline = time.monotonic() + _TAKE_OVER
    while child.ask() is None:
        if time.monotonic() > deadline or child.ended.is_set() or stopped.wait(_AGAIN):
            return False
    return True


def _kill(child: _Child) -> None:
    child.signal(signal.SIGKILL)
    child.ended.wait()
    child.control.close()


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
