"""Intake, look by look: what is taken, what waits, what is ignored, and that every listed file is accounted for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.sources.base import Entry, Miss
from tests.ledger_samples import Site, array, event

_HALF = event("half")[:-20]


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """An intake whose source deletes what is recorded."""
    site = Site(tmp_path)
    yield site
    site.ledger.close()


def _balanced(site: Site) -> None:
    """Every look accounts for every file it listed."""
    for look in site.looks():
        parts = ("recorded", "known", "waiting", "ignored", "vanished")
        assert look["listed"] == sum(look[part] for part in parts), look


def test_one_look_takes_the_next_disposes_the_third_finds_nothing(site: Site) -> None:
    """A poll looks until there is nothing to do; disposal always follows a later look than the fetch."""
    for number in range(3):
        site.source.put(f"{number}.json", event(str(number)))
    site.poll()
    looks = [(look["listed"], look["recorded"], look["known"], look["disposed"]) for look in site.looks()]
    assert looks == [(3, 3, 0, 0), (3, 0, 3, 3), (0, 0, 0, 0)]
    assert [verb for verb, names in site.source.calls if names] == ["fetch", "remove"]
    assert site.source.files == {}
    assert (site.intake.tally.recorded, site.intake.tally.disposed, site.intake.tally.events) == (3, 3, 3)
    assert [recorded.verdicts for recorded in site.told] == [{"accepted": 3}]


def test_half_a_document_waits_and_is_taken_when_it_is_complete(site: Site) -> None:
    """A file that cannot be parsed yet waits with the reason; complete, it is another file and is accepted at once."""
    site.source.put("1.json", _HALF)
    assert site.poll().waiting == 1
    assert site.state("1.json") == ("waiting", None)
    assert "half-written" in site.reason("1.json")
    assert site.intake.unsettled == 1
    site.source.put("1.json", event("half"))
    site.poll()
    assert site.state("1.json") == ("recorded", "accepted")
    assert sorted(site.rows("SELECT state FROM files")) == [("recorded",), ("vanished",)]
    assert site.source.files == {}
    assert site.intake.unsettled == 0


def test_what_stays_half_is_invalid_once_it_has_settled(site: Site) -> None:
    """By this machine's own clock: the file's time on the server says nothing."""
    site.source.put("old.json", _HALF, mtime=0)
    site.source.put("future.json", _HALF, mtime=4_000_000_000 * 10**9)
    site.poll()
    assert site.poll(after=9).waiting == 2
    assert [verb for verb, names in site.source.calls if names] == ["fetch"]  # not fetched again before it settled
    site.poll(after=2)
    assert site.state("old.json") == site.state("future.json") == ("recorded", "invalid")
    assert site.source.files == {}


def test_a_new_process_goes_on_counting(site: Site) -> None:
    """The first sighting is kept in the ledger, so that runs from cron settle files too."""
    site.source.put("1.json", _HALF)
    site.poll()
    site.restart()
    assert site.intake.unsettled == 0
    site.poll(after=11)
    assert site.state("1.json") == ("recorded", "invalid")


def test_a_file_that_grows_begins_to_settle_again(site: Site) -> None:
    """With another size or time it is another file, whose own first sighting counts."""
    for length in (5, 15, 25):
        site.source.put("1.json", event("half")[:length])
        assert site.poll(after=8).waiting == 1
    assert site.poll(after=8).waiting == 1
    assert site.state("1.json") == ("waiting", None)


@pytest.mark.parametrize(
    ("name", "data"),
    [("1.json", event("1") + b"\n" + event("2")), ("1.jsonl", event("1")), ("1.ndjson", array(event("1")))],
)
def test_json_lines_wait_although_they_can_be_read(tmp_path: Path, name: str, data: bytes) -> None:
    """Whether another line follows cannot be told, so they wait until they have settled."""
    site = Site(tmp_path, include=["*"])
    site.source.put(name, data)
    assert site.poll().waiting == 1
    assert "JSON Lines" in site.reason(name)
    site.poll(after=11)
    assert site.state(name) == ("recorded", "accepted")
    site.ledger.close()


def test_without_settling_nothing_waits(tmp_path: Path) -> None:
    """`settle_seconds = 0`: what cannot be read is invalid at once."""
    site = Site(tmp_path, settle_seconds=0)
    site.source.put("1.json", _HALF)
    site.poll()
    assert site.state("1.json") == ("recorded", "invalid")
    site.ledger.close()


def test_a_file_that_changed_after_it_was_read_is_read_again_not_removed(site: Site) -> None:
    """What is known of it is a duplicate, what is new is taken, and only then it goes."""
    site.source.put("1.json", event("1"))

    def grow() -> None:
        if len(site.looks()) == 2:  # just before the look that would dispose of it
            site.source.put("1.json", array(event("1"), event("2")))

    site.source.before["look"] = grow
    site.poll()
    assert [names for verb, names in site.source.calls if verb == "fetch" and names] == [["1.json"], ["1.json"]]
    assert site.rows("SELECT identity FROM events ORDER BY id") == [
        ('["inboundMessage","1"]',),
        ('["inboundMessage","2"]',),
    ]
    assert [look["disposed"] for look in site.looks()] == [0, 0, 1, 0]
    assert site.source.files == {}


def test_a_file_that_grows_while_it_is_read_waits(site: Site) -> None:
    """Bytes of another length than listed are never recorded."""
    site.source.put("1.json", event("1"))
    site.source.before["fetch"] = lambda: site.source.files.update(
        {"1.json": site.source.files["1.json"]._replace(data=array(event("1")))}
    )
    assert site.poll().waiting == 1
    assert "listed with" in site.reason("1.json")
    del site.source.before["fetch"]
    site.source.put("1.json", array(event("1")))
    site.poll()
    assert site.state("1.json") == ("recorded", "accepted")


def test_a_file_that_is_gone_when_its_turn_comes_has_vanished(site: Site) -> None:
    """Listed, but not there any more: accounted for, and taken when it is there again."""
    seen = site.source.put("1.json", event())
    site.source.before["fetch"] = site.source.files.clear
    site.poll()
    assert site.looks()[0]["vanished"] == 1
    assert site.state("1.json") == ("vanished", None)
    site.source.before.clear()
    site.source.put("1.json", event(), mtime=seen.mtime)
    site.poll()
    assert site.state("1.json") == ("recorded", "accepted")
    _balanced(site)


def test_a_refused_file_is_tried_again(site: Site) -> None:
    """What the server refuses to give waits with its words, and the others of the batch are taken."""
    site.source.put("1.json", event("1"))
    site.source.put("2.json", event("2"))
    site.source.miss("fetch", "1.json", Miss("refused", "the server said: permission denied"))
    counts = site.poll()
    assert (counts.waiting, site.state("2.json")) == (1, ("recorded", "accepted"))
    assert site.reason("1.json") == "the server said: permission denied"
    site.poll(after=11)
    assert site.state("1.json") == ("recorded", "accepted")
    _balanced(site)


def test_what_is_not_admitted_is_ignored_with_the_reason(tmp_path: Path) -> None:
    """By kind, name and size; ignored files are not fetched, not disposed of, and noted once."""
    site = Site(tmp_path, max_file_bytes=100, exclude=["secret*"])
    site.source.put("big.json", b"x" * 101)
    site.source.put("1.txt", b"{}")
    site.source.put("secret.json", b"{}")
    site.source.also = [Entry("folder.json", 4096, 7, regular=False)]
    for _ in range(3):
        assert site.poll().ignored == 4
    assert [names for _, names in site.source.calls if names] == []
    reasons = dict(site.rows("SELECT name, reason FROM files"))
    assert {name: reason for name, reason in reasons.items() if name != "folder.json"} == {
        "big.json": "101 bytes are more than max_file_bytes (100)",
        "1.txt": "its name does not match `include`",
        "secret.json": "its name matches `exclude`",
    }
    assert reasons["folder.json"].startswith("not a regular file")
    _balanced(site)
    site.ledger.close()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("../../etc/passwd.json", "../../etc/passwd.json"),
        ("a\\b.json", "a\\\\b.json"),
        ("line\nbreak.json", "line\\nbreak.json"),
        ("nul\0.json", "nul\\x00.json"),
        ("\x1b[31mred.json", "\\x1b[31mred.json"),
        ("\udcff.json", "\\udcff.json"),
        ("sep\u2028.json", "sep\\u2028.json"),
        ("..", ".."),
        ("", ""),
        ("x" * 251 + ".json", "x" * 251 + ".json"),
        ("y" * 5000 + ".json", "y" * 300),
    ],
)
def test_a_name_that_is_not_safe_is_never_asked_for(site: Site, name: str, kept: str) -> None:
    """It is ignored, and kept under a name that can be shown anywhere; the other files are taken."""
    site.source.put("1.json", event())
    site.source.also = [Entry(name, 3, 7, regular=True)]
    assert site.poll().ignored == 1
    assert {asked for _, names in site.source.calls for asked in names} == {"1.json"}
    assert site.rows("SELECT name FROM files WHERE state = 'ignored'") == [(kept,)]
    assert site.reason(kept).startswith("its name")
    assert site.poll().ignored == 1
    _balanced(site)


def test_an_ignored_file_is_taken_when_the_rules_change(site: Site) -> None:
    """A restart with another `include` takes what was ignored before."""
    site.source.put("1.txt", event())
    site.poll()
    assert site.state("1.txt") == ("ignored", None)
    site.restart(include=["*.txt"])
    site.poll()
    assert site.state("1.txt") == ("recorded", "accepted")
    assert site.source.files == {}


def test_unknown_types_are_quarantined_when_that_is_wanted(tmp_path: Path) -> None:
    """`unknown_events = "quarantine"`: such a file is invalid once settled; by default it is accepted."""
    for wish, verdict in (("accept", "accepted"), ("quarantine", "invalid")):
        folder = tmp_path / wish
        folder.mkdir()
        site = Site(folder, unknown_events=wish)
        site.source.put("1.json", event(type="futureThing"))
        site.poll()
        site.poll(after=11)
        assert site.state("1.json") == ("recorded", verdict)
        site.ledger.close()
