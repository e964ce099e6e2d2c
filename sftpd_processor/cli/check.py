"""The verb `check`: every mistake in the configuration at once; with `--live` also whether the servers let us in."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured

if TYPE_CHECKING:
    from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings


def check(
    ctx: typer.Context,
    live: Annotated[bool, typer.Option("--live", help="Also log in to every source and list its folder.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the configuration and the handlers.

    Every mistake is listed, with where it is and what would be right.
    """
    from sftpd_processor.errors import ConfigurationError

    try:
        config = configured(ctx)
        handlers = _handlers(config)
    except ConfigurationError as error:
        if not as_json:
            raise
        problems = [{"where": p.where, "why": p.why, "example": p.example} for p in error.problems]
        sys.stdout.write(json.dumps({"ok": False, "problems": problems}) + "\n")
        raise typer.Exit(exit_codes.MISUSED) from None
    result: dict[str, Any] = {"configuration": str(config.path), "handlers": handlers, "sources": {}}
    if live:
        result["sources"] = {source.name: _visit(source) for source in config.settings.sources}
    result["ok"] = all(found["ok"] for found in result["sources"].values())
    sys.stdout.write(json.dumps(result) + "\n" if as_json else _text(config, result, live=live))
    raise typer.Exit(exit_codes.DONE if result["ok"] else exit_codes.UNREACHABLE)


def _handlers(config: Configured) -> list[str]:
    from sftpd_processor.daemon import make_handlers

    return list(make_handlers(config.settings, config.folder).names)


def _visit(settings: SftpSourceSettings | DirectorySourceSettings) -> dict[str, Any]:
    """Log in, and look at the first entries of the folder."""
    from sftpd_processor.daemon import make_source
    from sftpd_processor.errors import ProcessorError
    from sftpd_processor.pipeline.admission import admission

    source = make_source(settings)
    try:
        first = next(iter(source.look()), [])
    except ProcessorError as error:
        return {"ok": False, "why": str(error)}
    finally:
        source.close()
    refuse = admission(settings)
    return {"ok": True, "entries": len(first), "to_take": sum(refuse(entry) is None for entry in first)}


def _text(config: Configured, result: dict[str, Any], *, live: bool) -> str:
    lines = [
        f"configuration {config.path}: good",
        f"sources: {', '.join(source.name for source in config.settings.sources)}",
        f"handlers: {', '.join(result['handlers']) or 'none; events are only recorded and archived'}",
    ]
    for name, found in result["sources"].items():
        told = (
            f"reached and listed (of the first {found['entries']} entries, {found['to_take']} are files to take)"
            if found["ok"]
            else found["why"].removeprefix(f"source {name}: ")
        )
        lines.append(f"source {name}: {told}")
    if not live:
        lines.append("To also try the logins: sftpd-processor check --live")
    return "\n".join([*lines, ""])
