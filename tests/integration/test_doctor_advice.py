"""What `doctor` says of findings that no server at hand gives, and which settings it suggests."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.doctor.advice import advise, duration, snippet
from sftpd_processor.doctor.findings import YES, Clock, Findings, Listed, OpenFiles, Right
from sftpd_processor.testing.asyncssh_server import AsyncsshServer
from tests.integration.doctor_items import measure_little, served
from tests.support import served_folder

SOURCE = {
    "name": "webio", "host": "sftp.example.com", "username": "acme", "password": "x", "folder": "/webhooks",
    "host_keys": ["SHA256:" + "A" * 43],
}  # fmt: skip


def good(**changes: Any) -> Findings:
    """The findings of a server on which all is well."""
    found = Findings("webio", "somewhere")
    found.rights = dict.fromkeys(("list", "make_folder", "write", "read", "rename", "move_to", "delete"), YES)
    found.listing = Listed(10, 0.1, complete=True, per_answer=None)
    found.round_trip_seconds, found.slowest_answer_seconds = 0.02, 0.05
    found.rename_replaces, found.time_grain_seconds = False, 1.0
    found.clock, found.open_files = Clock(0.0, 0.1), OpenFiles(1100, None)
    for name, value in changes.items():
        setattr(found, name, value)
    return found


def suggested(found: Findings, **changes: Any) -> dict[str, Any]:
    """The keys to change, read back from the TOML; each comes with a note or a problem."""
    settings = SftpSourceSettings.model_validate(SOURCE | changes)
    advice = advise(found, settings)
    assert all(each.level != "ok" for each in advice if each.change)
    assert [each.level for each in advice] == sorted((each.level for each in advice), key=LEVELS.index)
    text = snippet(settings, advice)
    if not text:
        return {}
    (table,) = tomllib.loads(text)["sources"]
    SftpSourceSettings.model_validate(SOURCE | changes | table)
    return {key: value for key, value in table.items() if key != "name"}


LEVELS = ["problem", "note", "ok"]
NO = Right("no", "the server said: Failure")
WORKING = good().rights

CASES: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "all is well": ({}, {}, {}),
    "slow answers": ({"slowest_answer_seconds": 12.3}, {}, {"operation_timeout_seconds": 123}),
    "slow answers, much patience": ({"slowest_answer_seconds": 12.3}, {"operation_timeout_seconds": 60}, {}),
    "a slow listing": ({"listing": Listed(9, 20.0, complete=True, per_answer=1)}, {}, {"poll_seconds": 80}),
    "a slow listing by cron": (
        {"listing": Listed(9, 20.0, complete=True, per_answer=1)}, {"cron": "0 5 * * mon"}, {},
    ),
    "few open files": ({"open_files": OpenFiles(20, "Failure")}, {}, {"in_flight": 18}),
    "one open file": ({"open_files": OpenFiles(1, "Failure")}, {}, {"in_flight": 1}),
    "few open files, known": ({"open_files": OpenFiles(20, "Failure")}, {"in_flight": 18}, {}),
    "far away": ({"round_trip_seconds": 0.2}, {"in_flight": 8}, {"in_flight": 256}),
    "no settling": ({}, {"settle_seconds": 0}, {"settle_seconds": 10}),
    "no move, nothing else": (
        {"rights": WORKING | {"move_to": NO, "rename": NO, "delete": NO}}, {}, {"after": "keep"},
    ),
    "no move to `processed`": ({"rights": WORKING | {"move_to": NO}}, {}, {"after": "keep"}),
    "no move to there": (
        {"rights": WORKING | {"move_to": NO}}, {"move_to": "/elsewhere"}, {"move_to": "processed"},
    ),
    "no delete, no rename": (
        {"rights": WORKING | {"delete": NO, "rename": NO}}, {"after": "delete"}, {"after": "keep"},
    ),
    "no delete": ({"rights": WORKING | {"delete": NO}}, {"after": "delete"}, {"after": "move"}),
    "nothing allowed, nothing wanted": ({"rights": {"list": YES, "write": NO}}, {"after": "keep"}, {}),
    "broken off": ({"ended_early": "lost", "rights": {"list": YES}, "slowest_answer_seconds": 30.0}, {}, {}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_is_suggested(name: str) -> None:
    """Only what differs from the configuration is suggested, as TOML that the configuration takes."""
    findings, settings, expected = CASES[name]
    assert suggested(good(**findings), **settings) == expected


def test_old_algorithms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With `legacy`, an outdated cipher is named; where the server needs none, `current` is suggested."""
    measure_little(monkeypatch)
    for algorithms, changes in ((["aes256-cbc"], {}), (["aes256-ctr"], {"algorithms": "current"})):
        options = {"encryption_algs": algorithms}
        with AsyncsshServer(tmp_path, options=options) as server, served_folder(server) as folder:
            outcome = served(folder, algorithms="legacy")
        assert outcome.changes == changes
        assert ("outdated: aes256-cbc" in outcome.said("note")) is (not changes)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.00031, "0.3 ms"), (0.0234, "23 ms"), (1.26, "1.3 s"), (119.0, "119.0 s"), (180, "3.0 minutes")],
)
def test_durations(seconds: float, words: str) -> None:
    """A duration is said in the unit that fits."""
    assert duration(seconds) == words
