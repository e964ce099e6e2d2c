"""The configuration as a verb gets it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings and where they were read."""

    path: Path
    settings: Settings

    @property
    def folder(self) -> Path:
        """The folder of the configuration file."""
        return self.path.resolve().parent


def configured(ctx: typer.Context, level: int = logging.WARNING) -> Configured:
    """Find and load the configuration, and send logs of `level` to standard error."""
    from sftpd_processor.config.load import find_config, load_settings
    from sftpd_processor.telemetry import log_to_stderr

    given: Any = ctx.obj
    log_to_stderr(level, debug=given.debug)
    path = find_config(given.config)
    return Configured(path, load_settings(path))
