"""The verb `why`: the whole story of one file or one event."""

from __future__ import annotations

import json
import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import Configured, configured
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.story import MOST
from sftpd_processor.cli.words import iso

if TYPE_CHECKING:
    from sftpd_processor.cli.story import Story
    from sftpd_processor.config.settings import SourceSettings
    from sftpd_processor.ledger.ledger import Ledger

_KEY = re.compile(r"[0-9a-f]{32}")
_LONGEST_NUMBER = 18  # digits that a database can hold


def why(
    ctx: typer.Context,
    what: Annotated[
        str,
        typer.Argument(
            metavar="NAME|EVENT-ID",
            help="A file's name (`source/name` for that source only; * and ? stand for others), an event's number as "
            "shown by `why`, a communicationActionId, or an idempotency key.",
        ),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Tell the whole story of one file or one event.

    When it was listed, why it waited, what was in it, what became of it at the source, where its copy is, and every
    delivery with its attempts. Also why a file was not taken. What handlers said is shown, and may quote the event.
    """
    from sftpd_processor.cli.telling import text

    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        data = tell(config, ledger, what)
    sys.stdout.write(json.dumps(data) + "\n" if as_json else text(data))
    raise typer.Exit(exit_codes.DONE if data["files"] or data["events"] else exit_codes.FAILED)


def tell(config: Configured, ledger: Ledger, what: str) -> dict[str, Any]:
    """All that is known of `what`: of files by that name; without any, of events."""
    from sftpd_processor.cli.story import Teller

    settings = config.settings
    teller = Teller(ledger, settings.state.dir, ordered=settings.delivery.order == "conversation")
    files, files_in_all = files_named(ledger, what, MOST)
    numbers = [] if files else events_named(ledger, what)
    events = [event for number in numbers[:MOST] if (event := ledger.stories.event(number))]
    return {
        "asked": what,
        "files": [teller.file(row) for row in files],
        "files_in_all": files_in_all,
        "events": [teller.event(row) for row in events],
        "events_in_all": len(numbers),
        "never_listed": [] if files or events else _never_listed(config, ledger, what),
    }


def files_named(ledger: Ledger, what: str, most: int) -> tuple[list[Story], int]:
    """Those of `source/name`; else those of that name, as it is, or as a name that is not safe to print is kept."""
    from sftpd_processor.pipeline.admission import shown

    source, slash, name = what.partition("/")
    for tried, of in ((name, source) if slash else (what, None), (what, None), (shown(what), None)):
        if _is_text(tried) and (found := ledger.stories.files(tried, of, most))[0]:
            return found
    return [], 0


def events_named(ledger: Ledger, what: str) -> list[int]:
    """What `what` stands for. Webio's ids are numbers too, so a number may be both."""
    if not _is_text(what):
        return []
    found = set(ledger.stories.messages(what))
    if what.isdecimal() and len(what) <= _LONGEST_NUMBER and ledger.stories.event(int(what)):
        found.add(int(what))
    if not found and _KEY.fullmatch(what) and (number := ledger.stories.keyed(what)):
        found.add(number)
    return sorted(found)


def _is_text(what: str) -> bool:
    """Whether a database can be asked for it; an argument may hold bytes that are no text."""
    return not any("\ud800" <= char <= "\udfff" for char in what)


def _never_listed(config: Configured, ledger: Ledger, what: str) -> list[Story]:
    """Of each configured source: when it was last looked at, and whether a file of that name would be taken."""
    prefix, _, name = what.partition("/")
    looks = ledger.figures.last_looks()
    of_it = [source for source in config.settings.sources if source.name == prefix] if name else []
    told = []
    for source in of_it or config.settings.sources:
        look = looks.get(source.name)
        told.append(
            {
                "source": source.name,
                "last_look": look and iso(look["finished_at"]),
                "last_look_failed": look and look["failure"],
                "such_a_file": _such_a_file(source, name if of_it else what),
            }
        )
    return told


def _such_a_file(source: SourceSettings, name: str) -> str | None:
    """What would become of a file of that name; None when `name` stands for several."""
    from sftpd_processor.ledger.names import is_pattern
    from sftpd_processor.pipeline.admission import admission
    from sftpd_processor.sources.base import Entry

    if is_pattern(name):
        return None
    refused = admission(source)(Entry(name, 1, 0, regular=True))
    return f"would be ignored: {refused}" if refused else "would be taken"
