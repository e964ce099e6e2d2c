"""Disposal: what is done at the source with a file that is recorded and, at a later look, still the same.

It needs no state of its own: what is listed and known is to be disposed of, whatever happened in between. What the
ledger keeps of it is for people, and for telling a file that came back from one that was never removed.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Known
from sftpd_processor.pipeline.lines import tell_disposed
from sftpd_processor.points import reached
from sftpd_processor.sources.base import Entry, Miss, Move, Moved, Removed, Source

logger = logging.getLogger(__name__)


class Disposal:
    """Moves, deletes or keeps the recorded files of one source."""

    def __init__(self, source: Source, settings: SourceSettings, ledger: Ledger) -> None:
        self._source = source
        self._settings = settings
        self._ledger = ledger
        self._after = settings.after
        self._works = False
        self._complained = False
        self._target = settings.move_to.split("/")[0] if settings.after == "move" else None

    def without_target(self, entries: list[Entry]) -> list[Entry]:
        """A listing without the folder that this source moves its files to."""
        return [entry for entry in entries if entry.name != self._target or entry.regular]

    def dispose(self, files: Sequence[tuple[Entry, Known]], look: int) -> int:
        """Move or delete `files`, which `look` has listed; returns how many the server confirmed.

        Those that it refuses stay where they are, known and so not taken again, and are tried at each look. When it
        refuses all from the start, the account may not do it: that is said once, and the source goes on as with
        `after = "keep"`.
        """
        if self._after == "keep" or not files:
            return 0
        numbers = {entry: known.id for entry, known in files}
        reached("disposing")
        results = self._act(files)
        reached("disposed")
        done = [(numbers[entry], _words(result)) for entry, result in results if not isinstance(result, Miss)]
        refused = [result for _, result in results if isinstance(result, Miss) and result.kind == "refused"]
        self._ledger.files.disposed(done, look)
        reached("disposal-noted")
        tell_disposed(self._source.name, results)
        self._works = self._works or bool(done)
        if refused and not self._works:
            self._give_up(refused[0])
        elif refused and not self._complained:
            self._complain(refused)
        return len(done)

    def _act(self, files: Sequence[tuple[Entry, Known]]) -> Sequence[tuple[Entry, Moved | Removed | Miss]]:
        if self._after == "delete":
            return self._source.remove([entry for entry, _ in files])
        return self._source.move([Move(entry, (known.sha256 or "")[:8]) for entry, known in files])

    def _give_up(self, refused: Miss) -> None:
        logger.error(
            'source %s: no file can be %sd on the server (%s); going on as with after = "keep": they stay '
            "there and are not taken again. Ask for that right and restart, or set `after` to what is allowed.",
            self._source.name,
            self._after,
            refused.reason,
            extra={"source": self._source.name},
        )
        self._after = "keep"

    def _complain(self, refused: Sequence[Miss]) -> None:
        logger.warning(
            "source %s: %d of the files could not be %sd on the server (the first: %s); tried again at each poll, "
            "but not said again",
            self._source.name,
            len(refused),
            self._after,
            refused[0].reason,
            extra={"source": self._source.name},
        )
        self._complained = True


def _words(result: Moved | Removed) -> str:
    return f"moved to {result.path}" if isinstance(result, Moved) else "deleted"
