"""A ledger of each kind, for the tests whose facts must hold on both."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sftpd_processor.ledger.ledger import Ledger
from tests.ledger_samples import Clock, database_url, opened


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest) -> str:
    """An empty database of each kind."""
    return database_url(request)


@pytest.fixture
def clock() -> Clock:
    """The ledger's clock."""
    return Clock()


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    """An empty ledger in it."""
    with opened(url, clock) as ledger:
        yield ledger
