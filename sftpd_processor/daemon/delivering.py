"""The handlers as they are configured now, and the deliverer of each."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from sftpd_processor.config.settings import DeliverySettings
from sftpd_processor.daemon.ending import end
from sftpd_processor.errors import ConfigurationError, Problem, TransientError
from sftpd_processor.handlers.api import Handler
from sftpd_processor.handlers.registry import Handlers
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.delivery import Deliverer


@dataclass(frozen=True, slots=True)
class Prepared:
    """Handlers to go over to; those among them that are new are open."""

    handlers: Handlers
    settings: DeliverySettings
    fresh: tuple[Handler, ...]

    def close(self) -> None:
        """Let go of them again."""
        for handler in self.fresh:
            handler.close()


class Delivering:
    """Delivers to all handlers between `start` and `stop`; a reload changes which."""

    def __init__(
        self,
        handlers: Handlers,
        settings: DeliverySettings,
        ledger: Ledger,
        measures: Measures,
        go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        """`go_on` is asked while something is waited for: whether to, or a stop is wanted."""
        self._handlers = handlers
        self._go_on = go_on
        self._settings = settings
        self._ledger = ledger
        self._measures = measures
        self.deliverers: list[Deliverer] = [self._deliverer(handler) for handler in handlers]
        """One for each handler, in the order of the configuration; the list itself is changed by `replace`."""
        self.left: list[Deliverer] = []
        """Those that were replaced before all that they had under way had ended."""

    def wanting(self, event_type: str) -> tuple[str, ...]:
        """The names of the handlers that take a type, in order."""
        return self._handlers.wanting(event_type)

    def open(self) -> None:
        """Open every handler. Raises `ConfigurationError` with what is wrong with all of them."""
        _open_all(self._handlers, self._go_on)

    def recovered(self, again: Mapping[str, int]) -> None:
        """Let each take up what the last process left; `again` counts the deliveries that run once more by handler."""
        for deliverer in self.deliverers:
            if deliverer.name in again:
                deliverer.be_careful()
        self._resume_breakers(self.deliverers)

    def start(self) -> None:
        """Begin."""
        for deliverer in self.deliverers:
            deliverer.start()

    def wake(self, handlers: Iterable[str]) -> None:
        """There is something to do for these handlers."""
        names = frozenset(handlers)
        for deliverer in self.deliverers:
            if deliverer.name in names:
                deliverer.wake()

    def prepared(self, handlers: Handlers, settings: DeliverySettings) -> Prepared:
        """`handlers`, those of now where nothing about them is new, and the others open.

        Raises `ConfigurationError` with what is wrong with all of them; then none is open that was not before.
        """
        kept = handlers.keeping(self._handlers) if settings == self._settings else handlers
        fresh = tuple(handler for handler in kept if self._handlers.get(handler.name) is not handler)
        prepared = Prepared(kept, settings, fresh)
        try:
            _open_all(fresh, self._go_on)
        except ConfigurationError:
            prepared.close()
            raise
        return prepared

    def replace(self, prepared: Prepared) -> None:
        """Go over to them: what the others have under way ends first; what waits for a handler waits on for it."""
        gone = [
            each for each in self.deliverers if prepared.handlers.get(each.name) is not self._handlers.get(each.name)
        ]
        former, self._handlers, self._settings = self._handlers, prepared.handlers, prepared.settings
        left = end(gone, go_on=self._go_on)
        self.left = [each for each in self.left if not each.ended] + [each for each in gone if each in left]
        for deliverer in gone:
            if (handler := former.get(deliverer.name)) is not None:
                _close(handler, deliverer, at_once=deliverer not in left)
                self._go_on()
        kept = {deliverer.name: deliverer for deliverer in self.deliverers if deliverer not in gone}
        fresh = {handler.name: self._deliverer(handler) for handler in prepared.fresh}
        self.deliverers[:] = [(kept | fresh)[handler.name] for handler in prepared.handlers]
        with suppress(TransientError):  # then an open breaker begins closed, and opens again if it must
            self._resume_breakers(fresh.values())
        for deliverer in fresh.values():
            if self._go_on():
                deliverer.start()

    def close(self) -> None:
        """Let go of every handler; only when the deliverers have ended."""
        for handler in reversed(list(self._handlers)):
            handler.close()

    def _deliverer(self, handler: Handler) -> Deliverer:
        return Deliverer(handler, self._ledger, self._settings, measures=self._measures)

    def _resume_breakers(self, deliverers: Iterable[Deliverer]) -> None:
        breakers = self._ledger.figures.breakers()
        for deliverer in deliverers:
            if deliverer.name in breakers:
                deliverer.resume_breaker(breakers[deliverer.name][0])


def _close(handler: Handler, deliverer: Deliverer, *, at_once: bool) -> None:
    """Close it when no call of it runs any more, however long that takes: it must not be closed under one."""
    if at_once:
        handler.close()
        return

    def later() -> None:
        deliverer.join()
        handler.close()

    threading.Thread(target=later, name=f"closing-{handler.name}", daemon=True).start()


def _open_all(handlers: Iterable[Handler], go_on: Callable[[], bool]) -> None:
    problems: list[Problem] = []
    for handler in handlers:
        go_on()
        try:
            handler.open()
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
