"""/metrics: exact over restarts, added up over processes, bounded in its labels, and there when the ledger is not."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics import parser

from sftpd_processor.http import metrics as room
from sftpd_processor.http.metrics import Metrics
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import LookCounts, Settlement, Sighting
from sftpd_processor.ledger.totals import Total
from sftpd_processor.measures import Measures
from tests.integration.admin_items import FakeDeliverer, FakeListener, FakePoller, read, value
from tests.ledger_samples import Clock, array, batch, entry, event, opened, record, settled, sqlite_url, wanting


def _metrics(ledger: Ledger, listener: FakeListener | None = None, measures: Measures | None = None) -> Metrics:
    """Those of one source `webio`, and one handler `crm`."""
    return Metrics(
        ledger, measures or Measures(), pollers=[FakePoller()], deliverers=[FakeDeliverer()], listener=lambda: listener
    )


def _work(ledger: Ledger) -> None:
    """Six events: one done, one dead, one retried, one running, two that nobody has claimed; files of each kind."""
    record(ledger, ("1.json", array(*(event(str(number)) for number in range(6)))), ("2.json", b"{"))
    ledger.record(batch(sightings=[Sighting(entry("half.json"), "waiting", "half-written")]), wanting)
    done, dead, again, _ = (claim.id for claim in ledger.deliveries.claim("crm", 4, ordered=False))
    failed = [Settlement(dead, "dead", 1, 0, "no", failed=True), Settlement(again, "pending", 1, 9, "no", failed=True)]
    ledger.deliveries.settle("crm", [settled(done), *failed])


def test_the_ledgers_numbers(url: str) -> None:
    """Totals and gauges are those of the ledger, also in the next process."""
    with opened(url) as ledger:
        _work(ledger)
    with opened(url) as ledger:
        page = read(_metrics(ledger).render("")[0])
    assert value(page, "ledger_up") == 1
    assert value(page, "files_total", source="webio", verdict="accepted") == 1
    assert value(page, "files_total", source="webio", verdict="invalid") == 1
    assert value(page, "events_total", type="inboundMessage", origin="sftp") == 6
    ends = {"done": 1, "skipped": 0, "dead": 1, "retried": 1}
    assert {end: value(page, "deliveries_total", handler="crm", state=end) for end in ends} == ends
    still = {"pending": 2, "retrying": 1, "running": 1}
    assert {state: value(page, "deliveries_open", handler="crm", state=state) for state in still} == still
    assert value(page, "dead_letters", handler="crm") == 1
    assert value(page, "quarantined_files", source="webio") == 1
    assert value(page, "waiting_files", source="webio") == 1
    assert value(page, "unarchived_files") == 2


def test_what_never_happened_is_0(tmp_path: Path) -> None:
    """Everything of configured sources and handlers is there from the start, so that its first time is an increase."""
    with opened(sqlite_url(tmp_path)) as ledger:
        page = read(_metrics(ledger, FakeListener()).render("")[0])
    assert value(page, "files_total", source="webio", verdict="conflict") == 0
    assert value(page, "deliveries_total", handler="crm", state="dead") == 0
    assert value(page, "deliveries_open", handler="crm", state="retrying") == 0
    assert value(page, "dead_letters", handler="crm") == 0
    assert value(page, "quarantined_files", source="webio") == 0
    assert value(page, "waiting_files", source="webio") == 0
    assert value(page, "listener_restarts_total") == 0
    assert value(page, "source_up", source="webio") == 0
    assert "sftpd_processor_seconds_since_last_event" not in page
    assert "sftpd_processor_source_last_good_poll_timestamp_seconds" not in page


def test_the_age_of_the_last_event(tmp_path: Path) -> None:
    """By type: how long ago the last new one was recorded; one that comes again does not count."""
    clock = Clock()
    with opened(sqlite_url(tmp_path), clock) as ledger:
        record(ledger, ("1.json", event("1")), ("2.json", event("2", type="payment")))
        clock.advance(30)
        record(ledger, ("3.json", event("3", type="payment")), ("4.json", event("1")))
        clock.advance(10)
        page = read(_metrics(ledger).render("")[0])
    assert value(page, "seconds_since_last_event", type="inboundMessage") == pytest.approx(40, abs=0.01)
    assert value(page, "seconds_since_last_event", type="payment") == pytest.approx(10, abs=0.01)


def test_the_last_good_poll_is_known_over_a_restart(tmp_path: Path) -> None:
    """Before the first good poll of this process the time is that of the ledger's last good look."""
    with opened(sqlite_url(tmp_path)) as ledger:
        look = ledger.files.begin_look("webio")
        ledger.files.end_look("webio", look, LookCounts())
        poller = FakePoller()
        name = "source_last_good_poll_timestamp_seconds"
        before = read(Metrics(ledger, Measures(), pollers=[poller]).render("")[0])
        assert value(before, name, source="webio") == pytest.approx(1_795_348_800, abs=1)  # the ledger's clock
        poller.last_good, poller.up = time.monotonic() - 60, True
        after = read(Metrics(ledger, Measures(), pollers=[poller]).render("")[0])
    assert value(after, name, source="webio") == pytest.approx(time.time() - 60, abs=2)
    assert value(after, "source_up", source="webio") == 1


