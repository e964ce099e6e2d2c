"""Every copy hashed again, and compared with what the ledger knows.

Day by day and source by source. What does not fit is looked at once more: while this goes on, a running daemon writes
copies, and compaction moves them.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

from sftpd_processor.archive import plain
from sftpd_processor.archive.copies import Copies
from sftpd_processor.archive.day import LARGEST, Day
from sftpd_processor.archive.places import REASON, REMNANT, ROOMS
from sftpd_processor.archive.rooms import Chosen, Place, on_disk
from sftpd_processor.archive.turn import turn
from sftpd_processor.errors import PermanentError, StateInUse
from sftpd_processor.ledger.holdings import Holding
from sftpd_processor.ledger.ledger import Ledger

MOST_TOLD = 20
BAD = ("missing", "different", "torn")
"""Kinds that mean a loss."""
KINDS = ("ok", *BAD, "unknown", "leftover", "unwritten", "gone")
"""What a copy can be: as the ledger knows it; not there; of other bytes; a compacted day that cannot be read; not known
to the ledger; still there, though it was removed on purpose; still to be written; removed on purpose."""
_PATIENCE = 60.0  # seconds
_PAUSE = 0.2

Tell = Callable[[int], None]


@dataclass(slots=True)
class Findings:
    """How many copies are of which kind, and where the first of each kind lie."""

    counts: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)

    def add(self, kind: str, where: str) -> None:
        """Count one; those that are as they should be are not told one by one."""
        self.counts[kind] += 1
        if kind not in ("ok", "gone") and len(told := self.first.setdefault(kind, [])) < MOST_TOLD:
            told.append(where)

    @property
    def bad(self) -> bool:
        """Whether something is lost or damaged."""
        return any(self.counts[kind] for kind in BAD)


class Verification:
    """Looks at everything, or at some paths of the archive and the quarantine."""

    def __init__(self, state: Path, ledger: Ledger, paths: Sequence[Path] = ()) -> None:
        """`state` is the state folder. Raises `PermanentError` for paths that do not lie in it."""
        self._state = state
        self._ledger = ledger
        self._copies = Copies(state)
        self._paths = paths
        self._chosen = Chosen(state, paths)
        self._findings = Findings()
        self._missing: list[int] = []

    def size(self) -> int:
        """How many files the ledger knows, to tell how far it is."""
        return self._ledger.holdings.number()

    def run(self, tell: Tell) -> Findings:
        """Compare; `tell` gets the number of files looked at so far.

        Raises `PermanentError` when a path leads nowhere, and there is nothing to compare.
        """
        places, strays = on_disk(self._state)
        for stray in strays:
            if self._chosen.includes(stray) and not stray.endswith(REMNANT):
                self._findings.add("unknown", stray)
        units = {(day, source) for source, day in self._ledger.holdings.days()}
        looked_at = 0
        for day, source in sorted(units | {(place.day, place.source) for place in places}):
            rooms = [Place(room, source, day) for room in ROOMS]
            held = self._ledger.holdings.of_day(source, day)
            if any(self._chosen.covers(place) for place in rooms):
                self._compare(rooms, held)
            tell(looked_at := looked_at + len(held))
        self._tell_missing()
        if not self._findings.counts:
            for path in self._paths:
                if not path.exists():
                    raise PermanentError(f"{path} is not there, and no copy is to be; check the path")
        return self._findings

    def _tell_missing(self) -> None:
        """Upkeep removes whole days before it notes that: what is missing is asked for once more when it has ended."""
        if not self._missing:
            return
        self._await_upkeep()
        for one in self._ledger.holdings.again(self._missing):
            kind = "gone" if not one.kept else self._kind(one.stored or "", [one], set())
            self._findings.add(kind or "missing", one.stored or f"{one.source}/{one.name}")

    def _await_upkeep(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                with turn(self._state):
                    return
            except StateInUse:
                time.sleep(_PAUSE)
            except PermanentError:  # of a state folder that may only be read
                return

    def _compare(self, rooms: list[Place], held: list[Holding]) -> None:
        """One source and day. Several files may share one copy: the same bytes that came again under that name."""
        wanted = {one.stored: one.sha256 for one in held if one.stored is not None and one.kept}
        good, doubtful = set[str](), set[str]()
        for stored, digest in self._digests(rooms):
            if wanted.get(stored, "") == digest:
                good.add(stored)
            elif stored in wanted or stored.removesuffix(REASON) not in wanted:  # no note beside a quarantined copy
                doubtful.add(stored)
        for one in held:
            if one.stored is None or not one.kept:
                self._tell_without_copy(one)
        doubtful |= wanted.keys() - good
        for stored in filter(self._chosen.includes, good - doubtful):
            self._findings.add("ok", stored)
        if again := sorted(filter(self._chosen.includes, doubtful)):
            self._look_again(again, held)

    def _tell_without_copy(self, one: Holding) -> None:
        if self._chosen and not (one.stored and self._chosen.includes(one.stored)):
            return
        if not one.kept:
            self._findings.add("gone", one.stored or "")
        else:
            self._findings.add("unwritten" if one.raw else "missing", f"{one.source}/{one.name}")

    def _digests(self, rooms: list[Place]) -> Iterator[tuple[str, str | None]]:
        """Each copy on disk with its SHA-256; None of one that cannot be read."""
        for place in rooms:
            with suppress(FileNotFoundError), plain.opened(self._state / place.stored) as folder:
                for found in plain.found_in(folder):
                    with suppress(OSError):  # it cannot be read: so it is looked at once more
                        copy = plain.read(folder, found.name, LARGEST)
                        yield f"{place.stored}/{found.name}", None if copy is None else sha256(copy.raw).hexdigest()
            yield from self._packed(place)

    def _packed(self, place: Place) -> Iterator[tuple[str, str | None]]:
        try:
            with Day(self._state / place.zip) as day:
                for member in day.members():
                    try:
                        yield f"{place.stored}/{member.name}", sha256(day.read(member)).hexdigest()
                    except PermanentError:
                        yield f"{place.stored}/{member.name}", None
        except FileNotFoundError:
            return
        except PermanentError:
            if self._chosen.covers(place):
                self._findings.add("torn", place.zip)

    def _look_again(self, doubtful: list[str], held: list[Holding]) -> None:
        """What did not fit at first: the ledger and the disk as they are by now."""
        known: dict[str, list[Holding]] = {}
        for one in self._ledger.holdings.again([one.id for one in held]):
            known.setdefault(one.stored or "", []).append(one)
        strange = [stored for stored in doubtful if stored not in known]
        for one in self._ledger.holdings.at(strange):  # recorded on another day
            known.setdefault(one.stored or "", []).append(one)
        unwritten = {one.sha256 for one in known.get("", []) if one.kept}
        for stored in doubtful:
            kind = self._kind(stored, known.get(stored, []), unwritten)
            if kind == "missing":
                self._missing.append(known[stored][0].id)
            elif kind is not None:
                self._findings.add(kind, stored)

    def _kind(self, stored: str, files: list[Holding], unwritten: set[str | None]) -> str | None:
        """None: there is nothing to tell of, since it is neither known nor there any more."""
        digests = {one.sha256 for one in files if one.kept}
        if any(self._reads(stored, digest) for digest in digests):
            return "ok"
        there = self._is_there(stored)
        if digests:
            return "different" if there else "missing"
        if not there or any(self._reads(stored, digest) for digest in unwritten):
            return None  # moved, or just being written: it is told of elsewhere
        return "leftover" if files else "unknown"

    def _reads(self, stored: str, digest: str | None) -> bool:
        try:
            self._copies.read(stored, digest)
        except PermanentError:
            return False
        return True

    def _is_there(self, stored: str) -> bool:
        try:
            return self._copies.where(stored) is not None
        except PermanentError:
            return False  # its compacted day cannot be read, which is told for itself
