"""`sftpd-processor check`: the configuration, all mistakes at once; with `--live` the servers too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sftpd_processor.testing.servers import free_port
from tests.acceptance.support import Desk, event, local
from tests.support import ServedFolder


def test_a_good_one(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 0, with what was understood; nothing is made, and no server is asked."""
    desk.configure(openssh.source(port=free_port()))
    ran = desk.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert f"configuration {desk.config}: good" in ran.out
    assert "sources: webio" in ran.out
    assert "handlers: journal" in ran.out
    assert not desk.state.exists()
    assert not desk.journal.exists()


def test_json_of_a_good_one(desk: Desk, openssh: ServedFolder) -> None:
    """`--json` says ok, which file, which handlers, and which providers with the names that they answer."""
    desk.configure(openssh.source(), values=[STATIC])
    ran = desk.run("check", "--json")
    assert ran.code == 0
    values = {"accounts": {"names": ["balance", "dueDate"]}}
    assert ran.data == {
        "ok": True, "configuration": str(desk.config), "handlers": ["journal"], "sources": {}, "values": values,
    }  # fmt: skip


STATIC = {
    "name": "accounts",
    "use": "static",
    "options": {"customers": {"C-1": {"balance": "12.50", "dueDate": "2026-01-31"}}},
}
MISTAKES = {
    "sources[0].pasword": "password",
    "sources[0].host": "host name",
    "sources[0].poll_seconds": "",
    "sources[0].host_keys[0]": "SHA256",
    "delivery.order": "conversation",
    "archiv": "",
}


def wrong(desk: Desk, openssh: ServedFolder) -> None:
    source = openssh.source(
        host="sftp://x", poll_seconds=-1, host_keys=["SHA256:short"], pasword="hunter2-not-to-be-seen"
    )
    desk.configure(source, delivery={"order": "strict"}, archiv={})


