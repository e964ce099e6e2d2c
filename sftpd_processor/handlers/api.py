"""What a handler is: the names users write their functions with, and the protocol the delivery speaks to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from types import FunctionType
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, overload
from zoneinfo import ZoneInfo

from sftpd_processor.events.models import Event
from sftpd_processor.events.parse import parse_event
from sftpd_processor.extensions.text import one_line
from sftpd_processor.handlers.wanted import Wanted, wanted

DETAIL_CHARACTERS = 500
LONGEST_WAIT_SECONDS = 365 * 86_400.0
MARK = "__sftpd_handler__"

F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class Delivery:
    """One event on its way to one handler.

    `idempotency_key` is the same for every attempt, and after a crash: hand it to whatever must not do a
    thing twice. `attempt` counts from 1. `origin` is how the event came: `sftp`, `directory`, `http` or
    `replay`. `source` names the source; `file` the file it came in, or the copy of a live post. `received_at` is
    when the event was recorded here (timezone-aware). `shadow` is true when nothing is to be done, only told:
    a function marked `@handler(…, shadow=True)` then returns what it would have done.
    """

    idempotency_key: str
    handler: str
    attempt: int
    origin: str
    source: str
    file: str | None
    received_at: datetime
    shadow: bool = False


class Skip(Exception):
    """Return or raise it: the delivery is done without effect, and `reason` says why."""

    def __init__(self, reason: str = "") -> None:
        self.reason = str(reason)
        super().__init__(reason)


class Retry(Exception):
    """Raise it to be tried again: after `after` seconds, or by the policy when that is None.

    Each try counts as an attempt. Raises ValueError when `after` is negative or more than a year.
    """

    def __init__(self, reason: str = "", after: float | None = None) -> None:
        if after is not None and not 0 <= after <= LONGEST_WAIT_SECONDS:
            raise ValueError(f"Retry(after={after}): give seconds from now, between 0 and a year")
        self.reason = str(reason)
        self.after = after
        super().__init__(reason)


class Reject(Exception):
    """Raise it to send the delivery to the dead letters at once, without another try."""

    def __init__(self, reason: str = "") -> None:
        self.reason = str(reason)
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@handler` notes on a function; `mistakes` are told when the configuration is checked."""

    name: str | None
    wanted: Wanted
    mistakes: tuple[str, ...]
    shadow: bool = False


@overload
def handler(*events: type[Event] | str, name: str | None = None, shadow: bool = False) -> Callable[[F], F]: ...
@overload
def handler(event: F, /) -> F: ...
def handler(*events: Any, name: str | None = None, shadow: bool = False) -> Any:
    """Mark a function, plain or `async def`, as a handler of these events; without any, of all events.

    Events are classes (`InboundMessage`) or names (`"inboundMessage"`, and `"deliveryReport"` as Webio's
    subscriptions call it). The function is called with `(event)` or `(event, delivery)` and is returned
    unchanged. Mistakes do not raise here: `sftpd-processor check` lists them all, with file and line.

    `shadow` promises that the function does nothing while `delivery.shadow` is true, and returns what it would
    have done (what JSON can hold, or None); only then can `reprocess --shadow` call it.
    """
    if len(events) == 1 and isinstance(events[0], FunctionType):
        return _marked(events[0], (), name, shadow)
    return lambda function: _marked(function, events, name, shadow)


def _marked(function: F, events: Sequence[object], name: str | None, shadow: object) -> F:
    taken, mistakes = wanted(events)
    if name is not None and not (isinstance(name, str) and name):
        mistakes += ("its name= must be a text that is not empty",)
        name = None
    if not isinstance(shadow, bool):
        mistakes += ("its shadow= must be True or False",)
    setattr(function, MARK, Mark(name, taken, mistakes, shadow is True))
    return function


@dataclass(frozen=True, slots=True)
class Item:
    """One claimed delivery, as the delivery step hands it over. `body` is the event's JSON as recorded."""

    body: bytes = field(repr=False)
    zone_name: str
    delivery: Delivery
    event_type: str
    conversation: str | None = field(repr=False)

    def event(self) -> Event:
        """Parse the body; on demand, since many built-ins need only its bytes."""
        return parse_event(self.body, ZoneInfo(self.zone_name))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one delivery. `detail` is made one printable line of at most 500 characters.

    `retry` waits `after` seconds, or as long as the policy says when that is None. `asked`: the user's code itself
    asked to be called again then, so it is in order. `detail` may quote the user's own code: keep it in the ledger,
    never log it.
    """

    state: Literal["done", "skipped", "retry", "dead"]
    detail: str = field(default="", repr=False)
    after: float | None = None
    asked: bool = False

    def __post_init__(self) -> None:
        if self.detail:
            object.__setattr__(self, "detail", one_line(self.detail, DETAIL_CHARACTERS))


DONE = Outcome("done")

Effect = dict[str, Any]
"""What a handler would do with one event, as JSON can hold it; `kind` says which sort of handler it is."""


class Captured(NamedTuple):
    """What `handle` would answer for an event, and its effect: None when it is not known, or would not be done."""

    outcome: Outcome
    effect: Effect | None


class Handler(Protocol):
    """Does something with events. This docstring is the contract.

    - `handle` takes up to `batch_size` items (1: one by one) and returns one outcome per item, in the same
      order. It does not raise for a mistake of the user, nor for anything the world does (a full disk, a
      refused connection, a program that dies): those are outcomes.
    - Items of one conversation come in their order. When an outcome is `retry`, those of all later items of
      that conversation in the same call are `retry` too, so that none overtakes.
    - An item may come again with the same idempotency key after a crash: at least once, never lost.
    - `handle` is called from several threads at once, for different conversations.
    - `wants` says whether the handler takes a type; its answer for a type never changes.
    - `open` is called once, before the first item, and raises a `ConfigurationError` for what only a person
      can mend. What time heals (a database that is down) does not stop it: `handle` says `retry` until then.
    - `close` is called once, after the last `handle` has returned; also when `open` failed.
    """

    name: str
    batch_size: int

    def wants(self, event_type: str) -> bool: ...
    def open(self) -> None: ...
    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]: ...
    def close(self) -> None: ...


class Shadowable(Handler, Protocol):
    """A handler that can say what it would do.

    `capture` performs nothing: it opens no connection, file or process, and needs no `open`. It is made by the same
    code as what `handle` sends, and shows no secret. It is called from several threads at once.
    """

    def capture(self, item: Item) -> Captured: ...


@dataclass(frozen=True, slots=True)
class HandlerContext:
    """What every handler is built with: seconds one delivery may take, and the folder of config.toml."""

    timeout_seconds: float
    base_dir: Path
