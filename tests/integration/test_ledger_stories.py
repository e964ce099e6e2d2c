"""What the ledger tells of one file or one event, the same on SQLite and PostgreSQL."""

from __future__ import annotations

import json

from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import LookCounts, Settlement
from tests.ledger_samples import Clock, array, event, record, settled


def update(action: str, code: str) -> bytes:
    """A status update of a message."""
    fields = {"type": "messageStatusUpdate", "communicationActionId": action, "statusCode": code}
    return json.dumps(fields | {"dateCreated": "2026-11-22 10:00:00.000"}).encode()


def names(ledger: Ledger, name: str, source: str | None = None) -> list[str]:
    """The files found by a name."""
    return [f"{row['source']}/{row['name']}" for row in ledger.stories.files(name, source, 20)[0]]


def types(ledger: Ledger, action: str) -> list[str]:
    """What is found by a communicationActionId: organisation and type."""
    found = [ledger.stories.event(number) for number in ledger.stories.messages(action)]
    return sorted(f"{row['organisation']} {row['type']}" for row in found if row)


ODD = [
    "a_b.json",
    "aXb.json",
    "a%b.json",
    "a!b.json",
    "A_B.json",
    "äöü😀.json",
    "a'b\"c.json",
    "a.b[1].json",
    "a(b)+$^|.json",
]


def test_a_name_is_taken_as_it_is(ledger: Ledger) -> None:
    """Nothing but `*` and `?` stands for others, whatever a database makes of the other characters."""
    record(ledger, *((each, event(each)) for each in ODD))
    for name in ODD:
        assert names(ledger, name) == names(ledger, name[:-4] + "*n") == [f"webio/{name}"]


def test_stars_and_question_marks(ledger: Ledger) -> None:
    """`*` stands for any characters and `?` for exactly one; upper and lower case differ."""
    record(ledger, *((each, event(each)) for each in ["e1.json", "e12.json", "E3.json", "xe4.json", "e*.json"]))
    assert names(ledger, "e?.json") == ["webio/e1.json", "webio/e*.json"]
    assert names(ledger, "e*") == ["webio/e1.json", "webio/e12.json", "webio/e*.json"]
    assert names(ledger, "*.json") == [
        f"webio/{name}" for name in ("e1.json", "e12.json", "E3.json", "xe4.json", "e*.json")
    ]
    assert names(ledger, "") == []


def test_a_name_in_several_sources(ledger: Ledger) -> None:
    """All are found, or those of one source."""
    record(ledger, ("a.json", event("1")))
    record(ledger, ("a.json", event("2")), source="other")
    assert names(ledger, "a.json") == ["webio/a.json", "other/a.json"]
    assert names(ledger, "a.json", "other") == ["other/a.json"]


def test_a_name_that_came_often(ledger: Ledger) -> None:
    """The last ones are told, oldest first, and how many there are."""
    for number in range(25):
        record(ledger, ("a.json", event(str(number), body="x" * number)))
    found, in_all = ledger.stories.files("a.json", None, 20)
    assert (len(found), in_all) == (20, 25)
    sizes = [row["size"] for row in found]
    assert sizes == sorted(sizes)
    assert sizes[-1] == len(event("24", body="x" * 24))


def test_a_message_and_its_status_updates(ledger: Ledger) -> None:
    """One id finds the message and all its updates, in every organisation, and nothing that only looks alike."""
    record(ledger, ("a.json", array(event("M1"), update("M1", "1"), update("M1", "2"))))
    others = array(event("M12"), update("M12", "1"), event("m1"), update("m1", "1"), update("M", "1"), event("M_"))
    record(ledger, ("b.json", others))
    record(ledger, ("c.json", update("M1", "1")), organisation="other")
    mine = ["default inboundMessage", "default messageStatusUpdate", "default messageStatusUpdate"]
    assert types(ledger, "M1") == [*mine, "other messageStatusUpdate"]
    assert types(ledger, "M%") == types(ledger, "") == []
    assert types(ledger, 'M1","1') == []


ACTIONS = ["a%b", "a_b", 'q"uote\\', "ünï😀", "a\x00b", "axb", "7"]


def test_an_id_is_taken_as_it_is(ledger: Ledger) -> None:
    """Whatever characters are in an id, it finds its own message and update only."""
    record(ledger, ("a.json", array(*(each for action in ACTIONS for each in (event(action), update(action, "1"))))))
    for action in ACTIONS:
        assert types(ledger, action) == ["default inboundMessage", "default messageStatusUpdate"]


