"""docs/monitoring.md shows what the admin listener really answers, and names every metric that there is."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sftpd_processor.errors import SourceUnavailable
from sftpd_processor.http.metrics import Metrics
from sftpd_processor.http.readiness import Health
from sftpd_processor.ledger.records import Settlement
from sftpd_processor.measures import MEASURES, PREFIX, Measures
from tests.integration.admin_items import FakeDeliverer, FakeListener, FakePoller, admin
from tests.ledger_samples import array, event, opened, record, settled, sqlite_url

PAGE = (Path(__file__).parents[2] / "docs" / "monitoring.md").read_text()
SAMPLES = [
    tuple(sample.split("\n", 1)) for sample in re.findall(r"^```text\n\$ (.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
]


@pytest.fixture
def answers(tmp_path: Path) -> Iterator[dict[str, list[str]]]:
    """By path: what a working inbox answers, and what it answers in trouble."""
    with opened(sqlite_url(tmp_path)) as ledger:
        record(ledger, ("1.json", array(*(event(str(number)) for number in range(5)))), ("2.json", b"{"))
        record(ledger, ("3.json", event("p", type="payment")))
        done, dead, again, _ = (claim.id for claim in ledger.deliveries.claim("crm", 4, ordered=False))
        failed = [Settlement(dead, "dead", 1, 0, "", failed=True), Settlement(again, "pending", 1, 9, "", failed=True)]
        ledger.deliveries.settle("crm", [settled(done), *failed])
        poller, crm = FakePoller(last_good=time.monotonic(), up=True), FakeDeliverer()
        parts: dict[str, Any] = {"pollers": [poller], "deliverers": [crm], "listener": FakeListener}
        metrics = Metrics(ledger, Measures(), **parts, alerts=lambda: {("operators", "source"): 1})
        health = Health(ledger.totals.probe, lambda: [poller], lambda: [crm], late_seconds=120)
        with admin(health, metrics) as client:
            well = _answered(client)
            poller.last_good, poller.up = time.monotonic() - 310, False
            poller.failure = SourceUnavailable("source webio: sftp.example.com:22: no answer within 15 s")
            crm.trouble = "a call of the handler has not come back within 30 s; give its own calls a time-out"
            trouble = _answered(client)
    yield {path: [well[path], trouble[path]] for path in well}


def _answered(client: httpx2.Client) -> dict[str, str]:
    return {path: client.get(path).text for path in ("/healthz", "/readyz", "/metrics", "/version")}


def _families(text: str) -> dict[str, Metric]:
    """By the name on the page, which is that of its samples."""
    families = text_string_to_metric_families(text)
    return {family.name + ("_total" if family.type == "counter" else ""): family for family in families}


def _without_numbers(text: str) -> str:
    return re.sub(r"[0-9]+", "0", text)


def test_samples_are_what_is_answered(answers: dict[str, list[str]]) -> None:
    """Every sample on the page is a real answer, whatever the numbers in it; those of metrics are lines of one."""
    assert len(SAMPLES) == 5
    for command, shown in SAMPLES:
        address, _, then = command.removeprefix("curl -s ").partition(" | ")
        real = answers[address.removeprefix("http://127.0.0.1:8081")]
        if then.startswith("python3 -m json.tool"):
            real = [json.dumps(json.loads(answer), indent=4) for answer in real]
        if then.startswith("grep -E"):
            wanted = re.compile(then.removeprefix("grep -E ").strip("'"))
            real = ["\n".join(line for line in answer.splitlines() if wanted.match(line)) for answer in real]
        assert _without_numbers(shown) in [_without_numbers(answer) for answer in real], command


def test_the_page_names_every_metric(answers: dict[str, list[str]]) -> None:
    """The table has all metrics that are rendered and no other, each with its type and its labels."""
    table = PAGE.partition("## Metrics")[2].partition("## Prometheus")[0]
    rows = re.findall(r"^\| (`.*?) \| (\w+) \| (.*?) ?\| .* \|$", table, re.MULTILINE)
    told = {
        name if name.startswith("process_") else PREFIX + name: (kind, labels)
        for names, kind, labels in rows
        for name in re.findall(r"`(\w+)`", names)
    }
    rendered = _families(answers["/metrics"][0])
    assert set(told) == set(rendered)
    for name, (kind, labels) in told.items():
        assert rendered[name].type == kind, name
        for sample in rendered[name].samples:
            assert set(sample.labels) - {"le"} == set(filter(None, labels.split(", "))), name


def test_measures_have_the_labels_that_the_page_tells() -> None:
    """Also those that nothing was noted of yet."""
    for name, measure in MEASURES.items():
        shown = name if measure.bounds else f"{name}_total"
        kind = "histogram" if measure.bounds else "counter"
        assert re.search(rf"^\| `{shown}` \| {kind} \| {', '.join(measure.labels)} ?\| ", PAGE, re.MULTILINE), name


def test_alerts_ask_for_what_there_is(answers: dict[str, list[str]]) -> None:
    """Every name in an expression is that of a metric, or of a series of one."""
    rendered = _families(answers["/metrics"][0])
    series = set(rendered) | {f"{name}_bucket" for name, family in rendered.items() if family.type == "histogram"}
    expressions = re.findall(r"expr: (.*)", PAGE)
    assert len(expressions) > 5
    for name in re.findall(r"sftpd_processor_\w+", "".join(expressions)):
        assert name in series
