from __future__ import annotations

import logging
import os
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.values import table
from sftpd_processor.values.registry import Providers
from tests.handler_items import mistakes
from tests.support import wait_until
from tests.values_items import ANN, STRANGER, UNKNOWN, ask, build, opened, settings

TABLE = "customerUID,phone,balance,dueDate\nC-1,447700900001,12.50,2026-01-31\nC-2,447700900002,,\n"
Looks = Callable[[], None]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A good table, looked at often."""
    monkeypatch.setattr(table, "LOOK_SECONDS", 0.01)
    path = tmp_path / "accounts.csv"
    path.write_text(TABLE)
    return path


def from_csv(folder: Path, **options: Any) -> Providers:
    return build(folder, settings("static", options={"csv": "accounts.csv", **options}))


def why(folder: Path, **options: Any) -> str:
    return mistakes(lambda: from_csv(folder, **options))["values[0].options.csv"]


def test_values_from_the_configuration(tmp_path: Path) -> None:
    """Text, numbers, booleans and dates; the names are all that any customer has."""
    customers = {"C-1": {"balance": "12.50", "vip": True, "since": date(2020, 1, 2)}, "C-2": {"points": 7}}
    providers = build(tmp_path, settings("static", options={"customers": customers}))
    assert providers.unanswered(["balance", "vip", "since", "points", "x"]) == ["x"]
    answer = ask(providers, ("balance", "vip", "since", "points"))
    assert answer.values == {"balance": "12.50", "vip": "true", "since": "2020-01-02", "points": None}
    assert ask(providers, ("balance",), UNKNOWN).values == {"balance": None}
    assert ask(providers, ("balance",), STRANGER).values == {"balance": None}


def test_customers_by_their_telephone_number(tmp_path: Path) -> None:
    """With `by = "outboundChannelAddress"` a conversation that the customer began is answered too."""
    options = {"by": "outboundChannelAddress", "customers": {"447700900001": {"a": "1"}}}
    providers = build(tmp_path, settings("static", options=options))
    assert ask(providers, ("a",), STRANGER).values == {"a": "1"}
    assert ask(providers, ("a",), UNKNOWN).values == {"a": None}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_values_from_a_csv_file(file: Path, mark: bytes) -> None:
    """One row for each customer, with or without a byte-order mark; an empty cell is no value."""
    file.write_bytes(mark + TABLE.encode())
    providers = from_csv(file.parent)
    assert providers.unanswered(["phone", "balance", "dueDate", "customerUID"]) == ["customerUID"]
    assert ask(providers, ("balance", "dueDate")).values == {"balance": "12.50", "dueDate": "2026-01-31"}
    assert ask(providers, ("balance",), ANN._replace(customer_uid="C-2")).values == {"balance": None}


def test_the_key_can_be_any_column(file: Path) -> None:
    """`key` names the column that holds what `by` tells customers apart by."""
    providers = from_csv(file.parent, key="phone", by="outboundChannelAddress")
    assert ask(providers, ("balance", "customerUID"), STRANGER).values == {"balance": "12.50", "customerUID": "C-1"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "line 1: no column is called 'customerUID'"),
        ("customerUid,a\n1,2\n", "did you mean 'customerUid'?"),
        ("customerUID,a,a\n", "line 1: each column needs a name of its own"),
        ("customerUID,a\nsecret,1\nother,2,3\n", "line 3: 3 cells, where the header has 2"),
        ("customerUID,a\nsecret,1\n\nsecret,2\n", "line 4: the key is that of an earlier line"),
        ("customerUID,a\n,1\n", "line 2: the key is empty"),
        ('customerUID,a\nsecret,"1\n', "line 2: unexpected end of data"),
        (f"customerUID,a\nsecret,{'1' * 10_001}\n", "line 2: a cell has more than 10,000 characters"),
        ("customerUID,a\nsecr\udcfft,1\n", "is not UTF-8 text"),
    ],
)
def test_a_bad_file_is_refused_with_its_line(file: Path, text: str, said: str) -> None:
    """The mistake tells the line, and nothing of what stands in the file."""
    file.write_bytes(text.encode(errors="surrogateescape"))
    assert said in why(file.parent)
    assert "secr" not in why(file.parent)


def test_mistakes_in_the_options(file: Path) -> None:
    """A missing file, both kinds at once or none, and a key for what has no columns."""
    assert "No such file" in why(file.parent, csv="absent.csv")
    assert "Is a directory" in why(file.parent, csv=".")
    for options in ({}, {"csv": "accounts.csv", "customers": {"C-1": {"a": 1}}}):
        static = settings("static", options=options)
        assert mistakes(lambda: build(file.parent, static)) == {  # noqa: B023
            "values[0].options": "give either `customers` or `csv`"
        }
    static = settings("static", options={"customers": {"C-1": {"a": 1}}, "key": "x"})
    assert "values[0].options.key" in mistakes(lambda: build(file.parent, static))


def test_a_file_that_changes_is_read_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Written in place or replaced: the next answers come from the new content, without a restart."""
    caplog.set_level(logging.INFO)
    with opened(file.parent, settings("static", options={"csv": "accounts.csv"})) as providers:
        file.write_text(TABLE.replace("12.50", "99"))
        wait_until(lambda: ask(providers, ("balance",)).values == {"balance": "99"})
        other = file.with_suffix(".new")
        other.write_text(TABLE.replace("12.50", "77"))
        os.replace(other, file)
        wait_until(lambda: ask(providers, ("balance",)).values == {"balance": "77"})
    assert "values accounts: the CSV file has changed and is used" in caplog.text


def put_in_place(file: Path, text: str) -> None:
    """At once as a whole, since the provider looks every few milliseconds here."""
    part = file.with_suffix(".part")
    part.write_text(text)
    part.replace(file)


@pytest.mark.parametrize("bad", ["customerUID,phone,balance\nC-1,1,2\n", TABLE + "C-1,,,\n", None])
def test_a_bad_new_file_leaves_the_old_content_in_use(
    file: Path, bad: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Told once; and a good one after it is used."""
    looks = 0

    with opened(file.parent, settings("static", options={"csv": "accounts.csv"})) as providers:
        put_in_place(file, bad) if bad else file.unlink()
        wait_until(lambda: "what was read before is used" in caplog.text)
        for _ in range(5):
            looks += ask(providers, ("balance",)).found
        assert looks == 5
        put_in_place(file, TABLE.replace("12.50", "99"))
        wait_until(lambda: ask(providers, ("balance",)).values == {"balance": "99"})
    assert caplog.text.count("what was read before is used") == 1
    assert "C-1" not in caplog.text
