"""Mistakes in the settings of alerts that the settings by themselves do not show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.events.models import EVENT_TYPES
from sftpd_processor.extensions.text import nearest
from sftpd_processor.ledger.totals import OTHER

_EXAMPLE = '{ credential = "alert-url" }'


def check_alerts(alerts: Sequence[AlertSettings]) -> None:
    """Raise `ConfigurationError` with every mistake that the settings alone do not show; loads apprise."""
    problems = [*_wrong_types(alerts), *_wrong_addresses(alerts)]
    if problems:
        raise ConfigurationError(problems)


def check_types(alerts: Sequence[AlertSettings]) -> None:
    """The same, but for the addresses: cheap."""
    if problems := [*_wrong_types(alerts)]:
        raise ConfigurationError(problems)


def _wrong_types(alerts: Sequence[AlertSettings]) -> Iterator[Problem]:
    for at, alert in enumerate(alerts):
        for kind in alert.silence:
            if kind not in EVENT_TYPES and kind != OTHER:
                why = f"is no type of event known here{nearest(kind, EVENT_TYPES)}; all that are not go by `{OTHER}`"
                yield Problem(f"alerts[{at}].silence.{kind}", why)


def _wrong_addresses(alerts: Sequence[AlertSettings]) -> Iterator[Problem]:
    from sftpd_processor.alerts.addresses import service

    for at, alert in enumerate(alerts):
        for index, url in enumerate(alert.urls):
            try:
                service(url.get_secret_value(), 1)
            except ValueError as error:
                yield Problem(f"alerts[{at}].urls[{index}]", str(error), _EXAMPLE)
