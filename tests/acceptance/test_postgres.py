"""The main job with its ledger in PostgreSQL in place of SQLite."""

from __future__ import annotations

from tests.acceptance.support import Desk, event, events
from tests.support import ServedFolder


def test_the_main_job_on_postgresql(desk: Desk, openssh: ServedFolder, postgres_url: str) -> None:
    """Files are recorded, archived, delivered and disposed of as on SQLite, and nothing twice by a second run."""
    files = events(300) | {"again.json": event(1, "c1"), "other.json": event(2, "c2", body="changed"), "no.json": b"[]"}
    openssh.write(files)
    desk.configure(
        openssh.source(after="delete", settle_seconds=0), state={"dir": str(desk.state), "database": postgres_url}
    )
    ran = desk.run("once")
    assert ran.code == 3, ran.err
    assert "303 files recorded (300 accepted, 1 duplicate, 1 invalid, 1 conflict)" in ran.out
    assert len(set(desk.keys())) == len(desk.keys()) == 300
    assert openssh.names() == []
    assert not (desk.state / "ledger.db").exists()
    status = desk.run("status", "--json")
    assert status.data["sources"]["webio"]["recorded"] == 303
    assert status.data["handlers"]["journal"]["done"] == 300
    openssh.write({"later.json": event(3, "c3"), "new.json": event(1000)})
    assert desk.run("once").code == 0
    assert len(set(desk.keys())) == len(desk.keys()) == 301
