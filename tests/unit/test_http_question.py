"""The question that Webio asks: a query string becomes a customer, an address and names, or is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sftpd_processor.http.question import MOST_NAMES, BadQuestion, read_question
from tests.unit.characters import ENCODABLE


@pytest.mark.parametrize(
    ("query", "customer", "address", "names"),
    [
        ("customerUID=42&outboundChannelAddress=447700900001&param1=balance", "42", "447700900001", ("balance",)),
        ("param1=a&param2=b&customerUID=1", "1", None, ("a", "b")),
        ("CUSTOMERUID=1&OutboundChannelAddress=2&Param1=a&PARAM2=b", "1", "2", ("a", "b")),
        ("param2=b&param1=a&customerUID=", None, None, ("b", "a")),
        ("customerUID=null&param1=a", None, None, ("a",)),
        ("param1=a", None, None, ("a",)),
        ("param1=a&param1=b&param1=a", None, None, ("a", "b")),
        ("param1=&param2=a&param3", None, None, ("a",)),
        ("param1=due+date&param2=na%C3%AFve&param3=%26%3D", None, None, ("due date", "naïve", "&=")),
        ("param1=a&customerUID=7&customerUID=7&customerUID=", "7", None, ("a",)),
        ("param1=a&unknown=1&param=b&paramx=c", None, None, ("a",)),
        ("param01=a&param999999=b", None, None, ("a", "b")),
        ("param1=Null&customerUID=NULL", "NULL", None, ("Null",)),
    ],
)
def test_what_is_asked(query: str, customer: str | None, address: str | None, names: tuple[str, ...]) -> None:
    """Keys are taken in any case, names once each in their order, and absent, empty and `null` customers alike."""
    question = read_question(query.encode())
    assert question.query == (customer, address)
    assert question.names == names


@pytest.mark.parametrize(
    ("query", "says"),
    [
        ("", "no name is asked for"),
        ("customerUID=1", "no name is asked for"),
        ("param1=&param2=", "no name is asked for"),
        ("param1=a&customerUID=1&customerUID=2", "customerUID is given more than once"),
        ("param1=a&outboundChannelAddress=1&outboundchanneladdress=2", "outboundChannelAddress is given more"),
        ("&".join(f"param{n}={n}" for n in range(MOST_NAMES + 1)), "more than 100 names"),
        ("&".join(f"x{n}=1" for n in range(201)), "more than 200 fields"),
        ("param1=" + "a" * 201, "longer than 200"),
        ("param1=a%00b", "control character"),
        ("param1=a&customerUID=1%0a2", "control character"),
        ("param1=%e2%80%a8", "control character"),
        ("param1=%ff", "not UTF-8"),
        ("param1=a&customerUID=%ed%a0%80", "not UTF-8"),
        ("param1=\xe9", "not UTF-8"),
    ],
)
def test_what_is_refused(query: str, says: str) -> None:
    """What Webio would not send is refused with a reason that quotes none of it."""
    with pytest.raises(BadQuestion, match=says) as refused:
        read_question(query.encode("latin-1"))
    assert "=" not in str(refused.value)


@given(st.binary(max_size=200) | st.text(ENCODABLE, max_size=100).map(str.encode))
def test_any_query(query: bytes) -> None:
    """Whatever the bytes, the outcome is a question with at least one name, or `BadQuestion`."""
    try:
        question = read_question(query)
    except BadQuestion:
        return
    assert question.names
    assert all(question.names)
