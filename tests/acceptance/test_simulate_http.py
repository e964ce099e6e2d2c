"""`sftpd-processor simulate` as a client of the real listener, `PretendWebio` in its place, and their page."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.http.token import mint
from sftpd_processor.testing.servers import free_port
from sftpd_processor.testing.webio_http import NotAnswered, PretendWebio
from tests.acceptance.support import Desk, local

PAGE = Path(__file__).parents[2] / "docs" / "simulate.md"
BLOCK = re.compile(r"^```console ([\w-]+)\n\$ sftpd-processor ([^\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECRET = "a secret of at least 32 bytes, for tests"
CUSTOMERS = {str(number): {"balance": "12.50"} for number in range(123456, 123466)}
SHARES = ["--duplicates", "0.1", "--half", "0.05", "--broken", "0.05", "--arrays", "0.1", "--unknown", "0.05"]


@pytest.fixture
def url(desk: Desk) -> Iterator[str]:
    """A listener that answers, of the desk's configuration."""
    (desk.folder / "in").mkdir()
    port = free_port()
    http = {"listen": f"127.0.0.1:{port}", "token_secrets": [SECRET], "custom_values_partial": "null"}
    values = [{"name": "v", "use": "static", "options": {"customers": CUSTOMERS}}]
    desk.configure(local(desk.folder / "in"), http=http, values=values)
    listener = desk.start("serve")
    listener.wait_for("public listener: ")
    yield f"http://127.0.0.1:{port}"
    assert listener.stop() == 0


def test_posted_and_delivered(desk: Desk, url: str) -> None:
    """Every post has the verdict that its kind calls for, and every event of theirs is delivered once."""
    ran = desk.run("simulate", "--live", "--count", "300", "--seed", "5", *SHARES, "--json")
    assert (ran.code, re.sub(r"\d+ of 300 posts made\n", "", ran.err)) == (0, "")  # said where it takes seconds
    kinds, verdicts = ran.data["kinds"], ran.data["verdicts"]
    assert ran.data["target"] == f"{url}/webhooks"
    assert verdicts["invalid"] == ran.data["statuses"]["400"] == kinds["half"] + kinds["broken"] > 0
    assert verdicts["duplicate"] == kinds["duplicate"] > 0
    assert verdicts["accepted"] == kinds["event"] + kinds["array"] + kinds["unknown"]
    assert desk.run("once").code == 0
    ((events,),) = desk.rows("SELECT count(*) FROM events")
    assert events == len(desk.lines()) == len(set(desk.keys())) > 250


def test_nothing_personal_is_told(desk: Desk, url: str) -> None:
    """No phone number, customer id or token is in what it prints, also with --debug."""
    (desk.work / "ids").write_text("\n".join(CUSTOMERS))
    for what in (["--live"], ["--ask", "balance", "--customers", "ids"]):
        ran = desk.run("--debug", "simulate", *what, "--count", "20")
        assert ran.code == 0
        assert not re.search(r"447700900|12345|12346|eyJ", ran.out + ran.err)


def test_pretend_webio(desk: Desk, url: str) -> None:
    """Posts and questions of `PretendWebio` tell what the listener answered, good and bad."""
    token = mint("42", "key", SECRET)
    event = {"type": "inboundMessage", "communicationActionId": "1", "conversationId": "97011", "body": "yes"}
    with PretendWebio(url, token) as webio:
        first = webio.post(event)
        assert (first.status, first.verdict, first.problem) == (200, "accepted", None)
        assert first.file is not None
        assert desk.run("why", first.file).code == 0
        assert webio.post([event]).verdict == "duplicate"
        changed = webio.post(event | {"body": "no"})
        assert (changed.status, changed.verdict) == (200, "conflict")
        assert changed.problem is not None
        broken = webio.post(b"{")
        assert (broken.status, broken.verdict) == (400, "invalid")
        assert webio.ask(["balance", "Nothing"], customer_uid="123456") == {"balance": "12.50", "Nothing": None}
        assert webio.ask(["balance"], outbound_channel_address="447700900001") == {"balance": None}
    with PretendWebio(url, "wrong") as stranger:
        refused = stranger.post(event)
        assert (refused.status, refused.verdict, refused.problem) == (401, None, "unauthorized")
        with pytest.raises(NotAnswered) as raised:
            stranger.ask(["balance"])
        assert raised.value.status == 401


def plain(text: str, url: str) -> list[str]:
    """The lines of an output without numbers, which differ from run to run."""
    text = text.replace(url, "http://127.0.0.1:8080")
    return [re.sub(r"[\d,.]*\d", "N", re.sub(r" +", " ", line)) for line in text.splitlines()]


def test_the_page_is_true(desk: Desk, url: str) -> None:
    """Each command of docs/simulate.md, run in turn, prints what the page shows, up to numbers."""
    (desk.work / "customers.txt").write_text("\n".join(CUSTOMERS))
    blocks = BLOCK.findall(PAGE.read_text())
    assert len(blocks) == 4
    for _, command, shown in blocks:
        ran = desk.run(*shlex.split(command))
        assert (ran.code, ran.err) == (0, ""), command
        assert plain(ran.out, url) == plain(shown, url), command


def test_the_example_is_true(url: str) -> None:
    """The example of a test on docs/simulate.md passes."""
    (example,) = PYTHON.findall(PAGE.read_text())
    exec(example.replace("http://127.0.0.1:8080", url), {"token": mint("42", "key", SECRET)})


def test_every_option_is_told() -> None:
    """docs/simulate.md names every option of the command."""
    from typer.main import get_command

    from sftpd_processor.cli.main import app

    verb = get_command(app).commands["simulate"]  # type: ignore[attr-defined]
    options = {name for one in verb.params for name in one.opts if name != "--help"}
    assert len(options) > 20
    assert [name for name in options if f"`{name}" not in PAGE.read_text()] == []
