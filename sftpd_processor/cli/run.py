"""The verb `run`: the daemon, in the foreground."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.signals import on_hang_up, stop_at_signals

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings

logger = logging.getLogger(__name__)


def run(ctx: typer.Context) -> None:
    """Run the daemon in the foreground.

    It works until SIGTERM or Ctrl-C: the first lets what is under way end, within 20 seconds, the second ends at once.
    SIGHUP makes it read the configuration again.
    """
    from sftpd_processor.alerts.mistakes import check_alerts_aside
    from sftpd_processor.config.load import load
    from sftpd_processor.daemon import Daemon
    from sftpd_processor.notify import Notifier
    from sftpd_processor.telemetry import set_up

    config = configured(ctx, quiet=False)
    check_alerts_aside(config.settings.alerts)
    own = _own_command(config.path, debug=ctx.obj.debug)
    daemon = Daemon(
        config.configuration,
        config.folder,
        lambda listening, control: [*own, "serve", f"--socket={listening}", f"--control={control}"],
        Notifier(),
    )

    def log_as_told(settings: Settings) -> None:
        set_up(settings.log, debug=ctx.obj.debug)

    stop_at_signals(daemon.stop)
    on_hang_up(daemon.stop, lambda: daemon.reload(lambda: load(config.path), log_as_told))
    sources = ", ".join(source.name for source in config.settings.sources)
    handlers = ", ".join(handler.name for handler in config.settings.handlers) or "none"
    daemon.run(lambda: logger.info("ready: sources %s; handlers %s; configuration %s", sources, handlers, config.path))
    logger.info("stopped")


def _own_command(config: Path, *, debug: bool) -> Sequence[str]:
    return [sys.executable, "-m", "sftpd_processor.cli.main", "-c", str(config), *(["--debug"] if debug else [])]
