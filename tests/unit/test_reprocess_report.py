"""What `reprocess` and `status` say of a replay: the plan, the progress, the report, and how to go on."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.progress import Speed
from sftpd_processor.cli.reprocess_plan import plan_lines
from sftpd_processor.cli.reprocess_report import replay_data, replay_lines, report_lines, resume_command
from sftpd_processor.cli.reprocess_work import exit_code
from sftpd_processor.cli.words import duration
from sftpd_processor.ledger.replays import ReplayRow
from sftpd_processor.reprocess.report import Group, Plan, Problems, Progress, Report

NOON = 1_795_348_800 * 1_000_000  # 2026-11-22 12:00 UTC
GOES_ON = "sftpd-processor reprocess --resume 7"
COMPARED = {
    "events": 12,
    "outcomes": {"done": 11, "skipped": 1},
    "same": 9,
    "different": 2,
    "missing": 1,
    "differs": {"outcome": 1, "row.amount": 2},
}


def test_a_plan() -> None:
    """It shows deliveries by day, type and handler below one another, then how much it is, and what is left out."""
    groups = (Group("2026-11-20", "inboundMessage", "crm", 1_234), Group("2026-11-21", "payment", "billing", 7))
    problems = Problems(3, ("archive/webio/2026/11/20/a.json: line 1, column 1: is no JSON",))
    skipped = {"the handler does not want it": 12, "done already": 1_000, "its content is not kept any more": 0}
    assert plan_lines(Plan(1_240, 1_241, 1_241, groups, skipped, problems)) == [
        "day         type            handler  deliveries",
        "2026-11-20  inboundMessage  crm           1,234",
        "2026-11-21  payment         billing           7",
        "1,240 files, 1,241 events: 1,241 deliveries would be made",
        "left alone:",
        "  1,000  done already",
        "     12  the handler does not want it",
        "3 files cannot be read:",
        "  archive/webio/2026/11/20/a.json: line 1, column 1: is no JSON",
        "  and 2 more files",
    ]


def test_an_empty_plan() -> None:
    """Nothing to do is one line, without an empty table."""
    assert plan_lines(Plan()) == ["0 files, 0 events: 0 deliveries would be made"]


def test_a_long_plan_is_by_month() -> None:
    """A year is told month by month; --json has every day."""
    groups = tuple(Group(f"2026-{9 + day // 28:02}-{1 + day % 28:02}", "payment", "crm", 2) for day in range(56))
    plan = Plan(112, 112, 112, groups)
    assert [line.split() for line in plan_lines(plan)[:3]] == [
        ["month", "type", "handler", "deliveries"],
        ["2026-09", "payment", "crm", "56"],
        ["2026-10", "payment", "crm", "56"],
    ]
    assert plan.as_data()["groups"][0] == {"day": "2026-09-01", "type": "payment", "handler": "crm", "number": 2}


def test_a_report() -> None:
    """It shows what became of the deliveries at each handler, what was left alone, and how to go on."""
    report = Report(
        7, 1_200, 1_000, 2, 1_198, {"crm": Counter({"done": 1_195, "dead": 1}), "billing": {"skipped": 2, "failed": 3}},
        {"done already": 4}, 192.4, interrupted=True, problems=Problems(1, ("a.json: it is not UTF-8",)),
    )  # fmt: skip
    assert report_lines(report, GOES_ON) == [
        "replay 7: 1,198 events of 1,200 files (1,000 newly recorded, 2 not readable), in 3 min 12 s",
        "handler   done  skipped  failed  dead",
        "billing      0        2       3     0",
        "crm      1,195        0       0     1",
        "left alone:",
        "  4  done already",
        "1 file cannot be read:",
        "  a.json: it is not UTF-8",
        f"NOT FINISHED; to go on with it: {GOES_ON}",
    ]
    assert Report.from_json(report.to_json()) == report
    assert report_lines(Report(None), GOES_ON) == ["0 events, in 0.0 s"]


def test_a_comparison() -> None:
    """A shadow run tells by type what is the same, different and missing, and what the differences are."""
    report = Report(8, 12, 0, 0, 12, comparison={**COMPARED, "by_type": {"inboundMessage": COMPARED}}, seconds=1)
    assert report_lines(report, GOES_ON)[1:] == [
        "compared with what was done:",
        "  type            same  different  missing  it would have been",
        "  inboundMessage     9          2        1  11 done, 1 skipped",
        "  different in row.amount: 2",
        "  different in outcome: 1",
    ]


def test_what_failed() -> None:
    """Of a replay that has ended, the daemon tries again what failed."""
    *_, last = report_lines(Report(7, deliveries={"crm": {"failed": 1}}), GOES_ON)
    assert last == "what failed is tried again by the daemon; without one: sftpd-processor once"


def test_exit_codes() -> None:
    """3 for files that are invalid and deliveries that failed or died, 130 when a person interrupted it, else 0."""

    def code(report: Report) -> int:
        return exit_code(report, stopped=False)

    assert code(Report(1, deliveries={"crm": {"done": 3, "skipped": 1, "dead": 0}})) == exit_codes.DONE
    for unwell in (Report(1, invalid=1), *(Report(1, deliveries={"crm": {state: 1}}) for state in ("failed", "dead"))):
        assert code(unwell) == exit_codes.DONE_WITH_LOSSES
    interrupted = Report(1, deliveries={"crm": {"failed": 1}}, interrupted=True)
    assert (code(interrupted), exit_code(interrupted, stopped=True)) == (3, exit_codes.INTERRUPTED)
    assert exit_code(Report(1), stopped=True) == exit_codes.DONE, "it had come to its end all the same"


def test_replays_in_status() -> None:
    """One that has ended tells what came of it; one that has not, how to go on; neither what was asked for."""
    job = json.dumps({"selection": {"customers": ["4711"]}})
    ended = Report(7, recorded=3, deliveries={"crm": {"done": 1_200}, "billing": {"done": 1, "dead": 2}}, seconds=61)
    rows = [
        ReplayRow(8, NOON, None, job, None),
        ReplayRow(7, NOON, NOON + 61_000_000, job, ended.to_json()),
        ReplayRow(6, NOON, NOON, job, Report(6).to_json()),
    ]
    data = [replay_data(row, Path("/etc/my conf.toml")) for row in rows]
    assert [line for each in data for line in replay_lines(each)] == [
        "8: begun 2026-11-22 12:00:00 UTC, NOT FINISHED",
        "  unless it runs now: sftpd-processor -c '/etc/my conf.toml' reprocess --resume 8",
        "7: begun 2026-11-22 12:00:00 UTC, took 1 min 1 s: 1,201 done, 2 dead; 3 files newly recorded",
        "6: begun 2026-11-22 12:00:00 UTC, took 0.0 s: nothing to do",
    ]
    assert "4711" not in json.dumps(data)
    assert resume_command(7, None) == GOES_ON


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (9.97, "10 s"), (59.4, "59 s"), (59.6, "1 min 0 s"), (7_260, "2 h 1 min")],
)
def test_durations(seconds: float, text: str) -> None:
    """As short as it is useful."""
    assert duration(seconds) == text


def test_the_speed() -> None:
    """The rate is that of the last half minute, what was done before an interruption does not count as fast."""
    now = iter([0.0, 10.0, 45.0, 46.0])
    speed = Speed(lambda: next(now))
    assert speed.told(Progress(10_000, 5_000, "events", 4_900, 100)) == "; 4,900 done, 100 failed"
    assert (
        speed.told(Progress(10_000, 5_500, "events", 5_400, 100)) == ", 50/s, 1 min 30 s left; 5,400 done, 100 failed"
    )
    assert speed.told(Progress(10_000, 9_000, "events", 8_900, 100)).startswith(", 100/s, 10 s left")
    waiting = "handler crm is failing; next try in 20 s"
    assert speed.told(Progress(10_000, 10_000, "events", 9_900, 100, waiting)).endswith(f"100 failed; {waiting}")
