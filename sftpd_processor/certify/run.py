"""The proof: start, feed, kill, look, again and again; then let it come to rest, and check everything from outside."""

from __future__ import annotations

import logging
import random
import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from sftpd_processor.certify.child import Child, Ended
from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.feed import LARGEST_EVENT, Feed
from sftpd_processor.certify.inspection import inspect
from sftpd_processor.certify.kills import Kill, plan, reachable
from sftpd_processor.certify.place import Place, SftpPlace, make_place
from sftpd_processor.certify.report import Report
from sftpd_processor.certify.sender import Sender
from sftpd_processor.certify.stage import HANDLERS, SETTLE_SECONDS, Stage
from sftpd_processor.certify.verdict import Check, check_each
from sftpd_processor.config.settings import SourceSettings
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.points import POINTS
from sftpd_processor.testing.relay import RunningRelay, cutting_relay

logger = logging.getLogger(__name__)

Tell = Callable[[str], None]

_FIRST_SHARE = 3  # one of so many files is there before the first start
_FEWEST = 6  # files that appear for each kill
_TRIES = 6  # for one kill, before its point counts as not reached
_PATIENCE = 30.0  # seconds for a run of `once` to come to a point
_SHORT_PATIENCE = 2.5  # the same for `run`, which waits for more when all is done
_SPEED = 2000  # events a second that even a slow machine should do: says how long to wait
_REST = 120.0  # seconds for coming to rest, beside what the events take
_REST_SPEED = 200  # events a second that even a slow machine hands to all handlers
_NO_KILL = Kill("once", None, seconds=float("inf"))


@dataclass(frozen=True, slots=True)
class Wishes:
    """What is asked for."""

    files: int
    events_per_file: int
    kills: int
    cuts: bool
    seed: int

    def __str__(self) -> str:
        """As options of the command."""
        cuts = "--cuts" if self.cuts else "--no-cuts"
        sizes = f"--files {self.files} --events-per-file {self.events_per_file}"
        return f"{sizes} --kills {self.kills} {cuts} --seed {self.seed}"


def certify(settings: SourceSettings, wishes: Wishes, folder: Path, tell: Tell) -> Report:
    """Prove the promise at this source, with all that is local in `folder`.

    Raises `ProcessorError` when the source cannot be used at all. Whatever happens, the scratch folder is removed,
    or named in the log when that fails; `tell` hears how far it is.
    """
    if (size := (wishes.events_per_file + 2) * LARGEST_EVENT) > settings.max_file_bytes:
        why = f"{wishes.events_per_file} events need up to {size} bytes, more than max_file_bytes; ask for fewer"
        raise ConfigurationError([Problem("--events-per-file", why)])
    with _scratch(settings) as place, ExitStack() as opened:
        stage = Stage(folder)
        relay = _line(settings, wishes, opened)
        stage.configure(settings, **_address(settings, place, stage, relay))
        evidence = opened.enter_context(closing(Evidence(folder / "evidence.db")))
        proof = _Proof(wishes, stage, place, evidence, tell, Report(settings, place.folder, wishes.seed, wishes.cuts))
        opened.callback(proof.close)
        proof.kill_again_and_again()
        proof.come_to_rest()
        proof.check()
        if relay is not None:
            proof.report.cuts = relay.cuts
        return proof.report


@contextmanager
def _scratch(settings: SourceSettings) -> Iterator[Place]:
    place = make_place(settings)
    try:
        yield place
    finally:
        if (left := place.remove()) is not None:
            logger.warning("the scratch folder is still there, please remove it: %s", left)


def _line(settings: SourceSettings, wishes: Wishes, opened: ExitStack) -> RunningRelay | None:
    """The relay that cuts connections, where there is a line to cut."""
    if settings.type == "directory" or not wishes.cuts:
        return None
    return opened.enter_context(cutting_relay(settings.host, settings.port, wishes.seed))


def _address(settings: SourceSettings, place: Place, stage: Stage, relay: RunningRelay | None) -> dict[str, object]:
    """What differs from the user's source: the folder, and perhaps the way to it. The host key is the verified one."""
    if settings.type == "directory" or not isinstance(place, SftpPlace):
        return {"folder": place.incoming}
    host, port = (settings.host, settings.port) if relay is None else ("127.0.0.1", relay.port)
    name = host if port == 22 else f"[{host}]:{port}"
    stage.known_hosts.write_text(f"{name} {place.host_key.get_name()} {place.host_key.get_base64()}\n")
    known = str(stage.known_hosts)
    return {"folder": place.incoming, "host": host, "port": port, "known_hosts": known, "reconnect_max_seconds": 1.0}


