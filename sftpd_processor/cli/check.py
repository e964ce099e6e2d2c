"""The verb `check`: every mistake in the configuration at once; with `--live` also whether the servers let us in."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured
from sftpd_processor.errors import ConfigurationError, Problem, all_of

if TYPE_CHECKING:
    from sftpd_processor.config.settings import DirectorySourceSettings, SftpSourceSettings
    from sftpd_processor.values.registry import Entry, Providers


def check(
    ctx: typer.Context,
    live: Annotated[
        bool, typer.Option("--live", help="Also log in to every source and list its folder, and try the databases.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Check the configuration, the handlers and the providers of custom values.

    Every mistake is listed, with where it is and what would be right.
    """
    try:
        config = configured(ctx)
        handlers, providers = _built(config)
    except ConfigurationError as error:
        if not as_json:
            raise
        problems = [{"where": p.where, "why": p.why, "example": p.example} for p in error.problems]
        sys.stdout.write(json.dumps({"ok": False, "problems": problems}) + "\n")
        raise typer.Exit(exit_codes.MISUSED) from None
    result: dict[str, Any] = {"configuration": str(config.path), "handlers": handlers, "sources": {}}
    result["values"] = _names(providers)
    if live:
        result["sources"] = {source.name: _visit(source) for source in config.settings.sources}
        for entry in providers:
            result["values"][entry.name].update(_reach(entry))
    result["ok"] = all(it.get("ok", True) for it in (*result["sources"].values(), *result["values"].values()))
    sys.stdout.write(json.dumps(result) + "\n" if as_json else _text(config, result, live=live))
    raise typer.Exit(exit_codes.DONE if result["ok"] else exit_codes.UNREACHABLE)


def _built(config: Configured) -> tuple[list[str], Providers]:
    """The handlers' names, and the providers; raises ConfigurationError with the mistakes of all."""
    builds = (lambda: _handlers(config), lambda: _providers(config), lambda: _trust(config), lambda: _alerts(config))
    handlers, providers, _, _ = all_of(*builds)
    return handlers, providers


def _handlers(config: Configured) -> list[str]:
    from sftpd_processor.daemon import make_handlers

    return list(make_handlers(config.settings, config.folder).names)


def _trust(config: Configured) -> None:
    from sftpd_processor.http.parts import check_trust

    if config.settings.http is not None:
        check_trust(config.settings.http)


def _alerts(config: Configured) -> None:
    from sftpd_processor.alerts.mistakes import check_alerts

    check_alerts(config.settings.alerts)


def _providers(config: Configured) -> Providers:
    from sftpd_processor.config.http import HttpSettings
    from sftpd_processor.extensions.text import nearest
    from sftpd_processor.values.registry import ProviderContext, build_providers

    http = config.settings.http
    asked = http.custom_values_names if http else ()
    default = HttpSettings.model_fields["custom_values_deadline_seconds"].default
    deadline = http.custom_values_deadline_seconds if http else default
    providers = build_providers(config.settings.values, ProviderContext(config.folder, deadline))
    unanswered = providers.unanswered(asked)
    if unanswered:
        known = [name for entry in providers for name in entry.names or ()]
        raise ConfigurationError(
            Problem(f"http.custom_values_names[{at}]", f'no [[values]] answers "{name}"{nearest(name, known)}')
            for at, name in enumerate(asked)
            if name in unanswered
        )
    return providers


def _names(providers: Providers) -> dict[str, dict[str, Any]]:
    """For each provider the names it answers; None: any."""
    found: dict[str, dict[str, Any]] = {}
    for entry in providers:
        names = found.setdefault(entry.name, {"names": None if entry.names is None else []})
        names["names"] = None if entry.names is None else [*names["names"], *entry.names]
    return found


def _reach(entry: Entry) -> dict[str, Any]:
    """Whether a provider can be reached; nothing for those of which that cannot be told without a customer."""
    from sftpd_processor.values.api import ProviderFailed, Reachable

    if not isinstance(entry.provider, Reachable):
        return {}
    try:
        entry.provider.reach([*(entry.names or {}).values()])
    except ProviderFailed as error:
        return {"ok": False, "why": str(error)}
    return {"ok": True}


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
    for name, found in result["values"].items():
        names = "any name" if found["names"] is None else ", ".join(found["names"])
        lines.append(f"values: {name} ({names})")
    if config.settings.alerts:
        lines.append(f"alerts: {', '.join(alert.name for alert in config.settings.alerts)}")
    lines += [f"source {name}: {_visited(name, found)}" for name, found in result["sources"].items()]
    reached = {name: found for name, found in result["values"].items() if "ok" in found}
    lines += [f"values {name}: {'reached' if found['ok'] else found['why']}" for name, found in reached.items()]
    if config.settings.alerts:
        lines.append("To also try the alerts: sftpd-processor alerts test")
    if not live:
        lines.append("To also try the logins: sftpd-processor check --live")
    return "\n".join([*lines, ""])


def _visited(name: str, found: dict[str, Any]) -> str:
    if not found["ok"]:
        return str(found["why"]).removeprefix(f"source {name}: ")
    return f"reached and listed (of the first {found['entries']} entries, {found['to_take']} are files to take)"
