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
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from sftpd_processor.config.settings import HttpSettings
from sftpd_processor.http.server import address_of, bind

logger = logging.getLogger(__name__)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 30.0  # seconds between two starts
_TOLD = (0, -signal.SIGTERM)
_GOOD = 60.0  # seconds after which a process counts as one that works
_LOOK_SECONDS = 5.0
_START = 120.0  # seconds until its first answer: it imports the user's modules
_SILENCE = 15.0  # seconds without an answer after which it is ended
_ANSWER_SECONDS = 1.0

Command = Callable[[int, int], Sequence[str]]
"""How to start the listener, given the descriptors of its socket and of its control."""


class Supervisor:
    """Starts the listener, starts it again whenever it ends, and stops it."""

    def __init__(self, settings: HttpSettings, command: Command) -> None:
        self._settings = settings
        self._command = command
        self._socket: socket.socket | None = None
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._asking = threading.Lock()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="listener", daemon=True)
        self._changing = threading.Lock()
        self._answered = 0.0
        self._patience = _START
        self.restarts = 0

    def start(self) -> None:
        """Bind and begin. Raises `PermanentError` when the address cannot be had."""
        self._socket = bind(self._settings.listen)
        logger.info("public listener: %s", address_of(self._socket))
        self._spawn()
        self._thread.start()

    def begin_stop(self) -> None:
        """Take no new connection, and let the listener end what it has under way."""
        with self._changing:
            self._stopped.set()
            if self._socket is not None:
                self._socket.close()
            self._signal(signal.SIGTERM)

    def stop(self, timeout: float) -> None:
        """End it, within so many seconds."""
        self.begin_stop()
        if self._process is None:
            return
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            logger.warning("the public listener did not end within %g s; it is killed", timeout)
            self._signal(signal.SIGKILL)
            self._process.wait()
        self._thread.join()
        self._hang_up()

    def snapshot(self) -> list[dict[str, Any]]:
        """What the listener has noted since it started; nothing when it does not answer."""
        with self._asking:
            try:
                return self._ask()
            except (OSError, ValueError):
                return []

    def wrong(self) -> str | None:
        """What is wrong with the listener, None when nothing is."""
        process = self._process
        if process is None or process.poll() is not None:
            return f"it is not running; it has been started again {self.restarts} times"
        silent = time.monotonic() - self._answered
        return None if silent < self._patience else f"it has not answered for {silent:.0f} s"

    def _ask(self) -> list[dict[str, Any]]:
        if self._control is None:
            return []
        self._control.sendall(b"\n")
        answer = bytearray()
        while not answer.endswith(b"\n"):
            part = self._control.recv(65_536)
            if not part:
                return []
            answer += part
        self._answered, self._patience = time.monotonic(), _SILENCE
        noted: list[dict[str, Any]] = json.loads(answer)
        return noted

    def _spawn(self) -> None:
        assert self._socket is not None, "start() comes first"  # noqa: S101
        self._hang_up()
        self._control, theirs = socket.socketpair()
        self._control.settimeout(_ANSWER_SECONDS)
        handed = (self._socket.fileno(), theirs.fileno())
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own command
                self._command(*handed), pass_fds=handed, stdin=subprocess.DEVNULL, process_group=0
            )
        finally:
            theirs.close()
        self._answered, self._patience = time.monotonic(), _START

    def _watch(self) -> None:
        pause = _FIRST_PAUSE
        while not self._stopped.is_set():
            began = time.monotonic()
            code = self._await_end()
            if self._stopped.is_set():
                return
            told, good = code in _TOLD, time.monotonic() - began > _GOOD
            pause = _FIRST_PAUSE if told or good else min(pause * 2, _LONGEST_PAUSE)
            if told:
                logger.info("the public listener was told to end; another one is started, with the settings of now")
            else:
                logger.error("the public listener ended (%s); it is started again in %.1f s", _told(code), pause)
            if not self._stopped.wait(pause):
                self._restart()

    def _await_end(self) -> int:
        """Wait until the process has ended, or end it when it is silent; its exit code."""
        assert self._process is not None, "start() comes first"  # noqa: S101
        while True:
            try:
                return self._process.wait(_LOOK_SECONDS)
            except subprocess.TimeoutExpired:
                self.snapshot()
            if time.monotonic() - self._answered > self._patience:
                logger.error("the public listener has not answered for %g s; it is killed", self._patience)
                self._signal(signal.SIGKILL)

    def _restart(self) -> None:
        try:
            with self._changing, self._asking:
                if not self._stopped.is_set():
                    self.restarts += 1
                    self._spawn()
        except OSError as error:
            logger.error("the public listener cannot be started: %s", error.strerror)  # noqa: TRY400 - told in one line

    def _signal(self, number: int) -> None:
        if self._process is not None and self._process.poll() is None:
            os.kill(self._process.pid, number)

    def _hang_up(self) -> None:
        if self._control is not None:
            self._control.close()
            self._control = None


def _told(code: int) -> str:
    return f"signal {-code}" if code < 0 else f"exit code {code}"
