"""The verb `token`, and the page about tokens: its settings load, and its commands say what it shows."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import jwt
import pytest

from sftpd_processor.config.kinds import Place
from sftpd_processor.config.settings import Settings
from tests.acceptance.support import COMMAND, Desk, local

PAGE = (Path(__file__).parents[2] / "docs" / "tokens.md").read_text()
SECRET, OTHER = "a-secret-of-more-than-thirty-two-bytes", "another-secret-of-more-than-32-bytes"
KEY = "the-api-key"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def listening(desk: Desk) -> Desk:
    """A desk with two secrets and a whole token."""
    (desk.folder / "secret").write_text(f"{SECRET}\n")
    (desk.folder / "in").mkdir()
    http = {
        "listen": "127.0.0.1:0",
        "token_secrets": [{"file": "secret"}, {"env": "SECOND"}],
        "tokens": ["whole-token"],
    }
    desk.configure(local(desk.folder / "in"), http=http)
    return desk


def minted(desk: Desk, *arguments: str, **secret: str) -> str:
    environment = {"SECOND": OTHER, "WEBIO_API_KEY": KEY} | secret
    ran = desk.run("token", "mint", "--organisation", "42", *arguments, timeout=60.0, **environment)
    assert (ran.code, ran.out.count("\n")) == (0, 1), ran.err
    assert not any(secret in ran.out + ran.err for secret in (SECRET, OTHER, KEY))
    return ran.out.strip()


def verdict(desk: Desk, *arguments: str) -> tuple[int, str]:
    ran = desk.run("token", "verify", *arguments, SECOND=OTHER)
    assert not any(secret in ran.out + ran.err for secret in (SECRET, OTHER))
    return ran.code, ran.out


def test_minted_tokens_are_right(listening: Desk, tmp_path: Path) -> None:
    """The secret is the configuration's first, or the one of a file or a variable; the token is right by it."""
    assert verdict(listening, minted(listening)) == (0, "right: signed by secret 1 of 2, does not expire\n")
    secret = tmp_path / "other"
    secret.write_text(f"{OTHER}\n")
    for token in (minted(listening, "--secret-file", str(secret)), minted(listening, WEBIO_TOKEN_SECRET=OTHER)):
        assert verdict(listening, token) == (0, "right: signed by secret 2 of 2, does not expire\n")
    assert verdict(listening, "whole-token") == (0, "right: it is token 1 of 1 in http.tokens\n")


def test_minted_claims(listening: Desk) -> None:
    """--json gives the token with its claims: those asked for, an expiry with --days, and not the API key."""
    ran = listening.run(
        "token", "mint", "--organisation", "42", "--days", "1.5", "--claim", "a=b=c", "--json", WEBIO_API_KEY=KEY,
        SECOND=OTHER,
    )  # fmt: skip
    claims = ran.data["claims"]
    assert jwt.decode(ran.data["token"], SECRET, algorithms=["HS256"]) == claims
    assert (claims["organisationId"], claims["a"], claims["exp"] - claims["iat"]) == ("42", "b=c", 129_600)
    assert KEY not in ran.out


def test_verify_says_why_not(listening: Desk, tmp_path: Path) -> None:
    """A refused token is exit 1, with the reason, from an argument, a file or standard input; also as JSON."""
    file = tmp_path / "token"
    file.write_text(jwt.encode({"a": 1}, "x" * 40, algorithm="HS256") + "\n")
    why = (
        "none of the 2 secrets in http.token_secrets signed it, or it was changed or cut off; nor is it one of the 1"
        " in http.tokens"
    )
    assert verdict(listening, "--file", str(file)) == (1, f"refused: {why}\n")
    code, out = verdict(listening, "--file", str(file), "--json")
    assert (code, json.loads(out)) == (1, {"right": False, "why": why, "claims": None})
    assert verdict(listening, "-") == (1, "refused: it is empty\n")


def test_claims_are_shown(listening: Desk) -> None:
    """`verify --json` shows the claims of a token that one of the secrets signed."""
    code, out = verdict(listening, minted(listening), "--json")
    assert code == 0
    assert json.loads(out)["claims"]["organisationId"] == "42"


WRONG_USES: list[tuple[list[str], str]] = [
    (["mint"], "Missing option '--organisation'"),
    (["mint", "--organisation", "42", "--claim", "a"], "is not NAME=VALUE"),
    (["mint", "--organisation", "42", "--claim", "exp=1"], "which is set by --days"),
    (["mint", "--organisation", "42", "--days", "nan"], "--days"),
    (["mint", "--organisation", "42", "--days", "-1"], "--days"),
    (["verify"], "give the token"),
    (["verify", "x", "--file", "y"], "give the token"),
]


