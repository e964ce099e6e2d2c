"""The gate: who is let through, what the others learn, what is counted and what is written down."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Iterable
from typing import Any

import pytest

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.http import gate as room
from sftpd_processor.http.gate import ROUTE, Failures, Gate
from sftpd_processor.http.token import mint
from sftpd_processor.measures import Measures

SECRET = "a-secret-of-more-than-thirty-two-bytes"
TOKEN = mint("42", "key", SECRET).encode()
Headers = Iterable[tuple[bytes, bytes]]


class Asked:
    """A gate before a small app, and what came of asking it."""

    def __init__(self, **changes: Any) -> None:
        self.measures = Measures()
        self.reached: list[str] = []
        given = {"listen": "127.0.0.1:0", "token_secrets": [SECRET]} | changes
        self.gate = Gate(self._app, HttpSettings(**given), self.measures)

    async def _app(self, scope: Any, receive: Any, send: Any) -> None:
        self.reached.append(scope["path"])
        scope[ROUTE] = "webhooks"
        if scope["path"] == "/broken":
            raise RuntimeError
        if scope["path"] != "/unanswered":
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"secret answer"})

    def __call__(
        self, headers: Headers = ((b"x-webio-token", TOKEN),), *, path: str = "/webhooks", peer: Any = ("10.0.0.1", 5),
        method: str = "GET",
    ) -> tuple[int, dict[bytes, bytes], bytes]:  # fmt: skip
        said: list[Any] = []

        async def send(message: Any) -> None:
            said.append(message)

        scope = {"type": "http", "path": path, "method": method, "client": peer, "headers": [(b"host", b"x"), *headers]}
        scope["query_string"] = b"customerUID=private"
        asyncio.run(self.gate(scope, None, send))  # type: ignore[arg-type]
        if not said:
            return 0, {}, b""
        return said[0]["status"], dict(said[0]["headers"]), b"".join(each["body"] for each in said[1:])

    def counted(self, name: str) -> dict[tuple[str, ...], int]:
        return {
            tuple(each["labels"]): each["count"]
            for each in self.measures.snapshot()
            if each["name"] == name and "count" in each
        }


WRONG: dict[str, Headers] = {
    "missing": (),
    "wrong": ((b"x-webio-token", TOKEN + b"x"),),
    "empty": ((b"x-webio-token", b""),),
    "twice": ((b"x-webio-token", TOKEN), (b"x-webio-token", TOKEN)),
    "right and wrong": ((b"x-webio-token", TOKEN), (b"x-webio-token", b"x")),
    "too long": ((b"x-webio-token", b"x" * 10_000),),
    "elsewhere": ((b"authorization", TOKEN),),
    "as a bearer": ((b"x-webio-token", b"Bearer " + TOKEN),),
}


def test_a_right_token_passes() -> None:
    """With exactly one right token the app answers."""
    ask = Asked()
    assert ask() == (200, {}, b"secret answer")
    assert ask.counted("http_refused_tokens") == {}


def test_all_others_get_the_same() -> None:
    """Without exactly one right token, every request on every path, known or not, gets one and the same 401."""
    ask = Asked(failures_per_minute=1000)
    answers = [ask(headers, path=path, method=method) for headers in WRONG.values() for path in ("/webhooks", "/x", "/")
               for method in ("GET", "POST", "HEAD", "OPTIONS", "BREW")]  # fmt: skip
    assert [answer for answer in answers if answer != answers[0]] == []
    assert answers[0][0] == 401
    assert answers[0][2] == b'{"error": "unauthorized"}'
    assert ask.reached == []
    assert ask.counted("http_refused_tokens") == {("missing",): 30, ("wrong",): 90}


def test_no_authentication() -> None:
    """With auth = "none" everybody is let through, and no token is looked at."""
    ask = Asked(auth="none", token_secrets=[])
    assert [ask(headers)[0] for headers in WRONG.values()] == [200] * len(WRONG)


def test_too_many_failures() -> None:
    """More failures of an address than allowed get 429, when to come again, and the end of the connection; right
    tokens of that address pass, and others are not concerned."""
    ask = Asked(failures_per_minute=3)
    assert [ask(())[0] for _ in range(5)] == [401] * 3 + [429] * 2
    status, headers, body = ask(())
    assert (status, body) == (429, b'{"error": "too many requests without a right token"}')
    assert 1 <= int(headers[b"retry-after"]) <= 60
    assert headers[b"connection"] == b"close"
    assert ask()[0] == 200
    assert ask((), peer=("10.0.0.2", 5))[0] == 401
    assert ask.counted("http_refused_tokens") == {("missing",): 4, ("limited",): 3}


@pytest.mark.parametrize(
    ("one", "other", "together"),
    [
        ("10.0.0.1", "10.0.0.2", False),
        ("2001:db8:1:2::1", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::1", "2001:db8:1:3::1", False),
        ("fe80::1%eth0", "fe80::2%eth1", True),
        ("::ffff:10.0.0.1", "10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("no address", "another\nline", True),
    ],
)
def test_what_counts_as_one_peer(one: str, other: str, together: bool) -> None:
    """An IPv4 address is one peer, however it is written; of IPv6, a network of 64 bits is."""
    ask = Asked(failures_per_minute=1)
    assert ask((), peer=(one, 1))[0] == 401
    assert ask((), peer=(other, 1))[0] == (429 if together else 401)
    assert ask((), peer=None)[0] == (429 if "no" in one else 401)


def test_a_minute_later() -> None:
    """After a minute an address begins anew; the time to wait is what is left of its minute."""
    failures = Failures(2)
    assert [failures.note("a", now) for now in (0.0, 1.0, 2.0, 59.5)] == [0, 0, 58, 1]
    assert failures.note("a", 60.0) == 0


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """A storm of addresses takes no more room than was set aside, and no more lines of the log."""
    failures = Failures(1)
    for number in range(3 * room._MOST_PEERS):
        failures.note(f"network-{number}", 1.0)
        failures.note("steady", 1.0)
    assert len(failures._seen) == room._MOST_PEERS
    assert failures.note("steady", 1.0) > 0
    assert len(caplog.messages) == 60


def test_what_is_logged_of_failures(caplog: pytest.LogCaptureFixture) -> None:
    """An address that fails is logged at once, and then once a minute with its number."""
    ask = Asked(failures_per_minute=3)
    for _ in range(10):
        ask((), peer=("10.0.0.9", 1))
    assert caplog.messages == ["http: 1 request without a right token from 10.0.0.9 within a minute"]
    failures = Failures(3)
    caplog.clear()
    for now in (0.0, 5.0, 59.0, 61.0, 62.0, 200.0):
        failures.note("2001:db8::/64", now)
    assert [int(message.split()[1]) for message in caplog.messages] == [1, 3, 2]


def test_everything_is_measured() -> None:
    """Each request is counted by its route and status, and timed; also one that fails, or has no answer."""
    ask = Asked(failures_per_minute=1)
    ask()
    ask(())
    ask(())
    ask(path="/unanswered")
    with pytest.raises(RuntimeError):
        ask(path="/broken")
    assert ask.counted("http_requests") == {
        ("webhooks", "200"): 1, ("other", "401"): 1, ("other", "429"): 1, ("webhooks", "none"): 2
    }  # fmt: skip
    timed = [each for each in ask.measures.snapshot() if each["name"] == "http_request_seconds"]
    assert {each["labels"][0]: sum(each["counts"]) for each in timed} == {"webhooks": 3, "other": 2}


def test_the_access_log(caplog: pytest.LogCaptureFixture) -> None:
    """Each request has a line: method, route, status, time and address; nothing else of what was sent."""
    caplog.set_level(logging.INFO)
    ask = Asked(access_log=True)
    ask(path="/webhooks", peer=("2001:db8::5", 7))
    ask((), method="BR\nEW", path="/private", peer=("evil\nline", 1))
    lines = [message for message in caplog.messages if " in " in message]
    assert re.fullmatch(r"http: GET webhooks 200 in \d+\.\d ms from 2001:db8::5", lines[0])
    assert re.fullmatch(r"http: other other 401 in \d+\.\d ms from an unknown address", lines[1])
    assert "private" not in caplog.text
    caplog.clear()
    Asked()()
    assert caplog.messages == []
