"""The public listener of a real daemon, called by a real client."""

from __future__ import annotations

import re
import weakref
from pathlib import Path
from typing import Any

import httpx2

from sftpd_processor.http.token import mint
from tests.acceptance.support import Desk, Running
from tests.support import wait_until

SECRET = "a secret of the tests that is long enough for a key"
_ADDRESS = re.compile(r"public listener: (\S+)")


def http(**changes: Any) -> dict[str, Any]:
    """An `[http]` table: any free port, and one secret."""
    return {"listen": "127.0.0.1:0", "token_secrets": [SECRET], **changes}


def static(**customers: dict[str, str]) -> dict[str, Any]:
    """A `[[values]]` table of the static provider."""
    return {"name": "accounts", "use": "static", "options": {"customers": customers}}


def token(secret: str = SECRET) -> str:
    """A token as Webio would send it."""
    return mint("42", "api-key", secret, days=None, claims={})


class Caller:
    """Webio, as far as a running listener can tell."""

    def __init__(self, running: Running, sent: str | None = None, **client: Any) -> None:
        running.wait_for("public listener: ")
        found = _ADDRESS.search(running.log)
        assert found
        self.address = found[1]
        headers = {"x-webio-token": token() if sent is None else sent} if sent != "" else {}
        self.client = httpx2.Client(base_url=f"http://{self.address}", headers=headers, timeout=20, **client)
        weakref.finalize(self, self.client.close)

    def post(self, body: bytes, **more: Any) -> httpx2.Response:
        """Post an event."""
        return self.client.post("/webhooks", content=body, **more)

    def ask(self, *names: str, customer: str = "", address: str = "") -> httpx2.Response:
        """Ask for custom values."""
        asked = {f"param{number}": name for number, name in enumerate(names, 1)}
        return self.client.get(
            "/custom-values", params={"customerUID": customer, "outboundChannelAddress": address, **asked}
        )


def started(desk: Desk, *sources: dict[str, Any], **tables: Any) -> tuple[Running, Caller]:
    """The daemon with its listener, ready, and a caller with a right token."""
    desk.configure(*sources, **({"http": http()} | tables))
    running = desk.daemon()
    return running, Caller(running)


def listener_of(running: Running) -> int:
    """The process id of the daemon's listener."""
    children = Path(f"/proc/{running.process.pid}/task")

    def found() -> list[int]:
        return [int(pid) for task in children.iterdir() for pid in (task / "children").read_text().split()]

    wait_until(found, what="a child of the daemon")
    (pid,) = [pid for pid in found() if b"serve" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    return pid
