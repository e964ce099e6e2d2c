"""What `archive list` shows of each file, and which one `archive cat` means."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpd_processor.cli.lines import page
from sftpd_processor.cli.story import GONE, MOST, where
from sftpd_processor.cli.why import events_named, files_named
from sftpd_processor.cli.words import clock, counted, iso
from sftpd_processor.errors import PermanentError

if TYPE_CHECKING:
    from sftpd_processor.archive.copies import Copies
    from sftpd_processor.ledger.holdings import Holding
    from sftpd_processor.ledger.ledger import Ledger

_UNWRITTEN = "in the ledger; its copy is still to be written"


def show(state: Path, holdings: Iterator[Holding], limit: int | None, *, as_json: bool) -> None:
    """Write one after another, as they come, and how many they were."""
    from sftpd_processor.archive.copies import Copies

    copies = Copies(state)
    told = (_told(one, copies) for one in islice(holdings, limit))
    (_as_json if as_json else _as_lines)(told, lambda: next(holdings, None) is not None)


def _as_json(told: Iterable[dict[str, Any]], more: Callable[[], bool]) -> None:
    total = {"files": 0, "events": 0, "bytes": 0}
    sys.stdout.write('{"files": [')
    for one in told:
        sys.stdout.write((", " if total["files"] else "") + json.dumps(one))
        _add(total, one)
    sys.stdout.write(f'], "total": {json.dumps(total)}, "more": {json.dumps(more())}}}\n')


def _as_lines(told: Iterable[dict[str, Any]], more: Callable[[], bool]) -> None:
    total = {"files": 0, "events": 0, "bytes": 0}
    for one in told:
        what = f"{one['source']}/{one['name']}  {one['verdict']}, {counted(one['events'], 'event')}"
        size = counted(one["bytes"], "byte")
        sys.stdout.write(page([f"{clock(one['recorded'])}  {what}, {size}  {one['where']}"]))
        _add(total, one)
    sums = f"{counted(total['files'], 'file')}, {counted(total['events'], 'event')}, {counted(total['bytes'], 'byte')}"
    sys.stdout.write(f"{sums}{'; there are more' if more() else ''}\n")


def _add(total: dict[str, int], one: dict[str, Any]) -> None:
    total["files"] += 1
    total["events"] += one["events"]
    total["bytes"] += one["bytes"]


def _told(one: Holding, copies: Copies) -> dict[str, Any]:
    return {
        "recorded": iso(one.recorded_at),
        "source": one.source,
        "name": one.name,
        "verdict": one.verdict,
        "events": one.events,
        "bytes": one.size,
        "gone": one.gone,
        "where": _place(one, copies),
    }


def _place(one: Holding, copies: Copies) -> str:
    if not one.kept:
        return str(one.gone)
    return where(copies, one.stored) if one.stored is not None else _UNWRITTEN


def exact(state: Path, ledger: Ledger, what: str) -> bytes:
    """The bytes of the one file that `what` stands for, just as they were recorded.

    Raises `PermanentError` when there is none, when there are several, and when its bytes are gone or others.
    """
    from sftpd_processor.archive.copies import Copies

    one = _one(_found(ledger, what), what)
    if not one.kept:
        raise PermanentError(f"the copy of {one.source}/{one.name} {GONE[str(one.gone)]}")
    raw = Copies(state).read(one.stored, one.sha256) if one.stored is not None else ledger.retries.raw(one.id)
    if sha256(raw).hexdigest() != one.sha256:
        raise PermanentError(f"the bytes of {one.source}/{one.name} in the ledger are not those that were recorded")
    return raw


def _found(ledger: Ledger, what: str) -> list[Holding]:
    if what.startswith(("archive/", "quarantine/")) and (found := ledger.holdings.at([what])):
        return found
    rows, _ = files_named(ledger, what, MOST)
    if rows:
        found = ledger.holdings.again([row["id"] for row in rows])
        if not found:
            raise PermanentError(f"{what} was never recorded; `sftpd-processor why` tells what became of it")
        return found
    events = [event for number in events_named(ledger, what)[:MOST] if (event := ledger.stories.event(number))]
    return ledger.holdings.again(sorted({event["file_id"] for event in events}))


def _one(found: list[Holding], what: str) -> Holding:
    if not found:
        raise PermanentError(f"{what}: no file of that name was ever listed, and no event is known by it")
    if len({(one.sha256, one.kept) for one in found}) > 1:
        told = [
            f"  {one.stored or one.gone or _UNWRITTEN}: {one.source}, recorded {clock(str(iso(one.recorded_at)))}, "
            f"{one.verdict}, {counted(one.size, 'byte')}"
            for one in found
        ]
        raise PermanentError("\n".join([f"{what} stands for several files; name one by where its copy lies:", *told]))
    return found[-1]
