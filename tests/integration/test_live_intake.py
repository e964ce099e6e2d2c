"""Live posts in the ledger: recorded like files, once whatever way an event comes, the same on both databases."""

from __future__ import annotations

import json
import threading

import pytest

from sftpd_processor.config.settings import HttpSettings
from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Claim
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.live import LiveIntake, Posted
from tests.ledger_samples import Clock, array, event, record, rows, wanting


def live(ledger: Ledger, **changes: object) -> LiveIntake:
    """Intake of live posts with these settings."""
    settings = HttpSettings.model_validate({"listen": "127.0.0.1:0", "auth": "none"} | changes)
    return LiveIntake(settings, ledger, wanting, measures=Measures())


def verdicts(posted: list[Posted]) -> list[str]:
    return [each.verdict for each in posted]


def test_a_post_is_recorded_like_a_file(ledger: Ledger, url: str) -> None:
    """It leaves its exact bytes as a file of the source `live`, its event, and a delivery with its origin."""
    (posted,) = live(ledger).record([event("7")])
    assert (posted.verdict, posted.problem) == ("accepted", "")
    (file,) = ledger.files.unarchived(9)
    assert (f"live/{file.name}", file.raw, file.origin, file.source) == (posted.file, event("7"), "http", "live")
    (claim,) = ledger.deliveries.claim("crm", 9, ordered=True)
    assert (claim.identity, claim.origin, claim.source) == ('["inboundMessage","7"]', "http", "live")
    assert rows(url, "SELECT state, verdict, look FROM files") == [("recorded", "accepted", 0)]


def test_what_became_of_each(ledger: Ledger) -> None:
    """Posts of one commit get their own verdicts, in their order."""
    posts = [event("1"), event("1"), b"<html>", array(event("2"), event("3")), event("1", body="other"), event("4")]
    posted = live(ledger).record(posts)
    assert verdicts(posted) == ["accepted", "duplicate", "invalid", "accepted", "conflict", "accepted"]
    assert len({each.file for each in posted}) == len(posts)
    assert posted[2].problem
    assert "other content" in posted[4].problem


@pytest.mark.parametrize("partial", ["accept", "reject"])
def test_some_bad_events(ledger: Ledger, partial: str) -> None:
    """An array with some bad events is `partial` or invalid, as the setting says, and the problem is told."""
    (posted,) = live(ledger, partial=partial).record([array(event("1"), b'{"type": 7}')])
    assert posted.verdict == ("partial" if partial == "accept" else "invalid")
    assert posted.problem == "$[1].type: must be a text"


def test_a_refused_body_posted_again_is_kept_once(ledger: Ledger, url: str) -> None:
    """Who posts the same nonsense again and again gets the same answer, and fills no disk."""
    intake = live(ledger)
    first = intake.record([b"nonsense"])
    again = intake.record([b"nonsense", event("1"), b"nonsense"])
    assert verdicts(again) == ["invalid", "accepted", "invalid"]
    assert again[0] == again[2] == first[0]
    assert rows(url, "SELECT count(*) FROM files WHERE verdict = 'invalid'") == [(1,)]


def test_the_settings_apply(ledger: Ledger, url: str) -> None:
    """The organisation, the time zone, the limit of events and unknown types are those of [http]."""
    intake = live(
        ledger, organisation="acme", time_zone="Europe/Dublin", unknown_events="quarantine", max_file_events=1
    )
    posts = [event("1"), event("2", type="somethingNew"), array(event("3"), event("4"))]
    assert verdicts(intake.record(posts)) == ["accepted", "invalid", "invalid"]
    assert rows(url, "SELECT organisation, time_zone FROM events") == [("acme", "Europe/Dublin")]


@pytest.mark.parametrize("file_first", [True, False])
def test_the_same_event_by_both_ways(ledger: Ledger, file_first: bool) -> None:
    """An event that comes as a file and as a post, in either order, is one event with one delivery."""
    intake = live(ledger)
    if file_first:
        record(ledger, ("a.json", event("1")))
        assert verdicts(intake.record([event("1")])) == ["duplicate"]
    else:
        intake.record([event("1")])
        assert record(ledger, ("a.json", event("1"))).verdicts == {"duplicate": 1}
    assert len(ledger.deliveries.claim("crm", 9, ordered=True)) == 1


def test_both_ways_at_the_same_moment(url: str, ledger: Ledger, clock: Clock) -> None:
    """Files and posts with the same events, recorded by two processes' ledgers at once, make each event once."""
    numbers = [str(number) for number in range(200)]
    other = Ledger(url, clock)
    start = threading.Barrier(2)

    def post() -> None:
        intake = live(other)
        start.wait()
        for at in range(0, 200, 10):
            intake.record([event(number) for number in numbers[at : at + 10]])

    poster = threading.Thread(target=post)
    poster.start()
    start.wait()
    for at in range(0, 200, 10):
        record(ledger, *[(f"{number}.json", event(number)) for number in numbers[at : at + 10]])
    poster.join()
    other.close()
    handed_on = [json.loads(claim.body)["communicationActionId"] for claim in _all(ledger)]
    assert sorted(handed_on, key=int) == numbers
    assert rows(url, "SELECT count(*), count(DISTINCT identity) FROM events") == [(200, 200)]
    assert rows(url, "SELECT count(*) FROM files") == [(400,)]


def test_what_cannot_be_recorded_is_not_remembered(ledger: Ledger, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the commit fails the error comes through and nothing is left; the same posts are taken later."""
    intake = live(ledger)

    def fail(*_: object) -> None:
        raise LedgerUnavailable("the disk is full")

    with monkeypatch.context() as patched:
        patched.setattr(ledger, "record", fail)
        with pytest.raises(LedgerUnavailable):
            intake.record([event("1"), b"nonsense"])
    assert rows(url, "SELECT count(*) FROM files") == [(0,)]
    assert verdicts(intake.record([event("1"), b"nonsense"])) == ["accepted", "invalid"]


def _all(ledger: Ledger) -> list[Claim]:
    return ledger.deliveries.claim("crm", 1000, ordered=False)
