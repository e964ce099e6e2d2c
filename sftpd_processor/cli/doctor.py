"""The verb `doctor`: what the servers allow and how they behave, by trying; and what follows for the configuration."""

from __future__ import annotations

import json
import sys
import textwrap
import threading
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.configured import configured
from sftpd_processor.cli.signals import stop_at_signals

if TYPE_CHECKING:
    from sftpd_processor.config.settings import DirectorySourceSettings, Settings, SftpSourceSettings
    from sftpd_processor.doctor.advice import Advice
    from sftpd_processor.doctor.findings import Findings

_WIDTH = 110
_RIGHTS = {
    "list": "list the folder",
    "make_folder": "make folders",
    "write": "write files",
    "read": "read files",
    "rename": "rename files",
    "posix_rename": "replace by renaming",
    "move_to": "move to move_to",
    "set_time": "set file times",
    "delete": "delete files",
    "remove_folder": "remove folders",
}


def doctor(
    ctx: typer.Context,
    source: Annotated[str | None, typer.Option(help="Examine this source only. Default: all of them.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Find out what the servers allow.

    By trying, in a scratch folder that is removed again: list, write, rename, move, delete, clock, limits. No other
    file is touched. Ends with what should change in the configuration.
    """
    from sftpd_processor.doctor.examination import examine

    chosen = _chosen(configured(ctx).settings, source)
    stop = threading.Event()

    def interrupt() -> None:
        stop.set()
        sys.stderr.write("sftpd-processor: interrupted; removing the scratch folder (once more ends at once)\n")

    stop_at_signals(interrupt)
    found = {settings.name: _told(examine(settings, stop), settings) for settings in chosen if not stop.is_set()}
    sys.stdout.write(json.dumps(_data(found)) + "\n" if as_json else "\n".join(map(_text, found.values())))
    raise typer.Exit(exit_codes.INTERRUPTED if stop.is_set() else max(told.exit_code for told in found.values()))


class _Told:
    """The findings about one source, and what follows from them."""

    def __init__(self, findings: Findings, advice: list[Advice], snippet: str) -> None:
        self.findings = findings
        self.advice = advice
        self.snippet = snippet

    @property
    def exit_code(self) -> int:
        if self.findings.unreachable is not None:
            return exit_codes.UNREACHABLE
        return exit_codes.FAILED if any(each.level == "problem" for each in self.advice) else exit_codes.DONE


def _chosen(settings: Settings, name: str | None) -> list[SftpSourceSettings | DirectorySourceSettings]:
    chosen = [source for source in settings.sources if name in (None, source.name)]
    if not chosen:
        names = ", ".join(source.name for source in settings.sources)
        raise typer.BadParameter(f"there is no source {name!r}; there are: {names}", param_hint="--source")
    return chosen


def _told(findings: Findings, settings: SftpSourceSettings | DirectorySourceSettings) -> _Told:
    from sftpd_processor.doctor.advice import advise, snippet

    advice = advise(findings, settings)
    return _Told(findings, advice, snippet(settings, advice))


def _data(found: dict[str, _Told]) -> dict[str, Any]:
    from dataclasses import asdict

    return {
        "ok": all(told.exit_code == exit_codes.DONE for told in found.values()),
        "sources": {
            name: {
                "findings": asdict(told.findings),
                "advice": [asdict(each) for each in told.advice],
                "suggested": told.snippet,
            }
            for name, told in found.items()
        },
    }


def _text(told: _Told) -> str:
    findings = told.findings
    lines = [f"source {findings.source}: {findings.place}"]
    lines += [_line(what, value, 22) for what, value in (*_facts(findings), *_rights(findings), *_limits(findings))]
    lines += [_line(each.level, each.text, 7) for each in told.advice]
    if told.snippet:
        lines += ["Suggested: change these keys of the source", *(f"  {line}" for line in told.snippet.splitlines())]
    return "\n".join([*lines, ""])


def _line(head: str, text: str, width: int) -> str:
    indent = " " * (width + 4)
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=f"  {head:<{width}}  ",
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


def _facts(findings: Findings) -> list[tuple[str, str]]:
    from sftpd_processor.doctor.advice import duration

    facts = []
    if (ssh := findings.ssh) is not None:
        facts += [
            ("server", ssh.server),
            ("host key", f"{ssh.host_key_type} {ssh.host_key}"),
            ("encryption", ", ".join(filter(None, [ssh.cipher, ssh.mac]))),
        ]
    if findings.round_trip_seconds is not None:
        slowest = duration(findings.slowest_answer_seconds or 0.0)
        facts.append(("round trip", f"{duration(findings.round_trip_seconds)} (slowest answer {slowest})"))
    if (listing := findings.listing) is not None:
        most = "" if listing.complete else "at least "
        each = "" if listing.per_answer is None else f", {listing.per_answer:,} names an answer"
        pace = f" ({listing.per_second:,.0f} a second{each})" if listing.entries else ""
        facts.append(("folder", f"{most}{listing.entries:,} entries, listed in {duration(listing.seconds)}{pace}"))
    return facts


def _rights(findings: Findings) -> list[tuple[str, str]]:
    tried, untried = [], dict[str, list[str]]()
    for key, words in _RIGHTS.items():
        right = findings.rights.get(key)
        if right is not None and right.answer == "untried":
            untried.setdefault(right.why, []).append(words)
        elif right is not None:
            tried.append((words, f"{right.answer}: {right.why}" if right.why else right.answer))
    return tried + [("not tried", f"{', '.join(words)}: {why}") for why, words in untried.items()]


def _limits(findings: Findings) -> list[tuple[str, str]]:
    from sftpd_processor.doctor.advice import duration

    limits = []
    if findings.rename_replaces is not None:
        limits.append(("rename to a taken name", "overwrites" if findings.rename_replaces else "is refused"))
    if (grain := findings.time_grain_seconds) is not None:
        limits.append(("file times", f"in steps of {_step(grain)}"))
    if (clock := findings.clock) is not None:
        side = "ahead of" if clock.offset > 0 else "behind"
        limits.append(("clock", f"{duration(abs(clock.offset))} {side} ours, ± {duration(clock.uncertainty)}"))
    if (files := findings.open_files) is not None:
        most = f"{files.most:,} at once" + (f", then: {files.refusal}" if files.refusal else "; more were not tried")
        limits.append(("open files", most))
    return limits


def _step(seconds: float) -> str:
    """`1 s`, `100 ns`."""
    for size, unit in ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if seconds >= size:
            return f"{seconds / size:g} {unit}"
    return f"{seconds / 1e-9:g} ns"
