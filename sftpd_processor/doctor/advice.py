"""What follows from the findings: sentences for a tired operator, and the settings that should change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from sftpd_processor.config.schema import toml
from sftpd_processor.config.settings import SftpSourceSettings, SourceSettings
from sftpd_processor.doctor.findings import YES, Findings
from sftpd_processor.sources.algorithms import CURRENT

_RIGHT_CLOCK = 5.0  # seconds
_SPARE_FILES = 2  # for the listing, and for one that is still being closed
_SLOW_FILES_PER_SECOND = 500
_USUAL_IN_FLIGHT = 256
_USUAL_SETTLING = 10


@dataclass(frozen=True, slots=True)
class Advice:
    """One sentence, how bad it is, and the keys of the source that should change with it."""

    level: Literal["ok", "note", "problem"]
    text: str
    change: dict[str, Any] = field(default_factory=dict)


def advise(found: Findings, settings: SourceSettings) -> list[Advice]:
    """Everything there is to say, the worst first."""
    if found.unreachable is not None:
        return [Advice("problem", found.unreachable)]
    told = [advice for rule in _RULES for advice in rule(found, settings)]
    return sorted(told, key=lambda advice: ("problem", "note", "ok").index(advice.level))


def snippet(settings: SourceSettings, advices: list[Advice]) -> str:
    """The keys to change, as TOML; empty when all is well."""
    changes = {key: value for advice in reversed(advices) for key, value in advice.change.items()}
    if not changes:
        return ""
    lines = [f"{key} = {toml(value)}" for key, value in changes.items()]
    return "\n".join(["[[sources]]", f'name = "{settings.name}"', *lines, ""])


def _ending(found: Findings, _settings: SourceSettings) -> Iterator[Advice]:
    if found.ended_early == "interrupted":
        yield Advice("note", "The examination was interrupted: what is not told here was not tried.")
    elif found.ended_early is not None:
        yield Advice(
            "problem", f"The examination broke off: {found.ended_early}. Run it again when the server is well."
        )
    for path, why in found.left_behind.items():
        yield Advice("problem", f"{path} could not be removed again ({why}). Please remove it by hand.")
    for name in found.strays:
        yield Advice(
            "note", f"An earlier doctor that was killed has left {name} in the folder. Please remove it by hand."
        )


def _listing(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    right = found.rights.get("list")
    if right is not None and right != YES:
        yield Advice(
            "problem",
            f"The folder {settings.folder} cannot be listed: {right.why}. Check `folder`, or ask the owner of the "
            "server for the right to read it.",
        )
    listing = found.listing
    if listing is None:
        return
    if listing.seconds > settings.poll_seconds / 2 and settings.cron is None:
        wanted = math.ceil(listing.seconds * 4)
        yield Advice(
            "note",
            f"Listing the folder takes {listing.seconds:.0f} s or more, and a look is wanted every "
            f"{settings.poll_seconds:g} s. Look less often, or clear the folder.",
            {"poll_seconds": wanted},
        )
    else:
        yield Advice("ok", "The folder can be listed fast enough.")


def _disposal(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    """Whether `after` can be done."""
    rights = found.rights
    if settings.after == "keep":
        yield Advice("ok", 'after = "keep" needs no rights beyond reading.')
        return
    key = "move_to" if settings.after == "move" else "delete"
    right = rights.get(key)
    if right is None:
        return
    if right == YES:
        done = f"Files can be moved to {settings.move_to}." if key == "move_to" else "Files can be deleted."
        yield Advice("ok", done)
    elif right.answer == "untried":
        yield Advice(
            "problem",
            f'after = "{settings.after}" could not be tried: {right.why} ({rights["write"].why}). An account that may '
            'only read needs after = "keep"; else ask the owner of the server for the right to write.',
            {"after": "keep"},
        )
    elif key == "delete":
        yield _no_delete(found, right.why)
    else:
        yield _no_move(found, settings, right.why)


def _no_delete(found: Findings, why: str) -> Advice:
    if found.rights["rename"] == YES:
        return Advice(
            "problem",
            f'Files cannot be deleted: {why}. But they can be renamed: use after = "move".',
            {"after": "move"},
        )
    return Advice("problem", f'Files can be neither deleted nor moved: {why}. Use after = "keep".', {"after": "keep"})


def _no_move(found: Findings, settings: SourceSettings, why: str) -> Advice:
    text = f"Files cannot be moved to {settings.move_to}: {why}."
    if found.other_file_system:
        text += " Yet files can be written there: it is probably on another file system."
    inside = found.rights["rename"] == YES and found.rights["make_folder"] == YES
    if inside and settings.move_to != "processed":
        return Advice("problem", f"{text} Move them to a folder inside the source's.", {"move_to": "processed"})
    if found.rights["delete"] == YES:
        text += ' after = "delete" would work: each file is in the ledger and in the archive by then.'
    return Advice("problem", f'{text} after = "keep" leaves them where they are.', {"after": "keep"})


def _sticky(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    if found.sticky and settings.after != "keep":
        yield Advice(
            "note",
            "The folder has the sticky bit: files that another account puts there may be neither moved nor deleted, "
            "though ours may. If recorded files stay in the folder, ask its owner to take the bit away.",
        )


def _overwriting(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    if found.rename_replaces is False:
        yield Advice("ok", "A rename never overwrites.")
    elif found.rename_replaces and settings.after == "move":
        yield Advice(
            "note",
            "A rename overwrites what has the new name. This program looks before each move; let nobody else put files "
            f"into {settings.move_to}.",
        )


def _clock(found: Findings, _settings: SourceSettings) -> Iterator[Advice]:
    if found.clock is None:
        return
    off = abs(found.clock.offset) - found.clock.uncertainty
    if off <= _RIGHT_CLOCK:
        yield Advice("ok", "The clocks agree.")
        return
    side = "ahead of" if found.clock.offset > 0 else "behind"
    yield Advice(
        "note",
        f"The server's clock is {duration(abs(found.clock.offset))} {side} ours. This program does not rely on it, but "
        "people who compare times do: have the wrong one of the two set.",
    )


def _settling(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    grain = found.time_grain_seconds
    if grain is not None and settings.settle_seconds <= grain:
        yield Advice(
            "note",
            f"File times are rounded to {grain:g} s, and settle_seconds is {settings.settle_seconds:g}: a file that is "
            "still being written can look as if it stood still.",
            {"settle_seconds": _USUAL_SETTLING},
        )


def _patience(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    if not isinstance(settings, SftpSourceSettings) or found.ended_early is not None:
        return
    slowest, timeout = found.slowest_answer_seconds or 0.0, settings.operation_timeout_seconds
    if slowest * 3 > timeout:
        yield Advice(
            "note",
            f"The slowest answer took {slowest:.1f} s, and operation_timeout_seconds is {timeout:g}: on a bad day the "
            "server will be taken for dead.",
            {"operation_timeout_seconds": math.ceil(slowest * 10)},
        )


def _encryption(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    """What `algorithms = "legacy"` has led to; whether it is needed for the key exchange cannot be told."""
    if found.ssh is None or not isinstance(settings, SftpSourceSettings) or settings.algorithms == "current":
        return
    agreed = {"ciphers": found.ssh.cipher, "macs": found.ssh.mac}
    old = [name for kind, name in agreed.items() if name and name not in CURRENT[kind]]
    if old:
        yield Advice("note", f"The server needs what is outdated: {', '.join(old)}. Ask its owner to allow newer ones.")
    else:
        yield Advice("note", 'Cipher and MAC are current ones: try algorithms = "current".', {"algorithms": "current"})


def _window(found: Findings, settings: SourceSettings) -> Iterator[Advice]:
    """Whether `in_flight` fits what the server allows, and the distance."""
    if not isinstance(settings, SftpSourceSettings) or found.open_files is None:
        return
    most = max(1, found.open_files.most - _SPARE_FILES)
    if found.open_files.refusal is not None and most < settings.in_flight:
        yield Advice(
            "note",
            f"The server lets us open {found.open_files.most} files at once, and in_flight is {settings.in_flight}. "
            "The program finds its way by trying, but it need not.",
            {"in_flight": most},
        )
        return
    # Opening and reading are a round trip each; closing is not waited for.
    speed = settings.in_flight / (2 * max(found.round_trip_seconds or 0.0, 1e-6))
    wanted = min(_USUAL_IN_FLIGHT, most)
    if speed < _SLOW_FILES_PER_SECOND and settings.in_flight < wanted:
        yield Advice(
            "note",
            f"With in_flight = {settings.in_flight} at this distance, at most {speed:,.0f} files a second can be read.",
            {"in_flight": wanted},
        )
        return
    yield Advice("ok", f"in_flight = {settings.in_flight} fits.")


_RULES: tuple[Callable[[Findings, SourceSettings], Iterator[Advice]], ...] = (
    _ending, _listing, _disposal, _sticky, _overwriting, _clock, _settling, _patience, _encryption, _window,
)  # fmt: skip


def duration(seconds: float) -> str:
    """`0.3 ms`, `12 s`, `3.2 hours`."""
    for size, unit in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{seconds * 1000:.{0 if seconds >= 0.01 else 1}f} ms"
