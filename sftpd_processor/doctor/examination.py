"""The steps, one after another; what one step finds does not stop the next, and nothing is left behind."""

from __future__ import annotations

import contextlib
import posixpath
import statistics
import threading
import time
from collections.abc import Callable

from sftpd_processor.config.settings import SftpSourceSettings, SourceSettings
from sftpd_processor.doctor.findings import YES, Clock, Findings, Listed, Right
from sftpd_processor.doctor.place import LocalPlace, Place, Refused
from sftpd_processor.doctor.scratch import Scratch, is_ours
from sftpd_processor.errors import ProcessorError, SourceUnavailable

MOST_OPEN = 1100
"""Files opened at once at most: a little more than `in_flight` can ask for."""

_LISTING_SECONDS = 10.0
_ROUND_TRIPS = 5
_CLOCK_SECONDS = 1.3  # long enough for a clock of whole seconds to tick
_CLOCK_PAUSE = 0.05
_SHARP_ENOUGH = 0.2  # seconds
_KERNEL_TICK = 0.01  # file times come from a clock that may be one tick late
_SOME_TIME = 1_600_000_001_123_456_789  # an odd second, with every digit
_GRAINS = (1, 100, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000)  # nanoseconds
_STICKY = 0o1000


class Interrupted(Exception):
    """Somebody wants it to end."""


def examine(settings: SourceSettings, stop: threading.Event) -> Findings:
    """Find out all about one source. Never raises for what the server does or refuses."""
    findings = Findings(settings.name, _shown(settings))
    place = _place(settings)
    try:
        place.open()
    except ProcessorError as error:
        findings.unreachable = str(error)
        return findings
    try:
        _Examination(settings, place, findings, stop).run()
    finally:
        findings.slowest_answer_seconds = place.slowest
        place.close()
    return findings


def _place(settings: SourceSettings) -> Place:
    if isinstance(settings, SftpSourceSettings):
        from sftpd_processor.doctor.server import ServerPlace

        return ServerPlace(settings)
    return LocalPlace(settings)


def _shown(settings: SourceSettings) -> str:
    if isinstance(settings, SftpSourceSettings):
        return f"{settings.username} at {settings.host}:{settings.port}, folder {settings.folder}"
    return f"folder {settings.folder} on this machine"


