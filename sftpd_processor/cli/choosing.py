"""The options by which people choose files, events and deliveries, and the one `Selection` that they come to."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sftpd_processor.cli.moments import EXAMPLES, given
from sftpd_processor.cli.words import VERDICTS

if TYPE_CHECKING:
    from sftpd_processor.config.settings import Settings
    from sftpd_processor.ledger.selection import Selection

Texts = list[str] | None
SourceOption = Annotated[Texts, typer.Option("--source", help="Only of this source (again for more).")]
TypeOption = Annotated[Texts, typer.Option("--type", help="Only this type of event (again for more).")]
FileOption = Annotated[
    str | None,
    typer.Option("--file", help="Only of files of this name (or source/name); * and ? stand for others."),
]
VerdictOption = Annotated[
    Texts, typer.Option("--verdict", help=f"Only of files with this verdict (again for more): {', '.join(VERDICTS)}.")
]
ConversationOption = Annotated[
    Texts, typer.Option("--conversation", help="Only of this conversation, by its id (again for more).")
]
CustomerOption = Annotated[
    Texts, typer.Option("--customer", help="Only of this customer, by customerUID (again for more).")
]
CustomerFileOption = Annotated[
    Path | None,
    typer.Option(
        "--customer-file",
        help="A file with a customerUID a line, - for standard input: what stands on a command line is seen by others.",
    ),
]
SinceOption = Annotated[str | None, typer.Option("--since", help=f"Only what was recorded then or later: {EXAMPLES}.")]
UntilOption = Annotated[str | None, typer.Option("--until", help="Only what was recorded before then.")]


def selected(
    *,
    handlers: Texts = None,
    types: Texts = None,
    sources: Texts = None,
    file: str | None = None,
    error: str | None = None,
    since: str | None = None,
    until: str | None = None,
    conversations: Texts = None,
    customers: Texts = None,
    customer_file: Path | None = None,
    verdicts: Texts = None,
    states: Texts = None,
) -> Selection:
    """What the options say together; raises `typer.BadParameter` for what cannot be meant."""
    from sftpd_processor.ledger.selection import Selection
    from sftpd_processor.reprocess.job import STATES

    several = (handlers, types, sources, conversations, customers, verdicts, states)
    if "" in [*chain.from_iterable(filter(None, several)), file, error, since, until]:
        # as from a variable that is not set: must not stand for everything
        raise typer.BadParameter("an option that chooses is empty")
    sources, file = _place(sources, file)
    chosen = Selection(
        handlers=_once(handlers),
        types=_types(types),
        sources=_once(sources),
        file=file,
        error=error,
        since=given(since),
        until=given(until),
        conversations=_once(conversations),
        customers=_once([*(customers or ()), *_lines(customer_file)]),
        verdicts=_words("--verdict", verdicts, VERDICTS),
        states=_words("--state", states, STATES),
    )
    if chosen.since is not None and chosen.until is not None and chosen.since >= chosen.until:
        raise typer.BadParameter("--until is not later than --since")
    return chosen


def given_options(chosen: Selection) -> list[str]:
    """The options that say something, as people write them."""
    return [_OPTIONS[one.name] for one in fields(chosen) if getattr(chosen, one.name) != one.default]


_OPTIONS = {
    "handlers": "--handler", "types": "--type", "sources": "--source", "file": "--file", "error": "--error",
    "since": "--since", "until": "--until", "conversations": "--conversation", "customers": "--customer",
    "verdicts": "--verdict", "states": "--state",
}  # fmt: skip


def demand_sources(names: Iterable[str], settings: Settings) -> None:
    """Raise `typer.BadParameter` for a source that is neither in the configuration nor in the archive."""
    known = sorted(set(_sources(settings)))
    for name in names:
        demand_known("source", name, known, "in the configuration or the archive")


def demand_known(kind: str, name: str, known: Iterable[str], where: str = "in the configuration") -> None:
    """Raise `typer.BadParameter`, with the nearest right name, when `name` is not `known`."""
    from sftpd_processor.extensions.text import nearest

    known = list(known)
    if name not in known:
        hint = nearest(name, known) or f"; there {'is' if len(known) == 1 else 'are'} {', '.join(known) or 'none'}"
        raise typer.BadParameter(f"there is no {kind} {name!r} {where}{hint}")


def _sources(settings: Settings) -> Iterator[str]:
    from sftpd_processor.pipeline.live import SOURCE as LIVE

    yield LIVE
    yield from (source.name for source in settings.sources)
    for kept in ("archive", "quarantine"):  # also of sources that were configured once
        folder = settings.state.dir / kept
        if folder.is_dir():
            yield from (each.name for each in folder.iterdir())


def _place(sources: Texts, file: str | None) -> tuple[Texts, str | None]:
    """`source/name`, as `status` shows it, taken apart."""
    if file is None or "/" not in file:
        return sources, file
    if sources:
        raise typer.BadParameter("the source is given twice: by --source, and in --file")
    source, _, name = file.partition("/")
    if not source or not name:
        raise typer.BadParameter("--file is a name, or source/name; give a path as an argument")
    return [source], name


def _types(names: Texts) -> tuple[str, ...]:
    """As on the wire. A type that is not known here may well have been recorded, so it is only spoken of."""
    if not names:
        return ()
    from sftpd_processor.events.models import EVENT_TYPES, wire_type
    from sftpd_processor.extensions.text import nearest

    for name in names:
        if wire_type(name) is None and (hint := nearest(name, EVENT_TYPES)):
            sys.stderr.write(f"note: {name!r} is no type of event that is known here{hint}\n")
    return _once([wire_type(name) or name for name in names])


def _words(option: str, words: Texts, known: tuple[str, ...]) -> tuple[str, ...]:
    for word in words or ():
        if word not in known:
            raise typer.BadParameter(f"{option} is one of: {', '.join(known)}; not {word!r}")
    return _once(words)


def _lines(path: Path | None) -> list[str]:
    """Raises `typer.BadParameter` when there is none: it must not stand for everybody."""
    if path is None:
        return []
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise typer.BadParameter(f"--customer-file {path} cannot be read: {why}") from None
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines:
        raise typer.BadParameter(f"--customer-file {path} names no customer")
    return lines


def _once(given_ones: Iterable[str] | None) -> tuple[str, ...]:
    """Each one once, in the order given."""
    return tuple(dict.fromkeys(given_ones or ()))
