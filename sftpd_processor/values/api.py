"""What a provider is: the decorator users mark their functions with, and the protocol the asker speaks to."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

from sftpd_processor.errors import TransientError

MARK = "__sftpd_values__"

F = TypeVar("F", bound=Callable[..., Any])


class Query(NamedTuple):
    """Whom a bot asks about. `customer_uid` is None for conversations that the customer began."""

    customer_uid: str | None
    outbound_channel_address: str | None


class ProviderFailed(TransientError):
    """A provider could not answer. Its text goes to the log, so it holds nothing of the question or the answer."""


class Provider(Protocol):
    """Answers custom values. This docstring is the contract.

    - `words` are the provider's own words for what it has; None: it may have any. They never change.
    - `ask` gets a query and some of those words, and returns a mapping of words to values, or an awaitable of one.
      What it has no value for is absent or None; what is in the mapping unasked is not looked at. A value is text, a
      number, a boolean, a date, time or datetime; a `ProviderFailed` as a value means that this one could not be had.
    - Whatever `ask`, or the awaitable, raises means that it failed for all those words. `ProviderFailed` tells why.
    - `ask` is called in the listener's event loop and never blocks it. It may be called again before the last
      awaitable is done. An awaitable that is cancelled has come too late, and ends soon.
    - `open` is called once, before the first `ask`, and `close` once, after the last one; also when `open` failed or
      was not called. Neither is called inside the event loop. What time heals (a database that is down) stops neither.
    """

    name: str
    words: frozenset[str] | None

    def open(self) -> None: ...
    def ask(self, query: Query, words: Sequence[str]) -> Mapping[str, object] | Awaitable[Mapping[str, object]]: ...
    def close(self) -> None: ...


@runtime_checkable
class Reachable(Protocol):
    """A provider that `check --live` can try, without a customer and before it is opened."""

    def reach(self, words: Collection[str]) -> None:
        """Reach what it asks, and look whether it has these words; raises ProviderFailed."""


@dataclass(frozen=True, slots=True)
class ProviderContext:
    """What every provider is built with: the folder of config.toml, and seconds one answer may take."""

    base_dir: Path
    deadline_seconds: float


@dataclass(frozen=True, slots=True)
class Mark:
    """What `@values` notes on a function; `mistakes` are told when the configuration is checked."""

    names: tuple[str, ...]
    mistakes: tuple[str, ...]


def values(*names: str) -> Callable[[F], F]:
    """Mark a function, plain or `async def`, as what answers these custom-value names.

    The function is called with `(customer_uid, outbound_channel_address)`; `customer_uid` is None in a conversation
    that the customer began. With one name it returns the value, with several a mapping of names to values; None, or a
    name that is not in the mapping, means that there is no value. It is returned unchanged. Mistakes do not raise
    here: `sftpd-processor check` lists them all, with file and line.
    """
    if len(names) == 1 and isinstance(names[0], FunctionType):
        return _marked(names[0], ())
    return lambda function: _marked(function, names)


def _marked(function: F, names: Sequence[object]) -> F:
    setattr(function, MARK, _mark(names))
    return function


def _mark(names: Sequence[object]) -> Mark:
    taken, mistakes = [], []
    for name in names:
        if not isinstance(name, str) or not name or not name.isprintable():
            mistakes.append("each name in @values(…) must be a text of one line that is not empty")
        elif name in taken:
            mistakes.append(f"{name!r} is in @values(…) twice")
        else:
            taken.append(name)
    if not names:
        mistakes.append('names no value; write @values("balance")')
    return Mark(tuple(taken), tuple(mistakes))
