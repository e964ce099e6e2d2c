"""Intake: list → admit → fetch → parse → RECORD, batch by batch, until a look finds nothing more to do.

Two truths drive it: the listing says what is on the server, the ledger what is done here. A listed file that the
ledger does not know is taken; one that it recorded before this look began is disposed of. So every disposal
follows a look made later than the fetch, and a crash or a lost reply at any point is mended by looking again.

While one batch is parsed and committed by a helper thread, the next one is fetched.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.errors import InternalError, LedgerUnavailable, ProcessorError
from sftpd_processor.events.parse import Parsed, Rejection
from sftpd_processor.ledger.ledger import Ledger
from sftpd_processor.ledger.records import Arrival, Batch, Known, LookCounts, Recorded, Sighting
from sftpd_processor.measures import Measures
from sftpd_processor.pipeline.admission import admission, shown, unsafe_name
from sftpd_processor.pipeline.disposal import Disposal
from sftpd_processor.pipeline.lines import tell_recorded
from sftpd_processor.pipeline.reading import reader
from sftpd_processor.pipeline.tally import Tally
from sftpd_processor.points import reached
from sftpd_processor.sources.base import Entry, Miss, Source

_MOST_LOOKS = 1000  # in one poll: a server that says "deleted" and does not would keep it busy for ever
_LINES = (".jsonl", ".ndjson")
_LARGEST = 2**63 - 1  # that a database can hold; a server may claim more
_MOST_FRESH = 20_000  # files remembered from one look to the next
_MOST_BYTES = 4 << 20  # read before they are committed; what is parsed can take forty times as much


@dataclass(slots=True)
class _Work:
    """One batch of a listing, sorted by what is to be done with each file."""

    entries: Collection[Entry]
    fetch: dict[Entry, Known | None] = field(default_factory=dict)
    dispose: list[tuple[Entry, Known]] = field(default_factory=list)
    sightings: list[Sighting] = field(default_factory=list)


class Intake:
    """Takes the files of one source. `poll` is called by one thread at a time, `stop` by any."""

    def __init__(
        self,
        source: Source,
        settings: SourceSettings,
        ledger: Ledger,
        wanting: Callable[[str], Iterable[str]],
        recorded: Callable[[Recorded], None],
        *,
        measures: Measures | None = None,
    ) -> None:
        """`wanting` names the handlers for a type of event; `recorded` is told of each commit, `measures` of lags."""
        self._source = source
        self._settings = settings
        self._ledger = ledger
        self._wanting = wanting
        self._tell = recorded
        self._measures = measures or Measures()
        self._refuse = admission(settings)
        self._read = reader(settings)
        self._settle = int(settings.settle_seconds * 1_000_000)
        self._disposal = Disposal(source, settings, ledger)
        self._stopped = False
        self._uncommitted: Collection[Entry] = ()
        self._fresh: dict[Entry, Known] = {}
        self.unsettled = 0
        """Files that the last look left to settle."""
        self.tally = Tally()
        self.moved_at = 0.0
        """When files were last listed, recorded or disposed of (`time.monotonic`)."""

    def poll(self) -> None:
        """Look until a look finds no work.

        Raises what the source and the ledger raise; everything recorded until then stays recorded.
        """
        self._fresh.clear()
        for _ in range(_MOST_LOOKS):
            counts = self._look()
            if self._stopped or not (counts.recorded or counts.disposed):
                break

    def stop(self) -> None:
        """End the poll after the batch that is under way."""
        self._stopped = True

    def _look(self) -> LookCounts:
        name, files, counts = self._source.name, self._ledger.files, LookCounts()
        look = files.begin_look(name)
        reached("look-begun")
        self.unsettled = 0
        self._uncommitted = ()
        try:
            self._walk(_Look(look, counts))
        except ProcessorError as error:
            with contextlib.suppress(LedgerUnavailable):  # when the ledger is the cause, it cannot keep a note of it
                files.end_look(name, look, counts, str(error))
            raise
        if not counts.balanced():
            raise InternalError(f"source {name}: look {look} lost count of its files: {counts}")
        files.end_look(name, look, counts, "stopped before its end" if self._stopped else None)
        reached("look-ended")
        self.tally.looked(counts)
        return counts

    def _walk(self, look: _Look) -> None:
        """The next batch is fetched while the one before it is parsed and committed."""
        committing: Future[None] | None = None
        with ThreadPoolExecutor(1, thread_name_prefix=f"record-{self._source.name}") as recorder:
            for entries in self._source.look():
                if self._stopped:
                    break
                reached("listed")
                self.moved_at = time.monotonic()
                work = self._sort(self._disposal.without_target(entries), look)
                for portion in _portions(work.fetch):
                    fetched = self._source.fetch(portion)
                    reached("fetched")
                    if committing is not None:
                        committing.result()
                    committing = recorder.submit(self._record, work, fetched, look)
                self._uncommitted = work.entries
                look.counts.disposed += self._dispose(work, look)
            if committing is not None:
                committing.result()

    def _sort(self, entries: list[Entry], look: _Look) -> _Work:
        """What is to be done with each entry, by the ledger's knowledge of it: one query for the batch."""
        refusals: dict[Entry, str | None] = {}
        for entry in entries:
            why = self._refuse(entry)
            refusals[entry if why is None else _plain(entry)] = why
        look.counts.listed += len(refusals)
        self.tally.listed += len(refusals)
        known = self._known(refusals)
        work = _Work(refusals.keys())
        for entry, why in refusals.items():
            if entry in self._uncommitted:
                look.counts.known += 1  # listed twice by this look; its first time is being recorded right now
            elif why is None:
                self._admitted(work, entry, known.get(entry), look)
            else:
                self._refused(work, Sighting(entry, "ignored", why, known.get(entry)), look)
        return work

    def _known(self, entries: Iterable[Entry]) -> dict[Entry, Known]:
        """What the ledger knows of them; what this poll has recorded itself need not be asked for again."""
        known = {entry: self._fresh[entry] for entry in entries if entry in self._fresh}
        return known | self._ledger.files.known(self._source.name, [entry for entry in entries if entry not in known])

    def _refused(self, work: _Work, sighting: Sighting, look: _Look) -> None:
        state = sighting.known.state if sighting.known else None
        if state == "recorded":
            look.counts.known += 1
            return
        look.counts.ignored += 1
        if state != "ignored":
            work.sightings.append(sighting)

    def _admitted(self, work: _Work, entry: Entry, known: Known | None, look: _Look) -> None:
        if known is None or known.state in ("ignored", "vanished"):
            work.fetch[entry] = known
        elif known.state == "waiting":
            if self._settled(known):
                work.fetch[entry] = known
            else:
                self.unsettled += 1
                work.sightings.append(Sighting(entry, "waiting", known.reason or "", known))
        elif known.disposed_look is not None and known.disposed_look < look.number:
            work.fetch[entry] = known  # moved or deleted before this look, so this is another file like it
        else:
            look.counts.known += 1
            if known.look < look.number and known.disposed_look is None:
                work.dispose.append((entry, known))

    def _settled(self, known: Known | None) -> bool:
        """Whether the file has stood still long enough at this size and mtime, by this machine's clock."""
        first_seen = known.first_seen if known is not None and known.state == "waiting" else self._ledger.clock()
        return self._ledger.clock() - first_seen >= self._settle

    def _dispose(self, work: _Work, look: _Look) -> int:
        done = self._disposal.dispose(work.dispose, look.number)
        for entry, _ in work.dispose:
            self._fresh.pop(entry, None)
        self.tally.disposed += done
        self.moved_at = time.monotonic()
        return done

    def _record(self, work: _Work, fetched: list[tuple[Entry, bytes | Miss]], look: _Look) -> None:
        """Parse and commit one batch; runs in the helper thread."""
        settings = self._settings
        batch = Batch(
            self._source.name, settings.organisation, settings.type, settings.time_zone, look.number,
            sightings=work.sightings,
        )  # fmt: skip
        work.sightings = []
        for entry, content in fetched:
            self._parse(batch, entry, content, work.fetch[entry])
        if not (batch.arrivals or batch.sightings):
            return
        reached("recording")
        recorded = self._ledger.record(batch, self._wanting)
        reached("recorded")
        tell_recorded(batch, recorded.unarchived)
        self._remember(batch, recorded)
        look.count(batch)
        self.tally.count(recorded)
        self.moved_at = time.monotonic()
        self._measures.observe_many("recorded_lag_seconds", settings.type, seconds=recorded.lags)
        self._tell(recorded)

    def _remember(self, batch: Batch, recorded: Recorded) -> None:
        if len(self._fresh) < _MOST_FRESH:
            for arrival, file in zip(batch.arrivals, recorded.unarchived, strict=True):
                if arrival.known is None:
                    self._fresh[arrival.entry] = Known(
                        file.id, "recorded", file.recorded_at, batch.look, 0, file.sha256, None, None
                    )

    def _parse(self, batch: Batch, entry: Entry, content: bytes | Miss, known: Known | None) -> None:
        if isinstance(content, Miss):
            state = "vanished" if content.kind == "vanished" else "waiting"
            batch.sightings.append(Sighting(entry, state, content.reason, known))
            return
        result = self._read(content)
        if (unfinished := _unfinished(entry, result)) and not self._settled(known):
            self.unsettled += 1
            batch.sightings.append(Sighting(entry, "waiting", unfinished, known))
        else:
            batch.arrivals.append(Arrival(entry, content, result, known))


