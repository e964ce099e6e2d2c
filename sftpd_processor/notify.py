"""What systemd is told: that the service is ready, alive, reloading or stopping, and how it does in one line.

The protocol is sd_notify(3): one datagram of assignments to the socket that $NOTIFY_SOCKET names. Started by anything
but systemd, there is no such socket, and nothing is sent.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import MutableMapping

from sftpd_processor.telemetry import printable

_LONGEST_STATUS = 1000  # characters; `systemctl status` shows one line
_PATIENCE = 1.0  # seconds that a message may wait for systemd
_LONG_PATIENCE = 20.0  # the same for one without which a start or a reload would never end
_BEATS = 4  # signs of life in the time after which systemd would miss one


class Notifier:
    """Tells systemd, if it asks. A message that cannot be sent is passed over: the work matters more."""

    def __init__(self, environment: MutableMapping[str, str] = os.environ) -> None:
        """Takes what systemd put into `environment` out of it, so that no child speaks in the service's name."""
        address = environment.pop("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        seconds = _seconds(environment.pop("WATCHDOG_USEC", ""), environment.pop("WATCHDOG_PID", ""))
        self._every = None if seconds is None else seconds / _BEATS
        self._beat = -float("inf")
        self._status = ""

    @property
    def heard(self) -> bool:
        """Whether anybody listens."""
        return bool(self._address)

    def ready(self) -> None:
        """The start, or a reload, has ended well enough to work."""
        self._send("READY=1", _LONG_PATIENCE)

    def reloading(self) -> None:
        """The configuration is being read again; `ready` ends it."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000}", _LONG_PATIENCE)

    def stopping(self) -> None:
        """Nothing more is taken."""
        self._send("STOPPING=1")

    def alive(self) -> None:
        """A sign of life, for WatchdogSec=; more often than needed does no harm."""
        now = time.monotonic()
        if self._every is not None and now - self._beat >= self._every:
            self._beat = now
            self._send("WATCHDOG=1")

    def more_time(self, seconds: float) -> None:
        """The start takes so many seconds more, at most."""
        self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1_000_000)}")

    def status(self, text: str) -> None:
        """How the service does, in one line; told when it has changed."""
        line = printable(" ".join(text.split()))[:_LONGEST_STATUS]
        if line != self._status and self._send(f"STATUS={line}"):
            self._status = line

    def _send(self, message: str, patience: float = _PATIENCE) -> bool:
        """Whether it was sent."""
        if not self._address:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
                sender.settimeout(patience)
                sender.sendto(message.encode("utf-8", "replace"), self._address)
        except (OSError, ValueError):
            return False
        return True


def _seconds(microseconds: str, pid: str) -> float | None:
    """How long systemd waits for a sign of life; None when it waits for none, or for another process."""
    if not microseconds.isdigit() or (pid and pid != str(os.getpid())):
        return None
    return int(microseconds) / 1_000_000
