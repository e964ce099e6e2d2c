"""The line that `systemctl status` shows."""

from __future__ import annotations

import re
import time
from typing import Any

from sftpd_processor.daemon.standing import Standing
from sftpd_processor.errors import LedgerUnavailable
from sftpd_processor.http.readiness import Wrong
from sftpd_processor.ledger.figures import Gauges
from tests.integration.admin_items import FakePoller

NOTHING = Gauges({}, {}, {}, {}, 0, {})
MUCH = Gauges({"crm": {"pending": 1200, "retrying": 4, "running": 0}}, {"crm": 1}, {"webio": 2}, {"webio": 1}, 3, {})


def _line(standing: Standing, *pollers: Any) -> str:
    return re.sub(r"\d\d:\d\d:\d\d", "14:02:11", standing.line(pollers))


def test_all_is_well() -> None:
    """With nothing wrong and nothing to do it says so, and when the last good poll ended."""
    standing = Standing(lambda: NOTHING, list)
    assert _line(standing) == "All well. No good poll yet. Nothing left to do."
    poller = FakePoller(last_good=time.monotonic())
    assert _line(standing, poller) == "All well. Last good poll 14:02:11 UTC. Nothing left to do."


def test_what_is_wrong_comes_first() -> None:
    """What fails is named, three things at most, each in one line; then comes a remark, then the backlog."""
    wrong = [Wrong("source webio", "cannot reach\nsftp.example.com"), Wrong("archive", "no space left")]
    standing = Standing(lambda: MUCH, lambda: wrong)
    standing.remark = "the new configuration is refused"
    assert _line(standing) == (
        "Wrong: source webio: cannot reach sftp.example.com; archive: no space left. The new configuration is refused."
        " No good poll yet. 1,204 deliveries open, 3 files to archive, 1 file waits, 2 files in quarantine, 1"
        " dead letter."
    )
    wrong += [Wrong("handler crm", "x"), Wrong("listener", "y"), Wrong("ledger", "z")]
    assert "handler crm: x; and 2 more, see the log." in _line(standing)


def test_the_ledger_is_asked_seldom() -> None:
    """Each ten seconds, or more rarely where that takes long, but each minute; meanwhile what it said last is shown."""
    now, asked = 0.0, 0

    def gauges() -> Gauges:
        nonlocal now, asked
        asked += 1
        now += 2.0
        if asked == 2:
            raise LedgerUnavailable("the ledger is locked")
        return MUCH

    standing = Standing(gauges, list, lambda: now)
    for now in (0.0, 5.0, 61.0):  # noqa: B007 - the clock
        standing.line([])
    assert asked == 1
    now = 63.0
    assert "1,204 deliveries open" in standing.line([])
    assert asked == 2
