"""What /metrics shows, in Prometheus's formats: numbers of the ledger, measures, and what is true right now."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Metric, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.registry import Collector

import sftpd_processor
from sftpd_processor.errors import ProcessorError
from sftpd_processor.http.glance import Glance
from sftpd_processor.ledger.figures import Gauges
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.totals import Total
from sftpd_processor.measures import MEASURES, PREFIX, Measures, cumulative

_FRESH = 1.0  # seconds
_LEDGER_SECONDS = 3.0
_VERDICTS = ("accepted", "duplicate", "partial", "invalid", "conflict")
_ENDS = ("done", "skipped", "dead", "retried")
_OPEN = ("pending", "retrying", "running")

Samples = Mapping[tuple[str, ...], float]
"""Numbers by the values of their labels."""


class PolledSource(Protocol):
    """What is asked of a poller."""

    @property
    def source_name(self) -> str:
        """Its name."""

    @property
    def up(self) -> bool:
        """Whether its last poll ended well."""

    @property
    def last_good(self) -> float | None:
        """When its last good poll ended (`time.monotonic`)."""


class ServedHandler(Protocol):
    """What is asked of a deliverer."""

    @property
    def name(self) -> str:
        """The handler's name."""

    @property
    def breaker_open(self) -> bool:
        """Whether it is only probed."""


class WatchedListener(Protocol):
    """What is asked of whoever supervises the public listener."""

    @property
    def restarts(self) -> int:
        """How often it was started again."""

    def wrong(self) -> str | None:
        """What is wrong with it."""

    def snapshot(self) -> list[dict[str, Any]]:
        """What it has noted, as `Measures.add` takes it."""


