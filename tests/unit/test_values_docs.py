from __future__ import annotations

import re
import runpy
import sqlite3
import sys
import tomllib
from importlib import import_module
from pathlib import Path

import pytest

from sftpd_processor.config.http import HttpSettings
from sftpd_processor.config.kinds import Place
from sftpd_processor.config.values import ValuesSettings
from sftpd_processor.values import functions, http, line, table, threads, words
from sftpd_processor.values.api import Query
from sftpd_processor.values.cache import MOST_ANSWERS
from sftpd_processor.values.registry import BUILT_INS, Providers
from tests.values_items import ask, build

PAGE = (Path(__file__).parents[2] / "docs" / "custom-values.md").read_text()
BLOCK = re.compile(r"^```(\w+) file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's samples as files, those of one name put together, and the database that they ask."""
    for _, name, text in BLOCK.findall(PAGE):
        with (tmp_path / name).open("a") as file:
            file.write(text)
    database = sqlite3.connect(tmp_path / "crm.db")
    with database:
        database.execute("create table account (uid text, phone text, balance real, due_date text, agent text)")
        database.execute("insert into account values ('555', '447700900555', 7.5, '2026-02-28', 'Ann')")
    database.close()
    monkeypatch.setenv("CRM_DATABASE", f"sqlite:///{tmp_path}/crm.db")
    monkeypatch.setenv("CRM_TOKEN", "token")
    monkeypatch.setenv("WEBIO_SECRET", "s" * 32)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_values", raising=False)
    return tmp_path


def configured(folder: Path) -> tuple[HttpSettings, Providers]:
    import os

    data, place = tomllib.loads((folder / "config.toml").read_text()), Place(folder, os.environ)
    values = [ValuesSettings.model_validate(each, context=place) for each in data["values"]]
    return HttpSettings.model_validate(data["http"], context=place), build(folder, *values)


def test_the_python_sample_runs(samples: Path) -> None:
    """It is a program that works."""
    assert runpy.run_path(str(samples / "my_values.py"))["greeting"](None, "4477") == "Welcome"


def test_the_configured_samples_answer(samples: Path) -> None:
    """The page's configuration holds every built-in and answers all its names, each from where the page says."""
    http_settings, providers = configured(samples)
    assert [it.name for it in providers] == ["accounts", "plans", "crm-database", "billing", "loyalty", "mine", "mine"]
    tables = tomllib.loads((samples / "config.toml").read_text())["values"]
    assert set(BUILT_INS) <= {each["use"] for each in tables}
    names = http_settings.custom_values_names
    assert providers.unanswered(names) == []
    try:
        providers.open()
        first = ask(providers, ("balance", "dueDate", "greeting"), Query("123456", "x")).values
        assert first == {"balance": "12.50", "dueDate": "2026-01-31", "greeting": "Welcome back"}
        there = ask(providers, ("balance", "dueDate", "agent"), Query("555", "x")).values
        assert there == {"balance": "7.50", "dueDate": "2026-02-28", "agent": "Ann"}
        assert ask(providers, ("plan", "agent"), Query(None, "447700900001")).values == {"plan": "Gold", "agent": None}
        assert ask(providers, ("balance",), Query("777", "x")).values == {"balance": "99.00"}
    finally:
        providers.close()


def test_the_sample_answer_fits_the_sample_words() -> None:
    """The page's JSON is what its `http` provider needs."""
    answer = re.search(r"^```json\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert answer
    assert http.picked(answer[1].encode(), ["plan.name", "points"]) == {"plan.name": "Gold", "points": 1250}


def test_every_option_and_key_is_on_the_page() -> None:
    """The page names all options of the built-ins, and all keys of a provider."""
    options = [
        name for module in BUILT_INS for name in import_module(f"sftpd_processor.values.{module}").Options.model_fields
    ]
    assert all(f"- `{name}`" in PAGE for name in options)
    assert all(f"| `{key}` |" in PAGE for key in ValuesSettings.model_fields)


def test_the_numbers_are_the_programs() -> None:
    """The bounds on the page are those that the program keeps."""
    deadline = HttpSettings.model_fields["custom_values_deadline_seconds"].default
    assert f"`custom_values_deadline_seconds` ({deadline})" in PAGE
    assert f"At most {MOST_ANSWERS:,} answers" in PAGE
    assert f"than {words.LONGEST_VALUE:,} characters" in PAGE
    assert f"when {functions.POOL_SIZE} calls of it hang" in PAGE
    assert f"up to {functions.POOL_SIZE} at once" in PAGE
    assert (http.LARGEST_ANSWER, table.LOOK_SECONDS, line._QUIET_SECONDS) == (1 << 20, 1, 10)
    assert threads.MOST_WAITING >= 512
