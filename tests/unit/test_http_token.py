"""Which tokens are right: by secret, by text, by claims and by time; and what people are told about the others."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.errors import ConfigurationError, PermanentError
from sftpd_processor.http.token import LONGEST_TOKEN, Verifier, mint
from tests.support import wait_until

OLD, NEW, OTHER = (name * 8 for name in ("old-", "new-", "else"))
NOW = int(time.time())
LEEWAY = 6_000  # seconds; a slow machine reaches a test long after its tokens were made


def verifier(**changes: Any) -> Verifier:
    return Verifier(
        HttpSettings(**{"listen": "127.0.0.1:0", "token_secrets": [OLD, NEW], "token_leeway_seconds": LEEWAY} | changes)
    )


def signed(secret: str = NEW, algorithm: str = "HS256", head: dict[str, Any] | None = None, **claims: Any) -> str:
    return jwt.encode(claims or {"organisationId": "42"}, secret, algorithm=algorithm, headers=head)


def by_hand(head: Any, body: Any, secret: str = NEW, digest: str = "sha256") -> str:
    """A token with any content, whose signature is right."""
    parts = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in (head, body)]
    said = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    signature = hmac.digest(secret.encode(), said, digest)
    return (said + b"." + base64.urlsafe_b64encode(signature).rstrip(b"=")).decode()


HEAD = {"alg": "HS256", "typ": "JWT"}


def public_key() -> str:
    key = rsa.generate_private_key(65537, 2048).public_key()
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()


RIGHT = {
    "the first secret": signed(OLD),
    "the second secret": signed(NEW),
    "made by us": mint("42", "key", NEW),
    "made by us, for a day": mint("42", "key", NEW, days=1),
    "not expired yet": signed(exp=NOW + 10_000),
    "expired within the leeway": signed(exp=NOW - 3_000),
    "valid soon, within the leeway": signed(nbf=NOW + 3_000),
    "expiry as text": signed(exp=str(NOW + 10_000)),
    "issued in the future": signed(iat=NOW + 10_000),
    "for an audience": signed(aud="somebody", iss="webio", sub="x", jti="1"),
    "a subject that is a number": by_hand(HEAD, {"sub": 42, "jti": 1}),
    "no claims": by_hand(HEAD, {}),
    "no type": by_hand({"alg": "HS256"}, {"a": 1}),
}
WRONG = {
    "empty": "",
    "no JWT": "hello",
    "another secret": signed(OTHER),
    "no algorithm": jwt.encode({"a": 1}, "", algorithm="none"),
    "no algorithm, signed": by_hand({"alg": "none"}, {"a": 1}),
    "no algorithm, in capitals": by_hand({"alg": "NONE"}, {"a": 1}),
    "no algorithm named": by_hand({"typ": "JWT"}, {"a": 1}),
    "a list as algorithm": by_hand({"alg": ["HS256"]}, {"a": 1}),
    "HS512": by_hand({"alg": "HS512"}, {"a": 1}, digest="sha512"),
    "HS384": by_hand({"alg": "HS384"}, {"a": 1}),
    "RS256 by name": by_hand({"alg": "RS256"}, {"a": 1}),
    "lower case": by_hand({"alg": "hs256"}, {"a": 1}),
    "cut off": signed()[:-1],
    "cut in half": signed()[: len(signed()) // 2],
    "longer": signed() + "A",
    "without signature": signed().rpartition(".")[0] + ".",
    "four parts": signed() + ".x",
    "another body": signed().replace(signed().split(".")[1], signed(a=1).split(".")[1]),
    "Bearer": f"Bearer {signed()}",
    "in quotes": f'"{signed()}"',
    "a line break": f"{signed()}\n",
    "expired": signed(exp=NOW - 10_000),
    "not valid yet": signed(nbf=NOW + 10_000),
    "expires at no number": by_hand(HEAD, {"exp": "soon"}),
    "expires at infinity": by_hand(HEAD, b'{"exp": Infinity}'),
    "expires at null": by_hand(HEAD, {"exp": None}),
    "valid from a list": by_hand(HEAD, {"nbf": [1]}),
    "a list of claims": by_hand(HEAD, [1]),
    "claims that are no JSON": by_hand(HEAD, b"{"),
    "claims that are no text": by_hand(HEAD, b"\xff\xfe"),
    "claims nested deep": by_hand(HEAD, b'{"a":' + b"[" * 2000),
    "a head nested deep": by_hand(b"[" * 2000, {"a": 1}),
    "an unknown extension that is critical": by_hand(HEAD | {"crit": ["x"], "x": 1}, {"a": 1}),
    "a detached body": by_hand(HEAD | {"b64": False, "crit": ["b64"]}, {"a": 1}),
    "too long": signed(a="x" * LONGEST_TOKEN),
    "not ASCII": signed() + "\u00e9",
}


@pytest.mark.parametrize("token", RIGHT.values(), ids=RIGHT.keys())
def test_right_tokens(token: str) -> None:
    """A token that any of the secrets signed is right, at once and again; people are told so, too."""
    made = verifier()
    assert made.accepts(token.encode())
    assert made.accepts(token.encode())
    assert made.why_refused(token) is None
    assert made.examine(token).told.startswith("signed by secret ")


@pytest.mark.parametrize("token", WRONG.values(), ids=WRONG.keys())
def test_wrong_tokens(token: str) -> None:
    """Every other token is refused, also after a right one; people get a reason, in which there is no secret."""
    made = verifier()
    assert made.accepts(signed().encode())
    for _ in range(2):
        assert not made.accepts(token.encode())
    why = made.why_refused(token)
    assert why
    assert not any(secret in why for secret in (OLD, NEW, OTHER))


def test_a_public_key_is_no_secret() -> None:
    """A certificate's or a key's text given as a secret is a mistake in the settings: with it anybody could sign."""
    pem = public_key()
    with pytest.raises(ConfigurationError, match=r"http.token_secrets\[1\]: is a certificate or a key file") as caught:
        verifier(token_secrets=[OLD, pem])
    assert pem.splitlines()[1] not in str(caught.value)
    with pytest.raises(ConfigurationError):
        mint("42", "key", pem)


REASONS = [
    (signed(OTHER), "none of the 2 secrets in http.token_secrets signed it, or it was changed or cut off"),
    (signed(exp=1_700_000_000), "signed by secret 2 of 2, but it expired 2023-11-14 22:13:20 UTC"),
    (signed(OLD, nbf=4_000_000_000), "signed by secret 1 of 2, but it is not valid before 2096-10-02 07:06:40 UTC"),
    (signed(algorithm="HS512", secret=NEW * 2), "its algorithm is HS512; only HS256 is taken"),
    (f"Bearer {signed()}", 'it begins with "Bearer", which is no part of it'),
    (f"'{signed()}'", "it has quotes around it, which are no part of it"),
    (f" {signed()}", "it has a space or a line break in it; it is one word"),
    (f"x-webio-token: {signed()}", "it begins with the header's name; give what follows `x-webio-token:`"),
    ("a.b", "it is no JWT: it has 2 of the 3 parts with dots between them"),
    ("a.b.c", "it is no JWT: its first part cannot be read"),
    (signed().split(".")[0] + ".b.c", "it is no JWT: its second part cannot be read"),
    (by_hand({"alg": "<script>"}, {}), "its algorithm is another; only HS256 is taken"),
    ("", "it is empty"),
]


@pytest.mark.parametrize(("token", "why"), REASONS)
def test_the_reason(token: str, why: str) -> None:
    """People are told exactly what is wrong."""
    assert verifier().why_refused(token) == why


def test_exact_tokens() -> None:
    """Whole tokens are right as they are, whatever they look like, alone or beside secrets."""
    for secrets in ([], [OLD]):
        made = verifier(token_secrets=secrets, tokens=["one", "two words"])
        assert [made.accepts(token) for token in (b"one", b"two words", b"on", b"onee", b"ONE")] == [True] * 2 + [
            False
        ] * 3
        assert made.examine("two words").told == "it is token 2 of 2 in http.tokens"
        assert made.accepts(signed(OLD).encode()) == bool(secrets)
    assert verifier(token_secrets=[], tokens=["one"]).why_refused(signed()) == (
        "there are no http.token_secrets that could have signed it; nor is it one of the 1 in http.tokens"
    )


CLAIMS = [
    ("42", {"organisationId": "42"}, True),
    ("42", {"organisationId": 42}, True),
    ("42", {"organisationId": "43"}, False),
    ("42", {"organisationId": ["42"]}, False),
    ("42", {"organisationId": None}, False),
    ("42", {"other": "42"}, False),
    ("true", {"organisationId": True}, True),
    ("1", {"organisationId": True}, False),
    ("1.5", {"organisationId": 1.5}, True),
    ("*", {"organisationId": "anything"}, True),
    ("*", {"organisationId": ""}, True),
    ("*", {"organisationId": None}, False),
    ("*", {"other": 1}, False),
]


@pytest.mark.parametrize(("wanted", "claims", "right"), CLAIMS)
def test_required_claims(wanted: str, claims: dict[str, Any], right: bool) -> None:
    """A required claim must be there with its value, a number as its digits; * stands for any value but none."""
    made = verifier(token_claims={"organisationId": wanted})
    assert made.accepts(signed(**claims).encode()) == right
    why = made.why_refused(signed(**claims))
    assert (why is None) == right
    assert right or "'organisationId'" in (why or "")


def test_the_leeway() -> None:
    """The leeway is the one of the settings; with none, the second of expiry is too late."""
    strict = verifier(token_leeway_seconds=0)
    assert not strict.accepts(signed(exp=NOW - 1).encode())
    assert not strict.accepts(signed(nbf=NOW + 10_000).encode())
    assert verifier(token_leeway_seconds=20_000).accepts(signed(exp=NOW - 10_000).encode())


def test_a_remembered_token_expires() -> None:
    """A token that was right and is remembered is refused as soon as it has expired."""
    made, expiry = verifier(token_leeway_seconds=0), int(time.time()) + 2
    token = signed(exp=expiry).encode()
    assert made.accepts(token)
    assert made._good_until[made._digest(token)] == expiry
    wait_until(lambda: not made.accepts(token))
    assert expiry <= time.time() < expiry + 1
    assert verifier(token_leeway_seconds=60).accepts(token)


def test_only_right_tokens_are_remembered_and_not_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong tokens take no room; of right ones the oldest makes room. No token is kept as it is."""
    monkeypatch.setattr("sftpd_processor.http.token._MOST_CACHED", 5)
    made = verifier()
    for number in range(20):
        assert not made.accepts(signed(OTHER, a=number).encode())
        assert made.accepts(signed(a=number).encode())
        assert len(made._good_until) == min(number + 1, 5)
    assert not any(signed(a=19).encode() in key for key in made._good_until)


