"""A slow line, or a bad one: a TCP relay that delays every byte by a fixed time each way, or cuts connections.

    python -m sftpd_processor.testing.relay --listen 127.0.0.1:0 --to 127.0.0.1:2222 --delay-ms 10

prints the address it listens at, and relays until it is ended. With 10 ms each way a round trip takes 20
ms, as to a server in another country. Order is kept; each chunk is let go when its own time has come, so
throughput stays.

With `--cut 0.5` every other connection breaks at a moment that chance chooses: when so many bytes have gone through
it, counted both ways. What was under way then is lost, a request or the answer to one that was carried out.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import math
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

_CHUNK_BYTES = 256 * 1024
_CHUNKS_ON_THE_WAY = 4096  # an upper bound to memory, far above what fills 10 ms

_SHORTEST, _LONGEST = 2_000, 400_000  # bytes that a connection lives for, when it is cut: from its login to a look
_CUT = "cut"

_Line = asyncio.Queue[tuple[float, bytes]]
Lifetime = Callable[[], float]
"""Asked for each connection: after how many bytes it breaks; infinity for never."""


class Relay:
    """Accepts connections, and for each one opens another to the target; `delay` is in seconds, each way."""

    def __init__(
        self,
        target_host: str,
        target_port: int,
        delay: float,
        lifetime: Lifetime = lambda: math.inf,
        cut: Callable[[], None] = lambda: None,
    ) -> None:
        """`cut` is called when a connection was broken because its `lifetime` had come to its end."""
        self._target = (target_host, target_port)
        self._delay = delay
        self._lifetime = lifetime
        self._cut = cut

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Start listening; port 0 takes a free one."""
        return await asyncio.start_server(self._relay, host, port, limit=_CHUNK_BYTES)

    async def _relay(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far_in, far_out = await asyncio.open_connection(*self._target, limit=_CHUNK_BYTES)
        except OSError:
            near_out.transport.abort()
            return
        life = _Life(self._lifetime())
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, sink in ((near_in, far_out), (far_in, near_out)):
                    line: _Line = asyncio.Queue(_CHUNKS_ON_THE_WAY)
                    tasks.create_task(self._put_in(source, line, life))
                    tasks.create_task(_let_out(line, sink))
        except* OSError:  # one side broke the connection: break the other
            near_out.transport.abort()
            far_out.transport.abort()
            if life.over:
                self._cut()
        finally:
            near_out.close()
            far_out.close()

    async def _put_in(self, source: asyncio.StreamReader, line: _Line, life: _Life) -> None:
        now = asyncio.get_running_loop().time
        chunk = b"."
        while chunk:
            chunk = await source.read(_CHUNK_BYTES)
            life.spend(len(chunk))
            await line.put((now() + self._delay, chunk))


@dataclass(slots=True)
class _Life:
    """The bytes that a connection may still carry, counted both ways."""

    left: float

    @property
    def over(self) -> bool:
        return self.left < 0

    def spend(self, size: int) -> None:
        """Count `size` bytes; raises ConnectionAbortedError when there are more than it may carry."""
        self.left -= size
        if self.over:
            raise ConnectionAbortedError("the line is cut")


def random_lifetimes(seed: int, share: float) -> Lifetime:
    """That `share` (0 to 1) of the connections breaks, as often within a login as within much data."""
    chance = random.Random(seed)
    shortest, longest = math.log(_SHORTEST), math.log(_LONGEST)

    def lifetime() -> float:
        bytes_ = math.exp(chance.uniform(shortest, longest))
        return bytes_ if chance.random() < share else math.inf

    return lifetime


async def _let_out(line: _Line, sink: asyncio.StreamWriter) -> None:
    now = asyncio.get_running_loop().time
    while True:
        due, chunk = await line.get()
        if (left := due - now()) > 0:
            await asyncio.sleep(left)
        if not chunk:
            break
        sink.write(chunk)
        await sink.drain()
    with contextlib.suppress(OSError):
        sink.write_eof()


@contextlib.contextmanager
def relay_process(host: str, port: int, delay_ms: float = 10.0) -> Iterator[int]:
    """Run a relay to host:port in a process of its own, and give the loopback port it listens at."""
    with _process("--to", f"{host}:{port}", "--delay-ms", str(delay_ms)) as running:
        yield running.port


@contextlib.contextmanager
def cutting_relay(host: str, port: int, seed: int, share: float = 0.25) -> Iterator[RunningRelay]:
    """Run a relay that does not delay, but cuts this share of the connections, in a process of its own."""
    with _process("--to", f"{host}:{port}", "--delay-ms", "0", "--cut", str(share), "--seed", str(seed)) as running:
        yield running


@dataclass(slots=True)
class RunningRelay:
    """A relay in another process: the loopback port it listens at, and how many connections it has cut."""

    port: int
    cuts: int = 0


@contextlib.contextmanager
def _process(*arguments: str) -> Iterator[RunningRelay]:
    command = [sys.executable, "-m", __name__, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        if process.stdout is None:
            raise RuntimeError("the relay has no output to read its port from")
        running = RunningRelay(int(process.stdout.readline().rpartition(":")[2]))
        reader = threading.Thread(target=_count, args=(process.stdout, running), daemon=True)
        reader.start()
        try:
            yield running
        finally:
            process.terminate()
            reader.join()


def _count(said: Iterator[str], running: RunningRelay) -> None:
    for line in said:
        running.cuts += line.strip() == _CUT


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:2222")
    return host, int(port)


def _say_cut() -> None:
    print(_CUT, flush=True)  # noqa: T201 - the caller counts it


async def _run(listen: tuple[str, int], relay: Relay) -> None:
    server = await relay.serve(*listen)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"{host}:{port}", flush=True)  # noqa: T201 - the caller reads it
    async with server:
        await server.serve_forever()


def main() -> None:
    """Relay until ended."""
    parser = argparse.ArgumentParser(description="A TCP relay that delays every byte, or cuts connections.")
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), help="HOST:PORT, port 0 for any")
    parser.add_argument("--to", type=_address, required=True, help="HOST:PORT")
    parser.add_argument("--delay-ms", type=float, default=10.0, help="milliseconds each way")
    parser.add_argument("--cut", type=float, default=0.0, help="the share (0 to 1) of connections that break")
    parser.add_argument("--seed", type=int, default=0, help="of the moments at which they break")
    wanted = parser.parse_args()
    host, port = wanted.to
    relay = Relay(host, port, wanted.delay_ms / 1000, random_lifetimes(wanted.seed, wanted.cut), _say_cut)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(wanted.listen, relay))


if __name__ == "__main__":
    main()
