"""Entries for systemd's journal, as a real datagram socket receives them."""

from __future__ import annotations

import logging
import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor import journal
from sftpd_processor.journal import Journal, entry, leads_into_journal
from tests.journal import JournalSocket, journal_socket


@pytest.fixture
def listener(monkeypatch: pytest.MonkeyPatch) -> Iterator[JournalSocket]:
    """In the journal's place."""
    with journal_socket() as made:
        monkeypatch.setattr(journal, "SOCKET", str(made.path))
        yield made


@pytest.fixture
def way(listener: JournalSocket) -> Iterator[Journal]:
    """The way to it."""
    made = Journal()
    yield made
    made.close()


def test_fields_arrive_as_they_were_sent(way: Journal, listener: JournalSocket) -> None:
    """Texts, numbers, letters of all kinds, and texts of several lines."""
    fields: dict[str, str | int] = {
        "MESSAGE": "source webio: works again",
        "PRIORITY": 6,
        "FILE": "Grüße=1.json",
        "TRACE": "a\nb\n",
    }
    way.send(fields)
    assert listener.received() == {name: str(value) for name, value in fields.items()}


def test_a_value_can_forge_no_field(way: Journal, listener: JournalSocket) -> None:
    """Whatever is in it, a value ends where it ends."""
    hostile = "a\nPRIORITY=0\n_UID=0\n\x00\x1b[2J" + struct.pack("<Q", 1).decode() + "\n"
    way.send({"FILE": hostile, "PRIORITY": 6})
    assert listener.received() == {"FILE": hostile, "PRIORITY": "6"}


def test_what_is_no_utf8_is_escaped() -> None:
    """A surrogate, which stands for a byte that is no UTF-8, cannot be written otherwise."""
    assert entry({"FILE": "a\udcff.json"}) == b"FILE=a\\udcff.json\n"


def test_an_entry_too_large_for_a_datagram_arrives(way: Journal, listener: JournalSocket) -> None:
    """It is handed over as a file that can be changed no more."""
    text = "x" * 5_000_000
    way.send({"MESSAGE": text, "PRIORITY": 3})
    assert listener.received() == {"MESSAGE": text, "PRIORITY": "3"}


def test_a_journal_that_was_restarted_is_found(way: Journal, listener: JournalSocket) -> None:
    """The socket's name is looked up for each entry."""
    way.send({"MESSAGE": "before"})
    listener.received()
    listener.close()
    with pytest.raises(OSError, match="No such file"):
        way.send({"MESSAGE": "meanwhile"})
    listener.open()
    way.send({"MESSAGE": "after"})
    assert listener.received() == {"MESSAGE": "after"}


def test_a_journal_that_does_not_read_is_given_up(way: Journal, listener: JournalSocket) -> None:
    """Once its queue is full, an entry fails after a moment instead of holding up the program for ever."""
    with pytest.raises(OSError):
        for _ in range(100_000):
            way.send({"MESSAGE": "x" * 1000})


def test_the_journals_own_stream_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Standard error leads into the journal when systemd says so of this very file."""
    with (tmp_path / "stream").open("w") as file, (tmp_path / "other").open("w") as other:
        found = os.fstat(file.fileno())
        monkeypatch.delenv("JOURNAL_STREAM", raising=False)
        assert not leads_into_journal(file.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{found.st_dev}:{found.st_ino}")
        assert leads_into_journal(file.fileno())
        assert not leads_into_journal(other.fileno())
    assert not leads_into_journal(10**6)


def test_every_level_has_a_priority() -> None:
    """As syslog counts them: the smaller, the worse."""
    from sftpd_processor.telemetry import PRIORITIES

    names = ("debug", "info", "warning", "error", "critical")
    assert [PRIORITIES[getattr(logging, name.upper())] for name in names] == [7, 6, 4, 3, 2]
