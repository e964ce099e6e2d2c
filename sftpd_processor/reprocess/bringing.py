"""Archived files on their way into the ledger, and their events out of it.

Reading and recording are as much work as handing over, so a large archive is brought by a process of its own, which
sends the events as they are wanted: `python -m sftpd_processor.reprocess.bringing`. It ends with the one that asked.
"""

from __future__ import annotations

import ctypes
import json
import marshal
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import asdict
from functools import partial
from typing import IO, Any

from sftpd_processor.collector import spare_the_collector
from sftpd_processor.errors import InternalError, LedgerUnavailable, PermanentError, ProcessorError
from sftpd_processor.ledger.bringing import Bringer, Brought
from sftpd_processor.ledger.candidates import Candidate
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.points import reached
from sftpd_processor.reprocess.patience import Patience
from sftpd_processor.reprocess.reading import Request, pieces

_WORTH_A_PROCESS = 5000  # files; starting one takes as long as bringing so many
_LENGTH = struct.Struct("<Q")
_FORMAT = 2  # of marshal: later ones look for objects that are the same, and find few
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG, see prctl(2)
_WAITING = "waiting"
_ERRORS = {error.__name__: error for error in (PermanentError, LedgerUnavailable)}

Piece = tuple[Brought, list[str]]
"""What some files have brought, and what could not be read: where, and why."""


def brought(
    request: Request, number: int, bringer: Bringer, patience: Patience, ledger_url: str | None
) -> Iterator[Piece]:
    """Everything, piece by piece; `number`: how many files there are.

    With `ledger_url` another process may do it; then `bringer` is not used. Raises what reading and recording raise.
    """
    if ledger_url is None or number < _WORTH_A_PROCESS:
        return _brought(request, bringer, patience)
    return _Elsewhere(request, ledger_url).brought(patience)


def _brought(request: Request, bringer: Bringer, patience: Patience) -> Iterator[Piece]:
    for batches, problems in pieces(request):
        found = patience(partial(bringer.bring, batches))
        reached("replay-brought")
        yield found, problems


class _Elsewhere:
    """Another process does it."""

    def __init__(self, request: Request, ledger_url: str) -> None:
        self._told = json.dumps({"request": asdict(request), "ledger": ledger_url, "asked_by": os.getpid()}).encode()

    def brought(self, patience: Patience) -> Iterator[Piece]:
        with ExitStack() as opened:
            process = subprocess.Popen(  # noqa: S603 - ourselves
                [sys.executable, "-P", "-m", __name__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                process_group=0,  # Ctrl-C is for the one that asked
            )
            opened.callback(_end, process)
            assert process.stdin is not None, "piped"  # noqa: S101
            assert process.stdout is not None, "piped"  # noqa: S101
            # Not as an argument: others could see the password of a database. That it has ended shows below.
            with suppress(BrokenPipeError), process.stdin as given:
                given.write(self._told)
            try:
                yield from _received(process.stdout, patience)
            except EOFError:
                code = process.wait()
                raise InternalError(
                    f"the process that reads the archive ended by itself (exit code {code}; -9 is often a lack of "
                    "memory)"
                ) from None


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()  # what it has not committed is brought again, if it is wanted
    assert process.stdout is not None, "piped"  # noqa: S101
    process.stdout.close()
    process.wait()


def _received(stream: IO[bytes], patience: Patience) -> Iterator[Piece]:
    """What another process sends. Raises as it does there, and `EOFError` when it ended too early."""
    while True:
        head = stream.read(_LENGTH.size)
        frame = stream.read(_LENGTH.unpack(head)[0]) if len(head) == _LENGTH.size else b""
        said = marshal.loads(frame)  # noqa: S302 - written by ourselves, a moment ago; EOFError when it is cut short
        if said is None:
            return
        if said[0] == _WAITING:
            patience.note(said[1])
            if said[1] and patience.stop.is_set():
                raise LedgerUnavailable(said[1])
            continue
        if isinstance(said[0], str):
            raise _ERRORS[said[0]](said[1])
        files, recorded, invalid, candidates, problems = said
        yield Brought(files, recorded, invalid, list(map(Candidate._make, candidates))), problems


def _send(stream: IO[bytes], said: tuple[Any, ...] | None) -> None:
    frame = marshal.dumps(said, _FORMAT)
    stream.write(_LENGTH.pack(len(frame)))
    stream.write(frame)
    stream.flush()


def _serve() -> None:
    """The other process: does what standard input asks for, and writes it to standard output."""
    ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a service manager sends it to all; the one that asked decides
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    told = json.loads(sys.stdin.buffer.read())
    if os.getppid() != told["asked_by"]:
        return  # it died before its end could be heard of
    patience = Patience(threading.Event(), lambda why: _send(out, (_WAITING, why)))
    ledger = Ledger(told["ledger"])
    spare_the_collector()
    try:
        for found, problems in _brought(Request(**told["request"]), ledger.replays.bringer(), patience):
            events = [tuple(one) for one in found.candidates]
            _send(out, (found.files, found.recorded, found.invalid, events, problems))
        _send(out, None)
    except ProcessorError as error:
        kind = next((name for name, each in _ERRORS.items() if isinstance(error, each)), PermanentError.__name__)
        _send(out, (kind, str(error)))
    except BrokenPipeError:
        os._exit(1)  # nobody wants the rest
    finally:
        ledger.close()


if __name__ == "__main__":
    _serve()
