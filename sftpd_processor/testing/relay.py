"""A slow line: a TCP relay that delays every byte by a fixed time each way, and limits nothing else.

    python -m sftpd_processor.testing.relay --listen 127.0.0.1:0 --to 127.0.0.1:2222 --delay-ms 10

prints the address it listens at, and relays until it is ended. With 10 ms each way a round trip takes 20
ms, as to a server in another country. Order is kept; each chunk is let go when its own time has come, so
throughput stays.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import subprocess
import sys
from collections.abc import Iterator

_CHUNK_BYTES = 256 * 1024
_CHUNKS_ON_THE_WAY = 4096  # an upper bound to memory, far above what fills 10 ms

_Line = asyncio.Queue[tuple[float, bytes]]


class Relay:
    """Accepts connections, and for each one opens another to the target; `delay` is in seconds, each way."""

    def __init__(self, target_host: str, target_port: int, delay: float) -> None:
        self._target = (target_host, target_port)
        self._delay = delay

    async def serve(self, host: str, port: int) -> asyncio.Server:
        """Start listening; port 0 takes a free one."""
        return await asyncio.start_server(self._relay, host, port, limit=_CHUNK_BYTES)

    async def _relay(self, near_in: asyncio.StreamReader, near_out: asyncio.StreamWriter) -> None:
        try:
            far_in, far_out = await asyncio.open_connection(*self._target, limit=_CHUNK_BYTES)
        except OSError:
            near_out.transport.abort()
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                for source, sink in ((near_in, far_out), (far_in, near_out)):
                    line: _Line = asyncio.Queue(_CHUNKS_ON_THE_WAY)
                    tasks.create_task(self._put_in(source, line))
                    tasks.create_task(_let_out(line, sink))
        except* OSError:  # one side broke the connection: break the other
            near_out.transport.abort()
            far_out.transport.abort()
        finally:
            near_out.close()
            far_out.close()

    async def _put_in(self, source: asyncio.StreamReader, line: _Line) -> None:
        now = asyncio.get_running_loop().time
        chunk = b"."
        while chunk:
            chunk = await source.read(_CHUNK_BYTES)
            await line.put((now() + self._delay, chunk))


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
    command = [sys.executable, "-m", __name__, "--to", f"{host}:{port}", "--delay-ms", str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            if process.stdout is None:
                raise RuntimeError("the relay has no output to read its port from")
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.terminate()


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, for example 127.0.0.1:2222")
    return host, int(port)


async def _run(listen: tuple[str, int], target: tuple[str, int], delay: float) -> None:
    server = await Relay(*target, delay).serve(*listen)
    host, port = server.sockets[0].getsockname()[:2]
    print(f"{host}:{port}", flush=True)  # noqa: T201 - the caller reads it
    async with server:
        await server.serve_forever()


def main() -> None:
    """Relay until ended."""
    parser = argparse.ArgumentParser(description="A TCP relay that delays every byte, each way.")
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), help="HOST:PORT, port 0 for any")
    parser.add_argument("--to", type=_address, required=True, help="HOST:PORT")
    parser.add_argument("--delay-ms", type=float, default=10.0, help="milliseconds each way")
    wanted = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_run(wanted.listen, wanted.to, wanted.delay_ms / 1000))


if __name__ == "__main__":
    main()
