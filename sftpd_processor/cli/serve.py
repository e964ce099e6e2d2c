"""The verb `serve`: the public listener alone."""

from __future__ import annotations

import logging
import socket
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from sftpd_processor.cli.configured import configured

if TYPE_CHECKING:
    from sftpd_processor.config.settings import HttpSettings, Settings

logger = logging.getLogger(__name__)


def serve(
    ctx: typer.Context,
    inherited: Annotated[int | None, typer.Option("--socket", hidden=True)] = None,
    control: Annotated[int | None, typer.Option("--control", hidden=True)] = None,
) -> None:
    """Run the public listener alone, in the foreground.

    `run` does this by itself, unless `http.supervise` is false. It works until SIGTERM or Ctrl-C: requests under way
    are answered, and no new one is taken.
    """
    from sftpd_processor.http.listener import Listener, listening_socket
    from sftpd_processor.http.server import address_of
    from sftpd_processor.state import StateFolder

    # A daemon that runs it hands over the configuration that holds, whatever stands in the file by now.
    config = configured(ctx, quiet=False, text=None if control is None else sys.stdin.buffer.read())
    http = _public(config.settings)
    listener = Listener(config.settings, http, config.folder)
    if inherited is None:
        StateFolder(config.settings.state.dir).make()
    listening = listening_socket(http, inherited)
    if inherited is None:
        logger.info("public listener: %s", address_of(listening))
    listener.serve(listening, None if control is None else socket.socket(fileno=control))
    if inherited is None:
        logger.info("stopped")


def _public(settings: Settings) -> HttpSettings:
    from sftpd_processor.errors import ConfigurationError, Problem

    if settings.http is None:
        raise ConfigurationError([Problem("http", "is required by `serve`", 'listen = "127.0.0.1:8080"')])
    return settings.http
