"""What the public listener answers: custom values for bots, and live posts, which are durable before their 200."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic_core import to_json
from starlette.routing import Route, Router
from starlette.types import Receive, Scope, Send

from sftpd_processor.config.settings import HttpSettings
from sftpd_processor.errors import ProcessorError, TransientError
from sftpd_processor.http.gate import ROUTE
from sftpd_processor.http.posts import Overloaded, Posts
from sftpd_processor.http.question import BadQuestion, read_question
from sftpd_processor.values.asking import Answer, Asker

if TYPE_CHECKING:  # it would load the ledger, which the first post does
    from sftpd_processor.pipeline.live import Posted

_HEADERS = ((b"content-type", b"application/json"), (b"cache-control", b"no-store"))
_LATER = (b"retry-after", b"5")


def public_app(settings: HttpSettings, asker: Asker, posts: Posts) -> Router:
    """The routes; who may call them is the gate's to say."""
    return Router(
        [
            Route(settings.custom_values_path, CustomValues(settings, asker)),
            Route(settings.webhooks_path, Webhooks(settings, posts)),
        ],
        redirect_slashes=False,
        default=_nothing_here,
    )


class CustomValues:
    """`GET /custom-values`. An ASGI app of its own: a bot waits, and objects of request and response cost a third."""

    def __init__(self, settings: HttpSettings, asker: Asker) -> None:
        self._asker = asker
        self._null = settings.custom_values_partial == "null"
        self._listed = settings.custom_values_shape == "list"

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer with the values of the names asked for, or with an error, so that the bot takes its failure step."""
        scope[ROUTE] = "custom-values"
        if scope["method"] != "GET":
            await _send(send, 405, _error("custom values are asked for by GET"), (b"allow", b"GET"))
            return
        status, content = await self._answer(scope["query_string"])
        await _send(send, status, content)

    async def _answer(self, query_string: bytes) -> tuple[int, Any]:
        try:
            question = read_question(query_string)
        except BadQuestion as error:
            return 400, _error(str(error))
        answer = await self._asker.ask(question.query, question.names)
        if answer.found or self._null:
            return 200, self._shaped(answer)
        return _failed(answer)

    def _shaped(self, answer: Answer) -> Any:
        if not self._listed:
            return answer.values
        return [{"name": name, "value": value} for name, value in answer.values.items()]


class Webhooks:
    """`POST /webhooks`."""

    def __init__(self, settings: HttpSettings, posts: Posts) -> None:
        self._posts = posts
        self._most = settings.max_body_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 200 when the post is in the ledger, whatever its verdict, and 400 when nothing of it could be read."""
        scope[ROUTE] = "webhooks"
        if scope["method"] != "POST":
            await _send(send, 405, _error("events are posted here"), (b"allow", b"POST"))
            return
        headers = dict(scope["headers"])
        if headers.get(b"content-encoding", b"identity") != b"identity":
            await _send(send, 415, _error("a compressed body is not taken; send it as it is"))
            return
        size = int(headers.get(b"content-length", self._most))
        try:
            self._posts.reserve(size)
        except Overloaded as error:
            await _send(send, 503, _error(f"{error}; send it again"), _LATER)
            return
        try:
            await self._take(receive, send)
        finally:
            self._posts.release(size)

    async def _take(self, receive: Receive, send: Send) -> None:
        body = await _body(receive)
        if body is None:
            return  # its sender is gone before its end
        try:
            posted = await self._posts.put(body)
        except TransientError as error:
            # Where the ledger is, and what ails it, is ours to know.
            why = str(error) if isinstance(error, Overloaded) else "it cannot be recorded now"
            await _send(send, 503, _error(f"{why}; send it again"), _LATER)
        except ProcessorError:
            await _send(send, 500, _error("it could not be recorded; the log says why"))
        else:
            await _send(send, *_told(posted))


async def _body(receive: Receive) -> bytes | None:
    """The whole body, which the protocol bounds; None when the connection ended before it did."""
    parts: list[bytes] = []
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        more = message.get("more_body", False)
    return b"".join(parts)


def _told(posted: Posted) -> tuple[int, dict[str, str]]:
    told = {"file": posted.file, "verdict": posted.verdict}
    if posted.verdict == "invalid":
        return 400, _error(posted.problem) | told
    return 200, told | ({"problem": posted.problem} if posted.problem else {})


def _failed(answer: Answer) -> tuple[int, dict[str, str]]:
    if answer.late:
        return 504, _error("no provider answered in time")
    return 502, _error("a provider failed; the log says why" if answer.failed else "there is no value for that")


def _error(why: str) -> dict[str, str]:
    return {"error": why}


async def _send(send: Send, status: int, content: Any, *more: tuple[bytes, bytes]) -> None:
    body = to_json(content)
    headers = [*_HEADERS, (b"content-length", b"%d" % len(body)), *more]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _nothing_here(_scope: Scope, _receive: Receive, send: Send) -> None:
    await _send(send, 404, _error("there is nothing here"))
