"""How the files of one source, or live posts, are read: the settings, applied to `parse`."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from zoneinfo import ZoneInfo

from sftpd_processor.config.reading import Reading
from sftpd_processor.events.parse import Parsed, Rejection, parse


def reader(settings: Reading) -> Callable[[bytes], Parsed | Rejection]:
    """From bytes to events, by these settings."""
    return partial(
        parse,
        zone=ZoneInfo(settings.time_zone),
        accept_unknown=settings.unknown_events == "accept",
        accept_partial=settings.partial == "accept",
        most_events=settings.max_file_events,
    )
