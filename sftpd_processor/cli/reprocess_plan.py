"""What `reprocess --dry-run` says, and what is said before a large replay begins."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING

from sftpd_processor.cli.lines import more
from sftpd_processor.cli.table import table
from sftpd_processor.cli.words import counted

if TYPE_CHECKING:
    from sftpd_processor.reprocess.report import Plan, Problems

_MOST_ROWS = 40
_MONTH = len("2026-11")


def plan_lines(plan: Plan) -> list[str]:
    """The whole plan; by month when it would be long by day."""
    groups = {(group.day, group.type, group.handler): group.number for group in plan.groups}
    if len(groups) > _MOST_ROWS:
        months: Counter[tuple[str, str, str]] = Counter()
        for (day, kind, handler), number in groups.items():
            months[day[:_MONTH], kind, handler] += number
        groups = dict(months)
    rows = [(*where, f"{number:,}") for where, number in groups.items()]
    head = ("month" if rows and len(rows[0][0]) == _MONTH else "day", "type", "handler", "deliveries")
    return [*(table([head, *rows], right=[3]) if rows else []), *totals(plan)]


def totals(plan: Plan) -> list[str]:
    """How much it is, without where it comes from."""
    new = f" ({plan.recorded:,} to be newly recorded)" if plan.recorded else ""
    amount = (
        f"{counted(plan.files, 'file')}{new}, {counted(plan.events, 'event')}: "
        f"{counted(plan.deliveries, 'delivery', 'deliveries')} would be made"
    )
    return [amount, *left_alone(plan.skipped.items()), *problem_lines(plan.problems)]


def quarantine_lines(plan: Plan) -> list[str]:
    """The plan of reading the quarantine again: what is new in a file is in no ledger yet, and so in no table."""
    amount = (
        f"{counted(plan.files, 'file')} in quarantine: {plan.recorded:,} would give new events, for all handlers that "
        "want them"
    )
    return [amount, *problem_lines(plan.problems, "left in quarantine")]


def left_alone(skipped: Iterable[tuple[str, int]]) -> list[str]:
    """What is not delivered, by the reason; the most frequent first."""
    rows = [(f"{number:,}", reason) for reason, number in sorted(skipped, key=lambda one: -one[1]) if number]
    return ["left alone:", *(f"  {line}" for line in table(rows, right=[0]))] if rows else []


def problem_lines(problems: Problems, what: str = "cannot be read") -> list[str]:
    """The files that cannot be read, and why."""
    if not problems.total:
        return []
    lines = [*problems.first, *more(problems.total - len(problems.first), "file")]
    return [f"{counted(problems.total, 'file')} {what}:", *(f"  {line}" for line in lines)]
