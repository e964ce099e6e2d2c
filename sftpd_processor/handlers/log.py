"""The built-in `log`: one line in the program's own log per event, without anything about the customer."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sftpd_processor.extensions.options import BuiltinOptions
from sftpd_processor.extensions.text import one_line
from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome
from sftpd_processor.handlers.wanted import Wanted

logger = logging.getLogger(__name__)

_LINE = "event type=%s source=%s file=%s key=%s"


class Options(BuiltinOptions):
    """`log` has no options."""


class LogHandler:
    """Logs type, source, file and key at INFO. Never the body, a phone number or a customer id."""

    batch_size = 100

    def __init__(self, name: str, wanted: Wanted) -> None:
        self.name = name
        self._wanted = wanted

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        """Nothing to open."""

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        if logger.isEnabledFor(logging.INFO):
            for item in items:
                self._log(item)
        return [DONE] * len(items)

    def close(self) -> None:
        """Nothing to close."""

    def capture(self, item: Item) -> Captured:
        return Captured(DONE, {"kind": "log", "line": _LINE % _words(item)})

    def _log(self, item: Item) -> None:
        delivery = item.delivery
        logger.info(
            _LINE,
            *_words(item),
            extra={
                "event_type": item.event_type,
                "source": delivery.source,
                "file": delivery.file,
                "delivery": delivery.idempotency_key,
                "handler": self.name,
            },
        )


def _words(item: Item) -> tuple[str, str, str, str]:
    # An unknown type is whatever the sender wrote: bounded and printable before it reaches the log.
    delivery = item.delivery
    file = one_line(delivery.file or "-", 255)
    return one_line(item.event_type, 100), delivery.source, file, delivery.idempotency_key


def build(name: str, wanted: Wanted, options: Options, context: HandlerContext) -> LogHandler:  # noqa: ARG001
    return LogHandler(name, wanted)
