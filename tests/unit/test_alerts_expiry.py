"""Certificates and tokens that are about to end."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import jwt
import pytest

from sftpd_processor.alerts.expiry import Expiry, certificate_end, token_end
from sftpd_processor.alerts.notes import Notes
from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import TransientError
from sftpd_processor.ledger.records import now
from tests.alert_items import alert
from tests.certificates import certificate

DAY = 86_400_000_000


def found(expiry: Expiry, days: float) -> dict[str, str]:
    """What is told, by its subject."""
    causes = expiry.check(alert(expiry_days=days), Notes("operators", now))
    return {cause.key.subject: cause.why for cause in causes}


def http(**changes: object) -> HttpSettings:
    return HttpSettings.model_validate({"listen": "127.0.0.1:0", "auth": "none"} | changes)


def signed(**claims: object) -> str:
    return jwt.encode(claims, "s" * 32, algorithm="HS256")


def test_a_certificate(tmp_path: Path) -> None:
    """It is told within the days that are set, and over when another one is taken up, by a reload: not by its file."""
    crt, key = certificate(tmp_path)  # for a day
    at = now()
    expiry = Expiry(http(tls_certificate=crt, tls_key=key), lambda: at)
    assert found(expiry, 0.5) == {}
    assert "in 1 days" in found(expiry, 2)["http.tls_certificate"]
    at += 2 * DAY
    assert "it ended at" in found(expiry, 2)["http.tls_certificate"]
    at -= 2 * DAY
    longer = certificate(tmp_path, "other", days=90)[0]
    crt.write_bytes(longer.read_bytes())
    assert list(found(expiry, 2)) == ["http.tls_certificate"]
    assert found(Expiry(http(tls_certificate=crt, tls_key=key), lambda: at), 2) == {}


def test_the_first_that_ends_of_several(tmp_path: Path) -> None:
    """Of a file with the certificates between ours and its root, the first that ends counts."""
    long, short = certificate(tmp_path, "long", days=90)[0], certificate(tmp_path, "short")[0]
    both = certificate_end(long.read_bytes() + short.read_bytes())
    assert both == certificate_end(short.read_bytes())
    assert abs(both / 1_000_000 - (datetime.now(UTC) + timedelta(days=1)).timestamp()) < 600


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_certificate_that_cannot_be_read(tmp_path: Path, content: bytes | None) -> None:
    """While its file is gone or half-written nothing is known: neither is it told, nor is it over."""
    crt, key = certificate(tmp_path)
    crt.unlink()
    if content is not None:
        crt.write_bytes(content)
    with pytest.raises(TransientError, match="cannot be read"):
        found(Expiry(http(tls_certificate=crt, tls_key=key), now), 2)


def test_tokens() -> None:
    """Whole tokens that are signed and end are told by their number; others have no end that is known."""
    tokens = [
        "plain-token",
        signed(exp=int(time.time()) + 86_400),
        signed(sub="x"),
        signed(exp=int(time.time()) + 10**7),
    ]
    assert list(found(Expiry(http(tokens=tokens), now), 14)) == ["http.tokens[1]"]
    assert found(Expiry(None, now), 14) == {}


@pytest.mark.parametrize(
    "token", ["", "..", "a.b.c", "a.e30.c", "a.W10.c", "a.eyJleHAiOiJ4In0.c", "a.eyJleHAiOjFlOTk5fQ.c"]
)
def test_what_is_no_token(token: str) -> None:
    """Whatever is not a token with an end has none."""
    assert token_end(token) is None