def test_all_mistakes_at_once(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 2; every mistake has its place, a reason and a way out; no traceback, and no value of a secret."""
    wrong(desk, openssh)
    ran = desk.run("check")
    assert ran.code == 2
    for where, word in MISTAKES.items():
        (line,) = [line for line in ran.err.splitlines() if line.strip().startswith(f"{where}:")]
        assert word in line
    assert "hunter2" not in ran.err + ran.out
    assert "Traceback" not in ran.err


def test_all_mistakes_as_json(desk: Desk, openssh: ServedFolder) -> None:
    """The same as data: each with where, why and an example."""
    wrong(desk, openssh)
    ran = desk.run("check", "--json")
    assert ran.code == 2
    assert ran.data["ok"] is False
    assert {problem["where"] for problem in ran.data["problems"]} >= set(MISTAKES)
    assert all(problem["why"] for problem in ran.data["problems"])
    assert "hunter2" not in ran.out


def test_mistakes_of_handlers_have_file_and_line(desk: Desk, openssh: ServedFolder) -> None:
    """A handler module that cannot be imported is told with its file, line and error, together with other handlers."""
    desk.module("broken", "import json\n\nvalue = json.nope\n")
    desk.module("syntax", "def x(:\n    pass\n")
    handlers: list[dict[str, Any]] = [
        {"name": "one", "use": "broken:f"},
        {"name": "two", "use": "syntax:x"},
        {"name": "three", "use": "jsonnl"},
        {"name": "four", "use": "http", "options": {"ur": "https://x"}},
    ]
    desk.configure(openssh.source(), handlers=handlers)
    ran = desk.run("check")
    assert ran.code == 2
    assert f"{desk.folder}/broken.py, line 3: AttributeError" in ran.err
    assert f"{desk.folder}/syntax.py, line 1: SyntaxError" in ran.err
    assert "did you mean 'jsonl'?" in ran.err
    assert "handlers[3].options" in ran.err
    assert "Traceback" not in ran.err


def test_live_and_well(desk: Desk, openssh: ServedFolder, tmp_path: Path) -> None:
    """`--live` logs in to every source, lists its folder, takes nothing, and says what it would take."""
    openssh.write({"a.json": event(1), "b.txt": b""})
    desk.configure(openssh.source(), local(tmp_path))
    ran = desk.run("check", "--live")
    assert ran.code == 0, ran.err
    assert "source webio: reached" in ran.out
    assert "source local: reached" in ran.out
    found = desk.run("check", "--live", "--json").data
    assert found["ok"] is True
    assert found["sources"]["webio"] == {"ok": True, "entries": 2, "to_take": 1}
    assert openssh.names() == ["a.json", "b.txt"]
    assert not desk.state.exists()


def test_live_and_bad(desk: Desk, openssh: ServedFolder, tmp_path: Path) -> None:
    """Exit 4; each source that cannot be used is told with its reason, also beside one that can."""
    sources = [
        openssh.source(),
        openssh.source(name="down", port=free_port()),
        openssh.source(name="stranger", username="nobody-here"),
        openssh.source(name="nowhere", folder="/no/such/folder"),
        local(tmp_path / "absent"),
    ]
    desk.configure(*sources)
    ran = desk.run("check", "--live")
    assert ran.code == 4
    told = {line.split(":")[0]: line for line in ran.out.splitlines() if line.startswith("source ")}
    assert "reached" in told["source webio"]
    assert "refused" in told["source down"]
    assert "refused the login as 'nobody-here'" in told["source stranger"]
    assert "does not exist" in told["source nowhere"]
    assert "cannot be listed" in told["source local"]
    found = desk.run("check", "--live", "--json")
    assert found.code == 4
    assert {name: source["ok"] for name, source in found.data["sources"].items()} == {
        "webio": True, "down": False, "stranger": False, "nowhere": False, "local": False,
    }  # fmt: skip


def test_no_configuration(desk: Desk) -> None:
    """Exit 2 with the places that were looked at and what to do; one asked for by name is never replaced."""
    ran = desk.bare("check")
    assert ran.code == 2
    assert "config.toml" in ran.err
    assert "/etc/sftpd-processor/config.toml" in ran.err
    assert "config.example.toml" in ran.err
    named = desk.bare("-c", "/no/such.toml", "check")
    assert named.code == 2
    assert "/no/such.toml" in named.err


def test_where_the_configuration_is_found(desk: Desk, openssh: ServedFolder) -> None:
    """$SFTPD_PROCESSOR_CONFIG names it; else the one in the current folder is taken; variables overrule its values."""
    desk.configure(openssh.source())
    assert desk.bare("check", SFTPD_PROCESSOR_CONFIG=str(desk.config)).code == 0
    (desk.work / "config.toml").write_text(desk.config.read_text())
    assert desk.bare("check").code == 0
    overruled = desk.bare("check", SFTPD_PROCESSOR__DELIVERY__WORKERS="0")
    assert overruled.code == 2
    assert "SFTPD_PROCESSOR__DELIVERY__WORKERS" in overruled.err


def listening(*names: str) -> dict[str, Any]:
    return {"listen": "127.0.0.1:8080", "tokens": ["x"], "custom_values_names": list(names)}


def test_providers_are_shown(desk: Desk, openssh: ServedFolder) -> None:
    """Each with the names that it answers."""
    crm = {"name": "crm", "use": "http", "options": {"url": "https://crm.example.com/{customerUID}"}}
    desk.configure(openssh.source(), values=[STATIC, crm], http=listening("Balance", "anything"))
    ran = desk.run("check")
    assert (ran.code, ran.err) == (0, "")
    assert "values: accounts (balance, dueDate)\nvalues: crm (any name)\n" in ran.out


def test_names_that_nobody_answers(desk: Desk, openssh: ServedFolder) -> None:
    """Exit 2, with the place of the name and the nearest one that there is."""
    desk.configure(openssh.source(), values=[STATIC], http=listening("balance", "duDate", "x"))
    ran = desk.run("check")
    assert ran.code == 2
    assert "http.custom_values_names[1]: no [[values]] answers \"duDate\"; did you mean 'dueDate'?" in ran.err
    assert 'http.custom_values_names[2]: no [[values]] answers "x"\n' in ran.err
    assert "custom_values_names[0]" not in ran.err


def test_mistakes_of_providers_are_told_with_those_of_handlers(desk: Desk, openssh: ServedFolder) -> None:
    """All at once."""
    handlers = [{"name": "three", "use": "jsonnl"}]
    desk.configure(openssh.source(), handlers=handlers, values=[{"name": "a", "use": "statik"}])
    ran = desk.run("check")
    assert ran.code == 2
    assert "handlers[0].use: there is no handler or module 'jsonnl'" in ran.err
    assert "values[0].use: there is no provider or module 'statik' (looked beside config.toml too)" in ran.err
    assert "did you mean 'static'?" in ran.err


def test_live_asks_the_databases_of_providers(desk: Desk, openssh: ServedFolder) -> None:
    """One that is there is reached; one without the table is told, and the exit is 4."""
    options = {"url": f"sqlite:///{desk.folder}/accounts.db", "query": "select 1 as balance"}
    good = {"name": "accounts", "use": "sql", "options": options, "names": {"balance": "balance"}}
    bad = {**good, "name": "other", "options": {**options, "query": "select balance from account"}}
    desk.configure(openssh.source(), values=[good, bad, {**STATIC, "name": "static"}])
    ran = desk.run("check", "--live")
    assert ran.code == 4
    assert "values accounts: reached\n" in ran.out
    assert "values other: OperationalError: no such table: account\n" in ran.out
    assert "values static: " not in ran.out
    found = desk.run("check", "--live", "--json").data
    assert found["ok"] is False
    assert found["values"]["accounts"] == {"names": ["balance"], "ok": True}
    assert found["values"]["static"] == {"names": ["balance", "dueDate"]}


def test_mistakes_in_what_the_listener_trusts(desk: Desk, tmp_path: Path) -> None:
    """A certificate that is none, a key file as a secret and a wrong provider are told by `check`, all at once, and
    by `run`, which starts nothing then."""
    (tmp_path / "tls.crt").write_text("no certificate")
    (tmp_path / "tls.key").write_text("no key")
    key = "-----BEGIN PRIVATE KEY-----\n" + "A" * 64 + "\n-----END PRIVATE KEY-----\n"
    desk.configure(
        local(tmp_path),
        http={
            "listen": "127.0.0.1:0",
            "token_secrets": [key],
            "tls_certificate": str(tmp_path / "tls.crt"),
            "tls_key": str(tmp_path / "tls.key"),
        },
        values=[{"name": "accounts", "use": "static"}],
    )
    for verb in ("check", "run"):
        ran = desk.run(verb)
        assert ran.code == 2
        for where in ("http.tls_certificate", "http.token_secrets", "values[0].options"):
            assert where in ran.err, (verb, ran.err)
    assert not (desk.state / "bell").exists()