@dataclass(slots=True)
class _Look:
    """One walk through the folder. Each count has a single writer: the polling or the recording thread."""

    number: int
    counts: LookCounts

    def count(self, batch: Batch) -> None:
        self.counts.recorded += len(batch.arrivals)
        self.counts.waiting += sum(sighting.state == "waiting" for sighting in batch.sightings)
        self.counts.vanished += sum(sighting.state == "vanished" for sighting in batch.sightings)


def _portions(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    """The files of a batch in portions that fit into memory; at least one, which may be empty."""
    portion: list[Entry] = []
    size = 0
    for entry in entries:
        if portion and size + entry.size > _MOST_BYTES:
            yield portion
            portion, size = [], 0
        portion.append(entry)
        size += entry.size
    yield portion


def _unfinished(entry: Entry, result: Parsed | Rejection) -> str | None:
    """Why the file may be half-written, None when its content shows that it is complete."""
    if isinstance(result, Rejection):
        return f"it may be half-written, since it cannot be read yet: {result.faults[0]}"
    if result.lines or entry.name.endswith(_LINES):
        return "it holds JSON Lines, whose end cannot be told from a pause"
    return None


def _plain(entry: Entry) -> Entry:
    """The entry under a name that can be kept and shown; one that is no file is the same whenever it is listed."""
    name = entry.name if unsafe_name(entry.name) is None else shown(entry.name)
    if not entry.regular:
        return Entry(name, 0, 0, regular=False)
    return Entry(name, min(entry.size, _LARGEST), entry.mtime, regular=True)
