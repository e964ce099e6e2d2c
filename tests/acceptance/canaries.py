"""Words that stand for personal data and secrets, and the search for them where they must not be.

Every canary holds `MARK` or one of the digit runs, so that a part of it is found as well.
"""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx2

from tests.acceptance.sidecar import Caller
from tests.acceptance.support import Desk, Ran
from tests.acceptance.test_admin import Operator

MARK = "Qzx"
PHONE = "353857770011223"
CUSTOMER = "998877665544"
MESSAGE = " ".join(["QzxMessage"] * 60)
NAME = "QzxMaria QzxMurphy"

PASSWORD = "Qzx-password-1"
PASSPHRASE = "Qzx-passphrase-2"
TOKEN = "Qzx-token-3"
DATABASE_PASSWORD = "Qzx-database-4"
URL_TOKEN = "Qzx-url-5"
SECRET = "Qzx-secret-6 of at least 32 bytes"
EXACT_TOKEN = "Qzx-exact-token-7"
TLS_PASSPHRASE = "Qzx-tls-passphrase-8"
JWT = "eyJhbGci"
"""How every signed token begins."""


def personal(number: int, kind: str = "inboundMessage", **more: object) -> bytes:
    """An event full of personal data; only its type, its ids and the names of its fields may be seen."""
    fields = {
        "type": kind,
        "communicationActionId": f"m{number}",
        "conversationId": f"c{number}",
        "body": MESSAGE,
        "outboundChannelAddress": f"+{PHONE}",
        "customerUID": CUSTOMER,
        "customer": {"name": NAME, "phones": [PHONE]},
    }
    return json.dumps(fields | more).encode()


def personal_files() -> dict[str, bytes]:
    """Files of every fate, each with canaries."""
    whole = personal(1)
    return {
        "good.json": whole,
        "payment.json": personal(2, "payment"),
        "odd-type.json": personal(3, "somethingNew"),
        "several.json": b"[" + personal(4) + b"," + personal(5) + b"]",
        "again.json": whole,
        "changed.json": personal(1, body=MESSAGE + "!"),
        "cut.json": whole[: len(whole) // 2],
        "trailing.json": whole + MESSAGE.encode(),
        "page.json": f"<html>{MESSAGE} +{PHONE} {CUSTOMER}</html>".encode(),
        "latin.json": whole[:-1] + b', "x": "\xe9 Qzx"}',
        "wrong-kinds.json": personal(6, communicationActionId={MESSAGE: PHONE}, conversationId=[NAME]),
        "wrong-date.json": personal(7, dateCreated=f"{MESSAGE} {PHONE}"),
        "wrong-type.json": personal(8, type=[MESSAGE, PHONE]),
        "long-type.json": personal(9, type=MESSAGE),
        "text.json": json.dumps(MESSAGE).encode(),
        "half-bad.json": b"[" + personal(10) + b"," + json.dumps([MESSAGE, PHONE]).encode() + b"]",
        "lines.json": personal(11) + b"\n" + MESSAGE.encode() + b"\n" + personal(12) + b"\n",
        "twice.json": b'{"type": "payment", "body": "Qzx", "body": "' + MESSAGE.encode() + b'"}',
        "number.json": b'{"type": "payment", "conversationId": ' + PHONE.encode() * 400 + b"}",
    }


def leaks(text: str) -> list[str]:
    """The lines that hold a canary."""
    return [line[:300] for line in text.splitlines() if any(word in line for word in (MARK, PHONE, CUSTOMER, JWT))]


def assert_silent(*told: Ran) -> None:
    """Nothing that these printed holds a canary."""
    assert [line for ran in told for line in leaks(ran.out) + leaks(ran.err)] == []


def leaks_in_reasons(desk: Desk) -> list[str]:
    """The canaries in the notes beside quarantined files; there must be notes."""
    notes = list(Path(desk.state, "quarantine").rglob("*.reason.json"))
    assert notes
    return [line for path in notes for line in leaks(path.read_text())]


def told(answer: httpx2.Response) -> str:
    """All that the caller gets to see."""
    return f"{answer.reason_phrase} {answer.headers} {answer.text}"


def raw(webio: Caller, request: str) -> str:
    """The answer to bytes that no client would send."""
    host, _, port = webio.address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()


def pages(operator: Operator) -> str:
    """All that the admin listener shows."""
    return "".join(
        told(operator.get(path)) for path in ("/", "/readyz", "/healthz", "/version", "/metrics", "/?" + MARK)
    )
