"""Whose data is meant: found however it is written, and cut out of a file without harm to the rest."""

from __future__ import annotations

import json

import pytest

from sftpd_processor.archive.personal import Sought
from tests.ledger_samples import array, event

OTHER = event("9", "c9", customerUID="4711001", body="my number is 471100")


def without(raw: bytes, *ids: str) -> bytes | None:
    """What is left of a file when a customer is forgotten, by default 471100."""
    return Sought(ids or ("471100",), ()).without(raw)


@pytest.mark.parametrize(
    "raw",
    [
        event("1", customerUID="471100"),
        event("1", customerUID=471100),
        event("1", outboundChannelAddress="471100"),
        event("1", customerUID="471100").replace(b"471100", b"4\\u00371100"),
        event("1", customerUID="471100").replace(b"customerUID", b"customer\\u0055ID"),
        b"\xef\xbb\xbf\n" + event("1", customerUID="471100") + b"\n",
        array(event("1", customerUID="471100")),
    ],
)
def test_however_it_is_written(raw: bytes) -> None:
    """As a number, with escapes in the value or in the field's name, in either field, with what stands around it."""
    assert without(raw) is None


def test_what_is_not_theirs() -> None:
    """An id that is a part of another, or is only quoted in a text, does not count: the file is the very same."""
    for raw in (OTHER, array(OTHER, OTHER), OTHER + b"\n" + OTHER):
        assert without(raw) is raw


def test_an_id_that_json_writes_with_escapes() -> None:
    """Slashes, quotes and letters beyond ASCII, as sent in whichever form."""
    uid = 'ä/"x'
    for body in (json.dumps(uid), json.dumps(uid, ensure_ascii=False), '"\\u00e4\\/\\"x"'):
        assert without(event("1", customerUID="ID").replace(b'"ID"', body.encode()), uid) is None


def test_the_rest_of_a_file_stays() -> None:
    """Lines stay byte for byte, blank ones and the mark at the beginning too; an array stays an array."""
    theirs = event("1", customerUID="471100")
    assert without(b"\xef\xbb\xbf" + OTHER + b" \r\n\r\n" + theirs + b"\n" + OTHER) == (
        b"\xef\xbb\xbf" + OTHER + b" \r\n\r\n" + OTHER
    )
    left = without(array(OTHER, theirs, OTHER))
    assert left is not None
    assert json.loads(left) == [json.loads(OTHER)] * 2


def test_a_bad_member_that_names_them() -> None:
    """It goes with their events; one that does not stays, although it is no event."""
    left = without(array(OTHER, b'{"customerUID": ["471100"]}', b'{"x": 1}'))
    assert left is not None
    assert json.loads(left) == [json.loads(OTHER), {"x": 1}]


@pytest.mark.parametrize(
    ("raw", "goes"),
    [
        (event("1", customerUID="12")[:-1], True),
        (b'{"customerUID": 12, "body', True),
        (b'{"customerUID": "\\u0031\\u0032", "body', True),
        ('{"customerUID": "12", "body'.encode("utf-16"), True),
        (b"12,Mary,complains", True),
        (b'{"dateCreated": "2026-11-12 12:12:00.12", ', False),
        (b'{"customerUID": "120", "conversationId": "x12", ', False),
        (b"", False),
    ],
)
def test_bytes_that_are_no_event(raw: bytes, *, goes: bool) -> None:
    """They go whole when an id stands in them as a word, in whatever encoding; a part of a time or word is none."""
    assert without(raw, "12") is (None if goes else raw)


def test_many_ids() -> None:
    """As many as a file of ids may hold; each counts."""
    ids = [f"CU-{number}" for number in range(5000)]
    assert without(array(OTHER, event("1", customerUID="CU-4999")), *ids) == array(
        *[json.dumps(json.loads(OTHER), separators=(",", ":")).encode()]
    )


def test_repr_does_not_tell_whose() -> None:
    """Ids do not reach a traceback or a log."""
    assert repr(Sought(["471100"], [])) == "Sought(1 ids)"
