"""How the files of one source are read: its settings, applied to `parse`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from zoneinfo import ZoneInfo

from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.events.parse import Parsed, Rejection, parse


def reader(settings: SourceSettings) -> Callable[[bytes], Parsed | Rejection]:
    """From bytes to events, by the rules of this source."""
    return partial(
        parse,
        zone=ZoneInfo(settings.time_zone),
        accept_unknown=settings.unknown_events == "accept",
        accept_partial=settings.partial == "accept",
        most_events=settings.max_file_events,
    )
