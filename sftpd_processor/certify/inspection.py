"""The look from outside at what is left: the server, the disk, the ledger and the journals, brought together."""

from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.place import Place
from sftpd_processor.certify.stage import BUILTIN, HANDLERS, PICKY, REJECTED_EVERY, Stage
from sftpd_processor.certify.verdict import Check, check_each, checks

_SAMPLE = 100  # files read back from the server
_MISTAKES = (b"Traceback (most recent call last)", b"internal error")
_STATE_FILES = frozenset({"ledger.db", "ledger.db-wal", "ledger.db-shm", "lock", "bell", "replay.lock", "upkeep.lock"})
_COPIES = ("archive", "quarantine")


def inspect(evidence: Evidence, stage: Stage, place: Place, after: str) -> list[Check]:
    """Note all that is left, and check it; `after` is what the source does with its files."""
    evidence.wanted(HANDLERS, PICKY, REJECTED_EVERY)
    said = evidence.collect(stage.ledger, {name: stage.journal(name) for name in HANDLERS}, BUILTIN)
    evidence.copies(stage.state)
    evidence.there(place.found())
    evidence.prepare()
    mistakes = list(_mistakes(stage.log))
    return [
        *checks(evidence, after),
        sample(evidence, place),
        check_each("the ledger's own integrity check is good", "lost", [said], lambda s: None if s == "ok" else s),
        check_each("no file is left over in the state folder", "other", _top(stage.state), _unexpected),
        Check("the program reported no mistake of its own", "other", 1, len(mistakes), tuple(mistakes[:5])),
    ]


def sample(evidence: Evidence, place: Place) -> Check:
    """Read some files back: all would take long over a slow line, and their sizes are checked already."""
    rows = evidence.ask(
        "SELECT name, room, sha256 FROM found JOIN sent USING (name) WHERE found.size >= 0 ORDER BY random() LIMIT ?",
        _SAMPLE,
    )
    sent = {name: (room, digest) for name, room, digest in rows}

    def changed(name: str) -> str | None:
        room, digest = sent[name]
        return None if sha256(place.read(room, name)).hexdigest() == digest else f"{room}/{name}"

    title = "files on the server still hold the bytes that were sent (a sample)"
    return check_each(title, "lost", sent, changed)


def _top(state: Path) -> list[str]:
    return sorted(entry.name for entry in state.iterdir()) if state.exists() else []


def _unexpected(name: str) -> str | None:
    return None if name in _STATE_FILES or name in _COPIES else name


def _mistakes(log: Path) -> Iterator[str]:
    """Lines of the log that only a mistake in the program writes."""
    with log.open("rb") as said:
        for line in said:
            if any(mistake in line for mistake in _MISTAKES):
                yield line.decode(errors="replace").strip()[:200]
