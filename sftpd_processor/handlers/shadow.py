"""A shadow of a handler: what it would do is written to a file, and not done."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple, cast

from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.handlers.api import Captured, Handler, Item, Outcome, Shadowable
from sftpd_processor.handlers.functions import FunctionHandler
from sftpd_processor.handlers.jsonl import end_last_line, write_whole

_MODE = 0o640  # the effects are made of personal data


class Compared(NamedTuple):
    """What a captured delivery is beside the one of another handler.

    `differs` names what is different: `outcome`, `kind`, or a field of the effect (`row.amount`). `against` is then
    the other one's outcome and effect.
    """

    result: Literal["same", "different", "missing"]
    differs: tuple[str, ...] = ()
    against: Mapping[str, object] | None = None

    def fields(self) -> dict[str, object]:
        """As they stand in a line of the effects file."""
        fields: dict[str, object] = {"compared": self.result, "differs": self.differs}
        return fields if self.against is None else {**fields, "against": self.against}


Judge = Callable[[Item, Captured], Compared]


def shadowable(handler: Handler) -> Shadowable:
    """The same handler. Raises ConfigurationError when it cannot say what it would do."""
    if isinstance(handler, FunctionHandler) and not handler.shadow:
        why = (
            f"{handler.place} is not declared as one that can be shadowed; if it does nothing while delivery.shadow is"
            " true, and returns what it would have done, mark it @handler(…, shadow=True)"
        )
        raise ConfigurationError([Problem(f"handler {handler.name!r}", why)])
    return cast("Shadowable", handler)


class Shadow:
    """Stands in for a handler, and writes one line for each event to the file of effects.

    What the handler would answer stands in the line; the event itself is then done, without another try. The outcome's
    detail says it in short: `skipped; different: outcome`. A line is with the system, though not forced to the disk,
    when its outcome is `done`. After a crash a line may come again with the same `event_key`: the last one counts.

    The handler is not opened: no table is looked at, no file made, no connection.
    """

    def __init__(self, handler: Handler, path: Path, *, judge: Judge | None = None, resumed: bool = False) -> None:
        """`resumed`: the file goes on; otherwise it must not be there yet. `judge` compares each event.

        Raises ConfigurationError when the handler cannot be shadowed.
        """
        self._handler = shadowable(handler)
        self.name = handler.name
        self.batch_size = handler.batch_size
        self._path = path
        self._judge = judge
        self._resumed = resumed
        self._lock = threading.Lock()
        self._fd: int | None = None

    def wants(self, event_type: str) -> bool:
        return self._handler.wants(event_type)

    def open(self) -> None:
        once = 0 if self._resumed else os.O_EXCL
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(self._path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | once, _MODE)
            end_last_line(self._fd)
        except OSError as error:
            taken = isinstance(error, FileExistsError) and self._path.exists()
            why = (
                "is there already; name another file, or move it away"
                if taken
                else f"cannot be written: {error.strerror}"
            )
            raise ConfigurationError([Problem(str(self._path), why)], origin="the file of effects") from error

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        captured = [self._handler.capture(item) for item in items]
        compared = [self._judge(*each) if self._judge else None for each in zip(items, captured, strict=True)]
        lines = b"".join(map(_line, items, captured, compared))
        try:
            self._append(lines)
        except OSError as error:
            return [Outcome("retry", f"cannot write {self._path}: {error.strerror}")] * len(items)
        return [Outcome("done", _in_short(*each)) for each in zip(captured, compared, strict=True)]

    def close(self) -> None:
        with self._lock:
            if self._fd is not None:
                os.close(self._fd)
                self._fd = None
        self._handler.close()

    def _append(self, lines: bytes) -> None:
        with self._lock:
            assert self._fd is not None, "open() comes first"  # noqa: S101
            write_whole(self._fd, lines, sync=False)


def _line(item: Item, captured: Captured, compared: Compared | None) -> bytes:
    delivery, outcome = item.delivery, captured.outcome
    fields: dict[str, Any] = {
        "event_key": delivery.idempotency_key,
        "handler": delivery.handler,
        "type": item.event_type,
        "source": delivery.source,
        "file": delivery.file,
        "outcome": outcome.state,
        "detail": outcome.detail,
        "effect": captured.effect,
        **(compared.fields() if compared else {}),
    }
    return json.dumps(fields).encode("ascii") + b"\n"


def _in_short(captured: Captured, compared: Compared | None) -> str:
    """Few different texts, so that they can be counted: of a field like `row.amount`, only `row`."""
    state = captured.outcome.state
    if compared is None:
        return state
    names = dict.fromkeys(name.partition(".")[0] for name in compared.differs)
    return f"{state}; {compared.result}: {', '.join(names)}" if names else f"{state}; {compared.result}"
