"""The status page of a real daemon, in a real browser."""

from __future__ import annotations

import json
import os
import re
import subprocess
from html import unescape
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.acceptance.support import Desk, Running, local
from tests.acceptance.test_admin import ADMIN, Operator
from tests.support import not_here, wait_until
from tests.system_packages import find_chromium

ODD = "in <b>bold<img src=x onerror=document.title=1>"
_ADDRESS = re.compile(r"admin listener: (\S+)")


class Loaded(NamedTuple):
    """A page as the browser shows it."""

    html: str
    asked: set[str]
    """The addresses of everything that it loaded or tried to."""
    picture: Path


class Browser:
    """Headless Chromium with a home of its own; the only names it can resolve are none."""

    def __init__(self, program: Path, home: Path) -> None:
        self._home = home
        self._command = [
            str(program), "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
            "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1", f"--user-data-dir={home}/profile",
        ]  # fmt: skip

    def load(self, url: str, width: int) -> Loaded:
        """Open a page in a window so many pixels wide."""
        log, picture = self._home / "net.json", self._home / f"{width}.png"
        options = [f"--window-size={width},900", "--dump-dom", f"--log-net-log={log}", f"--screenshot={picture}"]
        done = subprocess.run(
            [*self._command, *options, url],
            env={**os.environ, "HOME": str(self._home)}, capture_output=True, text=True, timeout=60, check=True,
        )  # fmt: skip
        return Loaded(done.stdout, _asked(log.read_text()), picture)


def _asked(net_log: str) -> set[str]:
    """What was asked for on behalf of pages of this machine; what the browser asks by itself belongs to none."""
    found = set()
    for event in json.loads(net_log)["events"]:
        about = event.get("params", {})
        if "127.0.0.1" in about.get("network_isolation_key", "") and "url" in about:
            found.add(about["url"])
    return found


@pytest.fixture
def browser(tmp_path: Path) -> Browser:
    """A real one; where there is none the test is skipped, or fails in CI."""
    program = find_chromium()
    if program is None:
        not_here("Chromium", "chromium")
    home = tmp_path / "browser"
    home.mkdir()
    return Browser(program, home)


def status_page(running: Running) -> str:
    """The address of the daemon's status page."""
    found = _ADDRESS.search(running.log)
    assert found
    return f"http://{found[1]}/"


def test_the_page_in_a_browser(desk: Desk, browser: Browser) -> None:
    """All is well at first; when a source's folder is gone the page names it and why, an odd name shown as text. It
    loads nothing, from here or elsewhere, and runs nothing."""
    folder = desk.folder / ODD
    folder.mkdir()
    desk.configure(local(folder, poll_seconds=0.3), admin=ADMIN | {"late_seconds": 0.5})
    running = desk.daemon()
    operator, url = Operator(running), status_page(running)
    wait_until(lambda: operator.get("/readyz").status_code == 200)
    well = browser.load(url, 1000)
    assert "All is well" in well.html
    assert well.asked == {url}
    folder.rmdir()
    wait_until(lambda: operator.get("/readyz").status_code == 503, 20)
    wrong = browser.load(url, 400)
    assert "<title>1 thing is wrong · sftpd-processor</title>" in wrong.html
    assert "<th>source local</th>" in wrong.html
    assert str(folder) in unescape(wrong.html)
    assert [tag for tag in ("<b>", "<img", "<script") if tag in wrong.html] == []
    assert wrong.asked == {url}
    assert all(each.picture.stat().st_size > 5_000 for each in (well, wrong))
    assert running.stop() == 0
