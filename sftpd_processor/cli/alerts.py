"""The verbs `alerts test` and `alerts list`: whether people would be told, and what they were told."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured
from sftpd_processor.cli.lines import page
from sftpd_processor.cli.words import clock, iso

if TYPE_CHECKING:
    from sftpd_processor.config.alerts import AlertSettings
    from sftpd_processor.config.settings import Settings
    from sftpd_processor.ledger.ledger import Ledger

app = typer.Typer(
    name="alerts",
    help="Try the alerts, or see what is open.\n\nAn [[alerts]] table in the configuration says who is told when"
    " something is wrong: by mail, chat, pager or webhook.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command()
def test(
    ctx: typer.Context,
    name: Annotated[str | None, typer.Option(help="Only the alert of this name. Default: all.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Send a test message to every address of every alert, and say which took it.

    Addresses are told by their number in `urls`, since they hold passwords.
    """
    from sftpd_processor.alerts.courier import Letter, delivered
    from sftpd_processor.alerts.message import Sender
    from sftpd_processor.alerts.message import test as message

    config = configured(ctx)
    chosen = _chosen(config, name)
    results = []
    for alert in chosen:
        urls = [url.get_secret_value() for url in alert.urls]
        letter = Letter(message(Sender(alert.name, config.settings.state.dir)), [*range(len(urls))])
        found = delivered([letter], urls)
        whys = [found.get((0, at), "no answer in time") for at in range(len(urls))]
        results += [
            {"alert": alert.name, "address": at + 1, "ok": why is None, "why": why} for at, why in enumerate(whys)
        ]
    lines = (f"alert {it['alert']}, address {it['address']}: {'taken' if it['ok'] else it['why']}" for it in results)
    sys.stdout.write(json.dumps({"sent": results}) + "\n" if as_json else page(lines))
    raise typer.Exit(exit_codes.DONE if all(it["ok"] for it in results) else exit_codes.FAILED)


@app.command("list")
def list_open(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show what people were told is wrong and is not over, and since when.

    Reads the ledger only, so it may be asked at any time, also while the daemon runs.
    """
    from sftpd_processor.cli.opened import opened_ledger

    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        found = open_causes(config.settings, ledger)
    sys.stdout.write(json.dumps({"open": found}) + "\n" if as_json else page(lines(found) or ["nothing is open"]))


def open_causes(settings: Settings, ledger: Ledger) -> list[dict[str, Any]]:
    """What people were told and is not over, by the alerts that are configured; the oldest first."""
    from sftpd_processor.alerts.causes import Key, headline

    names = {alert.name for alert in settings.alerts}
    return [
        {
            "alert": row.alert,
            "cause": row.cause,
            "subject": row.subject,
            "what": headline(Key(row.cause, row.subject)),
            "since": iso(row.since),
            "told": iso(row.noted_at),
        }
        for row in ledger.alerts.open()
        if row.alert in names
    ]


def lines(causes: Iterable[dict[str, Any]]) -> list[str]:
    """One for each of them."""
    return [f"{it['what']}, since {clock(it['since'])} (told by {it['alert']} at {clock(it['told'])})" for it in causes]


def _chosen(config: Configured, name: str | None) -> list[AlertSettings]:
    from sftpd_processor.errors import ConfigurationError, Problem

    alerts = config.settings.alerts
    if not alerts:
        problem = Problem("alerts", "there is no [[alerts]] table: nobody is told; see docs/alerts.md")
        raise ConfigurationError([problem], origin=str(config.path))
    chosen = [alert for alert in alerts if name in (None, alert.name)]
    if not chosen:
        known = ", ".join(alert.name for alert in alerts)
        raise typer.BadParameter(f"there is no alert {name!r}; there are: {known}", param_hint="--name")
    return chosen