def test_an_idempotency_key_leads_to_its_event(ledger: Ledger) -> None:
    """The key that a handler was given names the event again; another handler's key, too; a made-up one nothing."""
    record(ledger, ("a.json", array(event("1"), event("2"))))
    claim = ledger.deliveries.claim("crm", 9, ordered=False)[1]
    key = idempotency_key(claim.organisation, claim.identity, "crm")
    number = ledger.stories.keyed(key)
    assert number is not None
    found = ledger.stories.event(number)
    assert found is not None
    assert found["identity"] == claim.identity
    assert ledger.stories.keyed("0" * 32) is None


def test_events_and_repeats_of_a_file(ledger: Ledger) -> None:
    """A file's own events and what had come before are told apart, each up to a limit, with the true number."""
    record(ledger, ("a.json", array(*(event(str(n)) for n in range(5)))))
    record(ledger, ("b.json", array(event("1"), event("2", body="other"), event("new"))))
    (second,), _ = ledger.stories.files("b.json", None, 1)
    found, in_all = ledger.stories.events_of(second["id"], 20)
    assert ([row["identity"] for row in found], in_all) == (['["inboundMessage","new"]'], 1)
    again = ledger.stories.repeats_of(second["id"], 20)
    assert [(row["position"], row["conflict"], row["name"]) for row in again] == [
        (0, False, "a.json"),
        (1, True, "a.json"),
    ]
    (first,), _ = ledger.stories.files("a.json", None, 1)
    found, in_all = ledger.stories.events_of(first["id"], 2)
    assert ([row["position"] for row in found], in_all) == ([0, 1], 5)


def test_where_an_event_came_again(ledger: Ledger) -> None:
    """Each file that brought it again is named, up to a limit, with the true number."""
    for number in range(5):
        record(ledger, (f"{number}.json", event("1", body="changed") if number == 3 else event("1")))
    number = ledger.stories.messages("1")[0]
    again, in_all = ledger.stories.repeated(number, 3)
    assert [(row["name"], row["conflict"]) for row in again] == [("1.json", False), ("2.json", False), ("3.json", True)]
    assert in_all == 4


def test_a_delivery_behind_another(ledger: Ledger, clock: Clock) -> None:
    """A delivery names the first unfinished event of its conversation; without a conversation it waits for none."""
    record(ledger, ("a.json", array(event("1", "x"), event("2", "x"), event("3", None), event("4", None))))
    first, second, third, fourth = (ledger.stories.messages(action)[0] for action in "1234")

    def behind(number: int) -> int | None:
        (delivery,) = ledger.stories.deliveries_of(number, 9)
        waits_for: int | None = delivery["behind"]
        return waits_for

    assert [behind(number) for number in (first, second, third, fourth)] == [None, first, None, None]
    claims = ledger.deliveries.claim("crm", 1, ordered=True)
    assert behind(second) == first
    ledger.deliveries.settle("crm", [settled(claims[0].id)])
    assert behind(second) is None


def test_attempts_are_told_with_what_the_handler_said(ledger: Ledger, clock: Clock) -> None:
    """The last attempts that failed, oldest first, and how many there were."""
    record(ledger, ("a.json", event("1")))
    for number in range(1, 6):
        (claim,) = ledger.deliveries.claim("crm", 1, ordered=True)
        ledger.deliveries.settle("crm", [Settlement(claim.id, "pending", number, 0, f"no {number}", failed=True)])
        clock.advance(60)
    (delivery,) = ledger.stories.deliveries_of(ledger.stories.messages("1")[0], 3)
    assert [(one["attempt"], one["outcome"], one["detail"]) for one in delivery["history"]] == [
        (3, "failed", "no 3"), (4, "failed", "no 4"), (5, "failed", "no 5"),
    ]  # fmt: skip
    assert (delivery["history_in_all"], delivery["attempts"], delivery["state"]) == (5, 5, "pending")


def test_the_last_look_of_each_source(ledger: Ledger) -> None:
    """One row a source: the last look that has ended, well or not."""
    for failure in (None, "gone"):
        ledger.files.end_look("a", ledger.files.begin_look("a"), LookCounts(), failure)
    ledger.files.end_look("b", ledger.files.begin_look("b"), LookCounts(), None)
    ledger.files.begin_look("b")
    assert {source: look["failure"] for source, look in ledger.figures.last_looks().items()} == {"a": "gone", "b": None}
