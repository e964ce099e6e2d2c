"""A reload: from the settings of now to new ones, without a restart. Either all of them are taken, or none."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from sftpd_processor.alerts.mistakes import check_alerts_aside
from sftpd_processor.config.load import Configuration
from sftpd_processor.config.settings import Settings
from sftpd_processor.daemon.delivering import Delivering, Prepared
from sftpd_processor.daemon.listening import Listening
from sftpd_processor.daemon.making import make_handlers
from sftpd_processor.daemon.polling import Polling
from sftpd_processor.daemon.standing import moment
from sftpd_processor.errors import ConfigurationError, PermanentError, Problem, ProcessorError, all_of
from sftpd_processor.pipeline.poller import Poller

if TYPE_CHECKING:
    from sftpd_processor.alerts.watch import Alerter
    from sftpd_processor.http.supervisor import Supervisor
    from sftpd_processor.upkeep.nightly import Nightly

logger = logging.getLogger(__name__)

_NAMED = {"source": "sources", "handler": "handlers", "values": "values", "alert": "alerts"}
_REFUSED = "the configuration read at {} is refused, the one before goes on; see the log"
FIXED = ("state", "admin")
"""The sections that only a restart changes: what is open or bound for the whole life of the process."""


@dataclass(frozen=True, slots=True)
class Reload:
    """Changes the parts of a daemon that runs."""

    polling: Polling
    delivering: Delivering
    listening: Listening
    alerter: Alerter | None
    nightly: Nightly | None
    config_folder: Path

    def go_over(self, former: Configuration, read: Callable[[], Configuration]) -> tuple[Configuration, str]:
        """The configuration that holds from now on, and what is to be remarked; nothing when all went well."""
        try:
            configuration = read()
            prepared = self._prepared(former.settings, configuration)
        except ProcessorError as error:
            _tell_refusal(error)
        except Exception:
            logger.exception("the new configuration is refused: internal error; please report it")
        else:
            remark = self._change(configuration, *prepared)
            found = "; ".join(differences(former.settings, configuration.settings))
            logger.info("the configuration was read again: %s", found or "as before")
            return configuration, remark
        return former, _REFUSED.format(moment(time.time()))

    def _prepared(
        self, former: Settings, configuration: Configuration
    ) -> tuple[Prepared, list[Poller], Supervisor | None]:
        """All that is new, ready to begin; whatever can be wrong about it is raised now."""
        settings = configuration.settings
        _refuse_fixed(former, settings)
        with ExitStack() as undo:
            pollers = self.polling.prepared(settings.sources)
            handlers, public, _ = all_of(
                lambda: self._handlers(settings, undo),
                lambda: self._public(configuration, undo),
                lambda: check_alerts_aside(settings.alerts),
            )
            undo.pop_all()
        return handlers, pollers, public

    def _change(
        self, configuration: Configuration, handlers: Prepared, pollers: list[Poller], public: Supervisor | None
    ) -> str:
        """Go over to it. Nothing of it is expected to fail; if it does, the daemon goes on with what there is."""
        try:
            self.delivering.replace(handlers)
            self.polling.replace(pollers)
            self.listening.replace(public, configuration)
            if self.alerter is not None:  # last: it looks at the certificate that the listener has taken up
                self.alerter.configure(configuration.settings.alerts, configuration.settings.http)
            if self.nightly is not None:
                self.nightly.configure(configuration.settings.archive)
        except PermanentError as error:
            logger.error("%s", error)  # noqa: TRY400 - told in one line
            return str(error)
        except Exception:
            logger.exception("internal error in a reload; restart the program, and please report it")
            return "a reload broke off; restart the program"
        return ""

    def _handlers(self, settings: Settings, undo: ExitStack) -> Prepared:
        prepared = self.delivering.prepared(make_handlers(settings, self.config_folder), settings.delivery)
        undo.callback(prepared.close)
        return prepared

    def _public(self, configuration: Configuration, undo: ExitStack) -> Supervisor | None:
        public = self.listening.prepared(configuration)
        if public is not None and public is not self.listening.public:
            undo.callback(public.begin_stop)
        return public


def differences(former: Settings, settings: Settings) -> Iterator[str]:
    """What is new, changed or gone, by the names that people gave it."""
    for kind, section in _NAMED.items():
        before = {each.name: each for each in getattr(former, section)}
        after = {each.name: each for each in getattr(settings, section)}
        for name in before | after:
            if name not in before:
                yield f"{kind} {name} is new"
            elif name not in after:
                yield f"{kind} {name} is gone"
            elif before[name] != after[name]:
                yield f"{kind} {name} has changed"
    for section in Settings.model_fields:
        if section not in _NAMED.values() and getattr(former, section) != getattr(settings, section):
            yield f"[{section}] has changed"


def _refuse_fixed(former: Settings, settings: Settings) -> None:
    why = "cannot be changed by a reload; restart the service for it, or put it back to what it was"
    problems = [Problem(key, why) for section in FIXED for key in _changed(section, former, settings)]
    if problems:
        raise ConfigurationError(problems)


def _changed(section: str, former: Settings, settings: Settings) -> list[str]:
    before, after = getattr(former, section), getattr(settings, section)
    if before is None or after is None:
        return [] if before is after else [section]
    return [f"{section}.{key}" for key in type(before).model_fields if getattr(before, key) != getattr(after, key)]


def _tell_refusal(error: ProcessorError) -> None:
    reasons = error.problems if isinstance(error, ConfigurationError) else (error,)
    for reason in reasons:
        logger.error("the new configuration is refused: %s", reason)
    logger.error("the configuration from before goes on; `sftpd-processor check` tells when the new one is good")
