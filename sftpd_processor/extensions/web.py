"""An HTTP service that a user names: its URL, the headers sent to it, and whom its certificate must come from."""

from __future__ import annotations

import re
import ssl
from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, ClassVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, field_validator

from sftpd_processor.config.kinds import LocalPath
from sftpd_processor.config.secrets import Secret
from sftpd_processor.errors import ConfigurationError, Problem
from sftpd_processor.extensions.options import BuiltinOptions

_HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def _is_a_url(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    try:
        parts = urlsplit(text)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not text.isprintable() or " " in text:
        raise ValueError("must be a URL that begins with https:// or http:// and names a host")
    return url


def _is_there(path: Path) -> Path:
    if not path.is_file():
        raise ValueError(f"there is no file {path}")
    return path


Url = Annotated[Secret, AfterValidator(_is_a_url)]
CertificateFile = Annotated[LocalPath, AfterValidator(_is_there)]


def _checked(headers: dict[str, SecretStr], ours: Collection[str]) -> dict[str, SecretStr]:
    """The headers, if they may be sent and are none of `ours` (in small letters).

    Raises ValueError, whose text never holds a value.
    """
    for name, value in headers.items():
        text = value.get_secret_value()
        if not _HEADER_NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of an HTTP header")
        if name.lower() in ours or name.lower().startswith("x-sftpd-processor-"):
            raise ValueError(f"the header {name!r} is set by this program; leave it out")
        if not (text.isascii() and text.isprintable()) or text != text.strip():
            raise ValueError(f"the value of {name!r} must be one line of ASCII characters")
    return headers


class WebOptions(BuiltinOptions):
    """What whoever calls a service needs beside its URL. A subclass names the headers that are `ours` to set."""

    ours: ClassVar[frozenset[str]]

    headers: dict[str, Secret] = Field(default_factory=dict)
    ca_file: CertificateFile | None = None

    @field_validator("headers")
    @classmethod
    def _are_headers(cls, headers: dict[str, SecretStr]) -> dict[str, SecretStr]:
        return _checked(headers, cls.ours)


def sent_headers(headers: Mapping[str, SecretStr]) -> dict[str, str]:
    """What goes with each request: the user's, and ours."""
    own = {name: value.get_secret_value() for name, value in headers.items()}
    # identity: of an answer only a bounded part is read, and as it comes
    return {"user-agent": f"sftpd-processor/{version('sftpd-processor')}", "accept-encoding": "identity", **own}


def trust(ca_file: Path | None, where: str) -> ssl.SSLContext | bool:
    """Whom to trust; raises ConfigurationError at the path `where`."""
    if ca_file is None:
        return True
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError is one
        why = f"cannot read certificates from {ca_file}: {error.strerror or error}"
        raise ConfigurationError([Problem(where, why)]) from error
