"""Which listener `simulate` calls, and the token it shows there."""

from __future__ import annotations

import os
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import typer

if TYPE_CHECKING:
    from sftpd_processor.config.settings import HttpSettings

_PRETEND = "pretend-webio"
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - these are where nobody can be called


@dataclass(frozen=True, slots=True)
class Listener:
    """Where to send requests. `certificate` is the only one believed; None leaves it to the system's authorities."""

    url: str
    token: str | None = field(repr=False)
    webhooks_path: str
    custom_values_path: str
    certificate: Path | None = None

    def trust(self) -> ssl.SSLContext:
        """What its certificate must fit to."""
        if self.certificate is None:
            return ssl.create_default_context()
        context = ssl.create_default_context(cafile=self.certificate)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # the very one that is configured, whoever signed it
        context.check_hostname = False  # and by whatever address it listens at
        return context


def find_listener(config: Path | None, url: str | None, token_file: Path | None) -> Listener:
    """The listener of the configuration, or the one at `url`, with a token made here or read from a file.

    The configuration is not read when both are given, unless it is named.
    """
    from sftpd_processor.testing.webio_http import CUSTOM_VALUES_PATH, WEBHOOKS_PATH

    named = None if url is None else _checked(url)
    told = None if token_file is None else _read_token(token_file)
    if named is not None and told is not None and config is None:
        return Listener(named, told, WEBHOOKS_PATH, CUSTOM_VALUES_PATH)
    http = _configured(config)
    return Listener(
        named or _own_url(http),
        told or _own_token(http),
        http.webhooks_path,
        http.custom_values_path,
        None if named else http.tls_certificate,
    )


def _checked(url: str) -> str:
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or "@" in url or parts.query or parts.fragment or not url.isprintable():
        raise typer.BadParameter("--url must be like https://webio.example.com:8443, without user, password or query")
    return url.rstrip("/")


def _read_token(path: Path) -> str:
    from sftpd_processor.config.kinds import Place
    from sftpd_processor.config.secrets import resolve

    try:
        token = resolve({"file": str(path)}, Place(Path(), os.environ)).get_secret_value()
    except ValueError as error:
        raise typer.BadParameter(f"--token-file: {error}") from None
    if not (token.isascii() and token.isprintable()) or token != token.strip():
        raise typer.BadParameter(f"--token-file {path}: a token is one line of ASCII characters")
    return token


def _configured(config: Path | None) -> HttpSettings:
    from sftpd_processor.config.load import find_config, load_settings

    http = load_settings(find_config(config)).http
    if http is None:
        raise typer.BadParameter("the configuration has no [http]; give --url and --token-file")
    return http


def _own_url(http: HttpSettings) -> str:
    from sftpd_processor.config.kinds import split_address

    host, port = split_address(http.listen)
    host = _ANYWHERE.get(host, host)
    scheme = "https" if http.tls_certificate else "http"
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _own_token(http: HttpSettings) -> str | None:
    from sftpd_processor.http.token import ANY_VALUE, mint

    if http.auth == "none":
        return None
    if not http.token_secrets:
        return http.tokens[0].get_secret_value()
    claims = {name: _PRETEND if value == ANY_VALUE else value for name, value in http.token_claims.items()}
    return mint(_PRETEND, _PRETEND, http.token_secrets[0].get_secret_value(), days=1, claims=claims)
