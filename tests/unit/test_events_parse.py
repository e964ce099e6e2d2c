"""From bytes to events, or to a rejection that says where and why."""

from __future__ import annotations

import gzip
import json
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sftpd_processor.errors import InternalError
from sftpd_processor.events.identity import canonical
from sftpd_processor.events.models import EVENT_TYPES
from sftpd_processor.events.parse import Parsed, ParsedEvent, Rejection, parse, parse_event
from tests.unit.characters import ENCODABLE

ZONE = ZoneInfo("Europe/Dublin")
BOM = b"\xef\xbb\xbf"
# Derandomised, so that a run in CI and one at a desk see the same examples.
steady = settings(derandomize=True, deadline=None, database=None, max_examples=100)

texts = st.text(ENCODABLE, max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
ids = st.sampled_from(["", "1", "2", "\0"]) | texts | st.integers() | st.floats(allow_nan=False) | st.none()
objects = st.builds(
    lambda extra, known: {**extra, **known},
    st.dictionaries(texts.map("x-{}".format), values, max_size=3),  # hypothesis knows the names that the models use
    st.fixed_dictionaries(
        {"type": st.sampled_from([*EVENT_TYPES, "somethingNew"])},
        optional={
            "conversationId": ids,
            "communicationActionId": ids,
            "statusCode": ids,
            "body": texts,
            "dateCreated": st.sampled_from(["2026-10-25 01:30:00.000", "2026-01-01T00:00:00Z", "", None]),
        },
    ),
)


def dump(value: Any) -> bytes:
    return json.dumps(value, ensure_ascii=False).encode()


def taken(raw: bytes) -> tuple[ParsedEvent, ...]:
    outcome = parse(raw, ZONE)
    assert isinstance(outcome, Parsed), str(outcome)
    return outcome.events


def faults(raw: bytes, *, accept_unknown: bool = True) -> list[tuple[str, str]]:
    outcome = parse(raw, ZONE, accept_unknown=accept_unknown, accept_partial=False)
    assert isinstance(outcome, Rejection)
    return [(fault.where, fault.why) for fault in outcome.faults]


@steady
@given(st.binary(max_size=60) | st.text(ENCODABLE, max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(raw: bytes) -> None:
    """Whatever the bytes are, the answer is events or a rejection with a reason, never an exception."""
    for start in (b"", b"{", b"[", b'{"type":', BOM, b'{"type":"payment"}\n'):
        outcome = parse(start + raw, ZONE)
        assert outcome.events if isinstance(outcome, Parsed) else all(f.where and f.why for f in outcome.faults)


@steady
@given(values | st.fixed_dictionaries({"type": values}) | st.dictionaries(
    st.sampled_from(["type", "body", "dateCreated", "customerUID", "communicationActionId"]),
    values | st.sampled_from(["inboundMessage", "messageSend"]),
))  # fmt: skip
def test_any_json(value: Any) -> None:
    """Whatever the JSON value is, the answer is events or a rejection, never an exception."""
    outcome = parse(dump(value), ZONE, accept_unknown=False)
    assert outcome.events if isinstance(outcome, Parsed) else outcome.total >= len(outcome.faults) > 0


@steady
@given(objects)
def test_identity_ignores_layout(value: dict[str, Any]) -> None:
    """Key order, whitespace, escaping and a byte-order mark change neither identity nor event."""
    (plain,) = taken(dump(value))
    shuffled = json.dumps(dict(reversed(value.items())), indent=2).encode()
    (other,) = taken(BOM + b"\n " + shuffled + b" \n")
    assert other.identity == plain.identity
    assert other.body == shuffled.strip()
    assert canonical(other.body) == canonical(plain.body)


@steady
@given(st.lists(objects, min_size=2, max_size=5))
def test_layouts_agree(many: list[dict[str, Any]]) -> None:
    """An array, JSON Lines and single files of the same events give the same identities, in order."""
    single = [taken(dump(value))[0].identity for value in many]
    array, lines = taken(dump(many)), taken(b"\r\n\n".join(map(dump, many)))
    assert [e.identity for e in array] == [e.identity for e in lines] == single
    assert [e.position for e in array] == [e.position for e in lines] == list(range(len(many)))


@steady
@given(st.lists(objects, min_size=1, max_size=4))
def test_bodies_parse_again(many: list[dict[str, Any]]) -> None:
    """Each body kept is the text of its event alone: read again, it gives an equal event and identity."""
    for event in taken(dump(many)):
        (again,) = taken(event.body)
        assert again.identity == event.identity
        assert type(again.event) is type(event.event)
        if b"NaN" not in event.body:  # not equal even to itself
            assert parse_event(event.body, ZONE) == event.event


def test_identity_differs() -> None:
    """Another type, another id, and for an update another code or date, is another event."""
    base = {"type": "messageStatusUpdate", "communicationActionId": "1", "statusCode": "2"}
    changes: list[dict[str, str]] = [
        {},
        {"communicationActionId": "2"},
        {"statusCode": "0"},
        {"dateCreated": "2026-01-01 00:00:00"},
        {"type": "messageSend"},
    ]
    assert len({taken(dump({**base, **change}))[0].identity for change in changes}) == len(changes)


def test_lines_flag() -> None:
    """Only several documents on lines are told as JSON Lines; blank lines between them do not count."""
    one, array = parse(b'{"type":"a"}\n', ZONE), parse(b'[{"type":"a"},{"type":"b"}]', ZONE)
    lines = parse(b'\n{"type":"a"}\n\n {"type":"b"}\r\n', ZONE)
    assert [isinstance(p, Parsed) and p.lines for p in (one, array, lines)] == [False, False, True]
    assert [e.body for e in taken(b'{"type":"a"}\n {"type":"b"}\r\n')] == [b'{"type":"a"}', b'{"type":"b"}']


@pytest.mark.parametrize(
    ("raw", "where", "why"),
    [
        (b"", "the file", "is empty"),
        (b" \n\t", "the file", "only whitespace"),
        (BOM, "the file", "only whitespace"),
        (bytes(9), "the file", "NUL"),
        ('{"type":"a"}'.encode("utf-16"), "the file", "UTF-16"),
        ('{"type":"a"}'.encode("utf-16-le"), "the file", "UTF-16"),
        ('{"type":"a"}'.encode("utf-16-be"), "the file", "UTF-16"),
        ('{"type":"a"}'.encode("utf-32"), "the file", "UTF-32"),
        ('{"type":"a"}'.encode("utf-32-be"), "the file", "UTF-32"),
        (b"\n<!doctype html>", "the file", "HTML"),
        (gzip.compress(b"{}", mtime=0), "the file", "gzip"),
        (b"42", "$", "must be a JSON object"),
        (b"hello", "line 1, column 1", "not valid JSON"),
        (b"[]", "$", "no event"),
        (b'\n\n {"type":"a"', "line 3, column 12", "cut short"),
        (b'{"type":"a","x":"\xff"}', "line 1, column 18", "UTF-8"),
        (b'{"type":"a","x":"\\ud800"}', "line 1, column 24", "surrogate"),
        (b'{"type":"a","x":' + b"[" * 500, "line 1, column 217", "deep"),
        (b'{"type":"a","x":' + b"9" * 5000 + b"}", "line 1, column 4318", "too long"),
        (b'{"type":"a"} {"type":"a"}', "line 1, column 14", "something follows"),
        (b'{\n"type":"a"}\n{"type":"a"}', "line 3, column 1", "on one line each"),
        (b'{"type":"a"}\n{"ty', "line 2, column 4", "cut short"),
        (b'{"type":"a"}\n[1]', "line 2: $", "must be a JSON object"),
        (b'{"type":"a"}\n{"type":"messageSend","body":[]}', "line 2: $.body", "must be a text"),
        (b'[{"type":"a"},7]', "$[1]", "must be a JSON object"),
        (b'[{"type":"a"},{"type":"a","dateCreated":5}]', "$[1].dateCreated", "date and time"),
        (b"{}", "$.type", "missing"),
        (b'{"type":""}', "$.type", "empty"),
        (b'{"type":5}', "$.type", "must be a text"),
        (b'{"type":"' + b"a" * 101 + b'"}', "$.type", "100"),
        (b'{"type":"payment","dateCreated":"2026-02-30 00:00:00"}', "$.dateCreated", "exists"),
        (b'{"type":"payment","dateCreated":"0001-01-01 00:00:00"}', "$.dateCreated", "exists"),
        (b'{"type":"payment","dateCreated":"31/12/2026"}', "$.dateCreated", "such as"),
        (b'{"type":"a","customerUID":true}', "$.customerUID", "must be a text"),
    ],
)  # fmt: skip
def test_rejections(raw: bytes, where: str, why: str) -> None:
    """Each kind of bad file is told by its place and in words."""
    ((at, reason),) = faults(raw)
    assert at == where
    assert why in reason


def test_all_faults_are_counted() -> None:
    """A file with many bad events shows the first 20 faults and counts the rest."""
    outcome = parse(dump([{"type": "payment"}, *[{}] * 50]), ZONE, accept_partial=False)
    assert isinstance(outcome, Rejection)
    assert ([f.where for f in outcome.faults][:2], len(outcome.faults)) == (["$[1].type", "$[2].type"], 20)
    assert (outcome.total, str(outcome).endswith("and 30 more")) == (50, True)


def test_unknown_types_can_be_refused() -> None:
    """With accept_unknown off, an unknown type is a fault that names it, shortened and printable."""
    raw = dump({"type": "new\xa0type" + "x" * 90})
    assert len(taken(raw)) == 1
    ((where, why),) = faults(raw, accept_unknown=False)
    assert where == "$.type"
    assert why.isprintable()
    assert "new\\xa0type" in why
    assert "x" * 60 not in why


def test_faults_show_no_values() -> None:
    """No fault repeats a value of the file."""
    bad = {"type": "messageSend", "body": ["SECRET"], "customerUID": ["SECRET"], "dateCreated": "SECRET"}
    for raw in (dump(bad), dump([bad, "SECRET"]), dump({"type": ["SECRET"]}), dump(bad)[:-1], b"SECRET"):
        assert "SECRET" not in str(parse(raw, ZONE))


def test_parse_event_of_a_stranger() -> None:
    """A body that parse would not have accepted is our own mistake, told without its content."""
    with pytest.raises(InternalError, match=r"\$\.body") as error:
        parse_event(b'{"type":"messageSend","body":["SECRET"]}', ZONE)
    assert "SECRET" not in str(error.value)
