"""What must be true when all is done, each as a question to the notebook that names whatever breaks it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from sftpd_processor.certify.evidence import Evidence
from sftpd_processor.certify.stage import MOVED

Kind = Literal["lost", "twice", "other"]
_EXAMPLES = 5


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was checked: on how many, how many broke it, and some of those by name."""

    title: str
    kind: Kind
    examined: int
    faults: int
    examples: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether nothing broke it."""
        return not self.faults


class _Question(NamedTuple):
    """`examined` counts what is looked at; `faulty` selects a name for each that breaks the rule."""

    title: str
    kind: Kind
    examined: str
    faulty: str


_QUESTIONS = (
    _Question(
        "each file is in its one place on the server, with its size",
        "lost",
        "SELECT count(*) FROM sent",
        """SELECT name FROM sent WHERE (SELECT count(*) FROM found WHERE found.name = sent.name) <> (:room IS NOT NULL)
        OR (SELECT count(*) FROM found WHERE found.name = sent.name AND room = :room AND found.size = sent.size)
            <> (:room IS NOT NULL)""",
    ),
    _Question(
        "nothing else is there",
        "twice",
        "SELECT count(*) FROM found",
        "SELECT room || '/' || name FROM found WHERE name NOT IN (SELECT name FROM sent)",
    ),
    _Question(
        "each file has one record, with its SHA-256",
        "lost",
        "SELECT count(*) FROM sent",
        """SELECT sent.name FROM sent LEFT JOIN file ON file.name = sent.name AND state = 'recorded'
        GROUP BY sent.name HAVING count(file.id) <> 1 OR max(file.sha256) IS NOT sent.sha256
        UNION ALL SELECT name || ' (' || state || ')' FROM file
        WHERE state IN ('recorded', 'waiting') AND name NOT IN (SELECT name FROM sent)""",
    ),
    _Question(
        "each file has the verdict that it must have",
        "other",
        "SELECT count(*) FROM sent",
        """SELECT name || ' (' || coalesce(verdict, 'none') || ', not ' || expected || ')' FROM (
            SELECT sent.name, file.verdict, CASE WHEN NOT sent.readable THEN 'invalid' WHEN sent.flawed THEN 'partial'
                WHEN sum(first.variant <> contained.variant) > 0 THEN 'conflict'
                WHEN sum(first.file = file.id AND first.position = contained.position) > 0 THEN 'accepted'
                ELSE 'duplicate' END AS expected
            FROM sent JOIN file ON file.name = sent.name AND file.state = 'recorded'
            LEFT JOIN contained ON contained.name = sent.name LEFT JOIN first ON first.number = contained.number
            GROUP BY file.id) WHERE verdict IS NOT expected""",
    ),
    _Question(
        "each event is recorded once, whatever files it came in",
        "lost",
        "SELECT count(*) FROM event",
        """SELECT 'event ' || number FROM event
            WHERE (SELECT count(*) FROM first WHERE first.number = event.number) <> 1
        UNION ALL SELECT 'row ' || id FROM known WHERE id NOT IN (SELECT event FROM first)""",
    ),
    _Question(
        "each local copy holds the bytes that were sent, in the right folder",
        "lost",
        "SELECT count(*) FROM sent",
        """SELECT sent.name FROM sent LEFT JOIN file ON file.name = sent.name AND file.state = 'recorded'
        LEFT JOIN copy ON copy.path = file.archive_path
        WHERE copy.sha256 IS NOT sent.sha256 OR copy.path NOT LIKE
            CASE WHEN file.verdict IN ('accepted', 'duplicate') THEN 'archive/%' ELSE 'quarantine/%' END""",
    ),
    _Question(
        "each file has one local copy, and its reason where it is in quarantine",
        "twice",
        "SELECT count(*) FROM copy",
        """SELECT path FROM copy WHERE path NOT IN (SELECT archive_path FROM file WHERE archive_path IS NOT NULL)
            AND path NOT IN (SELECT archive_path || '.reason.json' FROM file WHERE archive_path LIKE 'quarantine/%')
        UNION ALL SELECT name FROM file WHERE archive_path LIKE 'quarantine/%'
            AND archive_path || '.reason.json' NOT IN (SELECT path FROM copy)
        UNION ALL SELECT archive_path FROM file WHERE archive_path IS NOT NULL
            GROUP BY archive_path HAVING count(*) > 1""",
    ),
    _Question(
        "each handler has one delivery of each event that it asked for, and none else",
        "lost",
        "SELECT count(*) FROM wanted",
        """SELECT handler || ', event ' || number FROM wanted WHERE (SELECT count(*) FROM occasion
            WHERE occasion.handler = wanted.handler AND occasion.number = wanted.number) <> 1
        UNION ALL SELECT handler || ', event ' || number FROM occasion
            WHERE (handler, number) NOT IN (SELECT handler, number FROM wanted)""",
    ),
    _Question(
        "each delivery is done, and dead letters are exactly those that were rejected",
        "lost",
        "SELECT count(*) FROM occasion",
        """SELECT handler || ', event ' || number || ' (' || state || ')'
        FROM wanted JOIN occasion USING (handler, number)
        WHERE state <> CASE WHEN rejected THEN 'dead' ELSE 'done' END""",
    ),
    _Question(
        "each (event, handler) pair had its effect",
        "lost",
        "SELECT count(*) FROM wanted",
        """SELECT handler || ', event ' || number FROM wanted WHERE NOT EXISTS (SELECT * FROM mark
            WHERE mark.handler = wanted.handler AND mark.number = wanted.number
            AND mark = CASE WHEN rejected THEN 'r' ELSE 'e' END)
        UNION ALL SELECT DISTINCT handler || ', event ' || number || ' (mark ' || mark || ')' FROM mark
            LEFT JOIN wanted USING (handler, number)
            WHERE wanted.number IS NULL OR mark = CASE WHEN rejected THEN 'e' ELSE 'r' END""",
    ),
    _Question(
        "what was done at an earlier end of a run never ran again",
        "twice",
        "SELECT count(*) FROM finished",
        """SELECT DISTINCT mark.handler || ', event ' || mark.number || ', run ' || mark.run FROM finished
        JOIN occasion USING (delivery) JOIN mark ON mark.handler = occasion.handler AND mark.number = occasion.number
        WHERE mark.run > finished.run""",
    ),
    _Question(
        "what ran twice was running when the process was killed",
        "twice",
        "SELECT count(*) FROM again",
        """SELECT again.handler || ', event ' || again.number || ', run ' || run FROM again
        LEFT JOIN occasion USING (handler, number)
        WHERE run = before_run OR NOT EXISTS (SELECT * FROM in_flight
            WHERE in_flight.run = before_run AND in_flight.delivery = occasion.delivery)""",
    ),
    _Question(
        "every attempt at a delivery has the same idempotency key, and no two deliveries share one",
        "twice",
        "SELECT count(*) FROM mark",
        """SELECT handler || ', event ' || number FROM mark GROUP BY handler, number HAVING min(key) <> max(key)
        UNION ALL SELECT 'key ' || key FROM (SELECT DISTINCT key, handler, number FROM mark)
            GROUP BY key HAVING count(*) > 1""",
    ),
    _Question(
        "the events of each conversation came to each handler in the order recorded",
        "other",
        "SELECT count(*) FROM effect",
        """SELECT handler || ', event ' || number FROM (
            SELECT handler, number, effect.began,
                lag(effect.closed) OVER (PARTITION BY handler, lane ORDER BY occasion.event) AS before
            FROM occasion JOIN effect USING (handler, number) WHERE lane IS NOT NULL) WHERE before > began""",
    ),
    _Question(
        "the balance of each complete look closes",
        "lost",
        "SELECT count(*) FROM look",
        "SELECT 'look ' || id FROM look WHERE listed <> recorded + known + waiting + ignored + vanished",
    ),
    _Question(
        "only kills tore lines of the journals, one each at most",
        "other",
        "SELECT count(*) FROM torn",
        """SELECT torn.handler || ', run ' || torn.run FROM torn LEFT JOIN run ON run.number = torn.run
        GROUP BY torn.handler, torn.run HAVING count(*) > (run.code = -9)""",
    ),
    _Question(
        "each run that was not killed ended by itself and left nothing running",
        "other",
        "SELECT count(*) FROM run WHERE code <> -9",
        """SELECT 'run ' || number || ' (' || how || '): exit code ' || code FROM run WHERE code NOT IN (-9, 0, 3, 4)
        UNION ALL SELECT 'delivery ' || delivery || ' after run ' || run.number FROM in_flight
            JOIN run ON run.number = in_flight.run WHERE run.code <> -9""",
    ),
)


def checks(evidence: Evidence, after: str) -> list[Check]:
    """Ask every question; `after` is what the source does with its files."""
    room = {"move": f"incoming/{MOVED}", "keep": "incoming"}.get(after)
    return [_asked(evidence, question, room) for question in _QUESTIONS]


def check_each(title: str, kind: Kind, items: Iterable[str], faulty: Callable[[str], str | None]) -> Check:
    """A check that no SQL can make: `faulty` says of an item what is wrong with it, or None."""
    examined = list(items)
    found = [fault for item in examined if (fault := faulty(item)) is not None]
    return Check(title, kind, len(examined), len(found), tuple(found[:_EXAMPLES]))


def _asked(evidence: Evidence, question: _Question, room: str | None) -> Check:
    named = {"room": room}
    found = evidence.some(question.faulty, named, _EXAMPLES)
    faults = evidence.some(f"SELECT count(*) FROM ({question.faulty})", named, 1)[0][0] if found else 0  # noqa: S608
    examined = evidence.number(question.examined)
    return Check(question.title, question.kind, examined, int(faults), tuple(str(row[0]) for row in found))
