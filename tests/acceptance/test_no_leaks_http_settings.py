"""What stands in the settings of the listeners, or ails them, is told without a secret or a customer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.acceptance.canaries import (
    CUSTOMER,
    DATABASE_PASSWORD,
    MARK,
    MESSAGE,
    NAME,
    SECRET,
    TLS_PASSPHRASE,
    TOKEN,
    URL_TOKEN,
    assert_silent,
    leaks,
    pages,
    personal,
    raw,
    told,
)  # fmt: skip
from tests.acceptance.sidecar import Caller, http
from tests.acceptance.support import Desk, local
from tests.acceptance.test_admin import ADMIN, Operator
from tests.certificates import certificate


@pytest.mark.parametrize("flags", [[], ["--debug"]])
def test_a_ledger_that_cannot_be_used(desk: Desk, flags: list[str]) -> None:
    """Posts that are refused with 503 because the database is down: its password is nowhere, nor what was posted."""
    (desk.folder / "in").mkdir()
    away = f"postgresql+psycopg://{MARK}@127.0.0.1:1/x?password={DATABASE_PASSWORD}&connect_timeout=2"
    desk.configure(
        local(desk.folder / "in"),
        http=http(access_log=True, auth="none", token_secrets=[]),
        admin=ADMIN,
        state={"dir": str(desk.state), "database": away.replace(f"{MARK}@", "u@")},
    )
    running = desk.start(*flags, "run")
    webio, operator = Caller(running, ""), Operator(running)
    answers = [webio.post(personal(1)), webio.post(personal(2, type=[MESSAGE]))]
    assert [answer.status_code for answer in answers] == [503, 503]
    assert operator.get("/readyz").status_code == 503
    assert leaks("\n".join(map(told, answers)) + pages(operator)) == []
    assert running.stop() == 0
    assert "they are answered with 503" in running.log
    assert leaks(running.log + running.out) == []


def locked(desk: Desk) -> dict[str, Any]:
    """A certificate whose key is under a passphrase."""
    crt, key = certificate(desk.folder, passphrase=TLS_PASSPHRASE)
    return {"tls_certificate": str(crt), "tls_key": str(key)}


@pytest.mark.parametrize("passphrase", [TLS_PASSPHRASE, f"{TLS_PASSPHRASE}-wrong"])
def test_the_passphrase_of_the_key(desk: Desk, passphrase: str) -> None:
    """Right or wrong, the passphrase of the TLS key is not shown, and neither is what strangers say in place of TLS."""
    (desk.folder / "in").mkdir()
    desk.configure(local(desk.folder / "in"), http=http(**locked(desk), tls_key_passphrase=passphrase, access_log=True))
    if passphrase != TLS_PASSPHRASE:
        ran = desk.run("--debug", "serve")
        assert "tls_key_passphrase: is not the passphrase" in ran.err
        assert_silent(ran)
        return
    running = desk.start("--debug", "run")
    with pytest.raises(httpx2.TransportError):
        Caller(running).post(personal(1))
    assert raw(Caller(running), f"{MESSAGE}\r\n\r\n") == ""
    assert running.stop() == 0
    assert leaks(running.log + running.out) == []


def mistakes(folder: Path) -> list[dict[str, Any]]:
    """Providers whose options are wrong, each with a canary in or beside what is wrong."""
    short, headless = folder / "short.csv", folder / "headless.csv"
    short.write_text(f"customerUID,balance\n{CUSTOMER},{NAME},{MESSAGE}\n")
    headless.write_text(f"customerUIDD,{NAME}\n{CUSTOMER},{MESSAGE}\n")
    upstream = f"http://127.0.0.1/?key={URL_TOKEN}"
    account = f"u:{DATABASE_PASSWORD}@h/x"
    options: list[tuple[str, dict[str, Any]]] = [
        ("static", {"customers": {CUSTOMER: NAME}}),
        ("static", {"customers": {CUSTOMER: {"balance": [MESSAGE]}}}),
        ("static", {"customers": {CUSTOMER: {"a\nb": MESSAGE}}}),
        ("static", {"customers": {CUSTOMER: {"balance": MESSAGE * 90}}}),
        ("static", {"csv": str(short)}),
        ("static", {"csv": str(headless)}),
        ("sql", {"url": f"mysql://{account}", "query": "SELECT 1"}),
        ("sql", {"url": f"postgresql+psycopg://{account}", "query": "SELECT :a"}),
        ("http", {"url": f"{upstream}&c={{customer}}"}),
        ("http", {"url": f"ftp://u:{TOKEN}@h/"}),
        ("http", {"url": upstream, "headers": {"Host": TOKEN}}),
        ("http", {"url": upstream, "headers": {"Authorization": f"{TOKEN}\n"}}),
        ("mine", {"token": TOKEN}),
    ]
    return [{"name": f"p{at}", "use": use, "options": its} for at, (use, its) in enumerate(options)]


def refused(desk: Desk, *verbs: str, **tables: Any) -> str:
    """What these commands print, which the configuration ends; none of it holds a canary."""
    desk.configure(local(desk.folder / "in"), **({"http": http()} | tables))
    ran = [desk.run("--debug", *verb.split()) for verb in verbs]
    assert {each.code for each in ran} == {2}
    assert_silent(*ran)
    return "".join(each.out + each.err for each in ran)


def test_mistakes_in_the_settings(desk: Desk) -> None:
    """A mistake in [http] or in the options of a provider is told by its place, without a secret or a customer."""
    (desk.folder / "in").mkdir()
    desk.module("mine", "from sftpd_processor import values\n@values('a')\ndef a(c, d): pass\n")
    wrong = mistakes(desk.folder)
    said = refused(desk, "check", "check --json", "serve", values=wrong)
    assert [at for at in range(len(wrong)) if said.count(f"values[{at}].options") < 3] == []
    refused(desk, "check", http=http(token_secrets=[MARK], tokens=[[TOKEN]], token_secret=SECRET))
    refused(desk, "check", http=http(token_secrets=SECRET, tokens=TOKEN, tls_key_passphrase=[TLS_PASSPHRASE]))
    pem = f"-----BEGIN PUBLIC KEY-----\n{MARK * 12}\n-----END PUBLIC KEY-----\n"
    refused(desk, "serve", http=http(token_secrets=[pem]))
