"""The source in memory behaves as the protocol of sources says, and fails where it is told to."""

from __future__ import annotations

import pytest

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.sources.base import Miss, Move, Moved, Removed, Source
from sftpd_processor.testing.memory import MemorySource


def test_it_is_a_source() -> None:
    """Files are listed in batches in the order they were put, read whole, and removed."""
    source = MemorySource("webio", batch=2)
    protocol: Source = source
    entries = [source.put(f"{number}.json", b"x" * number) for number in range(3)]
    assert list(protocol.look()) == [entries[:2], entries[2:]]
    assert protocol.fetch(entries) == [(entry, b"x" * entry.size) for entry in entries]
    assert protocol.remove(entries[:1]) == [(entries[0], Removed())]
    assert list(source.files) == ["1.json", "2.json"]
    protocol.close()
    assert (protocol.name, source.closed) == ("webio", 1)


def test_what_has_changed_or_gone_is_a_miss() -> None:
    """Another size than listed is `changed`; a file that is not there is `vanished` for every verb."""
    source = MemorySource()
    old = source.put("1.json", b"short")
    new = source.put("1.json", b"longer")
    assert new.mtime > old.mtime
    ((_, missed),) = source.fetch([old])
    assert isinstance(missed, Miss)
    assert missed.kind == "changed"
    source.files.clear()
    for results in (source.fetch([new]), source.remove([new]), source.move([Move(new, "abc")])):
        assert [getattr(result, "kind", None) for _, result in results] == ["vanished"]


def test_a_move_never_overwrites() -> None:
    """A taken name gets the suffix."""
    source = MemorySource()
    moved = [source.move([Move(source.put("1.json", data), "abc")]) for data in (b"1", b"2")]
    assert [result for ((_, result),) in moved] == [Moved("moved/1.json"), Moved("moved/1.abc.json")]
    assert [file.data for file in source.moved.values()] == [b"1", b"2"]


def test_faults_come_when_they_are_asked_for() -> None:
    """A planned error is raised once, after so many batches; a planned miss as often as said; hooks run first."""
    source = MemorySource(batch=1)
    one, two = source.put("1.json", b"1"), source.put("2.json", b"2")
    source.fail("look", SourceUnavailable("cut"), after=1)
    look = source.look()
    assert next(look) == [one]
    with pytest.raises(SourceUnavailable, match="cut"):
        next(look)
    assert list(source.look()) == [[one], [two]]
    refused = Miss("refused", "no")
    source.miss("fetch", "1.json", refused, times=2)
    assert [source.fetch([one, two])[0][1] for _ in range(3)] == [refused, refused, b"1"]
    source.before["remove"] = source.files.clear
    assert [getattr(result, "kind", None) for _, result in source.remove([one])] == ["vanished"]
    assert source.calls[-1] == ("remove", ["1.json"])
