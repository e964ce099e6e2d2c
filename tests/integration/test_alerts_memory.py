"""What alerts remember: over restarts, over a reload, for machines that share a ledger, and when nobody is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpd_processor.alerts import courier
from sftpd_processor.errors import ConfigurationError, SourceUnavailable
from sftpd_processor.ledger.alerts import Noted
from sftpd_processor.ledger.ledger import Ledger
from tests.alert_items import MINUTE, FakePoller, Post, Station, alert
from tests.ledger_samples import Clock, record, rows

DOWN = SourceUnavailable("source webio: no answer within 15 s")
TOLD = ["source webio cannot be polled"]
OVER = ["recovered: source webio is polled again"]


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    """What is sent."""
    made = Post()
    monkeypatch.setattr(courier, "delivered", made.delivered)
    return made


@pytest.fixture
def station(ledger: Ledger, clock: Clock, tmp_path: Path, post: Post) -> Station:
    """An alerter with one alert of two addresses, that has looked once."""
    made = Station(ledger, clock, tmp_path, [alert("json://one", "json://two", on=["source", "dead_letters"])])
    made.look()
    return made


def go_down(station: Station) -> None:
    """Its source fails until that is told."""
    station.pollers[0].fail(DOWN)
    station.look()
    station.look(after=11 * MINUTE)


def test_a_restart_tells_nothing_again(station: Station, post: Post) -> None:
    """What was told before a restart is not told after it, and its end is, also when it came in between."""
    go_down(station)
    assert post.titles() == TOLD
    station.restart()
    station.pollers[:] = [FakePoller(up=False)]  # not polled yet
    station.look()
    station.pollers[0].fail(DOWN)
    station.look(after=30 * MINUTE)
    assert post.titles() == []
    station.restart()
    station.pollers[0].work()
    station.look()
    assert post.titles() == OVER
    station.restart()
    station.look()
    assert post.titles() == []


def test_a_cause_stays_untold_until_somebody_is_reached(station: Station, post: Post) -> None:
    """When no address takes the message, the cause is found and told again, after a pause that doubles; and nothing is
    told of one that was over before anybody heard of it."""
    post.answer = lambda _address: "it cannot be reached"
    go_down(station)
    assert (post.tries, station.ledger.alerts.open()) == (1, [])
    station.look(after=29)
    assert post.tries == 1
    station.look(after=1)
    station.look(after=59)
    assert post.tries == 2
    post.answer = lambda _address: None
    station.look(after=1)
    assert post.titles() == TOLD
    post.answer = lambda _address: "it cannot be reached"
    station.pollers[0].work()
    station.look()
    assert len(station.ledger.alerts.open()) == 1
    station.pollers[0].fail(DOWN)
    station.look(after=31)
    post.answer = lambda _address: None
    station.look(after=60 * MINUTE)
    assert post.titles() == []  # it fails again: the end that nobody heard of is none


def test_an_address_that_fails_gets_its_message_later(
    station: Station, post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    """The address that took a message does not get it twice; the other one gets it when it works; the log says so once,
    without the addresses."""
    caplog.set_level("INFO")
    post.answer = lambda address: "it was refused with 503" if address == 1 else None
    go_down(station)
    assert post.titles() == TOLD
    for _ in range(3):
        station.look(after=2 * MINUTE)
    assert post.titles() == []
    assert caplog.text.count("alert operators: address 2 of 2: it was refused with 503; tried again by itself") == 1
    post.answer = lambda _address: None
    station.look(after=60 * MINUTE)
    assert post.titles() == TOLD
    assert "alert operators: address 2 of 2: works again" in caplog.text
    assert "json://" not in caplog.text
    station.look(after=60 * MINUTE)
    assert post.titles() == []


def test_an_address_that_is_dead_is_given_up(station: Station, post: Post) -> None:
    """After a day nothing more is owed to it."""
    post.answer = lambda address: "no answer in time" if address == 1 else None
    go_down(station)
    for _ in range(30):
        station.look(after=60 * MINUTE)
    tries = post.tries
    station.look(after=60 * MINUTE)
    assert post.tries == tries


def test_news_do_not_wait_for_an_address_that_fails(station: Station, post: Post) -> None:
    """Others are told at once, also while one address is left alone for a while."""
    post.answer = lambda address: "no answer in time" if address == 1 else None
    go_down(station)
    station.pollers[0].work()
    station.look(after=1)
    assert post.titles() == TOLD + OVER


def test_machines_that_share_a_ledger(station: Station, post: Post) -> None:
    """Each tells what it sees itself, whatever another has told, and leaves the other's notes alone."""
    other = Noted("operators", "source", "webio", 5, 6)
    station.ledger.alerts.note("elsewhere:/srv", [other])
    station.restart(shared=True)
    station.look()
    go_down(station)
    assert post.titles() == TOLD
    assert station.ledger.alerts.all("elsewhere:/srv") == [other]
    assert len(station.ledger.alerts.open()) == 2


