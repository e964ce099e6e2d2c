"""A pretend Webio over HTTP, for your own tests: it posts events, and asks for custom values.

    with PretendWebio("http://127.0.0.1:8080", token) as webio:
        assert webio.post({"type": "payment", "conversationId": "97011"}).verdict == "accepted"
        assert webio.ask(["balance"], customer_uid="123456") == {"balance": "12.50"}

The token is what `sftpd-processor token mint` prints. That `customerUID` is the word `null` where Webio knows no
customer is assumed, as is the shape of answers: Webio does not publish them.
"""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx2

from sftpd_processor.errors import PermanentError, TransientError

TOKEN_HEADER = "x-webio-token"
WEBHOOKS_PATH = "/webhooks"
CUSTOM_VALUES_PATH = "/custom-values"


class NotAnswered(PermanentError):
    """Custom values were asked for, and the answer was an error: the bot would take its failure step."""

    def __init__(self, status: int, said: str | None) -> None:
        self.status = status
        super().__init__(f"the answer was {status}{f': {said}' if said else ''}; see the listener's log")


@dataclass(frozen=True, slots=True)
class Posted:
    """The answer to a live post.

    `file` is what `why` knows it by; it and `verdict` are None where nothing was recorded. `problem` is the first thing
    wrong with it, or why it was refused; None when all is well.
    """

    status: int
    verdict: str | None = None
    file: str | None = None
    problem: str | None = None


class PretendWebio:
    """One connection to a listener at `url`, such as "http://127.0.0.1:8080"; not for several threads at once.

    Every call raises `TransientError` when there is no answer. `verify` is httpx2's: False for a certificate that
    nobody vouches for.
    """

    def __init__(
        self,
        url: str,
        token: str | None = None,
        *,
        webhooks_path: str = WEBHOOKS_PATH,
        custom_values_path: str = CUSTOM_VALUES_PATH,
        timeout_seconds: float = 10.0,
        verify: ssl.SSLContext | bool = True,
    ) -> None:
        self._webhooks = webhooks_path
        self._custom_values = custom_values_path
        self._client = httpx2.Client(
            base_url=url, headers=headers(token), timeout=timeout_seconds, verify=verify, trust_env=False
        )

    def post(self, event: Mapping[str, Any] | Sequence[Mapping[str, Any]] | bytes) -> Posted:
        """Post an event, an array of events, or bytes just as they are."""
        body = event if isinstance(event, bytes) else json.dumps(event, ensure_ascii=False).encode()
        return posted(self._call("POST", self._webhooks, content=body))

    def ask(
        self, names: Iterable[str], *, customer_uid: str | None = None, outbound_channel_address: str = ""
    ) -> dict[str, Any]:
        """The values of these names, as a bot gets them. Raises `NotAnswered` where it gets an error.

        `customer_uid` is None where the customer wrote first, and is known by their number alone.
        """
        question = asking(names, customer_uid, outbound_channel_address)
        response = self._call("GET", self._custom_values, params=question)
        if response.status_code != 200:
            raise NotAnswered(response.status_code, said(response).get("error"))
        answer = response.json()
        if isinstance(answer, list):
            return {each["name"]: each["value"] for each in answer}
        return dict(answer)

    def close(self) -> None:
        """Hang up."""
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _call(self, method: str, path: str, **more: Any) -> httpx2.Response:
        try:
            return self._client.request(method, path, **more)
        except httpx2.TransportError as error:
            raise TransientError(
                f"no answer: {failure(error)}; check that the listener runs, and its address"
            ) from None


def headers(token: str | None) -> dict[str, str]:
    """What Webio sends with every request."""
    trust = {TOKEN_HEADER: token} if token else {}
    return {"content-type": "application/json", "accept-encoding": "identity", "user-agent": "pretend-webio", **trust}


def asking(names: Iterable[str], customer_uid: str | None, outbound_channel_address: str) -> list[tuple[str, str]]:
    """The query of a request for custom values."""
    who = [
        ("customerUID", "null" if customer_uid is None else customer_uid),
        ("outboundChannelAddress", outbound_channel_address),
    ]
    return who + [(f"param{number}", name) for number, name in enumerate(names, 1)]


def posted(response: httpx2.Response) -> Posted:
    """What a live post's answer says."""
    told = said(response)
    return Posted(response.status_code, told.get("verdict"), told.get("file"), told.get("problem") or told.get("error"))


def said(response: httpx2.Response) -> dict[str, Any]:
    """The answer's JSON object; empty where it is none, as from a proxy in between."""
    try:
        told = response.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def failure(error: httpx2.TransportError) -> str:
    """Why there was no answer, in words that hold nothing of what was sent."""
    if isinstance(error, httpx2.TimeoutException):
        return "timeout"
    causes = {type(each) for each in _causes(error)}
    if any(issubclass(each, ssl.SSLError) for each in causes):
        return "TLS failed"
    if ConnectionRefusedError in causes:
        return "connection refused"
    if socket.gaierror in causes:
        return "host name unknown"
    return "no connection" if isinstance(error, httpx2.ConnectError) else "connection lost"


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
