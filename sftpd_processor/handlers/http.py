"""The built-in `http`: posts each event as Webio would have posted it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sftpd_processor.extensions.loop import LoopThread
from sftpd_processor.extensions.web import Url, WebOptions, sent_headers, trust
from sftpd_processor.handlers.api import DONE, Captured, HandlerContext, Item, Outcome
from sftpd_processor.handlers.wanted import Wanted

if TYPE_CHECKING:
    from httpx2 import AsyncClient, Response

LONGEST_WAIT_SECONDS = 86_400.0
HIDDEN = "*" * 10
"""Stands for what may be secret."""
_TRY_AGAIN = frozenset({408, 425, 429})
_EXCERPT_BYTES = 300
_DRAINED_BYTES = 65_536


class Options(WebOptions):
    """`url`: where to post. `headers`: sent with each request; values may be secrets. `ca_file`: the
    certificate authorities to trust (PEM) in place of the system's."""

    ours = frozenset({"content-type", "content-length", "host", "transfer-encoding", "idempotency-key"})

    url: Url


class HttpHandler:
    """2xx is done. 408, 425, 429, 5xx and network errors are retried, after `Retry-After` when the answer has
    one; anything else, redirects too, is a dead letter at once.

    The requests share one pool of connections in an event loop of their own, because that alone can bound a
    whole request: the blocking client bounds each single read, which a server that trickles can stretch for
    ever. Proxies are taken from the environment (HTTPS_PROXY, NO_PROXY).
    """

    batch_size = 1

    def __init__(self, name: str, wanted: Wanted, options: Options, timeout_seconds: float) -> None:
        self.name = name
        self._wanted = wanted
        self._options = options
        self._timeout = timeout_seconds
        self._loop = LoopThread(f"handler-{name}")
        self._client: AsyncClient | None = None

    def wants(self, event_type: str) -> bool:
        return event_type in self._wanted

    def open(self) -> None:
        from httpx2 import AsyncClient, Limits

        self._client = AsyncClient(
            headers=self._headers,
            verify=trust(self._options.ca_file, f"handler {self.name!r}, options.ca_file"),
            timeout=self._timeout,
            limits=Limits(max_connections=None, max_keepalive_connections=32),
            follow_redirects=False,
        )

    def handle(self, items: Sequence[Item]) -> Sequence[Outcome]:
        return [self._one(item) for item in items]

    def close(self) -> None:
        if self._client is not None:
            with suppress(TimeoutError):  # the program ends; connections end with it
                self._loop.run(self._client.aclose(), self._timeout)
            self._client = None
        self._loop.close()

    def capture(self, item: Item) -> Captured:
        """The request. Any header of the user's, and all of the URL behind its host, may be a secret."""
        headers = self._headers | dict.fromkeys(self._options.headers, HIDDEN) | _metadata(item)
        url, body = _shown(self._options.url.get_secret_value()), item.body.decode("utf-8", "replace")
        return Captured(DONE, {"kind": "http", "method": "POST", "url": url, "headers": headers, "body": body})

    @cached_property
    def _headers(self) -> dict[str, str]:
        """Those that every request has."""
        return {**sent_headers(self._options.headers), "content-type": "application/json"}

    def _one(self, item: Item) -> Outcome:
        from httpx2 import HTTPError, InvalidURL

        try:
            return self._loop.run(self._post(item), self._timeout)
        except TimeoutError:
            return Outcome("retry", f"timed out after {self._timeout:g} s")
        except (HTTPError, InvalidURL, OSError) as error:
            return Outcome("retry", f"no answer: {type(error).__name__}")

    async def _post(self, item: Item) -> Outcome:
        assert self._client is not None, "open() comes first"  # noqa: S101
        url = self._options.url.get_secret_value()
        async with self._client.stream("POST", url, content=item.body, headers=_metadata(item)) as response:
            start = await _start_of(response)
            return verdict(response.status_code, response.headers, start)


async def _start_of(response: Response) -> bytes:
    """The first bytes of the answer. A short one is read to its end, so the connection can be used again."""
    start, seen = b"", 0
    async for chunk in response.aiter_raw():
        start = (start + chunk)[:_EXCERPT_BYTES]
        seen += len(chunk)
        if seen > _DRAINED_BYTES:
            break
    return start


def _shown(url: str) -> str:
    parts = urlsplit(url)
    account, at, host = parts.netloc.rpartition("@")
    shown = f"{parts.scheme}://{HIDDEN if account else ''}{at}{host}"
    return shown if url in (shown, f"{shown}/") else f"{shown}/{HIDDEN}"


def _metadata(item: Item) -> dict[str, str]:
    delivery = item.delivery
    return {
        "idempotency-key": delivery.idempotency_key,
        "x-sftpd-processor-attempt": str(delivery.attempt),
        "x-sftpd-processor-origin": delivery.origin,
    }


def verdict(status: int, headers: Mapping[str, str], start: bytes) -> Outcome:
    """What an answer means."""
    if 200 <= status < 300:
        return DONE
    text = start.decode("utf-8", "replace").strip()
    detail = f"HTTP {status}: {text}" if text else f"HTTP {status}"
    if status in _TRY_AGAIN or status >= 500:
        return Outcome("retry", detail, _retry_after(headers.get("retry-after")))
    if 300 <= status < 400:
        detail = f"HTTP {status}: redirects are not followed; give the final address as options.url"
    return Outcome("dead", detail)


def _retry_after(value: str | None) -> float | None:
    """Seconds to wait, from 0 to a day; None when the header is absent or neither seconds nor a date."""
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text), LONGEST_WAIT_SECONDS)
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return min(max((moment - datetime.now(UTC)).total_seconds(), 0.0), LONGEST_WAIT_SECONDS)


def build(name: str, wanted: Wanted, options: Options, context: HandlerContext) -> HttpHandler:
    return HttpHandler(name, wanted, options, context.timeout_seconds)
