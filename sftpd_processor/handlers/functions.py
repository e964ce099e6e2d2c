"""The user's own functions as handlers."""

from __future__ import annotations

import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pydantic_core import to_jsonable_python

from sftpd_processor.errors import ProcessorError
from sftpd_processor.extensions.code import Function, not_a_function, place_of
from sftpd_processor.extensions.loop import LoopThread
from sftpd_processor.extensions.text import told
from sftpd_processor.handlers.api import DONE, MARK, Captured, HandlerContext, Item, Mark, Outcome, Reject, Retry, Skip
from sftpd_processor.handlers.wanted import Wanted


class FunctionHandler:
    """Calls a function once per event: `(event)` or `(event, delivery)`.

    A plain function runs in the thread that calls `handle`; this class cannot end one that hangs, so its time
    is watched by the delivery step. A coroutine (of an `async def`, or returned by a plain function) runs in
    an event loop thread of its own and is cancelled after `timeout_seconds`.
    """

    batch_size = 1

    def __init__(self, name: str, wanted: Wanted, function: Function, context: HandlerContext) -> None:
        self.name = name
        self._wanted = wanted
        self._function = function
        self._with_delivery = takes_delivery(function)
        self._timeout = context.timeout_seconds
        self._loop = LoopThread(f"handler-{name}")

    @property
    def place(self) -> str:
        """`/path/orders.py, line 12, to_crm()`: where a person finds the function."""
        return place_of(self._function)

    @property
    def shadow(self) -> bool:
        """Whether the function declares that it only tells what it would do while `delivery.shadow` is true."""
        return declares_shadow(self._function)

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        """Nothing to open: the module is imported already, and the loop starts when a coroutine needs it."""

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(item) for item in items]

    def close(self) -> None:
        self._loop.close()

    def capture(self, item: Item) -> Captured:
        """What the function says when it is told that nothing is to be done: call it only when `shadow` is true."""
        shadow = replace(item, delivery=replace(item.delivery, shadow=True))
        answer = self._answer(shadow)
        return _captured(answer) if (ended := outcome(answer)) is DONE else Captured(ended, None)

    def _one(self, item: Item) -> Outcome:
        return outcome(self._answer(item))

    def _answer(self, item: Item) -> object:
        """What the function returned, or what it raised as a value."""
        try:
            event = item.event()
        except ProcessorError as error:
            return Reject(str(error))
        try:
            return self._call(event, item)
        except BaseException as error:  # noqa: BLE001 (exit() in user code must not end the daemon)
            return error

    def _call(self, event: object, item: Item) -> object:
        result = self._function(event, item.delivery) if self._with_delivery else self._function(event)
        if not inspect.iscoroutine(result):
            return result
        try:
            return self._loop.run(_settled(result), self._timeout)
        except TimeoutError:
            return Retry(f"timed out after {self._timeout:g} s")


async def _settled(work: Any) -> object:
    """The result of user code, or what it raised as a value: its own TimeoutError is not ours."""
    try:
        return await work
    except Exception as error:  # noqa: BLE001 (user code)
        return _Raised(error)


class _Raised:
    def __init__(self, error: Exception) -> None:
        self.error = error


def outcome(result: object) -> Outcome:
    """What a result means. A verdict counts the same returned or raised, so a returned one is not lost."""
    match result:
        case _Raised():
            return outcome(result.error)
        case Skip():
            return Outcome("skipped", str(result.reason))
        case Reject():
            return Outcome("dead", str(result.reason) or "rejected by the handler")
        case Retry():
            return Outcome("retry", str(result.reason), result.after, asked=result.after is not None)
        case BaseException():
            return Outcome("retry", told(result))
        case _:
            return DONE


def _captured(returned: object) -> Captured:
    """Amounts and dates become texts, events what they are in JSON; what JSON cannot hold is the function's mistake."""
    try:
        value = to_jsonable_python(returned, by_alias=True)
        json.dumps(value, allow_nan=False)
    except Exception as error:  # noqa: BLE001 (user code may run)
        return Captured(Outcome("dead", f"it returned what cannot be written as JSON: {told(error)}"), None)
    return Captured(DONE, {"kind": "function", "returned": value})


def declares_shadow(function: Function) -> bool:
    mark: Mark | None = getattr(function, MARK, None)
    return mark is not None and mark.shadow


def takes_delivery(function: Function) -> bool:
    """Whether to call it with `(event, delivery)` rather than `(event)`.

    A second parameter with a default is the user's own unless it is called `delivery`. Raises TypeError when
    neither call fits.
    """
    signature = inspect.signature(function)
    if _fits(signature, "event", "delivery"):
        second = next(iter([*signature.parameters.values()][1:]), None)
        if second is not None and second.name == "delivery":
            return True
        return not _fits(signature, "event")
    if _fits(signature, "event"):
        return False
    raise TypeError(f"takes {signature}, but is called with (event) or (event, delivery)")


def _fits(signature: inspect.Signature, *arguments: str) -> bool:
    try:
        signature.bind(*arguments)
    except TypeError:
        return False
    return True


def mistake_in(function: Function) -> str | None:
    """Why a function could not serve as a handler, in words; None when it can."""
    if wrong := not_a_function(function):
        return wrong
    try:
        told_of_it = takes_delivery(function)
    except (TypeError, ValueError) as error:
        return str(error)
    if declares_shadow(function) and not told_of_it:
        return "is marked shadow=True, but does not take `delivery`, whose `shadow` says when to do nothing"
    return None
