"""A person's events leave the archive, the compacted days, the quarantine and the ledger.

What is in a file tells whether it is about them, not what the ledger says of it: so copies that the ledger does not
know are found, too. Each step can be done again: after a crash the same call does what is left.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import chain
from pathlib import Path

from sftpd_processor.archive import plain
from sftpd_processor.archive.cutting import cut_day, cut_plain
from sftpd_processor.archive.day import LARGEST, Day
from sftpd_processor.archive.personal import Sought
from sftpd_processor.archive.places import REASON, REMNANT
from sftpd_processor.archive.rooms import Place, on_disk
from sftpd_processor.archive.turn import turn
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.holdings import DAY
from sftpd_processor.ledger.ledger import Ledger

_PATIENCE = 60.0
"""Seconds for deliveries that run, and for copies that are being written."""
_PAUSE = 0.2

Tell = Callable[[int], None]
Cuts = dict[str, bytes | None]


@dataclass(slots=True)
class Forgotten:
    """What was removed, or would be. Nothing here tells whose."""

    events: Counter[Place] = field(default_factory=Counter)
    """In the ledger, by source and day of recording; the room is empty."""
    removed: Counter[Place] = field(default_factory=Counter)
    """Copies with nothing else in them."""
    altered: Counter[Place] = field(default_factory=Counter)
    """Copies that were written anew without these events."""
    replays: int = 0
    """Replays that had been asked for by one of the ids."""
    unread: list[str] = field(default_factory=list)
    """Compacted days and copies that cannot be read, so that it is not known what is in them."""
    left: list[str] = field(default_factory=list)
    """What could not be done now, in words."""


class Forgetting:
    """Forgets, or with `dry_run` only counts."""

    def __init__(
        self, state: Path, ledger: Ledger, sought: Sought, *, dry_run: bool = False, patience: float = _PATIENCE
    ) -> None:
        """`state` is the state folder; `patience` in seconds, see `left`."""
        self._state = state
        self._ledger = ledger
        self._sought = sought
        self._dry_run = dry_run
        self._patience = patience
        self._done = Forgotten()
        self._looked_at = 0

    def size(self) -> int:
        """About how many events and copies there are to be looked into."""
        return self._ledger.forgetting.bodies() + self._ledger.holdings.number()

    def run(self, tell: Tell) -> Forgotten:
        """Forget; `tell` gets the number of events and copies looked into so far.

        Raises `StateInUse` while the archive's upkeep runs, and `PermanentError` when something cannot be written.
        """
        if self._dry_run:
            self._forget_events(tell)
            self._forget_copies(tell)
            return self._done
        with turn(self._state):
            try:
                self._forget(tell)
            except OSError as error:
                where = f"{error.filename or self._state} cannot be written: {error.strerror or error}"
                raise PermanentError(
                    f"{where}; mend that and run this again: what is done already stays done"
                ) from error
        return self._done

    def _forget(self, tell: Tell) -> None:
        self._await_copies()
        self._forget_events(tell)
        self._forget_copies(tell)
        self._forget_contents()
        self._done.replays = self._ledger.forgetting.clear_replays(self._sought.ids)
        if not self._ledger.forgetting.scrub():
            self._done.left.append("the log beside the ledger is in use, and could not be cut short")

    def _holds(self, raw: bytes) -> bool:
        return self._sought.without(raw) is not raw

    def _await_copies(self) -> None:
        """A copy that is just being written must be there before it is looked into."""
        if waiting := self._ledger.forgetting.contents(self._holds, unarchived=True):
            self._wait(lambda: self._ledger.forgetting.unarchived(waiting) == 0)

    def _forget_events(self, tell: Tell) -> None:
        held: list[int] = []
        expired = self._ledger.forgetting.expired(self._sought.conversations)
        for looked_at, found in chain(self._ledger.forgetting.events(self._sought.in_event), [(0, expired)]):
            for one in found:
                self._done.events[Place("", one.source, one.recorded_at // DAY)] += 1
            if found and not self._dry_run:
                held += self._ledger.forgetting.blank([one.id for one in found])
            tell(self._add(looked_at))
        if held and not self._wait(lambda: self._blanked(held)):
            number = _counted(len(held), "event is", "events are")
            self._done.left.append(f"{number} being handled now, or was when the daemon was killed: then start it")

    def _blanked(self, held: list[int]) -> bool:
        held[:] = self._ledger.forgetting.blank(held)
        return not held

    def _forget_copies(self, tell: Tell) -> None:
        places, strays = on_disk(self._state)
        if not self._dry_run:
            for stray in strays:
                if stray.endswith(REMNANT):  # of a run that was killed: this one has the turn
                    (self._state / stray).unlink(missing_ok=True)
        for place in places:
            self._forget_plain(place, tell)
            self._forget_packed(place, tell)

    def _forget_plain(self, place: Place, tell: Tell) -> None:
        folder = self._state / place.stored
        with suppress(FileNotFoundError):
            cuts = self._cuts(place, self._plain(place), tell)
            if cuts and not self._dry_run:
                self._note(place, cuts)
                cut_plain(folder, cuts)

    def _forget_packed(self, place: Place, tell: Tell) -> None:
        path = self._state / place.zip
        try:
            with suppress(FileNotFoundError), Day(path) as day:
                cuts = self._cuts(place, ((member.name, day.read(member)) for member in day.members()), tell)
                if cuts and not self._dry_run:
                    self._note(place, cuts)
                    cut_day(path, cuts)
        except PermanentError as error:
            self._done.unread.append(str(error))

    def _plain(self, place: Place) -> Iterator[tuple[str, bytes]]:
        """The copies of a folder, without the notes beside those in quarantine."""
        folder = self._state / place.stored
        with plain.opened(folder) as descriptor:
            names = {found.name for found in plain.found_in(descriptor)}
            for name in names:
                if place.room == "quarantine" and name.endswith(REASON) and name.removesuffix(REASON) in names:
                    continue
                try:
                    copy = plain.read(descriptor, name, LARGEST)
                except OSError as error:
                    self._done.unread.append(f"{folder / name}: {error.strerror}")
                    continue
                if copy is not None:
                    yield name, copy.raw

    def _cuts(self, place: Place, copies: Iterator[tuple[str, bytes]], tell: Tell) -> Cuts:
        """What is to become of the copies that hold something of theirs."""
        cuts: Cuts = {}
        for name, raw in copies:
            left = self._sought.without(raw)
            if left is not raw:
                cuts[name] = left
                (self._done.removed if left is None else self._done.altered)[place] += 1
            if not self._looked_at % 1000:
                tell(self._looked_at)
            self._looked_at += 1
        return cuts

    def _note(self, place: Place, cuts: Cuts) -> None:
        """The ledger first: were it killed now, the next run finds the copies again."""
        digests = {
            f"{place.stored}/{name}": None if left is None else sha256(left).hexdigest() for name, left in cuts.items()
        }
        held = [one for one in self._ledger.holdings.of_day(place.source, place.day) if one.stored in digests]
        strange = digests.keys() - {one.stored for one in held}
        held += self._ledger.holdings.at(sorted(strange))  # recorded on another day, or not known
        self._ledger.forgetting.note({one.id: digests[one.stored] for one in held if one.stored is not None})

    def _forget_contents(self) -> None:
        """Bytes in the ledger whose copies have just been looked into; the copies that are kept are on the disk."""
        self._ledger.forgetting.release(self._ledger.forgetting.contents(self._holds, unarchived=False))
        if unwritten := self._ledger.forgetting.contents(self._holds, unarchived=True):
            number = _counted(len(unwritten), "copy is", "copies are")
            self._done.left.append(f"{number} still to be written by the daemon, or by `once`")

    def _add(self, number: int) -> int:
        self._looked_at += number
        return self._looked_at

    def _wait(self, until: Callable[[], bool]) -> bool:
        deadline = time.monotonic() + self._patience
        while not (reached := until()) and time.monotonic() < deadline:
            time.sleep(_PAUSE)
        return reached


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"
