"""Live posts to the real daemon: durable before they are answered, once whatever way they come, and nothing lost."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.sidecar import SECRET, Caller, http, listener_of, started, token
from tests.acceptance.support import Desk, Running, event, local, put
from tests.support import wait_until


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """The folder of the source beside the listener."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def ids(desk: Desk) -> list[str]:
    """The ids of the messages that were delivered, in order."""
    return [line["event"]["communicationActionId"] for line in desk.lines()]


def test_a_post_goes_the_way_of_a_file(desk: Desk, incoming: Path) -> None:
    """It is recorded, delivered at once with its origin, copied to the archive, and `why` and `status` tell of it."""
    running, webio = started(desk, local(incoming))
    answer = webio.post(event(1))
    assert answer.status_code == 200
    assert answer.json()["verdict"] == "accepted"
    wait_until(lambda: ids(desk) == ["m1"], 4.5)  # the bell: without it the next look is 5 s later
    delivery = desk.lines()[0]["delivery"]
    assert (delivery["origin"], f"live/{delivery['file']}") == ("http", answer.json()["file"])
    wait_until(lambda: list(desk.archived().values()) == [event(1)])
    story = desk.run("why", answer.json()["file"]).out
    assert "posted live" in story
    assert "handler journal: done" in story
    assert "live posts recorded: 1 accepted" in desk.run("status").out
    assert running.stop() == 0


def test_every_answer(desk: Desk, incoming: Path) -> None:
    """A repeat and a conflict are 200, nonsense is 400 with the reason and lies in quarantine, and so on."""
    running, webio = started(desk, local(incoming), http=http(max_body_bytes=2000))
    several = b"[" + event(2) + b"," + event(3) + b"]"
    answers = [webio.post(body) for body in (event(1), event(1), event(1, body="other"), several, b"<html>", b"")]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 200, 400, 400]
    told = [answer.json() for answer in answers]
    assert [one["verdict"] for one in told] == ["accepted", "duplicate", "conflict", "accepted", "invalid", "invalid"]
    assert "not JSON" in told[4]["error"] or "JSON" in told[4]["error"]
    assert webio.post(event(4) + b" " * 2000).status_code == 413
    assert webio.post(event(4), headers={"content-encoding": "gzip"}).status_code == 415
    assert webio.client.get("/webhooks").status_code == 405
    assert webio.client.post("/webhooks/", content=event(4)).status_code == 404
    assert webio.client.get("/").status_code == 404
    wait_until(lambda: ids(desk) == ["m1", "m2", "m3"])
    wait_until(lambda: len(desk.quarantined()) == 6)
    assert running.stop() == 0


def test_without_a_right_token_nothing_happens(desk: Desk, incoming: Path) -> None:
    """A request without a right token is 401 whatever it asks for, always alike, and leaves no trace in the ledger."""
    running, webio = started(desk, local(incoming))
    strangers = [Caller(running, ""), Caller(running, "x.y.z"), Caller(running, "wrong")]
    bodies = set()
    for stranger in strangers:
        for answer in (stranger.post(event(1)), stranger.ask("balance"), stranger.client.get("/nowhere")):
            assert answer.status_code == 401
            bodies.add(answer.content)
    assert len(bodies) == 1
    assert webio.post(event(2)).status_code == 200
    assert desk.rows("select count(*) from files") == [(1,)]
    assert running.stop() == 0


def test_both_ways_race(desk: Desk, incoming: Path) -> None:
    """The same events posted by eight clients while the daemon drains them as files are each handled once."""
    running, webio = started(desk, local(incoming, poll_seconds=0.2, settle_seconds=0))
    numbers = range(300)
    start = threading.Barrier(2)

    def write() -> None:
        start.wait()
        for at in range(0, 300, 20):
            put(incoming, {f"e{number}.json": event(number, f"c{number % 40}") for number in numbers[at : at + 20]})

    writer = threading.Thread(target=write)
    writer.start()
    start.wait()
    with ThreadPoolExecutor(8) as clients:
        posted = list(clients.map(lambda number: webio.post(event(number, f"c{number % 40}")), numbers))
    writer.join()
    assert {answer.status_code for answer in posted} == {200}
    wait_until(
        lambda: desk.rows("select count(*) from files where source = 'local' and state = 'recorded'") == [(300,)]
    )
    wait_until(lambda: desk.rows("select count(*) from deliveries where state != 'done'") == [(0,)])
    assert sorted(ids(desk)) == sorted(f"m{number}" for number in numbers)
    assert desk.rows("select count(*) from files where verdict not in ('accepted', 'duplicate')") == [(0,)]
    first = {answer.json()["verdict"] for answer in posted}
    assert first <= {"accepted", "duplicate"}
    assert running.stop() == 0


