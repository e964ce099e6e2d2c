from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.cli import exit_codes
from sftpd_processor.cli.main import app
from sftpd_processor.config.load import load_settings
from sftpd_processor.handlers.api import HandlerContext
from sftpd_processor.handlers.registry import build_handlers
from sftpd_processor.testing.webio import Webio
from tests.acceptance.sidecar import SECRET
from tests.handler_items import item
from tests.support import ServedFolder

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
README = PAGES[0].read_text()
PROGRAM = Path(sys.executable).with_name("sftpd-processor")


def blocks(head: str, text: str = README) -> list[str]:
    """The code blocks that begin with this line."""
    return re.findall(rf"^```{re.escape(head)}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def rows(heading: str) -> list[str]:
    """The first cell of each row of the table under a heading."""
    section = README.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(r"^\| `?([\w]+)`? \|", section, re.MULTILINE)[1:]


def all_verbs() -> list[str]:
    """Every verb of the program; those of groups, such as `token`, by the name of the group."""
    shown = [command for command in app.registered_commands if not command.hidden]
    alone = [command.callback.__name__ for command in shown if command.callback is not None]
    return alone + [str(group.typer_instance.info.name) for group in app.registered_groups if group.typer_instance]


@pytest.fixture
def newcomer(openssh: ServedFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServedFolder]:
    """In a folder with the page's files, where its server is a real one."""
    source = openssh.source()
    config = "\n".join(blocks("toml file=config.toml"))
    for shown, real in (
        ('"sftp.example.com"', f'"{source["host"]}"\nport = {source["port"]}'),
        ('"acme"', f'"{source["username"]}"'),
        ('"/webhooks"', f'"{openssh.folder}"'),
        (re.findall(r'"(SHA256:\w+)"', config)[0], source["host_keys"][0]),
        ("127.0.0.1:8080", "127.0.0.1:0"),
        ("127.0.0.1:8081", "127.0.0.1:0"),
    ):
        assert config.count(shown) == 1
        config = config.replace(shown, real)
    (tmp_path / "config.toml").write_text(config)
    (tmp_path / "webio-secret").write_text(SECRET)
    (tmp_path / "id_ed25519").write_bytes(openssh.server.client_key_path.read_bytes())
    (tmp_path / "id_ed25519").chmod(0o600)
    (tmp_path / "my_handlers.py").write_text(*blocks("python file=my_handlers.py"))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{PROGRAM.parent}:{os.environ['PATH']}")
    yield openssh
    sys.modules.pop("my_handlers", None)


def test_the_quick_start_works(newcomer: ServedFolder) -> None:
    """The page's commands, one after another on a real server, do what the page says."""
    files = {file.name: file.data for file in Webio(1).files(20)}
    newcomer.write(files)
    *commands, last = [line for block in blocks("bash quickstart") for line in block.splitlines()]
    said = ""
    for command in commands:
        real = command.replace("-p 22 sftp.example.com", f"-p {newcomer.server.port} {newcomer.server.host}")
        done = subprocess.run(["bash", "-o", "pipefail", "-c", real], capture_output=True, text=True, check=False)
        assert done.returncode == 0, (command, done.stderr)
        said += done.stdout
    assert newcomer.server.host_key_fingerprint in said
    assert "20 files recorded (20 accepted)" in said
    assert len(Path("events.jsonl").read_text().splitlines()) == 20
    assert newcomer.names() == ["processed"]
    assert sorted(path.name for path in (newcomer.folder / "processed").iterdir()) == sorted(files)
    assert len(list(Path("state/archive/webio").rglob("*.json"))) == 20
    assert last == "sftpd-processor run"
    with subprocess.Popen(last.split(), stderr=subprocess.PIPE, text=True) as daemon:
        assert daemon.stderr is not None
        assert any("ready: sources webio; handlers journal, mine" in line for line in daemon.stderr)
        assert set(Path("state").iterdir()) >= {Path("state/lock"), Path("state/bell"), Path("state/ledger.db")}
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(30) == 0


@pytest.mark.usefixtures("newcomer")
def test_the_handler_works() -> None:
    """The page's configuration loads, and its handler takes an event."""
    settings = load_settings(Path("config.toml"))
    handlers = build_handlers(settings.handlers, HandlerContext(30, Path.cwd()))
    assert handlers.names == ("journal", "crm")
    crm = handlers.get("crm")
    assert crm is not None
    crm.open()
    assert [outcome.state for outcome in crm.handle([item()])] == ["done"]
    crm.close()


def test_the_output_of_the_demo_is_real(tmp_path: Path) -> None:
    """What the page shows of the demo is what it prints, up to ports, times and how it was called."""

    def plain(text: str) -> list[str]:
        text = re.sub(r"127.0.0.1:\d+|\d\.\d s|\S+/sftpd-processor ", "*", text)
        return [line.rstrip() for line in text.splitlines() if line.strip()]

    done = subprocess.run(
        [PROGRAM, "demo", "--folder", ".demo"], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    (shown,) = blocks("text demo")
    printed = plain(done.stdout)
    at = [printed.index(line) for line in plain(shown) if line != "…"]
    assert at == sorted(at)


def test_the_tables_are_complete() -> None:
    """The page lists every verb and every exit code, and no other."""
    verbs = all_verbs()
    assert rows("Commands") == verbs
    codes = [value for name, value in vars(exit_codes).items() if name.isupper()]
    assert rows("Exit codes") == [str(code) for code in codes]


def test_what_is_typed_exists() -> None:
    """Each `make` target and each extra that the page names is there."""
    targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    named = re.findall(r"^make (\w+)|`make (\w+)", README, re.MULTILINE)
    assert {first or second for first, second in named} <= set(targets)
    project = (ROOT / "pyproject.toml").read_text()
    assert all(f"\n{extra} = [" in project for extra in ("postgresql", "demo"))


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_links_lead_somewhere(page: Path) -> None:
    """Every link of a page leads to a file, and to a heading that is in it."""
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text())
    for link in links:
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", target.read_text(), re.MULTILINE)
            assert anchor in [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings], link


@pytest.mark.parametrize("page", PAGES, ids=[page.name for page in PAGES])
def test_commands_on_the_pages_exist(page: Path) -> None:
    """Every verb that a page tells people to use is one of the program's."""
    verbs = set(all_verbs())
    used = re.findall(r"`(?:sudo )?sftpd-processor (?:-c \S+ )?([a-z]+)", page.read_text())
    assert set(used) <= verbs


def test_the_messages_are_the_programs() -> None:
    """Every message that docs/operations.md explains is in the program, word for word."""
    source = "".join(path.read_text() for path in sorted((ROOT / "sftpd_processor").rglob("*.py")))
    source = re.sub(r"""["']\s*\n\s*(?:\+ )?f?["']""", "", source)
    elsewhere = {"Connection refused", "Unable to connect to port "}  # the system's and paramiko's
    tables = (ROOT / "docs" / "operations.md").read_text().partition("## Every message")[2]
    cells = re.findall(r"^\| (`.*?`) \|", tables, re.MULTILINE)
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 25
    for message in messages:
        parts = [part for part in re.split("…", message) if part not in elsewhere]
        assert all(part in source for part in parts), message