def test_a_cached_check_is_cheap() -> None:
    """A check of a known token costs microseconds, less than a tenth of the first one."""

    def cost(each: int, known: bool) -> float:
        began = time.perf_counter()
        for _ in range(each):
            if not known:
                made._good_until.clear()
            assert made.accepts(token)
        return (time.perf_counter() - began) / each

    made, token = verifier(), signed().encode()
    assert made.accepts(token)
    assert min(cost(2000, True) for _ in range(5)) < min(cost(100, False) for _ in range(5)) / 10


def test_minting() -> None:
    """A minted token has the organisation, a fingerprint of the API key that the key alone does not give, the moment,
    its expiry and what was given; never the key."""
    token = mint("42", "the-api-key", NEW, days=2, claims={"environment": "test"})
    claims = jwt.decode(token, NEW, algorithms=["HS256"])
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT"}
    assert set(claims) == {"organisationId", "apiKeyHash", "iat", "exp", "environment"}
    assert claims["exp"] - claims["iat"] == 2 * 86_400
    assert abs(claims["iat"] - time.time()) < 10
    again = jwt.decode(mint("42", "the-api-key", OLD), OLD, algorithms=["HS256"])
    assert "exp" not in again
    assert again["apiKeyHash"] != claims["apiKeyHash"]
    assert "the-api-key" not in json.dumps(claims)


def test_minting_needs_a_long_secret() -> None:
    """A secret below 32 bytes makes no token, and is not told."""
    with pytest.raises(PermanentError, match="has 9 bytes; give one of at least 32") as caught:
        mint("42", "key", "too-short")
    assert "too-short" not in str(caught.value)


def test_nothing_shows_a_secret(tmp_path: Path) -> None:
    """No text of a verifier or a finding holds a secret or an exact token."""
    made = verifier(tokens=["an-exact-token"])
    told = repr(made) + str(made) + repr(made.examine(signed())) + repr(made.examine("an-exact-token"))
    assert not any(text in told for text in (OLD, NEW, "an-exact-token"))
