"""The built-in `http`: values from the JSON that another service answers."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Awaitable, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import quote, urlsplit

from pydantic import AfterValidator, SecretStr

from sftpd_processor.extensions.loop import LoopThread
from sftpd_processor.extensions.text import nearest
from sftpd_processor.extensions.web import Url, WebOptions, sent_headers, trust
from sftpd_processor.values.api import ProviderContext, ProviderFailed, Query
from sftpd_processor.values.words import find

if TYPE_CHECKING:
    from ssl import SSLContext

    from httpx2 import AsyncClient, Response

LARGEST_ANSWER = 1_048_576
"""Bytes."""

_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")
_FIELDS = {"customerUID": 0, "outboundChannelAddress": 1}
_CLOSE_SECONDS = 2.0


def _template(url: SecretStr) -> SecretStr:
    text = url.get_secret_value()
    for name in _PLACEHOLDER.findall(text):
        if name not in _FIELDS:
            hint = nearest(name, _FIELDS) or f"; there are {{{'} and {'.join(_FIELDS)}}}"
            raise ValueError(f"there is no placeholder {{{name}}}{hint}")
    if set("{}") & set(_PLACEHOLDER.sub("", text)):
        raise ValueError("has a { or } that belongs to no placeholder; write %7B or %7D")
    if "{" in urlsplit(text).netloc:
        raise ValueError("must name its host itself: placeholders come after it")
    return url


Template = Annotated[Url, AfterValidator(_template)]


class Options(WebOptions):
    """`url`: what to GET, with {customerUID} and {outboundChannelAddress} where they belong. `headers`: sent with each
    request; values may be secrets. `ca_file`: the certificate authorities to trust (PEM) in place of the system's."""

    ours = frozenset({"accept-encoding", "content-length", "host", "transfer-encoding"})

    url: Template


class HttpProvider:
    """One GET for each question; 404 means that there is no value. The requests share one pool of connections in an
    event loop of their own, so that a large answer does not hold up the listener's."""

    def __init__(self, name: str, options: Options, deadline_seconds: float, *, trusted: SSLContext | bool) -> None:
        self.name = name
        self.words: frozenset[str] | None = None
        self._template = options.url.get_secret_value()
        self._headers = {"accept": "application/json", **sent_headers(options.headers)}
        self._trusted = trusted
        self._deadline = deadline_seconds
        self._loop = LoopThread(f"values-{name}")
        self._client: AsyncClient | None = None

    def open(self) -> None:
        from httpx2 import AsyncClient, Limits

        self._client = AsyncClient(
            headers=self._headers,
            verify=self._trusted,
            timeout=self._deadline,
            limits=Limits(max_connections=100, max_keepalive_connections=32),
            follow_redirects=False,
        )

    def ask(self, query: Query, words: Sequence[str]) -> Mapping[str, object] | Awaitable[Mapping[str, object]]:
        url = filled(self._template, query)
        if url is None:
            return {}
        return asyncio.wrap_future(self._loop.submit(self._get(url, words)))

    def close(self) -> None:
        if self._client is not None:
            with suppress(TimeoutError):  # the program ends; connections end with it
                self._loop.run(self._client.aclose(), _CLOSE_SECONDS)
            self._client = None
        self._loop.close()

    async def _get(self, url: str, words: Sequence[str]) -> Mapping[str, object]:
        from httpx2 import HTTPError, InvalidURL

        assert self._client is not None, "open() comes first"  # noqa: S101
        try:
            async with self._client.stream("GET", url) as response:
                body = await _body(response)
        except (HTTPError, InvalidURL, OSError) as error:
            raise ProviderFailed(f"no answer: {type(error).__name__}") from None
        return {} if body is None else picked(body, words)


def filled(template: str, query: Query) -> str | None:
    """The URL for a question; None when it lacks what the template needs, or would lead to another path."""
    needed = [query[_FIELDS[name]] for name in _PLACEHOLDER.findall(template)]
    if not all(needed) or {".", ".."} & {*needed}:
        return None
    return _PLACEHOLDER.sub(lambda found: quote(query[_FIELDS[found[1]]] or "", safe=""), template)


async def _body(response: Response) -> bytes | None:
    """The answer, as far as its status is good; None for 404. Raises ProviderFailed."""
    status = response.status_code
    if 300 <= status < 400:
        raise ProviderFailed(f"HTTP {status}: redirects are not followed; give the final address as options.url")
    if status != 404 and not 200 <= status < 300:
        raise ProviderFailed(f"HTTP {status}")
    body = bytearray()
    async for chunk in response.aiter_raw():
        body += chunk
        if len(body) > LARGEST_ANSWER:
            raise ProviderFailed(f"its answer is larger than {LARGEST_ANSWER:,} bytes")
    return None if status == 404 else bytes(body)


def picked(body: bytes, words: Sequence[str]) -> Mapping[str, object]:
    """What lies at each dotted path; numbers with all their digits. Raises ProviderFailed when it is no JSON object."""
    try:
        answer = json.loads(body, parse_float=Decimal, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise ProviderFailed("its answer is not JSON") from None
    if not isinstance(answer, dict):
        raise ProviderFailed("its answer is not a JSON object")
    return {word: _at(answer, word) for word in words}


def _no_constant(_: str) -> NoReturn:
    raise ValueError("NaN and Infinity are not JSON")


def _at(answer: Any, path: str) -> object:
    for part in path.split("."):
        if not isinstance(answer, dict):
            return None
        answer = find(answer, part)
    return answer


def build(name: str, options: Options, context: ProviderContext, where: str) -> HttpProvider:
    trusted = trust(options.ca_file, f"{where}.ca_file")
    return HttpProvider(name, options, context.deadline_seconds, trusted=trusted)
