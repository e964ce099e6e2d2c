"""What is told, and when it is over: every kind of cause, on each kind of ledger, by clocks that the test moves."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.alerts import courier
from sftpd_processor.alerts.disk import Disk, Fullness
from sftpd_processor.errors import HostKeyRefused, LedgerUnavailable, SourceUnavailable
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Settlement
from tests.alert_items import MINUTE, FakeDeliverer, FakePoller, Post, Station, alert
from tests.ledger_samples import Clock, event, record

DOWN = SourceUnavailable("source webio: sftp.example.com:22: no answer within 15 s")

Make = Callable[..., Station]


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    """What is sent."""
    made = Post()
    monkeypatch.setattr(courier, "delivered", made.delivered)
    return made


@pytest.fixture
def make(ledger: Ledger, clock: Clock, tmp_path: Path, post: Post) -> Iterator[Make]:
    """Makes an alerter with one alert of these settings, that has looked once."""

    def made(**changes: Any) -> Station:
        station = Station(ledger, clock, tmp_path, [alert(**{"disk_percent": 99.99} | changes)])
        station.look()
        assert post.titles() == []
        return station

    yield made


def dead(ledger: Ledger, number: int) -> None:
    """So many more dead letters."""
    for _ in range(number):
        record(ledger, ("f.json", event(str(ledger.clock()))))
        claim = ledger.deliveries.claim("crm", 1, ordered=False)[0]
        ledger.deliveries.settle("crm", [Settlement(claim.id, "dead", 1, 0, "no", failed=True)])


def test_a_source(make: Make, post: Post) -> None:
    """A source that fails is told after ten minutes, once, with the reason; a good poll ends it, and that is told."""
    station = make()
    station.pollers[0].fail(DOWN)
    station.look()
    station.look(after=9 * MINUTE)
    assert post.titles() == []
    station.look(after=MINUTE)
    assert "sftp.example.com:22: no answer within 15 s" in post.sent[0].body
    assert post.titles() == ["source webio cannot be polled"]
    station.look(after=60 * MINUTE)
    assert post.titles() == []
    station.pollers[0].work()
    station.look(after=MINUTE)
    assert "after 1 h 11 min" in post.sent[0].body
    assert post.titles() == ["recovered: source webio is polled again"]
    assert station.ledger.alerts.open() == []


def test_a_short_failure_is_not_told(make: Make, post: Post) -> None:
    """A source that fails for nine minutes, works, and fails for nine minutes again, is told nobody."""
    station = make()
    for _ in range(2):
        station.pollers[0].fail(DOWN)
        station.look()
        station.look(after=9 * MINUTE)
        station.pollers[0].work()
        station.look()
    assert post.titles() == []


def test_one_outage_of_several_sources(make: Make, post: Post) -> None:
    """Sources that went down within half of the time are told in one message, and so is the end of all of them."""
    station = make()
    station.pollers[:] = [FakePoller(f"s{number}") for number in range(20)]
    for poller in station.pollers:
        poller.fail(DOWN)
        station.look(after=10)
    station.look(after=7 * MINUTE)
    [message] = post.sent
    assert message.title.endswith(": 20 things are wrong: source s0 cannot be polled, source s1 cannot be polled, …")
    assert all(f"Source s{number} cannot be polled" in message.body for number in range(20))
    post.sent.clear()
    for poller in station.pollers:
        poller.work()
    station.look(after=MINUTE)
    assert [title.partition(":")[0] for title in post.titles()] == ["recovered"]


def test_a_host_key(make: Make, post: Post) -> None:
    """A host key that is refused is told at once, and not told again as a source that fails."""
    station = make()
    station.pollers[0].fail(HostKeyRefused("source webio: the host key of sftp.example.com:22 HAS CHANGED. Expected …"))
    station.look()
    assert post.titles() == ["source webio shows another host key"]
    station.look(after=30 * MINUTE)
    station.pollers[0].failure = DOWN  # as long as no poll is good, nobody knows which key it shows
    station.look(after=MINUTE)
    assert post.titles() == []
    station.pollers[0].work()
    station.look()
    assert post.titles() == ["recovered: source webio shows the right host key again"]


def test_a_host_key_that_is_not_asked_for(make: Make, post: Post) -> None:
    """Without `host_key` in `on` it is a source that fails, as any other."""
    station = make(on=["source"])
    station.pollers[0].fail(HostKeyRefused("the host key HAS CHANGED"))
    station.look()
    station.look(after=10 * MINUTE)
    assert post.titles() == ["source webio cannot be polled"]


def test_quarantine(make: Make, ledger: Ledger, post: Post) -> None:
    """Files that were in quarantine before are no news; one more is, and others are not until an hour without."""
    record(ledger, ("old.json", b"{"))
    station = make()
    record(ledger, ("bad.json", b"{"))
    station.look()
    assert "1 more file" in post.sent[0].body
    assert post.titles() == ["source webio: new files in quarantine"]
    record(ledger, ("bad2.json", b"{"))
    station.look(after=50 * MINUTE)
    station.look(after=9 * MINUTE)
    assert post.titles() == []
    station.look(after=61 * MINUTE)
    assert post.titles() == ["recovered: source webio: no more files in quarantine"]
    station.look(after=MINUTE)
    assert post.titles() == []
    record(ledger, ("bad3.json", b"{"))
    station.look()
    assert "1 more file" in post.sent[0].body
    assert post.titles() == ["source webio: new files in quarantine"]


def test_quarantine_grew_while_nobody_watched(make: Make, ledger: Ledger, post: Post) -> None:
    """What came between two lives of the daemon is told after the start, also of a source that had none before."""
    station = make()
    record(ledger, ("bad.json", b"{"))
    station.clock.advance(24 * 60 * MINUTE)
    station.restart()
    station.look()
    assert post.titles() == ["source webio: new files in quarantine"]


def test_dead_letters(make: Make, ledger: Ledger, post: Post) -> None:
    """They are told by handler, and are over as soon as people have put back all of them."""
    station = make()
    dead(ledger, 2)
    station.look()
    assert "2 more dead letters" in post.sent[0].body
    assert "retry --handler crm" in post.sent[0].body
    assert post.titles() == ["handler crm: new dead letters"]
    for claim in [row["id"] for row in ledger.figures.dead(9)]:
        with ledger._database.write() as connection:
            connection.exec_driver_sql(f"UPDATE deliveries SET state = 'pending' WHERE id = {claim}")
    station.look(after=MINUTE)
    assert post.titles() == ["recovered: handler crm: no more dead letters"]


def test_a_number_of_dead_letters(make: Make, ledger: Ledger, post: Post) -> None:
    """With `grown_by`, fewer are told nobody, and forgotten after a calm hour."""
    station = make(grown_by=3)
    dead(ledger, 2)
    station.look()
    station.look(after=61 * MINUTE)
    dead(ledger, 2)
    station.look()
    assert post.titles() == []
    dead(ledger, 1)
    station.look()
    assert post.titles() == ["handler crm: new dead letters"]


def test_what_grows_while_the_end_is_told_is_news(make: Make, ledger: Ledger, post: Post) -> None:
    """A dead letter that comes just when the end of the last ones is under way is not lost."""
    station = make()
    dead(ledger, 1)
    station.look()
    post.answer = lambda _address: dead(ledger, 1)
    station.look(after=61 * MINUTE)
    post.answer = lambda _address: None
    station.look(after=MINUTE)
    assert post.titles() == [
        "handler crm: new dead letters",
        "recovered: handler crm: no more dead letters",
        "handler crm: new dead letters",
    ]


def test_a_breaker(make: Make, ledger: Ledger, post: Post) -> None:
    """An open breaker is told at once; it is over when it has stayed closed for five minutes."""
    station = make()
    ledger.deliveries.note_breaker("crm", ledger.clock(), 0)
    ledger.deliveries.note_breaker("gone", ledger.clock(), 0)  # of a handler that is no longer configured
    station.look()
    assert post.titles() == ["handler crm fails with everything"]
    for _ in range(3):
        ledger.deliveries.note_breaker("crm", None, 0)
        station.look(after=4 * MINUTE)
        ledger.deliveries.note_breaker("crm", ledger.clock(), 0)
        station.look(after=MINUTE)
    assert post.titles() == []
    ledger.deliveries.note_breaker("crm", None, 0)
    station.look()
    station.look(after=5 * MINUTE)
    assert post.titles() == ["recovered: handler crm works again"]


def test_silence_for_a_set_time(make: Make, ledger: Ledger, post: Post) -> None:
    """A type that did not come for the set time is missed until one comes; others are none of it."""
    record(ledger, ("1.json", event("1")), ("2.json", event("2", type="payment")))
    station = make(silence={"payment": 30, "setStatus": 60})
    record(ledger, ("3.json", event("3")))
    station.look(after=29 * MINUTE)
    assert post.titles() == []
    station.look(after=2 * MINUTE)
    assert "the last one was recorded at 2026-11-22 12:00 UTC" in post.sent[0].body
    assert post.titles() == ["no event of type payment"]
    station.look(after=MINUTE)
    record(ledger, ("4.json", event("4", type="payment")))
    station.look()
    assert post.titles() == ["recovered: events of type payment come again"]
    station.look(after=29 * MINUTE)
    assert "none came since this is watched" in post.sent[0].body
    assert post.titles() == ["no event of type setStatus"]


def test_silence_of_sources_that_are_down(make: Make, post: Post) -> None:
    """While a source cannot be polled, no type is missed: the source is why, and is told itself."""
    station = make(silence={"payment": 5})
    station.pollers[0].fail(DOWN)
    station.look(after=6 * MINUTE)
    station.look(after=11 * MINUTE)
    assert post.titles() == ["source webio cannot be polled"]
    station.pollers[0].work()
    station.look(after=MINUTE)
    assert post.titles() == ["no event of type payment", "recovered: source webio is polled again"]


def test_the_disk(tmp_path: Path, make: Make, post: Post) -> None:
    """A full disk is told at the limit, and over two points below it; room for files counts like room for bytes."""
    station = make(disk_percent=90)
    seen = Fullness(91, 10, 5 << 30)
    station.alerter._lookout._checks["disk"] = Disk(tmp_path, station.ledger.clock, lambda _folder: seen).check
    station.look()
    assert "91 % full, 5.0 GiB are left" in post.sent[0].body
    assert post.titles() == ["the disk is nearly full"]
    seen = Fullness(89, 10, 6 << 30)
    station.look()
    assert post.titles() == []
    seen = Fullness(87, 10, 7 << 30)
    station.look()
    assert post.titles() == ["recovered: the disk has room again"]
    seen = Fullness(87, 95, 7 << 30)
    station.look()
    assert "room for few more files" in post.sent[0].body


def test_the_ledger(make: Make, post: Post) -> None:
    """A ledger that fails for a minute is told, though nothing can be noted; it does not look like a source's fault."""
    station = make()
    station.pollers[0].fail(LedgerUnavailable("the ledger cannot be used now: database or disk is full"))
    station.look()
    station.look(after=59)
    assert post.titles() == []
    station.look(after=1)
    assert post.titles() == ["the ledger cannot be used"]
    station.look(after=20 * MINUTE)
    station.pollers[0].work()
    station.look()
    assert post.titles() == ["recovered: the ledger works again"]


def test_a_ledger_that_is_slow_to_fail(make: Make, ledger: Ledger, post: Post, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that fails is told, and asked once in a look: a silent database takes half a minute for each answer."""
    station = make(silence={"payment": "learn"})
    asked: list[None] = []

    def read() -> None:
        asked.append(None)
        raise LedgerUnavailable("the ledger cannot be used now: timeout expired")

    monkeypatch.setattr(ledger._database, "read", read)
    for _ in range(3):
        station.look(after=30)
    assert post.titles() == ["the ledger cannot be used"]
    assert len(asked) == 4  # one more look when the message had arrived


def test_two_handlers(make: Make, ledger: Ledger, post: Post) -> None:
    """What is found at one look is in one message, each with what to do."""
    station = make()
    station.deliverers.append(FakeDeliverer("erp"))
    for name in ("crm", "erp"):
        ledger.deliveries.note_breaker(name, ledger.clock(), 0)
    station.look()
    [message] = post.sent
    assert message.title.endswith(
        "2 things are wrong: handler crm fails with everything, handler erp fails with everything"
    )
    assert message.body.count("See whether what it calls is up.") == 2
