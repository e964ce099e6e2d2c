from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

import sftpd_processor
from sftpd_processor import InboundMessage, Payment, Reject, Retry, Skip, UnknownEvent, handler
from sftpd_processor.events.models import Event
from sftpd_processor.extensions.text import one_line, told
from sftpd_processor.handlers.api import MARK, Mark, Outcome
from sftpd_processor.handlers.wanted import EVERYTHING, Wanted, wanted
from tests.handler_items import item


def taken(*events: type[Event] | str) -> Wanted:
    result, mistakes = wanted(events)
    assert not mistakes
    return result


def test_every_public_name_can_be_used() -> None:
    """Each name in `__all__` is there, and in `dir()`."""
    assert all(getattr(sftpd_processor, name) for name in sftpd_processor.__all__)
    assert set(sftpd_processor.__all__) <= set(dir(sftpd_processor))


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    """The lazy loading refuses what it does not know, as any module does."""
    with pytest.raises(AttributeError, match="nothing_here"):
        _ = sftpd_processor.nothing_here


def test_importing_the_package_loads_no_library() -> None:
    """`import sftpd_processor` costs next to nothing."""
    code = "import sys, sftpd_processor; sys.exit('pydantic' in sys.modules or 'asyncio' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_decorator_returns_the_function_itself() -> None:
    """A handler stays callable by hand, for the user's own tests."""

    def to_crm(event: Event) -> None: ...

    assert handler(InboundMessage, name="crm")(to_crm) is to_crm
    assert getattr(to_crm, MARK) == Mark("crm", Wanted(frozenset({"inboundMessage"}), unknown=False), ())


def test_the_decorator_without_parentheses_takes_every_event() -> None:
    """`@handler` alone means the same as `@handler()`."""

    @handler
    def bare(event: Event) -> None: ...

    @handler()
    def called(event: Event) -> None: ...

    assert getattr(bare, MARK) == getattr(called, MARK) == Mark(None, EVERYTHING, ())


def test_a_mistake_in_the_decorator_does_not_raise() -> None:
    """Importing a module with a mistake succeeds, so that `check` can list all of them."""

    events: list[Any] = ["inboundMesage", 7]

    @handler(*events, name="")
    def wrong(event: Event) -> None: ...

    unknown, number, name = getattr(wrong, MARK).mistakes
    assert unknown == "unknown event type 'inboundMesage'; did you mean 'inboundMessage'?"
    assert "'7'" in number
    assert "name=" in name


def test_events_are_named_by_class_by_type_and_by_subscription() -> None:
    """A class, its type on the wire and Webio's name for the subscription mean the same event."""
    assert taken(InboundMessage) == taken("inboundMessage")
    assert taken("deliveryReport") == taken(sftpd_processor.MessageStatusUpdate)


def test_only_an_unknown_event_handler_or_one_for_all_takes_unknown_types() -> None:
    """A type that nobody knows goes to those who asked for it, or for everything."""
    assert "brandNew" in taken()
    assert "brandNew" in taken(Event)
    assert "brandNew" in taken(UnknownEvent)
    assert "payment" not in taken(UnknownEvent)
    assert "brandNew" not in taken(Payment)
    assert "payment" in taken(UnknownEvent, Payment)


def test_the_configuration_narrows_what_a_function_takes() -> None:
    """What both name is taken; nothing in common is an empty set."""
    assert taken(Payment, InboundMessage) & taken("payment") == taken("payment")
    assert taken("payment") & EVERYTHING == EVERYTHING & taken("payment") == taken("payment")
    assert not taken(Payment) & taken(InboundMessage)


@pytest.mark.parametrize("after", [-1, math.nan, math.inf, 366 * 86_400])
def test_an_impossible_wait_is_refused_where_it_is_written(after: float) -> None:
    """A wait that no clock can hold raises in the user's code, not later in ours."""
    with pytest.raises(ValueError, match="between 0 and a year"):
        Retry(after=after)


def test_verdicts_carry_their_reason() -> None:
    """`Skip`, `Retry` and `Reject` keep what they were given."""
    assert (Skip("a").reason, Reject("b").reason, Retry("c", after=60).reason) == ("a", "b", "c")
    assert Retry(after=60).after == 60


def test_a_detail_is_one_bounded_printable_line() -> None:
    """Whatever a handler says can be shown in a table on a terminal."""
    outcome = Outcome("retry", "one\ntwo\t\x1b[31mred " + "x" * 9999)
    assert outcome.detail.startswith("one two [31mred x")
    assert len(outcome.detail) == 500
    assert one_line("\x00\r\n") == ""


def test_an_error_that_cannot_be_told_is_named_all_the_same() -> None:
    """User code whose exception breaks in `__str__` still gives a detail."""

    class BrokenError(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    assert told(BrokenError()) == "BrokenError: (its message could not be read)"
    assert told(KeyError()) == "KeyError"
    assert told(ValueError("no")) == "ValueError: no"


def test_an_item_shows_nothing_of_the_customer() -> None:
    """The repr of a delivery holds neither the body nor the conversation, and an outcome's not its detail."""
    shown = repr(item()) + repr(Outcome("dead", "447700900001"))
    assert "hello" not in shown
    assert "447700900001" not in shown
    assert "97011" not in shown


def test_an_item_parses_its_event_in_the_source_time_zone() -> None:
    """`dateCreated` without an offset is read in the zone of the source."""
    event = item(dateCreated="2026-07-01 12:00:00.000").event()
    assert isinstance(event, InboundMessage)
    assert event.date_created is not None
    assert event.date_created.isoformat() == "2026-07-01T12:00:00+01:00"
