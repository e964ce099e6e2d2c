"""The verb `archive forget`: a person's events leave everything that this program keeps."""

from __future__ import annotations

import json
import sys
from collections import Counter
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import choosing, exit_codes
from sftpd_processor.cli.configured import Configured, configured
from sftpd_processor.cli.lines import page
from sftpd_processor.cli.opened import opened_ledger
from sftpd_processor.cli.progress import progress
from sftpd_processor.cli.words import counted

if TYPE_CHECKING:
    from sftpd_processor.archive.forgetting import Forgotten
    from sftpd_processor.archive.personal import Sought
    from sftpd_processor.archive.rooms import Place
    from sftpd_processor.ledger.ledger import Ledger

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def forget(
    ctx: typer.Context,
    customer: Annotated[
        list[str] | None,
        typer.Option(help="Events of this customer, by customerUID or by outboundChannelAddress (again for more)."),
    ] = None,
    customer_file: choosing.CustomerFileOption = None,
    conversation: Annotated[
        list[str] | None, typer.Option(help="Events of this conversation, by its id (again for more).")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would be removed.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Remove a person's events from the archive, the compacted days, the quarantine and the ledger.

    This cannot be undone. That it was done is noted, not whose events they were. An event that comes again is still
    known, and not handled again. May be used while the daemon runs, and run again when it was cut off.
    """
    from sftpd_processor.archive.personal import Sought

    chosen = choosing.selected(customers=customer, customer_file=customer_file, conversations=conversation)
    if not chosen.customers and not chosen.conversations:
        raise typer.BadParameter("say whose: --customer, --customer-file or --conversation")
    if not all(any(map(str.isalnum, one)) for one in (*chosen.customers, *chosen.conversations)):
        raise typer.BadParameter("an id has no letter or digit in it")
    sought = Sought(chosen.customers, chosen.conversations)
    config = configured(ctx)
    with opened_ledger(config.settings) as ledger:
        if not dry_run and not yes:
            _ask(config, ledger, sought)
        done = _run(config, ledger, sought, dry_run=dry_run)
    data = _data(done, dry_run=dry_run)
    sys.stdout.write(json.dumps(data) + "\n" if as_json else page(_lines(data)))
    raise typer.Exit(exit_codes.FAILED if data["unread"] or data["left"] else exit_codes.DONE)


def _ask(config: Configured, ledger: Ledger, sought: Sought) -> None:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise typer.BadParameter("this cannot be undone: look at it with --dry-run, then give --yes")
    sys.stderr.write(page(_lines(_data(_run(config, ledger, sought, dry_run=True), dry_run=True))))
    typer.confirm("Remove these for good?", abort=True, err=True)


def _run(config: Configured, ledger: Ledger, sought: Sought, *, dry_run: bool) -> Forgotten:
    from sftpd_processor.archive.forgetting import Forgetting
    from sftpd_processor.reprocess.lock import alone

    state = config.settings.state.dir
    forgetting = Forgetting(state, ledger, sought, dry_run=dry_run)
    with ExitStack() as held, progress(forgetting.size(), "looking", "events and copies looked into") as tell:
        if not dry_run:
            held.enter_context(alone(state, ledger))  # a replay has events in its hands
        return forgetting.run(tell)


def _data(done: Forgotten, *, dry_run: bool) -> dict[str, Any]:
    return {
        "dry_run": dry_run,
        "events": done.events.total(),
        "removed": done.removed.total(),
        "altered": done.altered.total(),
        "replays": done.replays,
        "days": [
            {
                "source": source,
                "day": (_EPOCH + timedelta(days=day)).date().isoformat(),
                "events": _sum(done.events, source, day),
                "removed": _sum(done.removed, source, day),
                "altered": _sum(done.altered, source, day),
            }
            for day, source in sorted({(at.day, at.source) for at in done.events | done.removed | done.altered})
        ],
        "unread": done.unread,
        "left": done.left,
    }


def _sum(counts: Counter[Place], source: str, day: int) -> int:
    return sum(number for at, number in counts.items() if (at.source, at.day) == (source, day))


def _lines(data: dict[str, Any]) -> list[str]:
    if not data["days"]:
        lines = ["nothing of theirs is kept here"]
    else:
        lines = [f"{'would remove' if data['dry_run'] else 'removed'} {_summed(data)}"]
        lines += [f"  {one['source']}, {one['day']}: {_summed(one)}" for one in data["days"]]
        lines.append("Not reached: backups, the server's own folders, and what handlers have stored.")
    if data["replays"]:
        lines.append(f"{counted(data['replays'], 'replay')} had named them; no more")
    lines += [f"NOT LOOKED INTO: {one}" for one in data["unread"]]
    return lines + [f"NOT DONE YET: {one}; run this again" for one in data["left"]]


def _summed(one: dict[str, Any]) -> str:
    gone = f"{counted(one['events'], 'event')} from the ledger, {counted(one['removed'], 'copy', 'copies')}"
    return f"{gone}; {one['altered']:,} written anew without them"
