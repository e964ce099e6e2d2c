"""The verb simulate finds the listener, its paths, its certificate and a token in the configuration."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.cli.simulate_listener import find_listener
from sftpd_processor.config.load import load_settings
from sftpd_processor.config.schema import toml
from sftpd_processor.http.token import Verifier
from tests.certificates import self_signed
from tests.integration.pretend_listener import Asked, PretendListener, pretend_listener
from tests.integration.test_simulate import run

SECRETS = ["the first secret, which has at least 32 bytes", "the second secret, which has 32 bytes, too"]


def configured(folder: Path, listener: PretendListener, **http: Any) -> Path:
    (folder / "in").mkdir(exist_ok=True)
    config = folder / "config.toml"
    source = {"name": "local", "type": "directory", "folder": str(folder / "in")}
    tables = {"sources": [source], "http": {"listen": f"127.0.0.1:{listener.port}", **http}}
    config.write_text("".join(f"{key} = {toml(value)}\n" for key, value in tables.items()))
    config.chmod(0o600)
    return config


def answer(_asked: Asked) -> tuple[int, Any]:
    return 200, {"verdict": "accepted"}


def test_a_token_of_the_first_secret(tmp_path: Path) -> None:
    """It is signed by the first secret, has the claims that the settings require, and the listener accepts it."""
    with pretend_listener(answer) as listener:
        claims = {"organisationId": "42", "purpose": "*"}
        config = configured(tmp_path, listener, token_secrets=SECRETS, token_claims=claims)
        assert run("--live", "--count", "3", config=config).exit_code == 0
    http = load_settings(config).http
    assert http is not None
    finding = Verifier(http).examine(listener.asked[0].headers["x-webio-token"])
    assert finding.right
    assert "secret 1 of 2" in finding.told


def test_an_exact_token(tmp_path: Path) -> None:
    """Where there are only exact tokens, the first of them is sent; with --token-file, the one in it."""
    (tmp_path / "token").write_text("of-a-file")
    with pretend_listener(answer) as listener:
        config = configured(tmp_path, listener, tokens=["exact-1", "exact-2"])
        for more in ([], ["--token-file", str(tmp_path / "token")]):
            assert run("--live", "--count", "1", *more, config=config).exit_code == 0
    assert [each.headers["x-webio-token"] for each in listener.asked] == ["exact-1", "of-a-file"]


def test_no_token_at_all(tmp_path: Path) -> None:
    """A listener that asks for none gets none."""
    with pretend_listener(answer) as listener:
        config = configured(tmp_path, listener, auth="none")
        assert run("--ask", "x", "--count", "1", config=config).exit_code == 0
    assert "x-webio-token" not in listener.asked[0].headers


def test_the_configured_paths(tmp_path: Path) -> None:
    """Posts and questions go to the paths of the configuration, also with --url."""
    paths = {"webhooks_path": "/hooks", "custom_values_path": "/values"}
    with pretend_listener(answer) as listener:
        config = configured(tmp_path, listener, auth="none", **paths)
        for what in (["--live"], ["--ask", "x"], ["--live", "--url", listener.url]):
            assert run(*what, "--count", "1", config=config).exit_code == 0
    assert [each.path for each in listener.asked] == ["/hooks", "/values", "/hooks"]


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("0.0.0.0:8080", "http://127.0.0.1:8080"),
        ("[::]:8080", "http://[::1]:8080"),
        ("192.0.2.1:80", "http://192.0.2.1:80"),
    ],
)
def test_the_address_to_call(tmp_path: Path, listen: str, url: str) -> None:
    """A listener on all addresses is called on this machine's own; any other one at its address."""
    config = configured(tmp_path, PretendListener(0), listen=listen, tokens=["exact"])
    assert find_listener(config, None, None).url == url


def test_its_own_certificate_is_believed(tmp_path: Path) -> None:
    """A configured certificate that nobody signed is believed, and another one in its place is not."""
    right, other = self_signed(tmp_path / "right"), self_signed(tmp_path / "other")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*right)
    with pretend_listener(answer, context) as listener:
        for (certificate, key), code in ((right, 0), (other, 1)):
            config = configured(tmp_path, listener, auth="none", tls_certificate=str(certificate), tls_key=str(key))
            assert run("--live", "--count", "1", config=config).exit_code == code
    assert len(listener.asked) == 1


def test_no_listener_is_configured(tmp_path: Path) -> None:
    """Without [http] it ends with 2 and says which options name a listener."""
    config = tmp_path / "config.toml"
    config.write_text(f'[[sources]]\nname = "local"\ntype = "directory"\nfolder = {toml(str(tmp_path))}\n')
    result = run("--live", config=config)
    assert result.exit_code == 2
    assert "--url and --token-file" in " ".join(result.stderr.replace("│", " ").split())
