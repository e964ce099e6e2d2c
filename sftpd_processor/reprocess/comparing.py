"""A shadow run: its handler, and what it is compared with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sftpd_processor.errors import PermanentError
from sftpd_processor.events.identity import idempotency_key
from sftpd_processor.handlers.api import Captured, Handler, Item
from sftpd_processor.handlers.registry import Handlers
from sftpd_processor.handlers.shadow import Compared, Shadow
from sftpd_processor.ledger.replaying import Work
from sftpd_processor.reprocess.job import Job
from sftpd_processor.reprocess.shadowing import Comparison, Tally


class Comparing:
    """Makes the shadow of one replay, and tells it what was recorded of the events that it gets."""

    def __init__(self, job: Job, handlers: Handlers, *, resumed: bool) -> None:
        """Raises `PermanentError` for a handler that is not configured, and `ConfigurationError` for one that cannot
        be shadowed."""
        assert job.shadow is not None, "of a shadow run"  # noqa: S101
        assert job.effects is not None, "a shadow run has a file for its effects"  # noqa: S101
        handler = handlers.get(job.shadow)
        if handler is None:
            raise PermanentError(f"there is no handler {job.shadow!r} in the configuration")
        self.against = job.against or job.shadow
        self._old = handlers.get(self.against)
        self._comparison = Comparison(job.shadow, self._old)
        self.shadow: Handler = Shadow(handler, Path(job.effects), judge=self._judge, resumed=resumed)
        self._states: dict[str, str | None] = {}

    def expect(self, works: Iterable[Work]) -> None:
        """These come next, and nothing else."""
        self._states = {
            idempotency_key(work.claim.organisation, work.claim.identity, self.shadow.name): work.old_state
            for work in works
        }

    def told(self, details: Iterable[tuple[str, str | None, int]]) -> dict[str, Any]:
        """The report, from what was noted of each event: type, detail, how often."""
        tally = Tally()
        for kind, detail, number in details:
            tally.add(kind, detail or "", number)
        return {"against": self.against, "effects_compared": self._comparison.knows_effects, **tally.as_data()}

    def close(self) -> None:
        """Let go of the handler it is compared with; the shadow itself is closed as handlers are."""
        if self._old is not None and self._old.name != self.shadow.name:
            self._old.close()

    def _judge(self, item: Item, captured: Captured) -> Compared:
        return self._comparison.of(item, captured, self._states.get(item.delivery.idempotency_key))
