"""Custom values, asked of the real daemon as Webio asks them."""

from __future__ import annotations

import ssl
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from tests.acceptance.sidecar import Caller, http, started, static
from tests.acceptance.support import Desk, local
from tests.certificates import certificate
from tests.support import wait_until

CODE = """
import time
from sftpd_processor import values

@values("balance")
def balance(customer, address):
    if customer == "fails":
        raise RuntimeError(f"no account of {address}")
    if customer == "hangs":
        time.sleep(30)
    if customer == "nonsense":
        return {"a": b"b"}
    return None if customer is None else f"{customer}.50"

@values("dueDate", "name")
async def others(customer, address):
    return {"dueDate": "2026-12-24", "name": address}
"""
MINE = {"name": "mine", "use": "mine"}


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    """A folder for the source that every configuration needs."""
    folder = tmp_path / "in"
    folder.mkdir()
    return folder


def test_a_bot_asks(desk: Desk, incoming: Path) -> None:
    """Names get their values as text, in the order asked, whatever their case; what nobody knows is null."""
    running, webio = started(desk, local(incoming), values=[static(**{"7": {"balance": "12.50", "ID": "x"}})])
    answer = webio.ask("ID", "BALANCE", "other", customer="7")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json")
    assert answer.headers["cache-control"] == "no-store"
    assert list(answer.json().items()) == [("ID", "x"), ("BALANCE", "12.50"), ("other", None)]
    assert webio.ask("balance", customer="8").status_code == 502
    assert webio.ask("balance", customer="null").status_code == 502
    assert webio.client.get("/custom-values?customerUID=7").status_code == 400
    assert webio.client.post("/custom-values?customerUID=7&param1=ID").status_code == 405
    assert running.stop() == 0


def test_the_other_shape(desk: Desk, incoming: Path) -> None:
    """With `list` an answer is a list of names and values, and with `null` an unknown customer is no error."""
    table = http(custom_values_shape="list", custom_values_partial="null", custom_values_path="/values")
    running, webio = started(desk, local(incoming), http=table, values=[static(**{"7": {"balance": "1"}})])
    asked = {"customerUID": "7", "param1": "balance"}
    assert webio.client.get("/values", params=asked).json() == [{"name": "balance", "value": "1"}]
    assert webio.client.get("/values", params=asked | {"customerUID": "8"}).json() == [
        {"name": "balance", "value": None}
    ]
    assert webio.ask("balance", customer="7").status_code == 404
    assert running.stop() == 0


def test_a_provider_in_trouble(desk: Desk, incoming: Path) -> None:
    """One that fails, hangs or answers nonsense costs its own names only, is over at the deadline, and the log names
    the provider but nobody's data."""
    desk.module("mine", CODE)
    table = http(custom_values_deadline_seconds=0.5)
    running, webio = started(desk, local(incoming), http=table, values=[MINE])
    for customer, status in (("fails", 502), ("nonsense", 502), ("hangs", 504)):
        alone = webio.ask("balance", customer=customer, address="447700900001")
        assert alone.status_code == status
        assert set(alone.json()) == {"error"}
        beside = webio.ask("balance", "dueDate", customer=customer)
        assert (beside.status_code, beside.json()) == (200, {"balance": None, "dueDate": "2026-12-24"})
    assert webio.ask("balance", customer="7").json() == {"balance": "7.50"}
    assert webio.ask("balance", "name", address="4477").json() == {"balance": None, "name": "4477"}
    wait_until(lambda: "values mine" in running.log)
    assert "447700900001" not in running.log
    assert running.stop() == 0


def test_many_hanging_bots_hold_up_nobody(desk: Desk, incoming: Path) -> None:
    """While questions to a hanging provider are under way, another provider's answers come."""
    desk.module("mine", CODE)
    table = http(custom_values_deadline_seconds=2)
    known = static(**{"7": {"colour": "red"}})
    running, webio = started(desk, local(incoming), http=table, values=[MINE, known])
    hanging = [Caller(running) for _ in range(20)]
    with ThreadPoolExecutor(20) as asking:
        late = [asking.submit(one.ask, "balance", customer="hangs") for one in hanging]
        for _ in range(20):
            assert webio.ask("colour", customer="7").json() == {"colour": "red"}
        assert not all(one.done() for one in late)
        assert {one.result().status_code for one in late} <= {502, 504}
    assert running.stop() == 0


def test_the_access_log(desk: Desk, incoming: Path) -> None:
    """Each request is a line with what was called and how it ended, and nothing of what was asked, posted or sent."""
    running, webio = started(desk, local(incoming), http=http(access_log=True), values=[static(**{"7": {"a": "b"}})])
    webio.ask("a", customer="7", address="447700900001")
    webio.post(b"<html>secret")
    webio.client.get("/447700900002")
    wait_until(lambda: running.log.count("http: ") == 3)
    for said in ("http: GET custom-values 200 in ", "http: POST webhooks 400 in ", "http: GET other 404 in "):
        assert said in running.log
    for personal in ("447700900001", "447700900002", "secret", webio.client.headers["x-webio-token"]):
        assert personal not in running.log
    assert running.stop() == 0


def test_tls(desk: Desk, incoming: Path) -> None:
    """With a certificate the listener speaks TLS, and nothing else."""
    crt, key = certificate(desk.folder)
    tls = {"tls_certificate": str(crt), "tls_key": str(key)}
    running, plain = started(desk, local(incoming), http=http(**tls), values=[static(**{"7": {"a": "b"}})])
    trust = ssl.create_default_context(cafile=crt)
    webio = Caller(running, verify=trust)
    webio.client.base_url = f"https://{webio.address}"
    assert webio.ask("a", customer="7").json() == {"a": "b"}
    with pytest.raises(httpx2.TransportError):
        plain.ask("a", customer="7")
    assert running.stop() == 0


def test_behind_a_proxy(desk: Desk, incoming: Path) -> None:
    """The address that a trusted proxy tells is the one that is limited and logged."""
    table = http(trusted_proxies=["127.0.0.1"], failures_per_minute=2, access_log=True)
    running, webio = started(desk, local(incoming), http=table)
    stranger = Caller(running, "")
    codes = [stranger.client.get("/", headers={"x-forwarded-for": "203.0.113.5"}).status_code for _ in range(4)]
    assert codes == [401, 401, 429, 429]
    assert stranger.client.get("/", headers={"x-forwarded-for": "203.0.113.6"}).status_code == 401
    assert webio.client.get("/", headers={"x-forwarded-for": "203.0.113.5"}).status_code == 404
    wait_until(lambda: "from 203.0.113.5" in running.log)
    assert running.stop() == 0
