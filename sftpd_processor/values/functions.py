"""The user's own functions as providers."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Mapping, Sequence
from pathlib import Path
from traceback import extract_tb

from sftpd_processor.extensions.code import Function, not_a_function
from sftpd_processor.extensions.loop import LoopThread, being_cancelled
from sftpd_processor.values.api import MARK, Mark, ProviderFailed, Query
from sftpd_processor.values.threads import Threads

POOL_SIZE = 8
"""Threads for one plain function."""

_OURS = f"{Path(__file__).parents[1]}/"


class FunctionProvider:
    """Calls a function for the names it is marked with.

    A plain function runs in a thread of a small pool of its own, which one that hangs uses up at most. A coroutine (of
    an `async def`, or returned by a plain function) runs in an event loop thread of its own, so that it cannot hold up
    the listener's either.
    """

    def __init__(self, name: str, function: Function, deadline_seconds: float) -> None:
        self.name = name
        self._names = names_of(function)
        self.words: frozenset[str] | None = frozenset(self._names)
        self._function = function
        self._deadline = deadline_seconds
        self._async = inspect.iscoroutinefunction(function)
        self._threads = Threads(name, POOL_SIZE)
        self._loop = LoopThread(f"values-{name}")

    def open(self) -> None:
        """Nothing to open: the module is imported already, and threads start when they are needed."""

    def ask(self, query: Query, words: Sequence[str]) -> Awaitable[Mapping[str, object]]:  # noqa: ARG002
        return self._awaited(query) if self._async else self._threads.run(lambda: self._plain(query))

    def close(self) -> None:
        self._threads.close()
        self._loop.close()

    def _plain(self, query: Query) -> Mapping[str, object]:
        try:
            result = self._function(*query)
            if inspect.iscoroutine(result):
                result = self._loop.run(result, self._deadline)
            return self._mapping(result)
        except BaseException as error:  # noqa: BLE001 (user code, exit() included)
            raise _failed(error) from None

    async def _awaited(self, query: Query) -> Mapping[str, object]:
        if self._loop.blocked_seconds() > self._deadline:
            raise ProviderFailed("its event loop is blocked: a coroutine does not await")
        return await asyncio.wrap_future(self._loop.submit(self._coroutine(query)))

    async def _coroutine(self, query: Query) -> Mapping[str, object]:
        try:
            return self._mapping(await self._function(*query))
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and being_cancelled():
                raise
            raise _failed(error) from None

    def _mapping(self, result: object) -> Mapping[str, object]:
        if len(self._names) == 1:
            return {self._names[0]: result}
        if result is None:
            return {}
        if not isinstance(result, Mapping):
            raise ProviderFailed(f"returned no mapping of names to values, but {type(result).__name__}")
        return dict(result)


def _failed(error: BaseException) -> ProviderFailed:
    """Its kind and place; its message may quote a customer."""
    if isinstance(error, ProviderFailed):
        return error
    frames = [it for it in extract_tb(error.__traceback__) if not it.filename.startswith(_OURS)]
    place = f" in {Path(frames[0].filename).name}, line {frames[0].lineno}" if frames else ""
    return ProviderFailed(f"{type(error).__name__}{place}")


def names_of(function: Function) -> tuple[str, ...]:
    """The names that a function is marked with."""
    mark: Mark = getattr(function, MARK)
    return mark.names


def mistakes(function: Function) -> list[str]:
    """Why a function could not serve as a provider, in words."""
    mark: Mark | None = getattr(function, MARK, None)
    if mark is None:
        return ['is not marked with @values("…")']
    if wrong := not_a_function(function) or _wrong_call(function):
        return [*mark.mistakes, wrong]
    return [*mark.mistakes]


def _wrong_call(function: Function) -> str | None:
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError) as error:
        return str(error)
    try:
        signature.bind("customer_uid", "outbound_channel_address")
    except TypeError:
        return f"takes {signature}, but is called with (customer_uid, outbound_channel_address)"
    return None
