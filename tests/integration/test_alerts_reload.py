"""Alerts and what changes under them: a reload with a message under way, what is taken out, a new certificate."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from sftpd_processor.alerts import courier
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import now
from tests.alert_items import MINUTE, FakePoller, Post, Station, alert
from tests.certificates import certificate
from tests.ledger_samples import Clock, event, record
from tests.support import wait_until

DOWN = SourceUnavailable("source webio: no answer within 15 s")
TOLD = "source webio cannot be polled"
DISK = alert(on=["disk"], disk_percent=99.99)
SOURCE = alert(on=["source"])
EXPIRY = alert(on=["expiry"], expiry_days=2)


@pytest.fixture
def post(monkeypatch: pytest.MonkeyPatch) -> Post:
    """What is sent."""
    made = Post()
    monkeypatch.setattr(courier, "delivered", made.delivered)
    return made


@pytest.fixture
def station(ledger: Ledger, clock: Clock, tmp_path: Path, post: Post) -> Station:
    """An alerter whose source has just begun to fail."""
    made = Station(ledger, clock, tmp_path, [SOURCE])
    made.look()
    made.pollers[0].fail(DOWN)
    made.look()
    return made


def go_down(station: Station, post: Post) -> None:
    """Its source fails until that is told."""
    station.look(after=11 * MINUTE)
    assert post.titles() == [TOLD]


def under_way(station: Station, post: Post) -> None:
    """A look begins to send, and before that has ended, a reload takes the cause out of `on`."""
    gate = threading.Event()
    post.answer = lambda _address: None if gate.wait(20) else "the test took too long"
    station.alerter.step()
    station.alerter.configure([DISK], None)
    station.alerter.step()
    gate.set()
    station.look()


def test_a_cause_under_way_that_is_no_longer_watched(station: Station, post: Post) -> None:
    """It arrives after a reload took it out of `on`: it is not noted, and no end of it is told while it is wrong."""
    station.steady.now += 11 * MINUTE
    under_way(station, post)
    assert post.titles() == [TOLD]
    assert station.ledger.alerts.open() == []
    station.look(after=MINUTE)
    assert post.titles() == []


def test_an_end_under_way_that_is_no_longer_watched(station: Station, post: Post) -> None:
    """The end arrives after a reload took the cause out of `on`: that is all, and alerts go on."""
    go_down(station, post)
    station.pollers[0].work()
    under_way(station, post)
    assert post.titles() == ["recovered: source webio is polled again"]
    station.look(after=MINUTE)
    assert (post.titles(), station.ledger.alerts.open()) == ([], [])


def test_what_has_arrived_is_noted_before_a_reload(station: Station, post: Post) -> None:
    """A message that had arrived when a reload came counts as told, though its addresses are others now."""
    station.steady.now += 11 * MINUTE
    station.alerter.step()
    wait_until(station._all_sent, what="the message")
    station.alerter.configure([alert("json://other", on=["source"])], None)
    station.look()
    assert post.titles() == [TOLD]


@pytest.mark.parametrize("others", [(), (alert(name="chat", on=["disk"], disk_percent=99.99),)])
@pytest.mark.parametrize("restarted", [False, True])
def test_an_alert_that_is_put_back(
    station: Station, post: Post, others: Sequence[AlertSettings], *, restarted: bool
) -> None:
    """An alert that is taken out, by a reload or a restart, forgets what it told: put back, it tells no end of it."""
    go_down(station, post)
    station.settings = others
    if restarted:
        station.restart()
    else:
        station.alerter.configure(station.settings, None)
    station.look()
    assert station.ledger.alerts.open() == []
    station.pollers[0].work()
    station.alerter.configure([SOURCE], None)
    station.look()
    assert post.titles() == []


def test_what_is_no_alert_costs_nothing(station: Station, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any alert the ledger is looked at once, and then never again."""
    station.settings = []
    station.restart()
    assert station.alerter.step() is None
    monkeypatch.setattr(ledger, "alerts", None)
    assert station.alerter.step() is None


def test_what_is_taken_out_is_not_told(station: Station, ledger: Ledger, post: Post) -> None:
    """Of a source or a handler that is gone, files in quarantine and dead letters are dropped without a word."""
    station.pollers[0].work()
    station.alerter.configure([alert(on=["quarantine", "dead_letters"])], None)
    station.look()
    record(ledger, ("bad.json", b"{"), ("f.json", event("1")))
    station.look()
    assert post.titles() == ["source webio: new files in quarantine"]
    station.pollers[:] = [FakePoller("other")]
    station.look()
    assert station.ledger.alerts.open() == []
    record(ledger, ("bad2.json", b"{"))
    station.look()
    station.look(after=120 * MINUTE)
    assert post.titles() == []


@pytest.fixture
def http(station: Station, post: Post, tmp_path: Path) -> HttpSettings:
    """A listener whose certificate ends in a day, which was told."""
    crt, key = certificate(tmp_path)
    http = HttpSettings(listen="127.0.0.1:0", auth="none", tls_certificate=crt, tls_key=key)
    station.clock.now = now()
    station.alerter.configure([EXPIRY], http)
    station.look()
    assert post.titles() == ["http.tls_certificate is about to expire"]
    return http


def test_a_renewed_certificate(station: Station, http: HttpSettings, post: Post, tmp_path: Path) -> None:
    """It is over when a reload has taken up the new file, though the settings are the same, and not before."""
    assert http.tls_certificate is not None
    http.tls_certificate.write_bytes(certificate(tmp_path, "other", days=90)[0].read_bytes())
    station.look(after=MINUTE)
    assert post.titles() == []
    station.alerter.configure([EXPIRY], http)
    station.look()
    assert post.titles() == ["recovered: http.tls_certificate no longer expires soon"]


@pytest.mark.usefixtures("http")
def test_a_certificate_that_is_taken_out(station: Station, post: Post) -> None:
    """Of a certificate that is no longer used, nothing is said."""
    station.alerter.configure([EXPIRY], None)
    station.look()
    assert (post.titles(), station.ledger.alerts.open()) == ([], [])
