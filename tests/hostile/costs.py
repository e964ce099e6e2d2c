"""What the largest hostile files cost, against an ordinary one: `python -m tests.hostile.costs` prints JSON.

Each file is read in a process of its own, forked from one that has read ordinary files, so that what is told is what
this one file adds: its seconds of processor time (the better of two), and the most MiB held at once.
"""

from __future__ import annotations

import gc
import json
import os
import resource
from collections.abc import Iterator
from time import process_time
from zoneinfo import ZoneInfo

from sftpd_processor.events.parse import parse
from tests.hostile.corpus import corpus

ORDINARY = "ordinary"
_LARGE = 100_000
_FULL = 1 << 20


def main() -> None:
    """Print `{name: [seconds, MiB]}`."""
    _read(_ordinary())
    gc.collect()
    print(json.dumps({name: _in_a_child(data) for name, data in _files()}))


def _files() -> Iterator[tuple[str, bytes]]:
    yield ORDINARY, _ordinary()
    nested = b'{"type":"payment","x":[' + b"[],{}," * 11 + b"0]}"
    yield "nested members", b"[" + b",".join([nested] * 9_990) + b"]"
    heavy = b'{"type":"payment","x":[' + b'{"":{}},' * 4_900 + b"0]}"
    yield "heavy members", b"[" + b",".join([heavy] * (_FULL // (len(heavy) + 1))) + b"]"
    wrong = b'{"type":"payment","dateCreated":5,"customerUID":[],"conversationId":[],"communicationActionId":{}}'
    yield "wrong members", b"[" + b",".join([wrong] * 10_000) + b"]"
    yield "wrong lines", b"\n".join([wrong] * 10_000)
    for name, file in corpus().items():
        if _LARGE <= len(data := file.data) <= _FULL:
            yield name, data


def _ordinary() -> bytes:
    """An array of ordinary events, as large as a file may be by default."""
    member = (
        '{"type":"inboundMessage","conversationId":"97011","communicationActionId":"%d","customerUID":"123456",'
        '"outboundChannelAddress":"353870000001","inboundChannelAddress":"ExampleSMS",'
        '"body":"Yes please, call me tomorrow","dateCreated":"2026-10-20 14:02:11.123"}'
    )
    return ("[" + ",".join(member % number for number in range(4_100)) + "]").encode()


def _in_a_child(data: bytes) -> list[float]:
    """What reading `data` costs: seconds and MiB."""
    reader, writer = os.pipe()
    if (child := os.fork()) == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        seconds = min(_read(data) for _ in range(2))
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        os.write(writer, json.dumps([round(seconds, 4), round(grown / 1024, 1)]).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        cost: list[float] = json.load(answer)
    os.waitpid(child, 0)
    return cost


def _read(data: bytes) -> float:
    started = process_time()
    parse(data, ZoneInfo("Europe/Dublin"))
    return process_time() - started


if __name__ == "__main__":
    main()