class _Proof:
    """One proof under way."""

    def __init__(
        self, wishes: Wishes, stage: Stage, place: Place, evidence: Evidence, tell: Tell, report: Report
    ) -> None:
        self._wishes = wishes
        self._stage = stage
        self._place = place
        self._evidence = evidence
        self._tell = tell
        self.report = report
        self._chance = random.Random(wishes.seed)  # noqa: S311 - to be repeatable, not secret
        self._events = wishes.files * wishes.events_per_file
        self._sender = Sender(Feed(wishes.seed, wishes.events_per_file, self._events), place, evidence)
        self._journals = {name: stage.journal(name) for name in HANDLERS}
        self._began = time.monotonic()
        self._start_seconds = 0.3
        self._standby: tuple[Kill, Child] | None = None

    def close(self) -> None:
        """Send nothing more, start nothing more."""
        if self._standby is not None:
            self._standby[1].close()
        self._sender.close()

    def kill_again_and_again(self) -> None:
        """Make all kills, while files keep appearing."""
        wishes = self._wishes
        self._sender.start()
        first = max(1, wishes.files // _FIRST_SHARE)
        self._sender.release(first)
        self._sender.wait()
        left, portion = wishes.files - first, max(_FEWEST, (wishes.files - first) // max(1, wishes.kills))
        points = reachable(POINTS, self.report.source.after)
        span = 0.9 + self._events / _SPEED / max(1, wishes.kills)
        todo = deque(plan(points, wishes.kills, self._chance, span))
        while todo:
            self._sender.release(portion)
            left -= portion
            kill, following = todo.popleft(), todo[0] if todo else None
            if not self._kill(kill, span, following) and kill.tries < _TRIES:
                todo.insert(1, kill.easier())  # the next one waits for its turn already
                self._sender.wait()
            self._tell(f"{self.report.killed} of {wishes.kills} kills; {self._sender.files} files sent")
        self._sender.release(max(0, left))
        self._sender.wait()

    def come_to_rest(self) -> None:
        """Run it to its end, without kills, until nothing is left to do."""
        deadline = time.monotonic() + _REST + self._events / _REST_SPEED
        while True:
            ended = self._run(_NO_KILL, max(1.0, deadline - time.monotonic()), None)
            waiting = self._evidence.waiting(self._stage.ledger)
            if time.monotonic() > deadline or (not waiting and ended.code in (0, 3)):
                break
            self._tell("coming to rest: " + (", ".join(f"{n} {what}" for what, n in waiting.items()) or "a last look"))
            time.sleep(SETTLE_SECONDS)
        left = [f"{number} {what}" for what, number in waiting.items()]
        if ended.code not in (0, 3):
            left.append(f"the last run ended with exit code {ended.code}")
        self.report.checks.append(Check("it comes to rest", "lost", 1, len(left), tuple(left)))

    def check(self) -> None:
        """Look at everything that is left, from outside."""
        self._tell("checking")
        report = self.report
        report.checks += inspect(self._evidence, self._stage, self._place, report.source.after)
        points = reachable(POINTS, report.source.after)[: self._wishes.kills]
        unreached = {point: point for point in points if not report.points[point]}
        report.checks.append(check_each("each point was reached", "other", points, unreached.get))
        report.count(self._evidence)
        report.seconds = time.monotonic() - self._began
        own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        report.own_memory = own if sys.platform == "darwin" else own * 1024

    def _kill(self, kill: Kill, span: float, following: Kill | None) -> bool:
        """Run until this kill; False when the run ended without it."""
        if kill.point is None:
            seconds = max(0.05, self._start_seconds + kill.seconds)
        else:
            seconds = self._start_seconds + span + (_PATIENCE if kill.verb == "once" else _SHORT_PATIENCE)
        began = time.monotonic()
        ended = self._run(kill, seconds, following)
        if kill.point == "recovered" and ended.killed and not ended.late:
            self._start_seconds = time.monotonic() - began
        if ended.killed:
            self.report.kill(None if ended.late else kill.point)
        return ended.killed and (kill.point is None or not ended.late)

    def _run(self, kill: Kill, seconds: float, following: Kill | None) -> Ended:
        """One run of the command, and a look at what it left; meanwhile the following one gets ready."""
        self.report.runs += 1
        with closing(self._child(kill)) as child:
            child.go()
            self._standby = None if following is None else (following, self._ready(following))
            ended = child.wait(seconds)
        self._evidence.ran(self.report.runs, str(kill), ended.code, self._journals, self._stage.ledger)
        self.report.child_memory = max(self.report.child_memory, ended.memory)
        return ended

    def _child(self, kill: Kill) -> Child:
        """The process that stands by for this kill, or a new one."""
        standby, self._standby = self._standby, None
        if standby is not None and standby[0] is kill:
            return standby[1]
        if standby is not None:
            standby[1].close()
        return self._ready(kill)

    def _ready(self, kill: Kill) -> Child:
        kill_at = f"{kill.point}:{kill.occurrence}" if kill.point else None
        arguments = ["-c", str(self._stage.config), kill.verb]
        return Child(arguments, self._stage.environment(kill_at), self._stage.log)
