"""The operators' listener of the real daemon."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.sidecar import Caller, http, static
from tests.acceptance.support import Desk, Running, event, local, put
from tests.support import wait_until

ADMIN = {"listen": "127.0.0.1:0"}


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """The folder of the source."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


class Operator:
    """Calls the admin listener of a running daemon."""

    def __init__(self, running: Running) -> None:
        running.wait_for("admin listener: ")
        found = re.search(r"admin listener: (\S+)", running.log)
        assert found
        self._base = f"http://{found[1]}"

    def get(self, path: str) -> httpx2.Response:
        """One answer."""
        return httpx2.get(self._base + path, timeout=20)

    def number(self, name: str, **labels: str) -> float | None:
        """One metric's value; None when it is not there."""
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(f"sftpd_processor_{name}") and all(f'{key}="{labels[key]}"' in line for key in labels):
                return float(line.rpartition(" ")[2])
        return None


def test_both_processes_are_measured(desk: Desk, incoming: Path) -> None:
    """/metrics counts files, live posts and custom values, whichever process they came to, and quotes nobody."""
    desk.configure(local(incoming), http=http(), admin=ADMIN, values=[static(**{"customer-7": {"balance": "12"}})])
    running = desk.daemon()
    webio, operator = Caller(running), Operator(running)
    put(incoming, {"a.json": event(1), "b.json": event(1)})
    wait_until(lambda: operator.number("files_total", source="local", verdict="duplicate") == 1, 20)
    webio.post(event(2, customerUID="customer-7"))
    webio.ask("balance", customer="customer-7")
    Caller(running, "").post(event(3))
    wait_until(lambda: operator.number("deliveries_total", handler="journal", state="done") == 2, 20)
    wait_until(lambda: operator.number("http_refused_tokens_total", why="missing") == 1)  # the last one
    assert operator.number("files_total", source="live", verdict="accepted") == 1
    assert operator.number("events_total", type="inboundMessage", origin="http") == 1
    assert operator.number("http_requests_total", route="webhooks", status="200") == 1
    assert operator.number("values_seconds_count", provider="accounts", outcome="found") == 1
    assert operator.number("listener_up") == 1
    assert "customer-7" not in operator.get("/metrics").text
    assert running.stop() == 0


def test_readiness(desk: Desk, incoming: Path) -> None:
    """/readyz is 503 with the reason while a source cannot be polled, 200 before and after; /healthz is always 200."""
    desk.configure(local(incoming, poll_seconds=0.3), admin=ADMIN | {"late_seconds": 0.5})
    running = desk.daemon()
    operator = Operator(running)
    wait_until(lambda: operator.get("/readyz").status_code == 200)
    incoming.rmdir()

    def wrong() -> Any:
        answer = operator.get("/readyz")
        return answer.status_code == 503 and answer.json()["wrong"]

    wait_until(wrong, 20)
    assert [each["part"] for each in wrong()] == ["source local"]
    assert operator.get("/healthz").json() == {"status": "alive"}
    incoming.mkdir()
    wait_until(lambda: operator.get("/readyz").status_code == 200, 30)
    assert running.stop() == 0


def test_before_the_ledger_can_be_opened(desk: Desk, incoming: Path) -> None:
    """A daemon that waits for its ledger says so at /readyz, and is alive."""
    missing = f"sqlite:///{desk.folder / 'elsewhere' / 'ledger.db'}"
    desk.configure(local(incoming), state={"dir": str(desk.state), "database": missing}, admin=ADMIN)
    running = desk.start("run")
    operator = Operator(running)
    assert operator.get("/healthz").status_code == 200
    answer = operator.get("/readyz")
    assert answer.status_code == 503
    assert "ledger" in [each["part"] for each in answer.json()["wrong"]]
    assert operator.number("ledger_up") == 0
    assert running.stop() == 0