def test_the_listeners_measures_are_added(tmp_path: Path) -> None:
    """What this process and the listener's have noted is one histogram, and the listener's own state is told."""
    own, listener = Measures(), FakeListener(restarts=2, trouble="it is not running")
    own.observe("recorded_lag_seconds", "sftp", seconds=2.0)
    listener.noted.observe_many("recorded_lag_seconds", "http", seconds=[0.02, 0.03])
    listener.noted.count("http_requests", "webhooks", "200", by=2)
    with opened(sqlite_url(tmp_path)) as ledger:
        page = read(_metrics(ledger, listener, own).render("")[0])
    assert value(page, "recorded_lag_seconds_count", origin="sftp") == 1
    assert value(page, "recorded_lag_seconds_sum", origin="http") == pytest.approx(0.05)
    assert value(page, "recorded_lag_seconds_bucket", origin="http", le="0.05") == 2
    assert value(page, "http_requests_total", route="webhooks", status="200") == 2
    assert value(page, "listener_up") == 0
    assert value(page, "listener_restarts_total") == 2
    assert "sftpd_processor_listener_up" not in read(Metrics(ledger, own).render("")[0])


def test_without_the_ledger_the_rest_is_there(tmp_path: Path) -> None:
    """When the ledger cannot be read, or does not answer, the page says so and shows what it can."""
    own = Measures()
    own.observe("poll_seconds", "webio", "good", seconds=1)
    with closing(Ledger(sqlite_url(tmp_path))) as ledger:
        page = read(_metrics(ledger, FakeListener(), own).render("")[0])
    assert value(page, "ledger_up") == 0
    assert value(page, "source_up", source="webio") == 0
    assert value(page, "breaker_open", handler="crm") == 0
    assert value(page, "poll_seconds_count", source="webio", outcome="good") == 1
    assert page["process_open_fds"][()] > 0
    assert "sftpd_processor_dead_letters" not in page


def test_a_ledger_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A database that does not answer costs the page its numbers, and not the monitor its patience."""
    monkeypatch.setattr(room, "_LEDGER_SECONDS", 0.1)
    hanging = threading.Event()
    with opened(sqlite_url(tmp_path)) as ledger:
        monkeypatch.setattr(ledger.totals, "all", lambda: hanging.wait(60) and [])
        began = time.monotonic()
        page = read(_metrics(ledger).render("")[0])
        assert time.monotonic() - began < 5
        hanging.set()
    assert value(page, "ledger_up") == 0


def test_scrapes_at_once_share_one_look(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many ask within a second, the ledger and the listener are asked once."""
    listener, snapshots = FakeListener(), count()
    noted = listener.snapshot()
    monkeypatch.setattr(listener, "snapshot", lambda: noted * next(snapshots))
    with opened(sqlite_url(tmp_path)) as ledger:
        asked: list[float] = []
        all_totals = ledger.totals.all

        def ask() -> list[Total]:
            asked.append(time.monotonic())
            return all_totals()

        monkeypatch.setattr(ledger.totals, "all", ask)
        metrics = _metrics(ledger, listener)
        began = time.monotonic()
        with ThreadPoolExecutor(8) as pool:
            pages = list(pool.map(lambda _: metrics.render("")[0], range(32)))
        most = 1 + time.monotonic() - began
        assert len(asked) <= most
        assert next(snapshots) <= most
    assert all(value(read(page), "ledger_up") == 1 for page in pages)


def test_senders_neither_choose_how_many_rows_there_are_nor_what_they_say(tmp_path: Path) -> None:
    """Types that are not Webio's share one row, and nothing of an event's content is on the page."""
    private = {"customerUID": "customer-4711", "body": "a secret text", "contactPoint": "+353861234567"}
    with opened(sqlite_url(tmp_path)) as ledger:
        kinds = [event(str(number), type=f"made up {number}", **private) for number in range(50)]
        record(ledger, ("a+353861234567.json", array(*kinds)), ("customer-4711.json", b"{"))
        raw = _metrics(ledger).render("")[0]
    assert value(read(raw), "events_total", type="other", origin="sftp") == 50
    assert len(read(raw)["sftpd_processor_events_total"]) == 1
    for word in ("4711", "secret", "353861234567", "made up"):
        assert word not in raw.decode()


def test_openmetrics_is_spoken_to_those_who_ask(tmp_path: Path) -> None:
    """The format follows the header `Accept`, and is valid in both."""
    strictly: Callable[[str], Iterable[Metric]] = parser.text_string_to_metric_families
    with opened(sqlite_url(tmp_path)) as ledger:
        _work(ledger)
        metrics = _metrics(ledger, FakeListener())
        page, content_type = metrics.render("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
        assert content_type.startswith("application/openmetrics-text; version=1.0.0")
        assert "sftpd_processor_files" in {family.name for family in strictly(page.decode())}
        assert metrics.render("*/*")[1].startswith("text/plain")
