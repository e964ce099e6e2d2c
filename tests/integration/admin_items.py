"""What the tests of the admin listener share: parts that are as the test says, and the page of metrics read back."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from sftpd_processor.config.http import AdminSettings
from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.errors import ProcessorError
from sftpd_processor.http.admin import AdminListener
from sftpd_processor.http.metrics import Metrics
from sftpd_processor.http.readiness import Health
from sftpd_processor.measures import Measures
from tests.ledger_samples import settings

Families = dict[str, dict[tuple[tuple[str, str], ...], float]]


class Ahead:
    """A steady clock that the test puts forward."""

    def __init__(self) -> None:
        self.by = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.by


@dataclass
class FakePoller:
    """A poller as the test says."""

    settings: SourceSettings = field(default_factory=settings)
    began: float = field(default_factory=time.monotonic)
    last_good: float | None = None
    up: bool = False
    busy_since: float | None = None
    moved_at: float = 0.0
    failure: ProcessorError | None = None
    stopping: bool = False
    ended: bool = False

    @property
    def source_name(self) -> str:
        return self.settings.name

    def __str__(self) -> str:
        return f"source {self.source_name}"

    def complaint(self) -> str | None:
        return None


@dataclass
class FakeDeliverer:
    """A deliverer as the test says."""

    name: str = "crm"
    breaker_open: bool = False
    trouble: str | None = None
    busy_since: float | None = None
    failure: ProcessorError | None = None
    stopping: bool = False
    ended: bool = False

    def __str__(self) -> str:
        return f"handler {self.name}"

    def complaint(self) -> str | None:
        return self.trouble


@dataclass
class FakeListener:
    """A public listener as the test says; `noted` is what its process has measured."""

    restarts: int = 0
    trouble: str | None = None
    noted: Measures = field(default_factory=Measures)

    def wrong(self) -> str | None:
        return self.trouble

    def snapshot(self) -> list[dict[str, Any]]:
        return self.noted.snapshot()


@contextmanager
def admin(health: Health, metrics: Metrics) -> Iterator[httpx2.Client]:
    """A running admin listener, and a client of it."""
    listener = AdminListener(AdminSettings(listen="127.0.0.1:0"), health, metrics.render)
    listener.start()
    try:
        with httpx2.Client(base_url=f"http://{listener.address}", trust_env=False, timeout=20) as client:
            yield client
    finally:
        listener.stop()


def read(page: bytes) -> Families:
    """Every sample by name and labels."""
    found: Families = {}
    for family in text_string_to_metric_families(page.decode()):
        for sample in family.samples:
            found.setdefault(sample.name, {})[_sorted(sample.labels)] = sample.value
    return found


def value(families: Families, name: str, **labels: str) -> float:
    """One sample, its name without our prefix."""
    return families[f"sftpd_processor_{name}"][_sorted(labels)]


def _sorted(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))