class _Examination:
    def __init__(self, settings: SourceSettings, place: Place, findings: Findings, stop: threading.Event) -> None:
        self._settings = settings
        self._place = place
        self._found = findings
        self._stop = stop
        self._folder = str(settings.folder)
        self._scratch = Scratch(place, settings)
        self._step = "list"

    def run(self) -> None:
        """All steps, then the tidying up."""
        try:
            self._steps()
        except Interrupted:
            self._found.ended_early = "interrupted"
        except SourceUnavailable as error:
            self._found.ended_early = f"{error} (it was at the step {self._step})"
        finally:
            self._tidy()

    def _steps(self) -> None:
        self._found.ssh = self._place.ssh()
        self._try("list", self._list)
        if self._found.rights["list"] != YES:
            return
        self._step = "make_folder"
        self._ask_for_the_folder()
        self._found.rights["make_folder"] = self._scratch.open()
        self._try("write", self._write)
        rest: tuple[tuple[str, Callable[[], None]], ...] = (
            ("read", self._read),
            ("rename", self._rename),
            ("posix_rename", self._posix_rename),
            ("move_to", self._move),
            ("set_time", self._set_time),
            ("delete", self._delete),
            ("remove_folder", self._remove_folder),
        )
        for name, step in rest:
            self._try(name, step)
        if self._found.rights["write"] == YES:
            self._step = "clock"
            self._clock()
            self._step = "open_files"
            self._pause(0)
            self._found.open_files = self._place.hold_open(self._scratch.path("kept"), MOST_OPEN)

    def _try(self, name: str, step: Callable[[], None]) -> None:
        """Take a step, unless it needs a file and none may be written."""
        self._pause(0)
        self._step, rights = name, self._found.rights
        if rights.get("write", YES) != YES:
            rights[name] = Right("untried", "no file can be written to try it with")
            return
        try:
            step()
        except Refused as refusal:
            rights[name] = Right("no", str(refusal))
        rights.setdefault(name, YES)

    def _pause(self, seconds: float) -> None:
        if self._stop.wait(seconds):
            raise Interrupted

    def _list(self) -> None:
        began, count, complete = time.monotonic(), 0, True
        with contextlib.closing(self._place.entries()) as batches:
            for batch in batches:
                count += len(batch)
                self._found.strays += [entry.name for entry in batch if is_ours(entry.name)]
                self._pause(0)
                if time.monotonic() - began > _LISTING_SECONDS:
                    complete = False
                    break
        seconds = time.monotonic() - began
        self._found.listing = Listed(count, seconds, complete, self._per_answer(count))

    def _per_answer(self, count: int) -> int | None:
        with contextlib.suppress(Refused):
            first = self._place.names_per_answer() if count else None
            return first if first and first < count else None
        return None

    def _ask_for_the_folder(self) -> None:
        """Its kind and rights; and how long such a question takes."""
        times = []
        for _ in range(_ROUND_TRIPS):
            began = time.perf_counter()
            with contextlib.suppress(Refused):
                mode = self._place.mode(self._folder)
                self._found.sticky = bool(mode & _STICKY) if mode else None
            times.append(time.perf_counter() - began)
        if self._place.slowest is not None:
            self._found.round_trip_seconds = statistics.median(times)

    def _write(self) -> None:
        if not self._scratch.possible:
            why = "not without a folder of its own: the source's patterns would take the files for Webio's"
            self._found.rights["write"] = Right("untried", why)
            return
        self._place.write(self._scratch.path("kept"), b"kept")

    def _read(self) -> None:
        if (data := self._place.read(self._scratch.path("kept"))) != b"kept":
            raise Refused(f"{len(data)} other bytes came back than were written")

    def _rename(self) -> None:
        """To a name that is free, then to one that is taken; what the server answers to that is checked by looking."""
        old, new, taken = (self._scratch.path(name) for name in ("old", "new", "taken"))
        self._place.write(old, b"old")
        self._place.rename(old, new)
        self._place.write(taken, b"taken")
        with contextlib.suppress(Refused):
            self._place.rename(new, taken)
        self._found.rename_replaces = self._place.read(taken) == b"old"

    def _posix_rename(self) -> None:
        first, second = self._scratch.path("first"), self._scratch.path("second")
        self._place.write(first, b"first")
        self._place.write(second, b"second")
        self._place.posix_rename(first, second)
        if self._place.read(second) != b"first":
            raise Refused("it was accepted, but replaced nothing")

    def _move(self) -> None:
        if self._settings.after != "move":
            self._found.rights["move_to"] = Right("untried", f'after = "{self._settings.after}" moves nothing')
            return
        target = posixpath.join(self._folder, self._settings.move_to)
        try:
            self._scratch.folders(target)
        except Refused as refusal:
            raise Refused(f"the folder {target} is not there and cannot be made: {refusal}") from refusal
        old, new = self._scratch.path("moved"), self._scratch.noted(posixpath.join(target, self._scratch.name))
        self._place.write(old, b"moved")
        try:
            self._place.rename(old, new)
        except Refused:
            self._found.other_file_system = self._may_write(new)
            raise

    def _may_write(self, path: str) -> bool:
        try:
            self._place.write(path, b"written")
        except Refused:
            return False
        return True

    def _set_time(self) -> None:
        """Also tells to what the times are rounded."""
        path = self._scratch.path("kept")
        wanted = _SOME_TIME // self._place.finest * self._place.finest
        self._place.set_mtime(path, wanted)
        kept = self._place.mtime(path)
        fits = (grain for grain in _GRAINS if grain >= self._place.finest and wanted // grain * grain == kept)
        if (grain := next(fits, None)) is None:
            raise Refused("it was accepted, but the file has another time")
        self._found.time_grain_seconds = grain / 1e9

    def _delete(self) -> None:
        path = self._scratch.path("deleted")
        self._place.write(path, b"deleted")
        self._place.remove(path)

    def _remove_folder(self) -> None:
        if self._found.rights["make_folder"] != YES:
            self._found.rights["remove_folder"] = Right("untried", "no folder can be made to try it with")
            return
        path = self._scratch.path("folder")
        self._scratch.folder(path)
        self._place.remove_folder(path)

    def _clock(self) -> None:
        """Each write says between which two bounds the difference lies; their intersection is the answer."""
        path = self._scratch.path("kept")
        grain = self._found.time_grain_seconds or 1.0
        low, high = float("-inf"), float("inf")
        until = time.monotonic() + _CLOCK_SECONDS * max(1.0, grain)
        while True:
            before = time.time()
            try:
                self._place.write(path, b"kept", new=False)
                after = time.time()
                written = self._place.mtime(path) / 1e9
            except Refused:
                return
            low, high = max(low, written - after), min(high, written + grain + _KERNEL_TICK - before)
            if high - low <= _SHARP_ENOUGH or time.monotonic() >= until:
                break
            self._pause(_CLOCK_PAUSE)
        self._found.clock = Clock((low + high) / 2, max(0.0, high - low) / 2)

    def _tidy(self) -> None:
        """Also over a new connection, when the one at hand is lost."""
        try:
            self._scratch.sweep()
        except SourceUnavailable:
            with contextlib.suppress(ProcessorError):
                self._place.open()
                self._scratch.sweep()
        self._found.left_behind = self._scratch.left()
