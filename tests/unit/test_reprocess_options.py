"""What is given to `reprocess`: what it means, and what is refused with the way to say it."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner, Result

from sftpd_processor.cli import main, reprocess
from sftpd_processor.cli.reprocess_job import Wishes, expanded, job_of, per_second, resumed
from sftpd_processor.config.settings import Settings
from sftpd_processor.daemon import make_handlers
from sftpd_processor.errors import PermanentError
from sftpd_processor.ledger.selection import Selection
from sftpd_processor.reprocess.job import Job

ALONE = typer.Typer(rich_markup_mode=None)
"""The verb alone: to put all the others together takes a fifth of a second, for each test."""
ALONE.command()(reprocess.reprocess)
NOON = 1_795_348_800 * 1_000_000  # 2026-11-22 12:00 UTC


@pytest.fixture
def understood(monkeypatch: pytest.MonkeyPatch) -> list[Wishes]:
    """What the verb has understood, instead of doing it."""
    wishes: list[Wishes] = []
    monkeypatch.setattr(reprocess, "perform", lambda _ctx, wish, **_others: wishes.append(wish))
    return wishes


def invoke(*arguments: str, text: str | None = None) -> Result:
    """The verb in this process."""
    return CliRunner().invoke(ALONE, arguments, input=text)


def settings(folder: Path) -> Settings:
    """One source and two handlers."""
    handlers = [{"name": name, "use": "log"} for name in ("crm", "billing")]
    source = {"name": "webio", "type": "directory", "folder": str(folder / "in")}
    return Settings.model_validate({"state": {"dir": str(folder)}, "sources": [source], "handlers": handlers})


def job(folder: Path, **wishes: Any) -> Job:
    """What is asked for, with these settings."""
    known = settings(folder)
    return job_of(Wishes(**({"chosen": Selection()} | wishes)), known, make_handlers(known, folder))


@pytest.mark.parametrize("verb", ["reprocess", "replay"])
def test_every_choice_is_understood(understood: list[Wishes], tmp_path: Path, verb: str) -> None:
    """Each option arrives where it is meant, several times where that is allowed; both names of the verb do."""
    ids = tmp_path / "ids"
    ids.write_text("\ufeffc2\r\n\n c3 \nc1\n")
    done = CliRunner().invoke(main.app, [
        verb, "--since", "2026-11-22T12:00", "--until", "2026-11-22T12:00:01", "--file", "webio/in*.json",
        "--type", "inboundMessage", "--type", "deliveryReport", "--conversation", "k1", "--customer", "c1",
        "--customer-file", str(ids), "--handler", "crm", "--handler", "crm", "--verdict", "partial",
        "--state", "dead", "--state", "done", "--again", "--new-keys", "--rate", "50/s", "--workers", "3",
    ])  # fmt: skip
    assert (done.exit_code, done.output) == (0, "")
    (wishes,) = understood
    assert wishes.chosen == Selection(
        handlers=("crm",), types=("inboundMessage", "messageStatusUpdate"), sources=("webio",), file="in*.json",
        since=NOON, until=NOON + 1_000_000, conversations=("k1",), customers=("c1", "c2", "c3"),
        verdicts=("partial",), states=("dead", "done"),
    )  # fmt: skip
    assert (wishes.again, wishes.new_keys, wishes.rate, wishes.workers) == (True, True, "50/s", 3)


def test_customers_from_standard_input(understood: list[Wishes]) -> None:
    """`--customer-file -` reads them from standard input, so that nobody else sees them; neither does a repr."""
    assert invoke("--customer-file", "-", text="4711\n").exit_code == 0
    assert understood[0].chosen.customers == ("4711",)
    assert "4711" not in repr(understood[0])


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ("", "say what: PATHs, a choice (--since, --handler, --type, --file …), or --all"),
        ("--again", "say what"),
        ("--all --new-keys", "--new-keys goes with --again only"),
        ("--all --state done", "give --again as well"),
        ("--all --state lost", "--state is one of: missing, failed, dead, done; not 'lost'"),
        ("--verdict good", "--verdict is one of: accepted, duplicate, partial, invalid, conflict; not 'good'"),
        ("--since 2h --until 3h", "--until is not later than --since"),
        ("--file /srv/a.json", "give a path as an argument"),
        ("--customer-file /nowhere", "cannot be read: No such file or directory"),
        ("--customer-file -", "names no customer"),
        ("--all --rate fast", "--rate is how many a second, at most: 50, or 50/s; not 'fast'"),
        ("--all --rate 0", "--rate is how many a second"),
        ("--all --workers 0", "--workers"),
        ("a --all", "--all is all that the ledger knows"),
        ("a '' b", "a PATH is empty"),
        ("--all --as webio", "--as goes with PATH only"),
        ("--resume 7 --since 2h --all", "goes with --rate, --workers only, not with --all, --since"),
        ("--resume 7 --dry-run", "goes on with what was asked for then"),
        ("a --record-only --handler crm", "takes whole files and delivers nothing"),
        ("--record-only --since 2h", "--record-only goes with PATH only"),
        ("--quarantine --customer c1", "--quarantine takes whole files, for all handlers"),
        ("a --quarantine", "not with PATH"),
        ("--quarantine --verdict partial", "not with --verdict"),
        ("--shadow crm --all --again", "so it needs no --again"),
        ("--shadow crm --all --state dead", "leave --state out"),
        ("--shadow crm --handler crm", "--against the one to compare with"),
        ("--shadow crm --all", "--shadow goes with --effects only: what the handler would have done is written"),
        ("--all --against crm", "--against goes with --shadow only"),
        ("--all --effects x", "--effects goes with --shadow only"),
    ],
)
def test_contradictions(understood: list[Wishes], arguments: str, why: str) -> None:
    """What cannot be meant ends with 2 and the way out, before a configuration is looked for."""
    done = invoke(*shlex.split(arguments))
    assert (done.exit_code, understood) == (2, [])
    assert why in done.output
    assert invoke("--since", "").exit_code == invoke("--customer", "").exit_code == 2


def test_what_is_enough(understood: list[Wishes]) -> None:
    """A PATH, a handler, --quarantine, --resume with another rate: each says enough by itself."""
    for enough in ("a", "--handler crm", "--quarantine", "--resume 7 --rate 50 --yes --json", "a --record-only --as w"):
        assert invoke(*enough.split()).exit_code == 0, enough
    assert len(understood) == 5


def test_states(tmp_path: Path) -> None:
    """Without a choice it is what is not done; --again adds that; a shadow and a file read again ask for no state."""
    undone = ("missing", "failed", "dead")
    assert job(tmp_path).selection.states == undone
    assert job(tmp_path, again=True).selection.states == (*undone, "done")
    assert job(tmp_path, again=True, chosen=Selection(states=("done",))).selection.states == ("done",)
    assert job(tmp_path, shadow="crm").selection.states == job(tmp_path, quarantine=True).selection.states == ()


def test_names_that_are_not_known(tmp_path: Path) -> None:
    """A wrong handler or source is refused with the nearest right one; a source that once was is in the archive."""
    (tmp_path / "quarantine" / "formerly").mkdir(parents=True)
    for chosen in (Selection(sources=("webio", "formerly", "live")), Selection(handlers=("billing",))):
        assert job(tmp_path, chosen=chosen).selection.sources == chosen.sources
    for wishes, why in (
        ({"chosen": Selection(handlers=("bilings",))}, "no handler 'bilings' .*; did you mean 'billing'"),
        ({"chosen": Selection(handlers=("zzz",))}, "there are crm, billing"),
        ({"chosen": Selection(sources=("wbio",))}, "no source 'wbio' .*; did you mean 'webio'"),
        ({"shadow": "cmr"}, "did you mean 'crm'"),
        ({"paths": (str(tmp_path),), "read_as": "wbio"}, "no source 'wbio' in the configuration; did you mean"),
    ):
        with pytest.raises(typer.BadParameter, match=why):
            job(tmp_path, **wishes)


def test_a_type_that_is_not_known(understood: list[Wishes]) -> None:
    """It may have been recorded all the same, so it is taken; a likely slip is spoken of."""
    done = invoke("--type", "inboundMesage", "--type", "surveyAnswer")
    assert (
        done.output == "note: 'inboundMesage' is no type of event that is known here; did you mean 'inboundMessage'?\n"
    )
    assert understood[0].chosen.types == ("inboundMesage", "surveyAnswer")


def test_paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Patterns are expanded, also quoted ones; each path once and absolute; those below the state folder are found."""
    days = tmp_path / "state" / "archive" / "webio" / "2026" / "11"
    for name in ("20.zip", "21/a.json", "21/[b].json"):
        (days / name).parent.mkdir(parents=True, exist_ok=True)
        (days / name).touch()
    monkeypatch.chdir(days)
    found = [str(days / name) for name in ("20.zip", "21", "21/a.json", "21/[b].json")]
    state = tmp_path / "state"
    assert expanded(["20.zip", "2?*", "21/a.json", "21/[b].json"], state) == tuple(found)
    assert expanded(["archive/webio/2026/11/21", "archive/**/a.json"], state) == (found[1], found[2])
    for nothing in ("22", "archive/*.json", "/nowhere*"):
        with pytest.raises(typer.BadParameter, match=re.escape(f"nothing at {nothing};")):
            expanded([nothing], state)


def test_rates() -> None:
    """A rate is a number a second, with or without saying so."""
    assert [per_second(text) for text in (None, "50", "50/s", " 0.5 / s ")] == [None, 50.0, 50.0, 0.5]


def test_a_job_is_kept_and_resumed(tmp_path: Path) -> None:
    """It comes back from JSON as it was; another rate goes with it; one of another version says to begin anew."""
    chosen = Selection(customers=("4711",), conversations=("k1",), since=NOON)
    asked = job(tmp_path, paths=(str(tmp_path),), chosen=chosen, effects=Path("/x/effects.jsonl"), rate="5")
    assert Job.from_json(asked.to_json()) == asked
    assert "4711" not in repr(asked)
    again = resumed(asked, Wishes(chosen=Selection(), resume=7, workers=2))
    assert (again.rate, again.workers, again.selection) == (5.0, 2, asked.selection)
    assert resumed(asked, Wishes(chosen=Selection(), rate="50/s")).rate == 50.0
    for other in ('{"selection": {"colours": []}}', "{}", "[]", "?"):
        with pytest.raises(PermanentError, match="begin it anew"):
            Job.from_json(other)
