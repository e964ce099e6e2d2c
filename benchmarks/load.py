"""Making requests as fast as they are answered (wrk), or at a steady pace (sockets in threads)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any, Self

from sftpd_processor.testing.latency import Latencies

_DONE = """
done = function(summary, latency)
  local e = summary.errors
  io.write(string.format('RESULT {"requests": %d, "seconds": %f, "bad": %d, "errors": %d, "p50": %f, "p99": %f}\\n',
    summary.requests, summary.duration / 1e6, e.status, e.connect + e.read + e.write + e.timeout,
    latency:percentile(50) / 1e6, latency:percentile(99) / 1e6))
end
"""

_POSTS = """
local threads = 0
setup = function(thread) threads = threads + 1; thread:set("number", threads) end
local made = 0
request = function()
  made = made + 1
  local id = string.format("%s-%d-%d", run, number, made)
  return wrk.format("POST", nil, nil, (body:gsub("IDENTITY", id)))
end
"""


@dataclass(frozen=True, slots=True)
class Pressed:
    """What wrk measured. `bad` are answers of 400 and above, `errors` requests without one; times in seconds."""

    requests: int
    seconds: float
    bad: int
    errors: int
    p50: float
    p99: float

    @property
    def good(self) -> int:
        """Answers below 400."""
        return self.requests - self.bad

    @property
    def per_second(self) -> float:
        """Good answers per second."""
        return self.good / self.seconds


def need_wrk() -> str:
    """The path of wrk; ends the program where it is missing."""
    path = shutil.which("wrk")
    if path is None:
        sys.exit("wrk is not installed, and this benchmark needs it: apt-get install wrk")
    return path


def press(
    url: str, headers: dict[str, str], *, seconds: int, clients: int, script: str = "", core: int | None = None
) -> Pressed:
    """Run wrk, on one core when it is given."""
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as file:
        file.write(script + _DONE)
        file.flush()
        options = ["-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "10s", "--latency", "-s", file.name]
        for name, value in headers.items():
            options += ["-H", f"{name}: {value}"]
        command = [*pinned(core), need_wrk(), *options, url]
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    return Pressed(**json.loads(line.removeprefix("RESULT ")))


def press_posts(url: str, headers: dict[str, str], run: str, *, seconds: int, clients: int) -> Pressed:
    """Let wrk post, each time another event."""
    body = json.dumps(event("IDENTITY"))
    return press(
        url, headers, seconds=seconds, clients=clients, script=f"run = {run!r}\nbody = [==[{body}]==]\n{_POSTS}"
    )


def event(identity: str) -> dict[str, str]:
    """A message of usual size."""
    return {
        "type": "messageSend", "conversationId": "97011", "communicationActionId": identity,
        "outboundChannelAddress": "447700900123", "inboundChannelAddress": "Collections SMS", "customerUID": "100123",
        "body": "Hello, this is Acme. Can you pay today? Reply YES or NO.", "statusCode": "1",
        "dateCreated": "2026-11-22 10:11:12.345",
    }  # fmt: skip


def pinned(core: int | None) -> list[str]:
    """What to put before a command so that it runs on one core; nothing where that cannot be had."""
    taskset = shutil.which("taskset")
    return [] if core is None or taskset is None else [taskset, "-c", str(core)]


class Connection:
    """One connection, as simple as can be: its cost must not be felt beside the listener's."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=30)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._rest = b""

    def send(self, request: bytes) -> int:
        """The status of the answer. Raises OSError when there is none."""
        self._socket.sendall(request)
        head, _, rest = self._until(lambda data: b"\r\n\r\n" in data).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length:")[2].split(b"\r\n")[0])
        self._rest = rest
        self._until(lambda data: len(data) >= length)
        return int(head.split(b" ", 2)[1])

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _until(self, enough: Callable[[bytes], bool]) -> bytes:
        data, self._rest = self._rest, b""
        while not enough(data):
            more = self._socket.recv(65536)
            if not more:
                raise ConnectionError("the listener hung up")
            data += more
        return data


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """The bytes of a request."""
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", *(f"{name}: {value}" for name, value in headers.items())]
    if body:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


class Steady:
    """The same request at a steady pace, from 8 connections, until told to stop.

    A request is due whether or not the one before is answered; where its thread comes late because it still waited for
    an answer, its latency counts from when it was due.
    """

    def __init__(self, port: int, asked: bytes, rate: float, threads: int = 8) -> None:
        self.latencies = Latencies()
        self.bad = 0
        self._asked = asked
        self._rate = rate
        self._numbers: Iterator[int] = count()
        self._began = 0.0
        self._end = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._ask, args=(Connection(port),)) for _ in range(threads)]

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, connection: Connection) -> None:
        with connection:
            while not self._end.is_set():
                with self._lock:
                    due = self._began + next(self._numbers) / self._rate
                since = due
                if (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                    since = time.monotonic()
                status = connection.send(self._asked)
                taken = time.monotonic() - since
                with self._lock:
                    self.latencies.add(taken)
                    self.bad += status != 200


def milliseconds(latencies: Latencies) -> dict[str, Any]:
    """Of a steady run."""
    return {"requests": latencies.count, **latencies.as_milliseconds()}
