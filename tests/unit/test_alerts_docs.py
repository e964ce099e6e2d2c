"""docs/alerts.md tells of every cause, shows real messages, and its addresses are taken."""

from __future__ import annotations

import re
import socket
from pathlib import Path

import pytest

from sftpd_processor.alerts.addresses import service
from sftpd_processor.alerts.causes import Cause, Key, advice, ending, headline
from sftpd_processor.alerts.message import Sender, over, wrong
from sftpd_processor.config.alerts import CAUSES
from sftpd_processor.ledger.alerts import Noted

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "alerts.md").read_text()
SINCE = 1_795_356_120_000_000  # 2026-11-22 14:02 UTC
SENDER = Sender("operators", Path("/var/lib/sftpd-processor"))


def block(head: str) -> str:
    """The text of a code block."""
    (text,) = re.findall(rf"^```{head}\n(.*?)\n```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


def test_the_messages_are_real(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the page shows is what is sent."""
    monkeypatch.setattr(socket, "gethostname", lambda: "inbox1")
    cause = Cause(Key("source", "webio"), SINCE, "sftp.example.com:22: no answer within 15 s")
    told = wrong(SENDER, [cause])
    assert f"{told.title}\n\n{told.body}" == block("text alert")
    ended = over(SENDER, [Noted("operators", "source", "webio", SINCE, SINCE)], SINCE + 35 * 60_000_000)
    assert f"{ended.title}\n\n{ended.body}" == block("text recovered")


def test_the_page_names_every_cause() -> None:
    """The table has every cause and no other, in their order, and each has its words."""
    assert tuple(re.findall(r"^\| `(\w+)` \| .* \| .* \|$", PAGE, re.MULTILINE)) == CAUSES
    for kind in CAUSES:
        key = Key(kind, "webio")
        assert len({headline(key), ending(key), advice(key)}) == 3


@pytest.mark.filterwarnings("ignore:'imghdr':DeprecationWarning")
def test_the_addresses_are_taken() -> None:
    """Each address on the page is one that apprise can use."""
    table = PAGE.partition("## Addresses")[2].partition("\n## ")[0]
    urls = re.findall(r"^\| [^|]* \| `(\w+://.*)` \|$", table, re.MULTILINE)
    assert len(urls) == 9
    for url in urls:
        assert service(url, 1)


def test_the_advice_leads_somewhere() -> None:
    """Each part of docs/operations.md that a message names is there."""
    headings = re.findall(r"^#+ (.*)$", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE)
    named = [re.search(r"docs/operations\.md, ([\w ]+)\.", advice(Key(kind, "x"))) for kind in CAUSES]
    assert len([found for found in named if found]) > 3
    assert {found[1] for found in named if found} <= set(headings)


def test_the_advice_fits_every_service() -> None:
    """No message names a unit of systemd: each instance has its own; and a new credential needs a restart."""
    assert [kind for kind in CAUSES if "systemctl" in advice(Key(kind, "x"))] == []
    assert "restart it if it is a credential" in advice(Key("expiry", "http.tokens[0]"))


def test_a_long_list() -> None:
    """A message tells of 25 causes at most, and how many more there are; a line has an end."""
    causes = [Cause(Key("source", f"s{number}"), SINCE, "x" * 10_000) for number in range(40)]
    told = wrong(SENDER, causes)
    assert "and 15 more" in told.body
    assert "40 things are wrong" in told.title
    assert max(map(len, told.body.splitlines())) < 600


@pytest.mark.parametrize(
    ("seconds", "told"), [(5, "less than a minute"), (300, "5 min"), (7260, "2 h 1 min"), (90_000, "1 d 1 h")]
)
def test_how_long_it_lasted(seconds: int, told: str) -> None:
    """In the two largest units."""
    ended = over(SENDER, [Noted("operators", "disk", "", SINCE, SINCE)], SINCE + seconds * 1_000_000)
    assert f"The disk has room again, after {told} (since 2026-11-22 14:02 UTC)" in ended.body
