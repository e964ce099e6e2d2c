"""The requests of `simulate`: events posted live, or custom values asked for, and how they were answered."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlencode

from sftpd_processor.cli.progress import progress
from sftpd_processor.cli.simulate_listener import Listener
from sftpd_processor.testing.latency import Latencies
from sftpd_processor.testing.webio import Shares, Webio

if TYPE_CHECKING:
    import httpx2

_PATIENCE = 20.0  # seconds; the listener gives up earlier
_MAY_BE_REFUSED = {"half", "broken", "lines", "unknown", "conflict"}
_BAD_REQUEST = 400
_UNAUTHORIZED = 401


class Call(NamedTuple):
    """One request still to be made; `kind` is the file's kind, or "question"."""

    kind: str
    method: str
    path: str
    content: bytes | None = None


@dataclass(slots=True)
class Answers:
    """What was answered so far; the verb's result. It holds counts only, and no part of any request."""

    what: str
    target: str
    seed: int
    statuses: Counter[int] = field(default_factory=Counter)
    verdicts: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    latencies: Latencies = field(default_factory=Latencies)
    unexpected: int = 0
    seconds: float = 0.0
    interrupted: bool = False

    def answered(self, call: Call, status: int, verdict: str | None, seconds: float) -> None:
        """Count an answer."""
        self.statuses[status] += 1
        self.kinds[call.kind] += 1
        self.latencies.add(seconds)
        if call.method == "POST":
            self.verdicts[verdict or "refused"] += 1
        refused_rightly = status == _BAD_REQUEST and call.kind in _MAY_BE_REFUSED
        self.unexpected += not (200 <= status < 300 or refused_rightly)

    def failed(self, why: str) -> None:
        """Count a request without an answer."""
        self.errors[why] += 1

    @property
    def requests(self) -> int:
        """How many were made, with and without an answer."""
        return self.latencies.count + self.errors.total()

    def as_json(self) -> dict[str, Any]:
        """For `--json`; latencies in milliseconds."""
        return {
            "target": self.target,
            "seed": self.seed,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "per_second": round(self._pace(), 1),
            "interrupted": self.interrupted,
            "statuses": {str(status): count for status, count in sorted(self.statuses.items())},
            "verdicts": dict(self.verdicts.most_common()),
            "kinds": dict(self.kinds.most_common()),
            "errors": dict(self.errors.most_common()),
            "unexpected": self.unexpected,
            "latency_ms": self.latencies.as_milliseconds(),
        }

    def as_text(self) -> str:
        """For people: a small table."""
        end = ", interrupted" if self.interrupted else ""
        head = f"{self.requests:,} {self.what} in {self.seconds:.1f} s, {self._pace():,.0f} per second{end}"
        rows = {
            "answers": _counts(dict(sorted(self.statuses.items()))),
            "verdicts": _counts(dict(self.verdicts.most_common())),
            "no answer": _counts(dict(self.errors.most_common())),
            "latency": ", ".join(f"{name} {ms:.1f} ms" for name, ms in self.latencies.as_milliseconds().items()),
        }
        lines = [f"  {name:<10} {text}" for name, text in rows.items() if text]
        return "\n".join([f"{head} → {self.target} (seed {self.seed})", *lines, *self._advice()])

    def _pace(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0

    def _advice(self) -> Iterator[str]:
        if self.unexpected:
            yield f"  {self.unexpected:,} of the answers are no success, though nothing was wrong with the request"
        if self.statuses[_UNAUTHORIZED]:
            yield "  401: the listener does not know this token; `sftpd-processor token verify` says why"


def _counts(counted: dict[Any, int]) -> str:
    return ", ".join(f"{name}: {count:,}" for name, count in counted.items())


def live_posts(webio: Webio, count: int, shares: Shares, listener: Listener) -> Iterator[Call]:
    """What would have been files, as posts."""
    for file in webio.files(count, shares):
        yield Call(file.kind, "POST", listener.webhooks_path, content=file.data)


def questions(
    webio: Webio, count: int, names: Sequence[str], customers: Iterator[str] | None, listener: Listener
) -> Iterator[Call]:
    """Requests for these names: of `customers` or those of the supply, one in ten known by the phone number alone."""
    from sftpd_processor.testing.webio_http import asking

    for _ in range(count):
        event = webio.event("inboundMessage")
        customer = event["customerUID"]  # empty for one in ten
        if customers and customer:
            customer = next(customers)
        query = urlencode(asking(names, customer or None, event["outboundChannelAddress"]))
        yield Call("question", "GET", f"{listener.custom_values_path}?{query}")


def send(calls: Iterable[Call], listener: Listener, answers: Answers, *, count: int, clients: int, rate: float) -> None:
    """Make every request, `clients` at once, `rate` per second over all (0: as fast as answers come).

    Counts in `answers`. Ctrl-C ends it early, and so does it when as many as there are clients failed and none was
    answered.
    """
    began = time.monotonic()
    try:
        with progress(count, answers.what, f"{answers.what} made") as show:
            asyncio.run(_Sending(calls, listener, answers, rate, show).run(clients))
    except KeyboardInterrupt:
        answers.interrupted = True
    answers.seconds = time.monotonic() - began


class _Sending:
    """The clients share one supply. With a rate each request is due at its own moment, whether or not others are
    still unanswered; its latency counts from then, so that a slow listener cannot hide behind a waiting client."""

    def __init__(
        self, calls: Iterable[Call], listener: Listener, answers: Answers, rate: float, show: Callable[[int], None]
    ) -> None:
        self._calls = iter(calls)
        self._listener = listener
        self._answers = answers
        self._rate = rate
        self._show = show
        self._number = 0
        self._began = 0.0

    async def run(self, clients: int) -> None:
        """Send all."""
        import httpx2

        from sftpd_processor.testing.webio_http import headers

        limits = httpx2.Limits(max_connections=clients, max_keepalive_connections=clients)
        async with httpx2.AsyncClient(
            base_url=self._listener.url,
            headers=headers(self._listener.token),
            verify=self._listener.trust(),
            timeout=_PATIENCE,
            limits=limits,
            trust_env=False,
        ) as client:
            self._began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                for _ in range(clients):
                    group.create_task(self._client(client, clients))

    async def _client(self, client: httpx2.AsyncClient, clients: int) -> None:
        from httpx2 import TransportError

        from sftpd_processor.testing.webio_http import failure, posted

        for call in self._calls:
            since = await self._turn()
            try:
                response = await client.request(call.method, call.path, content=call.content)
            except TransportError as error:
                self._answers.failed(failure(error))
            else:
                taken = time.monotonic() - since
                verdict = posted(response).verdict if call.method == "POST" else None
                self._answers.answered(call, response.status_code, verdict, taken)
            self._show(self._answers.requests)
            if not self._answers.statuses and self._answers.errors.total() >= clients:
                return

    async def _turn(self) -> float:
        """Wait until the next request is due; returns the moment from which its latency counts."""
        if not self._rate:
            return time.monotonic()
        due = self._began + self._number / self._rate
        self._number += 1
        if (wait := due - time.monotonic()) <= 0:
            return due
        await asyncio.sleep(wait)
        return time.monotonic()  # that the alarm went off a little late is no fault of the listener
