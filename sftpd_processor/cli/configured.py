"""The configuration as a verb gets it."""

from __future__ import annotations

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


def configured(ctx: typer.Context, *, quiet: bool = True) -> Configured:
    """Find and load the configuration, and log as it says; with `quiet` warnings and errors at most."""
    from sftpd_processor.config.load import find_config, load_settings
    from sftpd_processor.telemetry import set_up

    given: Any = ctx.obj
    set_up(debug=given.debug, quiet=quiet)
    path = find_config(given.config)
    settings = load_settings(path)
    set_up(settings.log, debug=given.debug, quiet=quiet)
    return Configured(path, settings)
