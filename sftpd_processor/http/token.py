"""The token by which Webio shows that a request is its own: `x-webio-token`, a JWT that is the same for every request.

Documented by Webio: the token is made from the organisation's API key, a secret of at least 32 bytes and the
organisation's id, and sent until a new one is made. Assumed: it is signed by HS256, and which claims it has.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import math
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import jwt

from sftpd_processor.config.http import LEAST_SECRET, HttpSettings
from sftpd_processor.errors import ConfigurationError, PermanentError, Problem

HEADER = "x-webio-token"
ALGORITHM = "HS256"
LONGEST_TOKEN = 8192
"""Bytes; a longer token is refused without being looked at."""
ANY_VALUE = "*"

_MOST_CACHED = 1024
_DAY = 86_400
_SIGNED_PARTS = 3
_CHECKS: Any = {  # only what the settings speak of; PyJWT would also refuse every token that has an `aud`
    "verify_exp": True, "verify_nbf": True, "verify_iat": False, "verify_aud": False, "verify_sub": False,
    "verify_jti": False,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Finding:
    """Whether a token is right, and why, for people: it holds no secret, but may hold claims of the token."""

    right: bool
    told: str
    claims: Mapping[str, Any] | None = None


class Verifier:
    """Tells right tokens from others, by the secrets, the exact tokens and the claims of the settings.

    Raises:
        ConfigurationError: a secret is a key file's text, which no token can be signed with.
    """

    def __init__(self, settings: HttpSettings) -> None:
        self._secrets = tuple(secret.get_secret_value().encode() for secret in settings.token_secrets)
        self._required = dict(settings.token_claims)
        self._leeway = settings.token_leeway_seconds
        self._key = os.urandom(32)
        self._exact = tuple(self._digest(token.get_secret_value().encode()) for token in settings.tokens)
        self._good_until: dict[bytes, float] = {}
        _refuse_key_files(self._secrets)

    def accepts(self, token: bytes) -> bool:
        """Whether a token is right now.

        Only right tokens are remembered, each by a keyed digest, so that neither the memory nor the time that
        looking it up takes tells anything about them.
        """
        if len(token) > LONGEST_TOKEN:
            return False
        digest = self._digest(token)
        if time.time() < self._good_until.get(digest, 0.0):
            return True
        until = self._good_for(token, digest)
        if until is None:
            return False
        if len(self._good_until) >= _MOST_CACHED:
            del self._good_until[next(iter(self._good_until))]
        self._good_until[digest] = until
        return True

    def why_refused(self, token: str) -> str | None:
        """What is wrong with a token, for people; None when it is right."""
        finding = self.examine(token)
        return None if finding.right else finding.told

    def examine(self, token: str) -> Finding:
        """What there is to be said about a token, for people."""
        data = token.encode(errors="surrogateescape")
        digest = self._digest(data)
        for number, known in enumerate(self._exact, 1):
            if hmac.compare_digest(known, digest):
                return Finding(right=True, told=f"it is token {number} of {len(self._exact)} in http.tokens")
        if why := _spoiled(token):
            return Finding(right=False, told=why)
        if why := _not_signed(token):
            return Finding(right=False, told=f"{why}{self._nor_exact}")
        signers = self._signers(data)
        if not signers:
            return Finding(right=False, told=f"{self._no_signer}{self._nor_exact}")
        return self._judge(data, signers[0])

    def _judge(self, token: bytes, index: int) -> Finding:
        by = f"signed by secret {index + 1} of {len(self._secrets)}"
        try:
            claims = self._claims(token, self._secrets[index])
        except jwt.PyJWTError as error:
            return Finding(right=False, told=f"{by}, but {self._rejected(token, error)}")
        if wrong := self._wrong_claim(claims):
            return Finding(right=False, told=f"{by}, but {wrong}", claims=claims)
        until = f"expires {_moment(claims['exp'])}" if "exp" in claims else "does not expire"
        return Finding(right=True, told=f"{by}, {until}", claims=claims)

    def _digest(self, token: bytes) -> bytes:
        return hashlib.blake2b(token, digest_size=32, key=self._key).digest()

    def _good_for(self, token: bytes, digest: bytes) -> float | None:
        """Until when a token is right, in seconds since 1970; None when it is not."""
        if any([hmac.compare_digest(known, digest) for known in self._exact]):  # noqa: C419 - all of them, always
            return math.inf
        for index in self._signers(token):
            try:
                claims = self._claims(token, self._secrets[index])
            except jwt.PyJWTError:
                continue
            if self._wrong_claim(claims) is None:
                return int(claims["exp"]) + self._leeway if "exp" in claims else math.inf
        return None

    def _signers(self, token: bytes) -> list[int]:
        """Which secrets made its signature. PyJWT has the last word; but it takes a hundred times as long to refuse."""
        signed, _, signature = token.rpartition(b".")
        expected = [_unpadded(hmac.digest(secret, signed, "sha256")) for secret in self._secrets]
        return [index for index, each in enumerate(expected) if hmac.compare_digest(each, signature)]

    def _claims(self, token: bytes, secret: bytes) -> dict[str, Any]:
        return jwt.decode(token, secret, algorithms=[ALGORITHM], options=_CHECKS, leeway=self._leeway)

    def _wrong_claim(self, claims: Mapping[str, Any]) -> str | None:
        for name, wanted in self._required.items():
            found = _as_text(claims.get(name))
            if found is None:
                return f"it lacks the claim {name!r}, which http.token_claims requires"
            if wanted not in (ANY_VALUE, found):
                return f"its claim {name!r} is not the one that http.token_claims requires"
        return None

    def _rejected(self, token: bytes, error: jwt.PyJWTError) -> str:
        claims = _decoded(token.split(b".")[1].decode()) or {}
        if isinstance(error, jwt.ExpiredSignatureError):
            return f"it expired {_moment(claims['exp'])}"
        if isinstance(error, jwt.ImmatureSignatureError):
            return f"it is not valid before {_moment(claims['nbf'])}"
        return f"it cannot be used: {error}"

    @property
    def _no_signer(self) -> str:
        match len(self._secrets):
            case 0:
                return "there are no http.token_secrets that could have signed it"
            case 1:
                return "the secret in http.token_secrets did not sign it, or it was changed or cut off"
            case count:
                return f"none of the {count} secrets in http.token_secrets signed it, or it was changed or cut off"

    @property
    def _nor_exact(self) -> str:
        return f"; nor is it one of the {len(self._exact)} in http.tokens" if self._exact else ""


def mint(
    organisation: str, api_key: str, secret: str, *, days: float | None = None, claims: Mapping[str, str] | None = None
) -> str:
    """A token such as Webio makes; its claims are assumed.

    Anybody who sees a token can read it, so the API key, if there is one, is in it only as a fingerprint, which the
    secret is needed to make.

    Raises:
        PermanentError: the secret is too short, or a key file's text.
    """
    key = secret.encode()
    if len(key) < LEAST_SECRET:
        raise PermanentError(f"the secret has {len(key)} bytes; give one of at least {LEAST_SECRET}")
    _refuse_key_files((key,))
    now = int(time.time())
    body: dict[str, Any] = {"organisationId": organisation, "iat": now}
    if api_key:
        body["apiKeyHash"] = hmac.digest(key, b"apiKey:" + api_key.encode(), "sha256")[:8].hex()
    if days is not None:
        body["exp"] = now + int(days * _DAY)
    return jwt.encode(body | dict(claims or {}), key, algorithm=ALGORITHM)


def _refuse_key_files(secrets: tuple[bytes, ...]) -> None:
    """PyJWT takes none, lest somebody signs by a public key; say so at the start, rather than refuse every token."""
    prepare = jwt.get_algorithm_by_name(ALGORITHM).prepare_key
    problems = []
    for index, secret in enumerate(secrets):
        try:
            prepare(secret)
        except jwt.InvalidKeyError:
            why = "is a certificate or a key file; give the secret that Webio was given, which is shared by both sides"
            problems.append(Problem(f"http.token_secrets[{index}]", why))
    if problems:
        raise ConfigurationError(problems)


def _spoiled(token: str) -> str | None:
    """What happened to a token while it was copied."""
    if not token:
        return "it is empty"
    if len(token.encode(errors="surrogateescape")) > LONGEST_TOKEN:
        return f"it has {len(token):,} characters; at most {LONGEST_TOKEN:,} are looked at"
    if token.lower().startswith(HEADER):
        return f"it begins with the header's name; give what follows `{HEADER}:`"
    if token.lower().startswith("bearer"):
        return 'it begins with "Bearer", which is no part of it'
    if token[0] in "\"'`" or token[-1] in "\"'`":
        return "it has quotes around it, which are no part of it"
    if any(char.isspace() for char in token):
        return "it has a space or a line break in it; it is one word"
    if not token.isascii():
        return "it has characters that no token has; it was changed on its way"
    return None


def _not_signed(token: str) -> str | None:
    """Why it is no JWT that is signed as ours are."""
    parts = token.split(".")
    if len(parts) != _SIGNED_PARTS:
        return f"it is no JWT: it has {len(parts)} of the {_SIGNED_PARTS} parts with dots between them"
    head, body = _decoded(parts[0]), _decoded(parts[1])
    if head is None or body is None:
        return f"it is no JWT: its {'first' if head is None else 'second'} part cannot be read"
    algorithm = head.get("alg")
    if algorithm != ALGORITHM:
        told = algorithm if isinstance(algorithm, str) and algorithm.isalnum() and len(algorithm) < 10 else "another"
        return f"its algorithm is {told}; only {ALGORITHM} is taken"
    return None


def _decoded(part: str) -> dict[str, Any] | None:
    try:
        data = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _unpadded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _as_text(value: object) -> str | None:
    """A claim as the settings write it; a list, an object or null equals nothing that could be written there."""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int | float) else None


def _moment(seconds: Any) -> str:
    try:
        return datetime.fromtimestamp(int(seconds), UTC).isoformat(sep=" ").replace("+00:00", " UTC")
    except (ValueError, TypeError, OverflowError, OSError):
        return "at a time that cannot be read"
