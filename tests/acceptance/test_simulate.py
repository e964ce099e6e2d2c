"""`sftpd-processor simulate`, and what `once` makes of what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.acceptance.support import Desk, local
from tests.support import ServedFolder

SHARES = ["--duplicates", "0.1", "--conflicts", "0.05", "--broken", "0.05", "--arrays", "0.1", "--unknown", "0.05"]


@pytest.mark.parametrize("kind", ["sftp", "local"])
def test_there_and_back(desk: Desk, openssh: ServedFolder, tmp_path: Path, kind: str) -> None:
    """Files written to the configured source are all taken by `once`, with the verdicts their kinds call for."""
    (tmp_path / "in").mkdir()
    source = openssh.source(settle_seconds=0) if kind == "sftp" else local(tmp_path / "in", settle_seconds=0)
    desk.configure(source)
    written = desk.run("simulate", "--count", "400", "--seed", "5", *SHARES, "--json")
    assert written.code == 0, written.err
    kinds = written.data["kinds"]
    assert written.data["files"] == 400
    ran = desk.run("once", "--json")
    assert (ran.code, ran.err) == (3, "")
    found = ran.data["sources"][source["name"]]
    assert found["recorded"] == 400
    assert found["invalid"] == kinds["broken"] > 0
    assert found["accepted"] == kinds["event"] + kinds["array"] + kinds["unknown"]
    # A conflict that sorts before its original is taken in its place: so only the sum is certain.
    assert found["duplicate"] + found["conflict"] == kinds["duplicate"] + kinds["conflict"]
    assert min(found["duplicate"], found["conflict"]) > 0
    assert ran.data["handlers"]["journal"]["done"] == found["events"] == len(desk.lines())


def test_wrong_usage(desk: Desk) -> None:
    """Exit 2 and a line that says what is right, for a share above 1 and an unknown event type."""
    for wrong, hint in ((["--broken", "2"], "between 0 and 1"), (["--mix", "pay=1"], "payment")):
        ran = desk.bare("simulate", "--to", str(desk.folder / "in"), *wrong)
        assert ran.code == 2
        assert hint in " ".join(ran.err.replace("│", " ").split())
