"""Certificates and tokens of the public listener that are about to end."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.alerts import AlertSettings
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import TransientError
from sftpd_processor.ledger.records import moment

_DAY = 86_400_000_000  # microseconds
_PARTS = 3  # of a signed token


class Expiry:
    """Watches what the listener uses, which takes up files at its start and at a reload: each is read once."""

    def __init__(self, http: HttpSettings | None, now: Callable[[], int]) -> None:
        """`now` is the ledger's clock."""
        self._http = http
        self._now = now
        self._read: int | None = None

    @property
    def names(self) -> set[str]:
        """The settings that are watched."""
        if self._http is None:
            return set()
        certificate = {"http.tls_certificate"} if self._http.tls_certificate is not None else set()
        return certificate | {f"http.tokens[{index}]" for index in range(len(self._http.tokens))}

    def check(self, settings: AlertSettings, _notes: Notes) -> Iterator[Cause]:
        """By setting. Raises `TransientError` when the certificate cannot be read now."""
        before = int(settings.expiry_days * _DAY)
        for subject, end in self._ends():
            if end - self._now() <= before:
                yield Cause(Key("expiry", subject), end - before, self._told(end))

    def _ends(self) -> Iterator[tuple[str, int]]:
        if self._http is None:
            return
        for index, token in enumerate(self._http.tokens):
            if (end := token_end(token.get_secret_value())) is not None:
                yield f"http.tokens[{index}]", end
        if self._http.tls_certificate is not None:
            yield "http.tls_certificate", self._certificate(self._http.tls_certificate)

    def _certificate(self, path: Path) -> int:
        if self._read is None:
            try:
                self._read = certificate_end(path.read_bytes())
            except (OSError, ValueError) as error:
                raise TransientError(f"the certificate in {path} cannot be read") from error
        return self._read

    def _told(self, end: int) -> str:
        days = (end - self._now()) / _DAY
        at = _shown(moment(end))
        return f"it ended at {at}" if days <= 0 else f"it ends at {at}, in {days:.0f} days"


def certificate_end(pem: bytes) -> int:
    """When the first of the certificates in it ends (microseconds since 1970). Raises ValueError."""
    from cryptography.x509 import load_pem_x509_certificates

    ends = [each.not_valid_after_utc for each in load_pem_x509_certificates(pem)]
    return int(min(ends).timestamp() * 1_000_000)


def token_end(token: str) -> int | None:
    """Its `exp` (microseconds since 1970), if it is a signed token that has one; whether it is right is not asked."""
    parts = token.split(".")
    if len(parts) != _PARTS:
        return None
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return int(claims["exp"] * 1_000_000)
    except (ValueError, binascii.Error, RecursionError, LookupError, TypeError, OverflowError):
        return None


def _shown(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