class Poster:
    """Posts one event after another, from several threads, and keeps those that were acknowledged."""

    def __init__(self, webio: Caller) -> None:
        self._webio = webio
        self._numbers = iter(range(1_000_000))
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.acknowledged: list[int] = []
        self.refused: set[str] = set()
        self._threads = [threading.Thread(target=self._post) for _ in range(6)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopped.set()
        for thread in self._threads:
            thread.join()

    def _post(self) -> None:
        while not self._stopped.is_set():
            with self._lock:
                number = next(self._numbers)
            try:
                answer = self._webio.post(event(number, f"c{number % 30}"))
            except httpx2.TransportError as error:
                self.refused.add(type(error).__name__)
                continue
            if answer.status_code == 200:
                self.acknowledged.append(number)
            else:
                self.refused.add(str(answer.status_code))


@pytest.fixture
def poster() -> Iterator[Any]:
    """Makes a `Poster`, which ends with the test."""
    made: list[Poster] = []

    def make(webio: Caller) -> Poster:
        made.append(Poster(webio))
        return made[0]

    yield make
    for each in made:
        each.stop()


def recorded(desk: Desk) -> set[str]:
    """The ids of all events in the ledger."""
    return {json.loads(body)["communicationActionId"] for (body,) in desk.rows("select body from events")}


def test_a_killed_listener_comes_back_and_loses_no_acknowledged_post(desk: Desk, incoming: Path, poster: Any) -> None:
    """SIGKILL of the listener in the middle of posts, three times: it is started again, and every post that was
    answered with 200 is in the ledger and delivered once."""
    running, webio = started(desk, local(incoming))
    posts = poster(webio)
    for _ in range(3):
        before = len(posts.acknowledged)
        wait_until(lambda: len(posts.acknowledged) > before + 50, 20)  # noqa: B023 - called at once
        pid = listener_of(running)
        os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{pid}").exists(), 20)  # noqa: B023
    assert "the public listener ended (signal 9)" in running.log
    after = len(posts.acknowledged)
    wait_until(lambda: len(posts.acknowledged) > after + 50, 20)
    posts.stop()
    acknowledged = {f"m{number}" for number in posts.acknowledged}
    assert acknowledged <= recorded(desk)
    wait_until(lambda: desk.rows("select count(*) from deliveries where state != 'done'") == [(0,)], 20)
    assert len(ids(desk)) == len(set(ids(desk))) == len(recorded(desk))
    assert running.stop() == 0


def test_sigterm_drops_no_accepted_post(desk: Desk, incoming: Path, poster: Any) -> None:
    """When the daemon is stopped in the middle of posts, what was answered with 200 is in the ledger, what was under
    way was answered, and no stranger status is seen: later ones are refused by the closed port."""
    running, webio = started(desk, local(incoming))
    posts = poster(webio)
    wait_until(lambda: len(posts.acknowledged) > 100, 20)
    assert running.stop() == 0
    posts.stop()
    assert {f"m{number}" for number in posts.acknowledged} <= recorded(desk)
    assert posts.refused <= {"ConnectError", "RemoteProtocolError", "ReadError", "WriteError"}
    assert desk.run("once").code == 0
    assert sorted(ids(desk)) == sorted(recorded(desk))


def test_secrets_change_without_a_gap(desk: Desk, incoming: Path) -> None:
    """When a second secret is added and the configuration read again, tokens of both are right, in between not one
    request is refused or lost; and when the first is taken out, its tokens are wrong."""
    running, webio = started(desk, local(incoming))
    new = "another secret of the tests, just as long as the first"
    assert webio.post(event(0)).status_code == 200
    desk.configure(local(incoming), http=http(token_secrets=[new, SECRET]))
    with ThreadPoolExecutor(1) as posting:
        end = threading.Event()

        def post() -> set[int]:
            codes: set[int] = set()
            while not end.is_set():
                codes.add(Caller(running).post(event(len(codes))).status_code)
            return codes

        codes = posting.submit(post)
        running.signal(signal.SIGHUP)
        other = Caller(running, token(new))
        try:
            wait_until(lambda: other.post(event(1)).status_code == 200, 20)
        finally:
            end.set()
        assert codes.result() == {200}
    assert webio.post(event(2)).status_code == 200
    desk.configure(local(incoming), http=http(token_secrets=[new]))
    running.signal(signal.SIGHUP)
    wait_until(lambda: webio.post(event(2)).status_code == 401, 20)
    assert other.post(event(2)).status_code == 200
    assert running.stop() == 0


def test_a_request_under_way_at_sigterm_is_answered(desk: Desk, incoming: Path) -> None:
    """A bot's question that a slow provider is still working on when the daemon is stopped gets its answer."""
    desk.module(
        "slow",
        "import pathlib, time\n"
        "from sftpd_processor import values\n"
        '@values("balance")\n'
        "def balance(customer, address):\n"
        "    pathlib.Path(customer).touch()\n"
        "    time.sleep(1.5)\n"
        '    return "12.50"\n',
    )
    running, webio = started(desk, local(incoming), values=[{"name": "slow", "use": "slow"}])
    begun = desk.folder / "begun"
    with ThreadPoolExecutor(1) as asking:
        answer = asking.submit(webio.ask, "balance", customer=str(begun))
        wait_until(begun.exists)
        assert running.stop() == 0
        assert answer.result().json() == {"balance": "12.50"}


def test_the_listener_ends_with_a_killed_daemon(desk: Desk, incoming: Path) -> None:
    """SIGKILL of the daemon: its listener ends by itself, and the next daemon gets the address."""
    running, webio = started(desk, local(incoming), http=http())
    desk.configure(local(incoming), http=http(listen=webio.address))
    pid = listener_of(running)
    running.signal(signal.SIGKILL)
    running.ended()
    again = desk.daemon()
    assert Caller(again).post(event(1)).status_code == 200
    wait_until(lambda: not Path(f"/proc/{pid}").exists())
    assert again.stop() == 0


def test_bots_are_answered_while_the_ledger_is_unusable(desk: Desk, incoming: Path) -> None:
    """With a ledger that cannot be opened a bot still gets its value, and a post is 503 until it can be; then 200."""
    database = desk.folder / "elsewhere" / "ledger.db"
    running: Running
    desk.configure(
        local(incoming),
        state={"dir": str(desk.state), "database": f"sqlite:///{database}"},
        http=http(),
        values=[{"name": "accounts", "use": "static", "options": {"customers": {"1": {"balance": "2"}}}}],
    )
    running = desk.start("run")
    webio = Caller(running)
    assert webio.ask("balance", customer="1").json() == {"balance": "2"}
    refused = webio.post(event(1))
    assert refused.status_code == 503
    assert refused.headers["retry-after"]
    assert str(desk.folder) not in refused.text
    database.parent.mkdir()
    wait_until(lambda: webio.post(event(1)).status_code == 200, 20)
    wait_until(lambda: ids(desk) == ["m1"], 20)
    assert running.stop() == 0


def test_serve_alone(desk: Desk, incoming: Path) -> None:
    """`serve` answers by itself; what it took is delivered by a daemon that does not supervise it, at once."""
    desk.configure(local(incoming), http=http(supervise=False))
    serving = desk.start("serve")
    webio = Caller(serving)
    assert webio.post(event(1)).status_code == 200
    daemon = desk.daemon()
    wait_until(lambda: ids(desk) == ["m1"])
    assert webio.post(event(2)).status_code == 200
    wait_until(lambda: ids(desk) == ["m1", "m2"], 4.5)
    assert "public listener" not in daemon.log
    assert daemon.stop() == 0
    assert webio.post(event(3)).status_code == 200
    assert serving.stop() == 0


def test_the_address_is_taken(desk: Desk, incoming: Path) -> None:
    """A daemon whose listener's address is taken ends with one line that says so and what to do."""
    running, webio = started(desk, local(incoming))
    desk.configure(local(incoming), state={"dir": str(desk.folder / "other")}, http=http(listen=webio.address))
    refused = desk.run("run")
    assert refused.code == 1
    assert webio.address in refused.err
    assert running.stop() == 0


def test_serve_without_http(desk: Desk, incoming: Path) -> None:
    """`serve` without an [http] table is wrong configuration."""
    desk.configure(local(incoming))
    ran = desk.run("serve")
    assert (ran.code, "http: is required by `serve`" in ran.err) == (2, True)
