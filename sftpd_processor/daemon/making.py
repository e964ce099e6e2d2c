"""From settings to the parts they describe, which verbs that do without the daemon use as well."""

from __future__ import annotations

from pathlib import Path

from sftpd_processor.config.settings import DirectorySourceSettings, Settings, SourceSettings
from sftpd_processor.handlers.api import HandlerContext
from sftpd_processor.handlers.registry import Handlers, build_handlers
from sftpd_processor.sources.base import Source


def make_source(settings: SourceSettings) -> Source:
    """The source that these settings describe; not connected yet."""
    if isinstance(settings, DirectorySourceSettings):
        from sftpd_processor.sources.directory import DirectorySource

        return DirectorySource(settings)
    from sftpd_processor.sources.sftp import SftpSource

    return SftpSource(settings)


def make_handlers(settings: Settings, config_folder: Path) -> Handlers:
    """The configured handlers; raises `ConfigurationError` with every mistake in them."""
    context = HandlerContext(settings.delivery.timeout_seconds, config_folder)
    return build_handlers(settings.handlers, context)