def test_a_reload(station: Station, post: Post) -> None:
    """Other settings count from the next look: what was told stays told, what is no longer watched is dropped in
    silence, and an alert that is new is told what is wrong."""
    go_down(station)
    assert post.titles() == TOLD
    more = [alert("json://one", "json://two", on=["source"]), alert("json://three", name="chat", on=["source"])]
    station.alerter.configure(more, None)
    station.look(after=MINUTE)
    assert post.titles() == TOLD
    assert [row.alert for row in station.ledger.alerts.open()] == ["operators", "chat"]
    station.alerter.configure(more[:1], None)
    station.pollers[:] = [FakePoller("other")]
    station.look()
    assert (post.titles(), station.ledger.alerts.open()) == ([], [])
    station.alerter.configure([], None)
    assert station.alerter.step() is None
    with pytest.raises(ConfigurationError, match=r"alerts\[0\]\.silence\.inboundmessage.*did you mean"):
        station.alerter.configure([alert(silence={"inboundmessage": 5})], None)


def test_a_reload_while_something_is_sent(station: Station, post: Post) -> None:
    """What is under way at a reload is not told again, when its addresses are the same."""
    station.pollers[0].fail(DOWN)
    station.look()
    station.steady.now += 11 * MINUTE
    station.alerter.step()
    station.alerter.configure([alert("json://one", "json://two", on=["source"], grown_by=2)], None)
    station.look()
    station.look(after=MINUTE)
    assert post.titles() == TOLD


def test_a_kind_that_is_watched_again(station: Station, post: Post) -> None:
    """What grew while a kind was not watched is no news when it is watched again."""
    kinds = [["quarantine"], ["disk"], ["quarantine"]]
    for number, on in enumerate(kinds):
        station.alerter.configure([alert(on=on, disk_percent=99.99)], None)
        station.look()
        if number < len(kinds) - 1:
            record(station.ledger, (f"bad{number}.json", b"{"))
            station.look()
    assert post.titles() == ["source webio: new files in quarantine"]


def test_an_alert_that_is_new_tells_no_old_story(station: Station, post: Post) -> None:
    """Files that were in quarantine before an alert was put into the configuration are no news to it."""
    settings = [*station.settings, alert(name="late", on=["quarantine"])]
    record(station.ledger, ("bad.json", b"{"))
    station.alerter.configure(settings, None)
    station.look()
    assert post.titles() == []
    record(station.ledger, ("bad2.json", b"{"))
    station.look()
    assert post.titles() == ["source webio: new files in quarantine"]


def test_nothing_is_written_without_need(station: Station, url: str, post: Post) -> None:
    """Looks that find nothing new do not write to the ledger."""
    go_down(station)
    count = "SELECT sum(noted_at) FROM alerts"
    before = rows(url, count)
    writes: list[object] = []
    station.ledger.alerts.note = lambda *given: writes.append(given)  # type: ignore[method-assign]
    for _ in range(5):
        station.look(after=MINUTE)
    assert writes == []
    assert rows(url, count) == before


def test_the_ledger_cannot_be_read_at_first(clock: Clock, tmp_path: Path, post: Post, url: str) -> None:
    """Before it is open only the ledger itself is told; what was told before the start is known as soon as it is."""
    opened, ledger = Ledger(url, clock), Ledger(url, clock)
    opened.open()
    opened.alerts.note("", [Noted("operators", "source", "webio", clock(), clock())])
    station = Station(ledger, clock, tmp_path, [alert(on=["source", "ledger"])])
    station.pollers[0].fail(DOWN)
    station.look()
    station.look(after=11 * MINUTE)
    assert post.titles() == ["the ledger cannot be used"]
    ledger.open()
    station.look(after=MINUTE)
    assert post.titles() == ["recovered: the ledger works again"]
    station.pollers[0].work()
    station.look()
    assert post.titles() == OVER
    assert opened.alerts.open() == []
    opened.close()
    ledger.close()


def test_stopping_waits_for_what_is_being_sent(station: Station, post: Post) -> None:
    """A message under way when the daemon stops is waited for, and noted: it is not sent again after the start."""
    station.pollers[0].fail(DOWN)
    station.look()
    station.steady.now += 11 * MINUTE
    station.alerter.step()
    station.alerter.stop()
    assert station.alerter.unfinished()
    station.look()
    assert not station.alerter.unfinished()
    assert len(station.ledger.alerts.open()) == 1


def test_how_many_are_open(station: Station, post: Post) -> None:
    """The numbers for /metrics: every cause that is watched, those that are open counted."""
    go_down(station)
    assert station.alerter.open() == {("operators", "source"): 1, ("operators", "dead_letters"): 0}
