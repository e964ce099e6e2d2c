"""Messages that are really sent, by the process that sends: to a web service, to a mail server, and to nobody."""

from __future__ import annotations

import os
import socket
import socketserver
from collections.abc import Iterator
from contextlib import contextmanager
from email import message_from_bytes, policy
from pathlib import Path

import pytest

from sftpd_processor.alerts import courier
from sftpd_processor.alerts.causes import Cause, Key
from sftpd_processor.alerts.courier import Courier, Letter, delivered
from sftpd_processor.alerts.message import Message, Sender, wrong
from sftpd_processor.daemon.ending import STOP_SECONDS
from sftpd_processor.measures import Measures
from tests.alert_items import alert, serving, web
from tests.support import wait_until

SENDER = Sender("operators", Path("/srv/state"))
WHY = "no answer within 15 s <b>&amp;\n\x1b[31m"
MESSAGE = wrong(SENDER, [Cause(Key("source", "webio"), 1_795_348_800_000_000, WHY)])


class Mail(socketserver.StreamRequestHandler):
    """Takes every mail."""

    server: MailServer

    def handle(self) -> None:
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            verb = line.split()[0].upper() if line.split() else b""
            if verb == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                self.server.got.append(b"".join(iter(self.rfile.readline, b".\r\n")))
            self.wfile.write(b"221 bye\r\n" if verb == b"QUIT" else b"250 ok\r\n")


class MailServer(socketserver.ThreadingTCPServer):
    """A mail server on a loopback port."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Mail)
        self.got: list[bytes] = []


@contextmanager
def silent() -> Iterator[int]:
    """A port where somebody takes calls, and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def send(*urls: str, message: Message = MESSAGE) -> list[str | None]:
    """Why a message did not arrive, for each address."""
    found = delivered([Letter(message, [*range(len(urls))])], urls)
    return [found.get((0, at), "nothing known") for at in range(len(urls))]


def test_a_web_service() -> None:
    """The title, the text and the kind arrive; what a server said can neither begin a line nor act upon a terminal."""
    with web() as service:
        assert send(service.url) == [None]
    [got] = service.got
    assert got["title"] == f"sftpd-processor on {socket.gethostname()}: source webio cannot be polled"
    assert got["type"] == "failure"
    assert "  since 2026-11-22 12:00 UTC: no answer within 15 s <b>&amp;  [31m\n" in got["message"]
    assert got["message"].endswith(f"Alert operators, machine {socket.gethostname()}, state folder /srv/state")


def test_a_mail() -> None:
    """A mail has the title as its subject, and the text as it is."""
    with serving(MailServer()) as server:
        port = server.server_address[1]
        url = f"mailto://127.0.0.1:{port}?from=inbox@example.com&to=operator@example.com&mode=insecure&format=text"
        assert send(url) == [None]
    mail = message_from_bytes(server.got[0], policy=policy.default)
    assert str(mail["subject"]).endswith("source webio cannot be polled")
    assert "operator@example.com" in str(mail["to"])
    body = mail.get_body(("plain",))
    assert body is not None
    assert "no answer within 15 s <b>&amp;" in body.get_content()


def test_addresses_are_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that hangs, one where nobody is, one that refuses, and one that is none, hold up no other; what is told of
    each shows no part of it."""
    monkeypatch.setattr(courier, "SECONDS", 4.0)
    with web() as good, web() as bad, silent() as hanging:
        bad.status = 403
        urls = [f"json://127.0.0.1:{hanging}/Qzx", "json://127.0.0.1:1/Qzx", bad.url, "Qzx://127.0.0.1", good.url]
        whys = send(*urls)
    assert len(good.got) == 1
    assert whys[:3] == ["no answer in time", "it cannot be reached", "it was refused with 403"]
    assert whys[3] is not None
    assert "begins with the name of a service that apprise does not know" in whys[3]
    assert whys[4] is None
    assert "Qzx" not in "".join(why or "" for why in whys)


def test_several_messages_of_one_sending() -> None:
    """Messages arrive in their order, each only where it is owed."""
    with web() as one, web() as two:
        letters = [Letter(Message(f"m{n}", "text", "info"), owed) for n, owed in enumerate([[1], [0, 1], [0]])]
        assert set(delivered(letters, [one.url, two.url]).values()) == {None}
    assert [message["title"] for message in one.got] == ["m1", "m2"]
    assert [message["title"] for message in two.got] == ["m0", "m1"]


def test_redirects_are_not_followed() -> None:
    """An address that leads elsewhere took nothing: the token in it is for the first service alone."""
    with web() as service, web() as other:
        service.status, service.leads_to = 307, other.url.replace("json://", "http://")
        assert send(service.url) == ["it was refused with 307"]
    assert other.got == []


def test_the_process_that_sends(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Addresses are neither in its arguments nor in its environment, and it does not know where our secrets are."""
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/us")
    monkeypatch.setenv("SFTPD_PROCESSOR__STATE__DIR", "/srv")
    with silent() as hanging:
        one = Courier(alert(f"json://127.0.0.1:{hanging}/Qzx"))
        monkeypatch.setattr(courier, "SECONDS", 3.0)
        one.send([MESSAGE])
        wait_until(lambda: _children(), what="the process")
        seen = b"".join(
            (Path("/proc") / child / what).read_bytes() for child in _children() for what in ("cmdline", "environ")
        )
        assert b"alerts.send" in seen
        for word in (b"Qzx", b"127.0.0.1", b"/run/credentials", b"SFTPD_PROCESSOR__"):
            assert word not in seen
        assert one.busy
        assert one.taken() is None
        wait_until(lambda: one.taken() == [False], 30, "its end")
    assert not one.busy


def _children() -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            text = status.read_text()
            command = status.with_name("cmdline").read_bytes()
        except OSError:
            continue
        if f"PPid:\t{os.getpid()}\n" in text and b"alerts.send" in command:
            found.append(status.parent.name)
    return found


def test_a_sending_ends_before_a_stop_does() -> None:
    """All of one sending takes less time than a stop waits: what another address took is noted, and not told again."""
    assert courier.SECONDS + courier.GRACE <= STOP_SECONDS - 5


def test_what_is_counted() -> None:
    """Each message and address counts as sent or as failed."""
    measures = Measures()
    with web() as service:
        one = Courier(alert(service.url, "json://127.0.0.1:1"), measures=measures)
        one.send([MESSAGE])
        wait_until(lambda: one.taken() == [True], 40, "its end")
    counted = {noted["name"]: (noted["labels"], noted["count"]) for noted in measures.snapshot()}
    assert counted == {"alerts_sent": (["operators"], 1), "alerts_failed": (["operators"], 1)}


def test_a_process_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no process can be started, each address says so, and it is tried again."""
    monkeypatch.setattr(courier, "_COMMAND", ("/nowhere/python",))
    assert send("json://127.0.0.1") == ["the process that sends cannot be started: No such file or directory"]


def test_a_process_that_dies(monkeypatch: pytest.MonkeyPatch) -> None:
    """One that ends without a word has sent nothing."""
    monkeypatch.setattr(courier, "_COMMAND", ("false",))
    assert send("json://127.0.0.1") == ["nothing known"]
