"""A shadowed handler beside the one that has handled the same events: same, different, missing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome, Shadowable
from sftpd_processor.handlers.registry import build_handlers
from sftpd_processor.handlers.shadow import Compared, Shadow
from sftpd_processor.reprocess.shadowing import _COMPARED, Comparison, Tally
from tests.handler_items import item, settings
from tests.integration.delivery_items import World

PAGE = (Path(__file__).parents[2] / "docs" / "shadow.md").read_text()
BODY = b'{"type": "inboundMessage", "customerUID": "C-3", "body": "I will take LEGAL advice"}'
ROWS = {"customer": "customerUID", "said": "body"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """An empty ledger."""
    made = World(tmp_path)
    yield made
    made.close()


def make(use: str, name: str = "crm", **options: Any) -> Shadowable:
    (handler,) = build_handlers([settings(use, name, options=options)], HandlerContext(10, Path("/nowhere")))
    return cast("Shadowable", handler)


def sql(name: str, table: str = "messages", **columns: str) -> Shadowable:
    return make("sql", name, url="sqlite:////nowhere/there.db", table=table, columns={**ROWS, **columns})


def compared(new: Shadowable, old: Shadowable, old_state: str | None = "done") -> Compared:
    return Comparison(new.name, old).of(item(), new.capture(item()), old_state)


OLD = """
    @handler(name="crm", shadow=True)
    def crm(event, delivery):
        number = int(event.body)
        if number == 3:
            return Skip("a test")
        if number == 4:
            raise Reject("no customer")
        return {"number": number, "rate": 20}
    """
NEXT = """
    @handler(name="crm-next", shadow=True)
    def crm(event, delivery):
        assert delivery.shadow
        number = int(event.body)
        if number == 4:
            raise Reject("no customer")
        return {"number": number, "rate": 21 if number in (5, 6) else 20}
    """


def test_history_is_compared_event_by_event(world: World) -> None:
    """Every event has one line that says what the old handler did with it, and the details give the same numbers."""
    _, (crm,) = world.module(OLD)
    _, (new,) = world.module(NEXT)
    world.record(["crm", "crm-next"], ["a", "b", "c", "d", "a", "b", "c"])
    world.record(["crm-next"], ["a"])
    world.finish(world.deliverer(crm))
    before = {str(row.number): row.state for row in world.rows() if row.handler == "crm"}

    def judge(each: Item, captured: Captured) -> Compared:
        return comparison.of(each, captured, before.get(json.loads(each.body)["body"]))

    comparison = Comparison("crm-next", crm)
    effects = world.folder / "effects.jsonl"
    shadow = Shadow(new, effects, judge=judge)
    shadow.open()
    world.finish(world.deliverer(shadow, workers=4))
    shadow.close()

    lines = {line["file"]: line for line in map(json.loads, effects.read_text().splitlines())}
    assert len(effects.read_text().splitlines()) == 8
    told = {int(name[:6]): (line["compared"], line["differs"]) for name, line in lines.items()}
    same: tuple[str, list[str]] = ("same", [])
    other_rate = ("different", ["returned.rate"])
    assert told == {
        1: same, 2: same, 3: ("different", ["outcome"]), 4: same, 5: other_rate, 6: other_rate, 7: same,
        8: ("missing", []),
    }  # fmt: skip
    assert lines["000003.json"]["against"] == {"outcome": "skipped", "effect": None}
    was = {"kind": "function", "returned": {"number": 5, "rate": 20}}
    assert lines["000005.json"]["against"] == {"outcome": "done", "effect": was}
    assert "against" not in lines["000001.json"]
    tally = Tally()
    for row in world.rows():
        if row.handler == "crm-next":
            assert (row.state, row.attempts) == ("done", 1)
            tally.add("inboundMessage", row.detail or "")
    numbers = {
        "events": 8,
        "outcomes": {"dead": 1, "done": 7},
        "same": 4,
        "different": 3,
        "missing": 1,
        "differs": {"outcome": 1, "returned": 2},
    }
    assert tally.as_data() == {**numbers, "by_type": {"inboundMessage": numbers}}


def test_where_an_effect_goes_to_is_no_difference() -> None:
    """Another URL, other headers, another table or file: the same event all the same."""
    http = make("http", "next", url="https://next.example.com/hooks", headers={"x-team": "a"})
    assert compared(http, make("http", url="http://old.example.com")) == Compared("same")
    assert compared(sql("next", table="more.messages"), sql("crm")) == Compared("same")
    assert compared(make("jsonl", "next", path="b.jsonl"), make("jsonl", path="a.jsonl")) == Compared("same")
    assert compared(make("command", "next", argv=["true"]), make("command", argv=["false"])) == Compared("same")


def test_each_column_that_differs_is_named() -> None:
    """Of a row: a column with another value, and those that only one of the two has."""
    old = sql("crm", created="dateCreated")
    found = compared(sql("next", said="conversationId", kind="type"), old)
    assert (found.result, found.differs) == ("different", ("row.said", "row.kind", "row.created"))
    assert found.against == {"outcome": "done", "effect": old.capture(item()).effect}


def test_handlers_of_two_kinds_differ_in_kind() -> None:
    """A row and a request have nothing that could be compared."""
    found = compared(sql("next"), make("http", url="http://old.example.com"))
    assert (found.result, found.differs) == ("different", ("kind",))


@pytest.mark.parametrize(
    ("new", "old", "differs"),
    [
        ("done", "done", False),
        ("done", "pending", True),
        ("done", "dead", True),
        ("retry", "pending", False),
        ("retry", "running", False),
        ("retry", "failed", False),
        ("skipped", "skipped", False),
        ("dead", "skipped", True),
    ],
)
def test_outcomes_are_compared_with_the_recorded_state(new: Any, old: str, *, differs: bool) -> None:
    """A delivery that was not done in the end counts as one to be tried again."""
    found = Comparison("next", None).of(item(), Captured(Outcome(new), None), old)
    assert found.differs == (("outcome",) if differs else ())


def test_without_its_effects_the_old_handler_has_its_outcomes(world: World) -> None:
    """A function that cannot be shadowed is never called, nor the handler beside itself."""
    _, (silent,) = world.module(
        """
        @handler(name="crm")
        def crm(event):
            raise AssertionError
        """
    )
    new = Captured(DONE, {"kind": "function", "returned": 1})
    comparison = Comparison("next", silent)
    assert not comparison.knows_effects
    assert comparison.of(item(), new, "done") == Compared("same")
    assert comparison.of(item(), new, None) == Compared("missing")
    assert not Comparison("crm", make("log")).knows_effects
    assert Comparison("next", make("log")).knows_effects


def test_types_without_a_class_are_counted_together() -> None:
    """However many names come from outside, the report stays small; without a comparison it has the outcomes."""
    tally = Tally()
    tally.add("payment", "done", 2)
    for number in range(3):
        tally.add(f"survey{number}", "skipped")
    data = tally.as_data()
    assert (data["events"], data["outcomes"]) == (5, {"done": 2, "skipped": 3})
    assert list(data["by_type"]) == ["other types", "payment"]
    assert data["by_type"]["other types"] == {
        "events": 3, "outcomes": {"skipped": 3}, "same": 0, "different": 0, "missing": 0, "differs": {},
    }  # fmt: skip


def test_the_line_on_the_page_is_real(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """docs/shadow.md shows what its own two functions give."""
    (sample,) = re.findall(r"^```python file=(\S+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (tmp_path / sample[0]).write_text(sample[1])
    monkeypatch.syspath_prepend(tmp_path)
    old, new = build_handlers([settings("my_tickets")], HandlerContext(10, tmp_path))
    comparison = Comparison(new.name, old)
    shadow = Shadow(new, tmp_path / "effects.jsonl", judge=lambda each, found: comparison.of(each, found, "done"))
    shadow.open()
    delivery = replace(item().delivery, idempotency_key="2d802e6c8b3e66b0cab84cc7f01d055f", handler="tickets-next")
    delivery = replace(delivery, file="inbound_20261120_081503.json")
    shadow.handle([replace(item(body=BODY), delivery=delivery)])
    shadow.close()
    (shown,) = re.findall(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert json.loads((tmp_path / "effects.jsonl").read_text()) == json.loads(shown)


def test_the_page_names_all_that_is_captured_and_compared() -> None:
    """Each kind has its row in docs/shadow.md, with every field that it holds and the one that is compared."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| `(\w+)`[^|]* \|$", PAGE, re.MULTILINE)
    assert {kind: field for kind, _, field in rows} == _COMPARED
    there = [make("http", url="http://a.example.com"), sql("crm"), make("jsonl", path="a"), make("log")]
    for handler in [*there, make("command", argv=["true"])]:
        effect = handler.capture(item()).effect or {}
        (held,) = [held for kind, held, _ in rows if kind == effect["kind"]]
        assert set(re.findall(r"`(\w+)`", held)) == effect.keys() - {"kind"}
