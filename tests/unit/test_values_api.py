from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from sftpd_processor import values
from sftpd_processor.values.api import MARK, Mark


def of(function: Callable[..., Any]) -> Mark:
    mark = getattr(function, MARK)
    assert isinstance(mark, Mark)
    return mark


def test_the_decorator_marks_and_changes_nothing() -> None:
    """The function is returned as it was, so tests can call it."""

    @values("balance", "dueDate")
    def account(customer_uid: str | None, address: str | None) -> dict[str, str]:
        return {"balance": str(customer_uid)}

    assert account("C-1", None) == {"balance": "C-1"}
    assert of(account) == Mark(("balance", "dueDate"), ())


def test_the_mark_survives_other_decorators() -> None:
    """One that uses functools.wraps may come before or after."""

    def logged(function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapper(*args: Any) -> Any:
            return function(*args)

        return wrapper

    @logged
    @values("a")
    @logged
    def account(customer_uid: str | None, address: str | None) -> None: ...

    assert of(account).names == ("a",)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ((), 'write @values("balance")'),
        (("",), "not empty"),
        (("a\nb",), "one line"),
        ((7,), "must be a text"),
        (("a", "a"), "'a' is in @values(…) twice"),
    ],
)
def test_mistakes_are_noted_not_raised(names: tuple[Any, ...], said: str) -> None:
    """`check` tells them; the import goes on."""
    (mistake,) = of(values(*names)(lambda uid, address: None)).mistakes
    assert said in mistake


def test_the_bare_decorator_is_a_mistake_that_is_told() -> None:
    """`@values` without a name leaves the function as it is, and says what to write."""

    def account(customer_uid: str | None, address: str | None) -> None: ...

    assert values(account) is account  # type: ignore[arg-type, comparison-overlap]
    assert of(account).mistakes == ('names no value; write @values("balance")',)


@pytest.mark.parametrize(
    "first", ["", "import sftpd_processor.values.registry as first", "import sftpd_processor.values"]
)
def test_the_decorator_can_be_imported_whatever_was_imported_first(first: str) -> None:
    """The room and the decorator have one name, and do not get in each other's way."""
    code = f"{first}\nfrom sftpd_processor import values\nimport sftpd_processor.values.api as api\n"
    code += "print(getattr(values('a')(lambda uid, address: 1), api.MARK).names)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "('a',)\n"
