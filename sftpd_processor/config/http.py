"""The settings of the two listeners: the public one, which Webio calls, and the operators' one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, SecretStr

from sftpd_processor.config.kinds import (
    Address,
    Flag,
    Line,
    LocalPath,
    MaybeNoSeconds,
    Network,
    Seconds,
    UrlPath,
    Whole,
    is_loopback,
)
from sftpd_processor.config.reading import Reading
from sftpd_processor.config.secrets import Secret
from sftpd_processor.config.section import Contradiction, Section

LEAST_SECRET = 32
"""Bytes; the least secret that Webio takes, and the least key of HS256."""


def _long_enough(secret: SecretStr) -> SecretStr:
    if (length := len(secret.get_secret_value().encode())) < LEAST_SECRET:
        raise ValueError(f"has {length} bytes; a token's secret has at least {LEAST_SECRET}")
    return secret


TokenSecret = Annotated[Secret, AfterValidator(_long_enough)]


class HttpSettings(Reading):
    """The public listener, which Webio calls; left out, there is none."""

    listen: Address = Field(
        description="Address and port. On an address that others reach, use TLS or a reverse proxy.",
        examples=["127.0.0.1:8080"],
    )
    supervise: Flag = Field(
        default=True,
        description="Whether `run` starts the listener and keeps it running; false where `sftpd-processor serve` is run"
        " on its own.",
        examples=[True],
    )
    auth: Literal["token", "none"] = Field(
        "token",
        description="How a request shows that it comes from Webio: by its `x-webio-token`, or not at all, which is"
        " possible on a loopback address only.",
        examples=["token"],
    )
    token_secrets: tuple[TokenSecret, ...] = Field(
        (),
        description="Secrets of at least 32 bytes; a token is right when one of them signed it (HS256, assumed). Give"
        " the old and the new one while you change it.",
        examples=[[{"credential": "webio-secret"}]],
    )
    tokens: tuple[Secret, ...] = Field(
        (),
        description="Whole tokens, compared exactly, in place of secrets or beside them.",
        examples=[[{"credential": "webio-token"}]],
    )
    token_claims: dict[Line, Line] = Field(
        {},
        description="Claims that a signed token must have, with their values; `*` stands for any value. Which ones"
        " Webio sends is not published. `exp` and `nbf` are heeded in any case.",
        examples=[{"organisationId": "42"}],
    )
    token_leeway_seconds: MaybeNoSeconds = Field(
        60, description="By how much Webio's clock may differ from ours in `exp` and `nbf`.", examples=[60]
    )
    failures_per_minute: Whole = Field(
        30,
        ge=1,
        le=100_000,
        description="How many requests without a right token one address may send a minute; more get 429 in"
        " place of 401.",
        examples=[30],
    )
    webhooks_path: UrlPath = Field("/webhooks", description="Where Webio posts events.", examples=["/webhooks"])
    custom_values_path: UrlPath = Field(
        "/custom-values", description="Where Webio asks for custom values.", examples=["/custom-values"]
    )
    custom_values_names: tuple[Line, ...] = Field(
        (),
        description="The names that your bots ask for, if you want them checked: `check` finds those that no [[values]]"
        " answers.",
        examples=[["balance", "dueDate"]],
    )
    custom_values_shape: Literal["object", "list"] = Field(
        "object",
        description='What an answer looks like: `{"balance": "12.50"}`, or `[{"name": "balance", "value": "12.50"}]`.'
        " Assumed: Webio does not publish it.",
        examples=["object"],
    )
    custom_values_partial: Literal["null", "fail"] = Field(
        "fail",
        description="What a bot gets when not one of the names it asks for has a value: an error, so that it takes its"
        " failure step, or `null` for each. Where at least one has, the others are `null` in any case.",
        examples=["fail"],
    )
    custom_values_deadline_seconds: Seconds = Field(
        3,
        description="After this time the bot gets its answer, whatever is missing. How long Webio waits is assumed to"
        " be a few seconds.",
        examples=[3],
    )
    max_body_bytes: Whole = Field(
        1_048_576,
        ge=1,
        le=64 * 1_048_576,
        description="The largest live post; larger ones get 413.",
        examples=[1_048_576],
    )
    max_header_bytes: Whole = Field(
        16_384,
        ge=1024,
        le=1_048_576,
        description="The longest request line with all headers; longer ones get 431.",
        examples=[16_384],
    )
    max_connections: Whole = Field(
        512, ge=1, le=100_000, description="The most connections at once; those beyond get 503.", examples=[512]
    )
    request_timeout_seconds: Seconds = Field(
        10, description="How long a sender may take for one whole request; then it gets 408.", examples=[10]
    )
    keep_alive_seconds: Seconds = Field(
        60, description="How long a connection without requests is kept.", examples=[60]
    )
    tls_certificate: LocalPath | None = Field(
        None,
        description="A file with the certificate and those between it and its root (PEM). Left out, there is no TLS.",
        examples=["/etc/sftpd-processor/tls.crt"],
    )
    tls_key: LocalPath | None = Field(
        None, description="The file of the certificate's private key (PEM).", examples=["/etc/sftpd-processor/tls.key"]
    )
    tls_key_passphrase: Secret | None = Field(
        None, description="The passphrase of `tls_key`, if it has one.", examples=[{"credential": "tls-passphrase"}]
    )
    trusted_proxies: tuple[Network, ...] = Field(
        (),
        description="Addresses or networks of reverse proxies whose `X-Forwarded-For` and `X-Forwarded-Proto` are"
        " believed.",
        examples=[["127.0.0.1"]],
    )
    access_log: Flag = Field(
        default=False,
        description="Whether each request gets a line in the log: what was called, by which address, the status and the"
        " time, and nothing of what was asked or posted.",
        examples=[False],
    )

    @classmethod
    def contradictions(cls, given: Mapping[str, Any]) -> Iterator[Contradiction]:
        """No way to trust anybody, or half of what TLS needs."""
        listen = given.get("listen")
        if given.get("auth", "token") == "token":
            if not given.get("token_secrets") and not given.get("tokens"):
                yield ("token_secrets",), "this or `tokens` is required, to know Webio by"
        elif isinstance(listen, str) and not is_loopback(listen):
            yield ("auth",), 'can be "none" only where `listen` is a loopback address, such as 127.0.0.1:8080'
        for one, other in (("tls_certificate", "tls_key"), ("tls_key", "tls_certificate")):
            if given.get(one) is not None and given.get(other) is None:
                yield (other,), f"is required with `{one}`"
        paths = [given.get("webhooks_path", "/webhooks"), given.get("custom_values_path", "/custom-values")]
        if paths[0] == paths[1]:
            yield ("custom_values_path",), "is the path of live posts already; give each its own"


class AdminSettings(Section):
    """The admin listener, which operators call; left out, there is none. It asks for no token: keep it to them."""

    listen: Address = Field(
        "127.0.0.1:8081",
        description="Address and port of /healthz, /readyz, /metrics and /version.",
        examples=["127.0.0.1:8081"],
    )
    late_seconds: Seconds = Field(
        120,
        description="By how much the next good poll of a source may be late before /readyz says that something is"
        " wrong.",
        examples=[120],
    )
