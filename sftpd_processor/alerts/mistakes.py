"""Mistakes in the settings of alerts that the settings by themselves do not show."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Sequence

from sftpd_processor.alerts.aside import spoken
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.events.models import EVENT_TYPES
from sftpd_processor.extensions.text import nearest
from sftpd_processor.ledger.totals import OTHER

logger = logging.getLogger(__name__)

_EXAMPLE = '{ credential = "alert-url" }'
_COMMAND = (sys.executable, "-P", "-m", "sftpd_processor.alerts.addresses")
_SECONDS = 15.0  # to load apprise on a slow machine


def check_alerts(alerts: Sequence[AlertSettings]) -> None:
    """Raise `ConfigurationError` with every mistake that the settings alone do not show; loads apprise."""
    from sftpd_processor.alerts.addresses import wrong

    _refuse([*_wrong_types(alerts), *_wrong_addresses(alerts, [wrong(url) for url in _urls(alerts)])])


def check_alerts_aside(alerts: Sequence[AlertSettings]) -> None:
    """The same, with apprise in a short-lived process: for the daemon. Takes a second or two, and 15 at most.

    Addresses that cannot be checked now are taken, and the log says so.
    """
    if not alerts:
        return
    whys = _asked([*_urls(alerts)])
    if whys is None:
        logger.warning("alerts: the addresses could not be checked, and are taken; see `sftpd-processor check`")
    _refuse([*_wrong_types(alerts), *_wrong_addresses(alerts, whys or ())])


def check_types(alerts: Sequence[AlertSettings]) -> None:
    """The same, but for the addresses: cheap."""
    _refuse([*_wrong_types(alerts)])


def _refuse(problems: Sequence[Problem]) -> None:
    if problems:
        raise ConfigurationError(problems)


def _wrong_types(alerts: Sequence[AlertSettings]) -> Iterator[Problem]:
    for at, alert in enumerate(alerts):
        for kind in alert.silence:
            if kind not in EVENT_TYPES and kind != OTHER:
                why = f"is no type of event known here{nearest(kind, EVENT_TYPES)}; all that are not go by `{OTHER}`"
                yield Problem(f"alerts[{at}].silence.{kind}", why)


def _wrong_addresses(alerts: Sequence[AlertSettings], whys: Sequence[str | None]) -> Iterator[Problem]:
    """`whys`: what is wrong with each address, as far as it is known."""
    places = [f"alerts[{at}].urls[{index}]" for at, alert in enumerate(alerts) for index in range(len(alert.urls))]
    for place, why in zip(places, whys, strict=False):
        if why is not None:
            yield Problem(place, why, _EXAMPLE)


def _urls(alerts: Sequence[AlertSettings]) -> Iterator[str]:
    return (url.get_secret_value() for alert in alerts for url in alert.urls)


def _asked(urls: Sequence[str]) -> list[str | None] | None:
    """What the other process says of each address; None when it cannot be started, dies, or is too slow."""
    try:
        whys: list[str | None] = json.loads(spoken(_COMMAND, urls, _SECONDS))
    except (OSError, ValueError):
        return None
    return whys
