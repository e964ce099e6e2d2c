"""docs/listener.md: its configuration works, and its commands print what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

from sftpd_processor.config.load import load_settings
from tests.acceptance.sidecar import SECRET, Caller
from tests.acceptance.support import Desk
from tests.acceptance.test_readme import PROGRAM, ROOT, blocks

PAGE = (ROOT / "docs" / "listener.md").read_text()


def configured(desk: Desk, incoming: Path, config: str) -> None:
    """The page's configuration, beside a source and on free ports."""
    incoming.mkdir()
    source = f'[[sources]]\nname = "local"\ntype = "directory"\nfolder = "{incoming}"\n'
    config = re.sub(r":808\d", ":0", config).replace('{ credential = "webio-secret" }', json.dumps(SECRET))
    desk.config.write_text(f'[state]\ndir = "{desk.state}"\n{source}{config}')
    desk.config.chmod(0o600)


def test_turning_it_on(desk: Desk, tmp_path: Path) -> None:
    """The page's configuration and commands, on a real daemon, give the answers shown."""
    (config,) = blocks("toml listener", PAGE)
    configured(desk, tmp_path / "in", config)
    running = desk.daemon()
    address = Caller(running).address
    (commands,) = blocks("sh listener", PAGE)
    done = subprocess.run(
        ["bash", "-e", "-c", commands.replace("127.0.0.1:8080", address).replace("curl", "curl -sS -w '\\n'")],
        env=os.environ | {"PATH": f"{PROGRAM.parent}:{os.environ['PATH']}", "SFTPD_PROCESSOR_CONFIG": str(desk.config)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    (shown,) = blocks("json listener", PAGE)
    assert [plain(line) for line in done.stdout.splitlines()] == [plain(line) for line in shown.splitlines()]
    assert running.stop() == 0


def test_every_status_is_told(desk: Desk, tmp_path: Path) -> None:
    """The page's tables have every status that the program's sources answer with, and no other."""
    told = {int(code) for code in re.findall(r"\b([2345]\d\d)\b", " ".join(re.findall(r"^\| (.*?) \|", PAGE, re.M)))}
    source = "".join(path.read_text() for path in (ROOT / "sftpd_processor" / "http").glob("*.py") if path.stem in HTTP)
    used = {int(code) for code in re.findall(r"\b([2345]\d\d)\b(?= ?[,:)])", source)}
    assert told == used - {404, 505, 500}  # these say nothing that Webio could cause


HTTP = {"public", "gate", "protocol"}


def test_the_other_samples_load(desk: Desk, tmp_path: Path) -> None:
    """The configuration behind a proxy is a right one, with a secret."""
    (config,) = blocks("toml", PAGE)
    configured(desk, tmp_path / "in", config + f"token_secrets = [{json.dumps(SECRET)}]\n")
    settings = load_settings(desk.config)
    assert settings.http is not None
    assert settings.http.trusted_proxies == ("127.0.0.1",)


def plain(line: str) -> str:
    """Without what differs from run to run."""
    return re.sub(r"live/[\w.-]+", "live/*", line)


def test_the_names_are_right() -> None:
    """The settings that the page names exist."""
    names = set(re.findall(r"`(\w+_\w+)(?: = [^`]*)?`", PAGE))
    example = (ROOT / "config.example.toml").read_text()
    assert len(names) > 8
    assert [name for name in names if f"#{name} = " not in example] == []
