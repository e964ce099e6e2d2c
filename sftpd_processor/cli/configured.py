"""The configuration as a verb gets it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from sftpd_processor.config.load import Configuration
    from sftpd_processor.config.settings import Settings


@dataclass(frozen=True, slots=True)
class Configured:
    """The configuration, and where it was read."""

    path: Path
    configuration: Configuration

    @property
    def settings(self) -> Settings:
        """What it says."""
        return self.configuration.settings

    @property
    def folder(self) -> Path:
        """The folder of the configuration file."""
        return self.path.resolve().parent


def configured(ctx: typer.Context, *, quiet: bool = True, text: bytes | None = None) -> Configured:
    """Find and load the configuration, and log as it says; with `quiet` warnings and errors at most.

    With `text` that is what is taken for the file's content.
    """
    from sftpd_processor.config.load import find_config, load
    from sftpd_processor.telemetry import set_up

    given: Any = ctx.obj
    set_up(debug=given.debug, quiet=quiet)
    path = find_config(given.config)
    configuration = load(path, text)
    set_up(configuration.settings.log, debug=given.debug, quiet=quiet)
    return Configured(path, configuration)
