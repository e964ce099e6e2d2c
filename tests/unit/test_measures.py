"""Measures: what a process notes, adds up over processes, and is told from the pipeline."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.measures import MEASURES, Measures, cumulative
from sftpd_processor.pipeline.delivery import Deliverer
from sftpd_processor.pipeline.intake import Intake
from sftpd_processor.pipeline.poller import Poller
from tests.integration.delivery_items import World
from tests.ledger_samples import Site, event, settings, wanting


def _counts(measures: Measures, name: str) -> dict[tuple[str, ...], int]:
    """How many durations were noted under a name, by labels."""
    return {tuple(each["labels"]): sum(each["counts"]) for each in measures.snapshot() if each["name"] == name}


def test_counts_add_up() -> None:
    """A counter adds what is noted under its name and labels, and keeps others apart."""
    measures = Measures()
    measures.count("http_requests", "webhooks", "200")
    measures.count("http_requests", "webhooks", "200", by=2)
    measures.count("http_requests", "webhooks", "401")
    assert {tuple(each["labels"]): each["count"] for each in measures.snapshot()} == {
        ("webhooks", "200"): 3,
        ("webhooks", "401"): 1,
    }


def test_a_duration_falls_into_the_first_bucket_that_holds_it() -> None:
    """A bound is the largest value of its bucket; what is longer than the last bound is in one more."""
    measures = Measures()
    bounds = MEASURES["post_commit_seconds"].bounds
    measures.observe("post_commit_seconds", seconds=bounds[0])
    measures.observe_many("post_commit_seconds", seconds=[bounds[0] * 1.01, bounds[-1], 1e9])
    (noted,) = measures.snapshot()
    assert noted["counts"] == [1, 1, *[0] * (len(bounds) - 3), 1, 1]
    assert noted["total"] == pytest.approx(bounds[0] * 2.01 + bounds[-1] + 1e9)


def test_buckets_are_cumulative_for_prometheus() -> None:
    """Each bucket holds those before it, and the last one, +Inf, all."""
    assert cumulative([1, 0, 2, 1], (0.1, 1.0, 5.0)) == [("0.1", 1.0), ("1.0", 1.0), ("5.0", 3.0), ("+Inf", 4.0)]


def test_what_another_process_noted_is_added() -> None:
    """A snapshot survives JSON, and adding it gives what one process would have noted."""
    one, other, both = Measures(), Measures(), Measures()
    for measures in (one, both):
        measures.count("http_requests", "webhooks", "200")
        measures.observe("values_seconds", "crm", "answered", seconds=0.02)
    for measures in (other, both):
        measures.count("http_requests", "webhooks", "200", by=4)
        measures.observe("values_seconds", "crm", "answered", seconds=7)
        measures.observe("poll_seconds", "webio", "good", seconds=1)
    one.add(json.loads(json.dumps(other.snapshot())))
    assert one.snapshot() == both.snapshot()


def test_polls_and_lags_are_noted(tmp_path: Path) -> None:
    """A poller notes how long each poll took and whether it was good, and how old the new events were; it knows when
    its last good poll was, and whether the last one was good."""
    measures, site = Measures(), Site(tmp_path)
    intake = Intake(site.source, settings(), site.ledger, wanting, lambda _: None, measures=measures)
    poller = Poller(site.source, intake, settings(), measures=measures)
    site.source.fail("look", SourceUnavailable("source webio: no answer"))
    with closing(site.ledger):
        with pytest.raises(SourceUnavailable):
            poller.step()
        assert (poller.up, poller.last_good) == (False, None)
        site.source.put("1.json", event("1", dateCreated="2026-11-22 11:59:00.000"))
        site.source.put("2.json", event("2"))
        poller.step()
        assert poller.up
        assert poller.last_good is not None
        assert 0 < poller.moved_at <= poller.last_good
        assert _counts(measures, "poll_seconds") == {("webio", "failed"): 1, ("webio", "good"): 1}
        assert _counts(measures, "recorded_lag_seconds") == {("directory",): 1}
        (lag,) = [each["total"] for each in measures.snapshot() if each["name"] == "recorded_lag_seconds"]
        assert lag == pytest.approx(60, abs=1)
        site.source.fail("look", SourceUnavailable("source webio: no answer"))
        with pytest.raises(SourceUnavailable):
            poller.step()
        assert not poller.up


def test_the_way_from_the_commit_to_a_good_end_is_noted(tmp_path: Path) -> None:
    """A delivery that is done or skipped is noted, with the time since its event was recorded; a dead one is not."""
    with closing(World(tmp_path)) as world:
        _, (crm,) = world.module(
            """
            @handler(name="crm")
            def crm(event):
                if event.body == "2":
                    raise Reject("no")
                return Skip("nothing to do") if event.body == "3" else None
            """
        )
        world.record(["crm"], ["a", "b", "c"])
        measures = Measures()
        world.finish(Deliverer(crm, world.ledger, DeliverySettings(), measures=measures))
        assert world.states() == {"crm": {"done": 1, "skipped": 1, "dead": 1}}
        assert _counts(measures, "done_lag_seconds") == {("crm",): 2}
        (lag,) = [each["total"] for each in measures.snapshot()]
        assert 0 < lag < 20