@pytest.mark.parametrize(("arguments", "told"), WRONG_USES)
def test_wrong_use(listening: Desk, arguments: list[str], told: str) -> None:
    """Wrong use is exit 2 and says what is right."""
    ran = listening.run("token", *arguments, SECOND=OTHER)
    assert (ran.code, ran.out) == (2, "")
    assert told in " ".join(ran.err.replace("│", " ").split())


def test_what_cannot_be_used(listening: Desk, tmp_path: Path) -> None:
    """A short secret, a file that is not there or no text, and a configuration without a listener are told."""
    (tmp_path / "short").write_text("too-short")
    (tmp_path / "noise").write_bytes(b"\xff" * 50)
    mint = ["token", "mint", "--organisation", "42", "--secret-file"]
    for name, told in (("short", "has 9 bytes"), ("none", "cannot read"), ("noise", "is not UTF-8 text")):
        ran = listening.run(*mint, str(tmp_path / name), SECOND=OTHER, WEBIO_API_KEY=KEY)
        assert (ran.code, ran.out) == (1, "")
        assert told in ran.err
        assert "too-short" not in ran.err
    listening.configure(local(listening.folder / "in"))
    ran = listening.run("token", "verify", "x")
    assert ran.code == 2
    assert "http: is missing" in ran.err


def test_minting_needs_a_secret(desk: Desk, tmp_path: Path) -> None:
    """Where the configuration has whole tokens only, a secret is asked for; an API key is not."""
    (tmp_path / "in").mkdir()
    desk.configure(local(tmp_path / "in"), http={"listen": "127.0.0.1:0", "tokens": ["whole-token"]})
    ran = desk.run("token", "mint", "--organisation", "42")
    assert (ran.code, "a secret is required" in ran.err) == (2, True)
    ran = desk.run("token", "mint", "--organisation", "42", "--json", WEBIO_TOKEN_SECRET=SECRET)
    assert set(ran.data["claims"]) == {"organisationId", "iat"}


def test_minting_needs_no_configuration(desk: Desk) -> None:
    """With a secret of one's own, a token is made on a machine without a configuration."""
    ran = desk.bare("token", "mint", "--organisation", "42", WEBIO_API_KEY=KEY, WEBIO_TOKEN_SECRET=SECRET)
    assert jwt.decode(ran.out.strip(), SECRET, algorithms=["HS256"])["organisationId"] == "42"


@pytest.mark.parametrize("text", blocks("toml"))
def test_the_settings_on_the_page(text: str, tmp_path: Path) -> None:
    """Every sample of the configuration on the page is valid."""
    for name in ("in/x", "webio-secret", "webio-secret-new", "webio-token"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("x" * 40)
    data: dict[str, Any] = tomllib.loads(text)
    if "listen" not in data["http"]:
        data["http"] |= {"listen": "127.0.0.1:0", "tokens": ["x"]}
    Settings.model_validate({"sources": [local(tmp_path / "in")], **data}, context=Place(tmp_path, {}))


def test_the_commands_on_the_page(desk: Desk) -> None:
    """The commands on the page, one after another, say what the page shows."""
    (desk.folder / "in").mkdir()
    desk.configure(local(desk.folder / "in"))
    desk.config.write_text(desk.config.read_text() + blocks("toml")[0])
    command = desk.folder / "sftpd-processor"
    command.write_text(f'#!/bin/sh\nexec {" ".join(COMMAND)} "$@"\n')
    command.chmod(0o755)
    path = f"{desk.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    root = str(Path(__file__).parents[2])
    environment = os.environ | {"SFTPD_PROCESSOR_CONFIG": str(desk.config), "PATH": path, "PYTHONPATH": root}
    shown = [part.partition("\n") for block in blocks("console") for part in block.removeprefix("$ ").split("\n$ ")]
    assert len(shown) > 10
    for line, _, output in shown:
        done = subprocess.run(
            ["bash", "-c", line], cwd=desk.folder, env=environment, text=True, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, check=False, timeout=60,
        )  # fmt: skip
        assert _without_chances(done.stdout) == _without_chances(output), line


def _without_chances(text: str) -> str:
    text = re.sub(r'"apiKeyHash": "[^"]*"', '"apiKeyHash": "…"', text)
    text = re.sub(r'"iat": \d+', '"iat": …', text)
    return re.sub(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", "…", text).strip()