class Metrics(Collector):
    """Everything that is measured; safe to use from several threads."""

    def __init__(
        self,
        ledger: Ledger,
        measures: Measures,
        *,
        pollers: Sequence[PolledSource] = (),
        deliverers: Sequence[ServedHandler] = (),
        listener: Callable[[], WatchedListener | None] = lambda: None,
        alerts: Callable[[], Samples] = dict,
    ) -> None:
        """`measures`: this process's own; those of the listener are added. `pollers` and `deliverers` may change, and
        so may the listener, which is None where none is supervised. `alerts`: by alert and cause, how many are open."""
        self._ledger = ledger
        self._measures = measures
        self._pollers = pollers
        self._deliverers = deliverers
        self._listener = listener
        self._alerts = alerts
        self._counted = Glance(lambda: (ledger.totals.all(), ledger.figures.gauges()), _LEDGER_SECONDS)
        self._lock = threading.Lock()
        self._collected: list[Metric] = []
        self._collected_at = -_FRESH
        self._registry = CollectorRegistry()
        self._registry.register(self)
        ProcessCollector(registry=self._registry)

    def render(self, accept: str) -> tuple[bytes, str]:
        """The page in the best format that `accept` (the header) allows, and its content type."""
        encode, content_type = choose_encoder(accept)
        return encode(self._registry), content_type

    def describe(self) -> list[Metric]:
        """Nothing is measured when the registry only wants to know names."""
        return []

    def collect(self) -> Iterable[Metric]:
        """All families; those who ask within a second share them."""
        with self._lock:
            if time.monotonic() - self._collected_at > _FRESH:
                self._collected = list(self._families())
                self._collected_at = time.monotonic()
            return self._collected

    def _families(self) -> Iterator[Metric]:
        version = _single({sftpd_processor.__version__: 1})
        yield _gauge("build_info", "Always 1; which version runs.", ("version",), version)
        try:
            totals, gauges = self._counted.seen()
        except (ProcessorError, TimeoutError):
            yield _gauge("ledger_up", "Whether the ledger could be read for this page.", (), _one(0))
            yield from self._sources({})
        else:
            yield _gauge("ledger_up", "Whether the ledger could be read for this page.", (), _one(1))
            yield from self._totals(totals)
            yield from self._gauges(gauges)
            yield from self._sources(gauges.last_good_looks)
        breakers = _single({each.name: each.breaker_open for each in self._deliverers})
        yield _gauge("breaker_open", "Whether a handler is only probed, since it failed.", ("handler",), breakers)
        yield _gauge("alerts_open", "Causes that people were told of, not over.", ("alert", "cause"), self._alerts())
        yield from self._listening()
        yield from self._measured()

    def _totals(self, totals: Sequence[Total]) -> Iterator[Metric]:
        found: dict[str, dict[tuple[str, ...], float]] = {"file": {}, "event": {}, "delivery": {}}
        last: dict[tuple[str, ...], int] = {}
        for kind, one, two, number, at in totals:
            found[kind][one, two] = number
            if kind == "event":
                last[one,] = max(at, last.get((one,), 0))
        files = _zeros(self._source_names, _VERDICTS) | found["file"]
        ended = _zeros(self._handler_names, _ENDS) | found["delivery"]
        now = self._ledger.clock()
        ages = {kind: max(0, now - at) / 1_000_000 for kind, at in last.items()}
        yield _counter("files", "Files recorded.", ("source", "verdict"), files)
        yield _counter("events", "Events recorded, each once.", ("type", "origin"), found["event"])
        yield _counter("deliveries", "Attempts that ended, by how.", ("handler", "state"), ended)
        yield _gauge("seconds_since_last_event", "Since the last new event was recorded.", ("type",), ages)

    def _gauges(self, gauges: Gauges) -> Iterator[Metric]:
        sources, handlers = _zeros(self._source_names), _zeros(self._handler_names)
        still = _zeros(self._handler_names, _OPEN)
        still |= {(name, state): number for name, states in gauges.open.items() for state, number in states.items()}
        yield _gauge("deliveries_open", "Deliveries that have not ended.", ("handler", "state"), still)
        dead = handlers | _single(gauges.dead)
        yield _gauge("dead_letters", "Deliveries that are not tried again by themselves.", ("handler",), dead)
        quarantined = sources | _single(gauges.quarantined)
        yield _gauge("quarantined_files", "Files in quarantine that nobody has corrected.", ("source",), quarantined)
        waiting = sources | _single(gauges.waiting)
        yield _gauge("waiting_files", "Files listed that are not taken yet.", ("source",), waiting)
        what = "Recorded files whose local copy is still to be written."
        yield _gauge("unarchived_files", what, (), _one(gauges.unarchived))

    def _sources(self, looks: Mapping[str, int]) -> Iterator[Metric]:
        """`looks`: when the last good look of a source ended, by the ledger, which remembers it over a restart."""
        up = _single({each.source_name: each.up for each in self._pollers})
        yield _gauge("source_up", "Whether the last poll of a source ended well.", ("source",), up)
        ahead = time.time() - time.monotonic()
        polls: dict[str, float] = {}
        for each in self._pollers:
            if each.last_good is not None:
                polls[each.source_name] = each.last_good + ahead
            elif each.source_name in looks:
                polls[each.source_name] = looks[each.source_name] / 1_000_000
        what = "When the last good poll of a source ended."
        yield _gauge("source_last_good_poll_timestamp_seconds", what, ("source",), _single(polls))

    def _listening(self) -> Iterator[Metric]:
        if (listener := self._listener()) is not None:
            up = _one(listener.wrong() is None)
            yield _gauge("listener_up", "Whether the public listener runs and answers.", (), up)
            restarts = _one(listener.restarts)
            yield _counter("listener_restarts", "How often the public listener was started again.", (), restarts)

    def _measured(self) -> Iterator[Metric]:
        both = Measures()
        both.add(self._measures.snapshot())
        if (listener := self._listener()) is not None:
            both.add(listener.snapshot())
        noted = both.snapshot()
        for name, measure in MEASURES.items():
            mine = [each for each in noted if each["name"] == name]
            if measure.bounds:
                family = HistogramMetricFamily(PREFIX + name, measure.help, labels=measure.labels)
                for each in mine:
                    family.add_metric(each["labels"], cumulative(each["counts"], measure.bounds), each["total"])
                yield family
            else:
                counts: dict[tuple[str, ...], float] = {tuple(each["labels"]): each["count"] for each in mine}
                yield _counter(name, measure.help, measure.labels, counts)

    @property
    def _source_names(self) -> list[str]:
        return [each.source_name for each in self._pollers]

    @property
    def _handler_names(self) -> list[str]:
        return [each.name for each in self._deliverers]


def _gauge(name: str, what: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = GaugeMetricFamily(PREFIX + name, what, labels=labels)
    for values, number in samples.items():
        family.add_metric(values, number)
    return family


def _counter(name: str, what: str, labels: Sequence[str], samples: Samples) -> Metric:
    family = CounterMetricFamily(PREFIX + name, what, labels=labels)
    for values, number in samples.items():
        family.add_metric(values, number)
    return family


def _one(number: float) -> dict[tuple[str, ...], float]:
    return {(): number}


def _single(numbers: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): number for name, number in numbers.items()}


def _zeros(names: Iterable[str], kinds: Sequence[str] = ()) -> dict[tuple[str, ...], float]:
    """What has not happened yet is shown as 0, so that its first time is seen as an increase."""
    if not kinds:
        return {(name,): 0.0 for name in names}
    return {(name, kind): 0.0 for name in names for kind in kinds}
