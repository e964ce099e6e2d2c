"""The story of one file or one event, as data: put together from the ledger for `why`."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sftpd_processor.cli.words import counted, iso
from sftpd_processor.errors import PermanentError

if TYPE_CHECKING:
    from sftpd_processor.archive.copies import Copies
    from sftpd_processor.ledger.ledger import Ledger

Story = dict[str, Any]
_KEPT = (None, "altered")
_UNWRITTEN = "its local copy is still to be written"

_CAME = {"http": "posted live", "replay": "put here by `retry --corrected`"}
"""What stands in place of the first listing, by origin: nobody listed these."""

GONE = {
    "expired": "is not kept any more: its time was over",
    "forgotten": "is not kept any more: `archive forget` removed it",
    "altered": "was written anew, without what `archive forget` removed",
}
"""What has become of a copy, or of an event's contents."""

MOST = 20
"""Of everything of which there can be many: files, events, repeats, attempts."""


class Teller:
    """Tells what the ledger knows."""

    def __init__(self, ledger: Ledger, state: Path, *, ordered: bool) -> None:
        """`state` is the state folder; `ordered`: whether a delivery waits for those before it in its conversation."""
        from sftpd_processor.archive.copies import Copies

        self._ledger = ledger
        self._copies = Copies(state)
        self._stories = ledger.stories
        self._ordered = ordered
        self._breakers = ledger.figures.breakers()

    def file(self, row: Story) -> Story:
        """Everything about one file: a row of the ledger's files."""
        noted: dict[str, Any] = json.loads(row["reason"] or "{}") if row["state"] == "recorded" else {}
        events, events_in_all = self._stories.events_of(row["id"], MOST)
        corrected = self._stories.file(row["corrected_by"]) if row["corrected_by"] else None
        lies = where(self._copies, row["archive_path"]) if row["archive_path"] and row["gone"] in _KEPT else None
        return {
            "source": row["source"],
            "name": row["name"],
            "bytes": row["size"],
            "modified": datetime.fromtimestamp(row["mtime"] / 1e9, UTC).isoformat(timespec="milliseconds"),
            "sha256": row["sha256"],
            "origin": row["origin"],
            "times_before": row["occurrence"],
            "state": row["state"],
            "reason": None if row["state"] == "recorded" else row["reason"],
            "verdict": row["verdict"],
            "archive_path": row["archive_path"],
            "copy": lies,
            "gone": row["gone"],
            "disposal": row["disposal"],
            "corrected": corrected and {"at": iso(corrected["recorded_at"]), "verdict": corrected["verdict"]},
            "history": [{"at": iso(at), "what": what} for at, what in _history(row, corrected, lies)],
            "problems": noted.get("faults", []),
            "problems_in_all": noted.get("total", 0),
            "events": [self.event(event) for event in events],
            "events_in_all": events_in_all,
            "repeats": [_repeat(again) for again in self._stories.repeats_of(row["id"], MOST)],
            "repeats_in_all": row["repeats"],
        }

    def event(self, row: Story) -> Story:
        """Everything about one event: a row of the ledger's events."""
        file = self._stories.file(row["file_id"])
        came_again, in_all = self._stories.repeated(row["id"], MOST)
        return {
            "event": row["id"],
            "type": row["type"],
            "identity": row["identity"],
            "organisation": row["organisation"],
            "created": iso(row["created_at"]),
            "recorded": iso(row["recorded_at"]),
            "file": f"{file['source']}/{file['name']}",
            "position": row["position"] + 1,
            "gone": row["gone"],
            "came_again": [_came_again(again) for again in came_again],
            "came_again_in_all": in_all,
            "deliveries": [self._delivery(found) for found in self._stories.deliveries_of(row["id"], MOST)],
        }

    def _delivery(self, row: Story) -> Story:
        pending = row["state"] == "pending"
        opened, _ = self._breakers.get(row["handler"], (None, None))
        return {
            "handler": row["handler"],
            "state": "retrying" if pending and row["attempts"] else row["state"],
            "attempts": row["attempts"],
            "due": iso(row["due_at"]) if pending and row["due_at"] else None,
            "behind_event": row["behind"] if self._ordered else None,
            "failing_since": iso(opened) if pending else None,
            "settled": iso(row["settled_at"]),
            "said": row["detail"],
            "history": [{**one, "ended_at": iso(one["ended_at"])} for one in row["history"]],
            "history_in_all": row["history_in_all"],
            "again": [{**one, "settled_at": iso(one["settled_at"])} for one in row["again"]],
        }


def where(copies: Copies, stored: str) -> str:
    """Where a copy lies now, for people; or what is wrong with it."""
    try:
        return copies.where(stored) or f"MISSING: {stored}"
    except PermanentError as error:
        return f"{stored}: {error}"


def _history(row: Story, corrected: Story | None, lies: str | None) -> list[tuple[int | None, str]]:
    """What happened when; None stands for now."""
    told = [(row["first_seen"], _CAME.get(row["origin"], "first listed"))]
    if row["occurrence"]:
        told.append((row["first_seen"], f"such a file had been here {counted(row['occurrence'], 'time')} before"))
    if row["waited"]:
        told.append((row["first_seen"], f"had to wait: {row['waited']}"))
    if row["state"] != "recorded":
        return [*told, (None, f"{row['state']}: {row['reason']}")]
    return told + sorted(_after_recording(row, corrected, lies), key=lambda step: (step[0] is None, step[0] or 0))


def _after_recording(row: Story, corrected: Story | None, lies: str | None) -> list[tuple[int | None, str]]:
    look = f" by look {row['look']}" if row["look"] else ""
    came_to = f": {row['verdict']}, {counted(row['events'], 'event')}"
    told: list[tuple[int | None, str]] = [(row["recorded_at"], f"recorded{look}{'' if row['reread_at'] else came_to}")]
    if row["reread_at"]:
        told.append((row["reread_at"], f"read again by `retry --quarantined`{came_to}"))
    copied = f"copied to {row['archive_path'] or 'the archive'}" if row["archived_at"] else _UNWRITTEN
    told.append((row["archived_at"], copied))
    if row["gone"]:
        told.append((None, f"its copy {GONE[row['gone']]}"))
    if lies not in (None, row["archive_path"]):
        told.append((None, f"its copy: {lies}"))
    if row["disposal"]:
        told.append((row["disposed_at"], f"{row['disposal']} at the source by look {row['disposed_look']}"))
    elif row["origin"] not in _CAME:
        told.append((None, "still at the source, as far as is known"))
    if corrected:
        told.append((corrected["recorded_at"], f"a corrected file took its place: {corrected['verdict']}"))
    return told


def _repeat(row: Story) -> Story:
    return {
        "position": row["position"] + 1,
        "type": row["type"],
        "conflict": row["conflict"],
        "event": row["event_id"],
        "first_in": f"{row['source']}/{row['name']}",
    }


def _came_again(row: Story) -> Story:
    return {"at": iso(row["recorded_at"]), "file": f"{row['source']}/{row['name']}", "conflict": row["conflict"]}
