"""`sftpd-processor doctor`: the real command, its two forms, its exit codes, its page in docs/, and how it is ended."""

from __future__ import annotations

import re
import signal
import socket
import tomllib
from contextlib import closing
from pathlib import Path

import pytest

from sftpd_processor.testing.relay import relay_process
from sftpd_processor.testing.servers import OpenSshServer, find_sshd, free_port
from tests.acceptance.support import Desk, local
from tests.support import ServedFolder, not_here, served_folder, wait_until

PAGE = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text()


def shown(head: str) -> str:
    """The page's code block with this head."""
    (block,) = re.findall(rf"^```{re.escape(head)}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(block)


def plain(text: str) -> list[str]:
    """Output without what differs from one machine and one run to the next."""
    for pattern in (
        r"SSH-2\.0-\S+.*|(?<=encryption).*|SHA256:\S+|\S+ at \S+:\d+|/\S+",
        r"[\d.,]+ (ms|s)\b|\(\S+ a second.*|(ahead of|behind) ours",
        r"\bnote .*rounded.*",
    ):
        text = re.sub(pattern, "*", text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def test_a_good_server(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 0; the page shows what is printed, up to names and figures; nothing is left on the server or here."""
    openssh.write({f"{number}.json": b"{}" for number in range(300)})
    before = openssh.names()
    desk.configure(openssh.source())
    ran = desk.run("doctor")
    assert (ran.code, ran.err) == (0, "")
    assert plain(ran.out) == plain(shown("text good"))
    assert openssh.names() == before
    assert not desk.state.exists()


def test_a_server_that_only_lets_read(desk: Desk, tmp_path: Path) -> None:
    """Exit 1; the page shows what is printed, and the suggestion is TOML that the configuration takes."""
    if find_sshd() is None:
        not_here("OpenSSH's sshd", "openssh-server")
    with OpenSshServer(tmp_path / "root", read_only=True) as server, served_folder(server) as folder:
        folder.write({f"{number}.json": b"{}" for number in range(300)})
        desk.configure(folder.source())
        ran = desk.run("doctor", "--source", "webio")
        assert (ran.code, ran.err) == (1, "")
        assert plain(ran.out) == plain(shown("text read-only"))
        result = desk.run("doctor", "--json")
        assert result.code == 1
        (suggested,) = tomllib.loads(result.data["sources"]["webio"]["suggested"])["sources"]
        assert suggested == {"name": "webio", "after": "keep"}
        desk.configure(folder.source() | suggested)
        assert desk.run("doctor").code == 0
        assert len(folder.names()) == 300


def test_json(desk: Desk, openssh: ServedFolder) -> None:
    """`--json` has each finding and each piece of advice, under the names that the page explains."""
    (desk.folder / "in").mkdir()
    desk.configure(openssh.source(), local(desk.folder / "in"))
    ran = desk.run("doctor", "--json")
    assert (ran.code, ran.err) == (0, "")
    assert ran.data["ok"] is True
    assert list(ran.data["sources"]) == ["webio", "local"]
    one = ran.data["sources"]["webio"]
    assert set(one) == {"findings", "advice", "suggested"}
    assert one["findings"]["rights"]["delete"] == {"answer": "yes", "why": ""}
    assert one["findings"]["open_files"] == {"most": 1100, "refusal": None}
    assert {each["level"] for each in one["advice"]} == {"ok"}
    explained = set(re.findall(r"^\| `(\w+)`", PAGE.partition("## As JSON")[2], re.MULTILINE))
    assert explained == set(one["findings"])


def test_the_page_names_every_right() -> None:
    """The page's account of the steps names each one by the words that are printed."""
    printed = re.findall(r"^  (\S.*?)  +yes$", shown("text good"), re.MULTILINE)
    assert len(printed) == 10
    steps = PAGE.partition("## What it tries")[2].partition("\n## ")[0]
    assert [words for words in printed if f"| {words} |" not in steps] == []


def test_a_server_that_does_not_answer(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 4 and a reason, in time, for one that is silent and for one that is not there; others are examined still."""
    with closing(socket.create_server(("127.0.0.1", 0))) as silent:
        desk.configure(
            openssh.source(name="silent", port=silent.getsockname()[1], connect_timeout_seconds=1),
            openssh.source(name="absent", port=free_port()),
            openssh.source(),
        )
        ran = desk.run("doctor", "--json", timeout=30)
    assert ran.code == 4
    assert ran.data["ok"] is False
    reached = {name: one["findings"]["unreachable"] is None for name, one in ran.data["sources"].items()}
    assert reached == {"silent": False, "absent": False, "webio": True}
    assert "problem  source absent: 127.0.0.1:" in desk.run("doctor", "--source", "absent").out


def test_a_wrong_source(desk: Desk, openssh: ServedFolder) -> None:
    """A source that is not in the configuration is wrong usage, and those that are there are named."""
    desk.configure(openssh.source())
    ran = desk.run("doctor", "--source", "webi")
    assert ran.code == 2
    assert "there is no source 'webi'; there are: webio" in ran.err


def test_a_wrong_folder(desk: Desk, openssh: ServedFolder) -> None:
    """A folder that does not exist is a problem of a server that was reached: exit 1."""
    desk.configure(openssh.source(folder=f"{openssh.folder}/nowhere"))
    ran = desk.run("doctor")
    assert ran.code == 1
    assert "nowhere cannot be listed: the server said: No such file" in " ".join(ran.out.split())
    assert openssh.names() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted(desk: Desk, openssh: ServedFolder, number: signal.Signals) -> None:
    """Ctrl-C and SIGTERM in the middle: exit 130, one line that says so, no traceback, nothing left behind."""
    openssh.write({"a.json": b"{}"})
    with relay_process(openssh.server.host, openssh.server.port, 15.0) as port:
        desk.configure(openssh.source(port=port))
        running = desk.start("doctor")
        wait_until(lambda: len(openssh.names()) > 1, 20, "the scratch folder")
        running.signal(number)
        assert running.ended() == 130
    assert running.log.splitlines() == [
        "sftpd-processor: interrupted; removing the scratch folder (once more ends at once)"
    ]
    assert "The examination was interrupted" in running.out
    assert openssh.names() == ["a.json"]
