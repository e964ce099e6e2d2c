from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sftpd_processor.values.registry import Providers
from tests.handler_items import mistakes
from tests.values_items import ask, build, opened, settings

ACCOUNTS = """\
from sftpd_processor import values

@values("balance", "dueDate")
def account(customer_uid, address):
    return {"balance": customer_uid, "dueDate": address}

@values("rate")
async def rate(customer_uid, address):
    return 1.5

def plain(customer_uid, address): ...

also = rate
"""
WRONG = """\
from sftpd_processor import values

@values()
def nothing(customer_uid, address): ...

@values("a")
def too_many(a, b, c): ...

@values("b")
def yields(customer_uid, address):
    yield 1

@values("c")
class Thing:
    def __init__(self, customer_uid, address): ...
"""
STATIC: dict[str, Any] = {"options": {"customers": {"C-1": {"balance": "1", "dueDate": "2"}}}}


@pytest.fixture(autouse=True)
def _imports(tmp_path: Path) -> Iterator[None]:
    """Each test's modules are its own."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def names(providers: Providers) -> list[list[str] | None]:
    return [None if it.names is None else [*it.names] for it in providers]


def test_a_module_gives_all_its_functions(tmp_path: Path) -> None:
    """Each marked function once, under the name of the table, and they answer."""
    (tmp_path / "val_all.py").write_text(ACCOUNTS)
    with opened(tmp_path, settings("val_all")) as providers:
        assert [it.name for it in providers] == ["accounts", "accounts"]
        assert names(providers) == [["balance", "dueDate"], ["rate"]]
        answer = ask(providers, ("rate", "balance", "duedate"))
    assert answer.values == {"rate": "1.5", "balance": "C-1", "duedate": "447700900001"}


def test_names_are_shared_out_to_the_functions_of_a_module(tmp_path: Path) -> None:
    """Each function is asked for its own words only."""
    (tmp_path / "val_names.py").write_text(ACCOUNTS)
    with opened(tmp_path, settings("val_names", names={"Saldo": "balance", "Zinssatz": "rate"})) as providers:
        assert names(providers) == [["Saldo"], ["Zinssatz"]]
        assert ask(providers, ("Zinssatz", "Saldo", "dueDate")).values == {
            "Zinssatz": "1.5", "Saldo": "C-1", "dueDate": None,
        }  # fmt: skip


def test_one_function_of_a_module(tmp_path: Path) -> None:
    """`use = "module:function"` takes that one alone; `names` gives its words other names."""
    (tmp_path / "val_one.py").write_text(ACCOUNTS)
    with opened(tmp_path, settings("val_one:rate", names={"Zinssatz": "rate"})) as providers:
        assert names(providers) == [["Zinssatz"]]
        assert ask(providers, ("zinssatz", "rate")).values == {"zinssatz": "1.5", "rate": None}


def test_an_installed_package_offers_providers_by_name(tmp_path: Path) -> None:
    """An entry point of the group `sftpd_processor.values` is found by its name: a function or a module."""
    (tmp_path / "val_installed.py").write_text(ACCOUNTS)
    folder = tmp_path / "acme-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    points = "acme-rate = val_installed:rate\nacme-all = val_installed\n"
    (folder / "entry_points.txt").write_text(f"[sftpd_processor.values]\n{points}")
    sys.path.append(str(tmp_path))
    providers = build(tmp_path, settings("acme-rate", "one"), settings("acme-all", "all"))
    assert names(providers) == [["rate"], ["balance", "dueDate"], ["rate"]]


def test_unanswered_names(tmp_path: Path) -> None:
    """Those that no provider has, in whatever case; none when one may have any."""
    static = settings("static", **STATIC)
    assert build(tmp_path, static).unanswered(["Balance", "dueDate", "x"]) == ["x"]
    assert build(tmp_path).unanswered(["x"]) == ["x"]
    http = settings("http", "crm", options={"url": "https://crm.example.com/{customerUID}"})
    assert build(tmp_path, static, http).unanswered(["x"]) == []
    named = settings("http", "crm", options={"url": "https://crm.example.com/"}, names={"a": "x.y"})
    assert build(tmp_path, static, named).unanswered(["A", "x.y", "balance"]) == ["x.y"]


def test_mistakes_of_functions_carry_file_and_line(tmp_path: Path) -> None:
    """All mistakes of a module are told at once, each where it stands."""
    (tmp_path / "val_wrong.py").write_text(WRONG)
    with pytest.raises(Exception, match="4 mistakes") as caught:
        build(tmp_path, settings("val_wrong"))
    text, file = str(caught.value), tmp_path / "val_wrong.py"
    assert f"values[0].use: {file}, line 3, nothing(): names no value" in text
    assert f"{file}, line 6, too_many(): takes (a, b, c), but is called with (customer_uid, outbound" in text
    assert f"{file}, line 9, yields(): contains `yield`" in text
    assert "Thing(): is a class" in text


def test_all_mistakes_of_all_providers_are_told_at_once(tmp_path: Path) -> None:
    """One run of `check` is enough, and each mistake has its path."""
    (tmp_path / "val_some.py").write_text(ACCOUNTS)
    twice = "from sftpd_processor import values\n" + "@values('a', 'b')\ndef {}(uid, address): ...\n" * 2
    (tmp_path / "val_twice.py").write_text(twice.format("one", "two"))
    found = mistakes(
        lambda: build(
            tmp_path,
            settings("statik", "a"),
            settings("http", "b", options={"url": "ftp://x", "header": {}}),
            settings("static", "c", names={"x": "balanse"}, **STATIC),
            settings("val_some:rat", "d"),
            settings("val_some:plain", "e", options={"x": 1}),
            settings("val_some", "f", names={"x": "rat"}),
            settings("no.such.module:function", "g"),
            settings("sql", "h"),
            settings("json", "i"),
            settings("val_twice", "j"),
            settings("static", "k", **STATIC),
            settings("static", "k", options={"level": 1}),
        )
    )
    assert found["values[0].use"].endswith("did you mean 'static'?")
    assert "https://" in found["values[1].options.url"]
    assert found["values[1].options.header"] == "there is no such option; did you mean `headers`?"
    assert found["values[2].names.x"] == "it has no 'balanse'; did you mean 'balance'?"
    assert found["values[3].use"].endswith("did you mean 'rate'?")
    assert found["values[4].use"].endswith('plain(): is not marked with @values("…")')
    assert "built-ins" in found["values[4].options"]
    assert found["values[5].names.x"] == "it has no 'rat'; did you mean 'rate'?"
    assert "'no.such.module'" in found["values[6].use"]
    assert "values[7].options.url" in found
    assert "@values" in found["values[8].use"]
    assert "'b' is answered by" in found["values[9].use"]
    assert found["values[11].options.level"].startswith("there is no such option; known are")
    assert "2 values are called 'k'" in found["values"]
    assert len(found) == 14


def test_a_mistake_never_repeats_a_secret(tmp_path: Path) -> None:
    """What stands in the options is not quoted in an error."""
    bad = [
        settings("sql", "a", options={"url": "sqlite-s3cret", "query": "select 1"}),
        settings("http", "b", options={"url": "https://x/{customerUID}/s3cret}", "headers": {"a": "s3cret\n"}}),
        settings("static", "c", options={"customers": {"s3cret": {"a": ["s3cret"]}}}),
    ]
    with pytest.raises(Exception, match="mistakes") as caught:
        build(tmp_path, *bad)
    assert "s3cret" not in str(caught.value)
