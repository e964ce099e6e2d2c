"""Alerts of the real daemon: told once, over a restart too, and told when it is over; and the verbs to try them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.acceptance.canaries import CUSTOMER, MARK, PHONE, personal_files
from tests.acceptance.support import Desk, event, local
from tests.acceptance.test_admin import ADMIN, Operator
from tests.alert_items import web
from tests.support import ServedFolder, wait_until

DOWN = "source webio cannot be polled"
UP = "recovered: source webio is polled again"
QUARANTINE = "source webio: new files in quarantine"


def operators(*urls: str, **changes: Any) -> dict[str, Any]:
    """An [[alerts]] table that waits three seconds in place of minutes."""
    return {"name": "operators", "urls": list(urls), "source_minutes": 0.05, "disk_percent": 99.99} | changes


def test_a_server_that_goes_away(desk: Desk, openssh: ServedFolder) -> None:
    """sshd stops: that is told once, also over a restart of the daemon; it starts: that is told once."""
    with web() as service:
        source = openssh.source(poll_seconds=1, reconnect_max_seconds=1)
        desk.configure(source, alerts=[operators(service.url)], admin=ADMIN)
        daemon = desk.daemon()
        wait_until(
            lambda: desk.rows("SELECT 1 FROM looks WHERE failure IS NULL AND finished_at > 0"), 20, "a good poll"
        )
        openssh.server.stop()
        wait_until(lambda: service.titles == [DOWN], 40, "the alert")
        assert "Its files wait on the server" in service.got[0]["message"]
        wait_until(
            lambda: desk.rows("SELECT subject FROM alerts WHERE since > 0") == [("webio",)], what="the note of it"
        )
        assert Operator(daemon).number("alerts_open", alert="operators", cause="source") == 1
        assert daemon.stop() == 0
        [told] = desk.run("status", "--json").data["alerts"]
        assert (told["cause"], told["subject"], told["alert"]) == ("source", "webio", "operators")
        assert "source webio cannot be polled, since " in desk.run("alerts", "list").out
        [(last,)] = desk.rows("SELECT max(id) FROM looks")
        again = desk.daemon()
        long = f"SELECT max(finished_at) - min(finished_at) FROM looks WHERE id > {last} AND failure IS NOT NULL"
        wait_until(lambda: (desk.rows(long)[0][0] or 0) > 6_000_000, 60, "twice the time after which it would be told")
        assert service.titles == [DOWN]
        openssh.server.start()
        wait_until(lambda: len(service.got) > 1, 40, "its end")
        assert service.titles == [DOWN, UP]
        wait_until(lambda: desk.rows("SELECT 1 FROM alerts WHERE since > 0") == [], what="the note of it")
        assert again.stop() == 0
        assert desk.run("alerts", "list", "--json").data == {"open": []}


def test_what_is_told_holds_nothing_personal(desk: Desk, openssh: ServedFolder) -> None:
    """Messages of a daemon that took files full of personal data, and failed with some, hold none of it; nor does the
    log hold any part of an address."""
    openssh.write({"first.json": event(1)})
    failing = {"name": "crm", "use": "broken:crm"}
    lines = ["from sftpd_processor import Reject, handler", "@handler(name='crm')", "def crm(event, delivery):"]
    desk.module("broken", "\n".join([*lines, "    raise Reject(f'no: {event}')", ""]))
    with web() as service:
        addresses = (service.url + "/QzxSecret", "json://127.0.0.1:1/QzxSecret")
        desk.configure(openssh.source(poll_seconds=1), handlers=[failing], alerts=[operators(*addresses)])
        daemon = desk.daemon()
        wait_until(lambda: desk.rows("SELECT 1 FROM alerts WHERE cause = 'dead_letters'"), 20, "the watch")
        openssh.write(personal_files())
        wait_until(lambda: {"handler crm: new dead letters", QUARANTINE} <= _causes(service.got), 60, "the alerts")
        assert daemon.stop() == 0
        told = json.dumps(service.got) + daemon.log
    assert "address 2 of 2: it cannot be reached" in daemon.log
    for private in (MARK, PHONE, CUSTOMER):
        assert private not in told


def _causes(messages: list[dict[str, Any]]) -> set[str]:
    """The first line of each cause in them, as in a title."""
    lines = [line for message in messages for line in message["message"].splitlines() if not line.startswith(" ")]
    return {line[:1].lower() + line[1:] for line in lines}


def test_trying_the_alerts(desk: Desk, tmp_path: Path) -> None:
    """`alerts test` sends to each address, says by its number which took it, and exits 1 when one did not."""
    (tmp_path / "in").mkdir()
    with web() as service:
        tables = [operators(service.url), operators(service.url, "json://127.0.0.1:1/QzxSecret", name="chat")]
        desk.configure(local(tmp_path / "in"), alerts=tables)
        ran = desk.run("alerts", "test", "--name", "operators")
        assert (ran.code, ran.out) == (0, "alert operators, address 1: taken\n")
        assert service.titles == ["test of the alert operators"]
        ran = desk.run("alerts", "test", "--json")
        assert ran.code == 1
        assert [(it["alert"], it["address"], it["why"]) for it in ran.data["sent"]] == [
            ("operators", 1, None), ("chat", 1, None), ("chat", 2, "it cannot be reached"),
        ]  # fmt: skip
        assert "Qzx" not in ran.out + ran.err
    assert desk.run("alerts", "test", "--name", "none").code == 2
    desk.configure(local(tmp_path / "in"))
    ran = desk.run("alerts", "test")
    assert (ran.code, "there is no [[alerts]] table" in ran.err) == (2, True)


def test_check_tells_what_is_wrong_with_alerts(desk: Desk, tmp_path: Path) -> None:
    """`check` finds addresses that no service has, and types that there are not; it shows no part of an address."""
    (tmp_path / "in").mkdir()
    desk.configure(local(tmp_path / "in"), alerts=[operators("slack://QzxSecret", silence={"payments": 5})])
    ran = desk.run("check")
    assert ran.code == 2
    assert "alerts[0].urls[0]: lacks something that its service needs" in ran.err
    assert "alerts[0].silence.payments: is no type of event known here; did you mean 'payment'?" in ran.err
    assert "Qzx" not in ran.out + ran.err
    desk.configure(local(tmp_path / "in"), alerts=[operators("json://localhost")])
    ran = desk.run("check")
    assert ran.code == 0
    assert "alerts: operators" in ran.out
