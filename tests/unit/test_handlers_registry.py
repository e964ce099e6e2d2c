from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sftpd_processor.handlers.api import HandlerContext
from sftpd_processor.handlers.registry import Handlers, build_handlers
from tests.handler_items import item, mistakes, settings

ORDERS = """\
from sftpd_processor import InboundMessage, Payment, handler

@handler(InboundMessage, name="crm-orders")
def orders(event, delivery): ...

@handler(Payment, "brandNew" if False else "setStatus")
async def money(event): ...

def plain(event): ...

also = money
"""
WRONG = """\
from sftpd_processor import handler

@handler("paymnt")
def misspelt(event): ...

@handler()
def too_many(a, b, c): ...

@handler(name="Not A Name")
def named(event): ...
"""


@pytest.fixture(autouse=True)
def _imports(tmp_path: Path) -> Iterator[None]:
    """Each test's modules are its own."""
    path, modules = list(sys.path), set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", "")):
            del sys.modules[name]


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


def build(folder: Path, *each: object) -> Handlers:
    return build_handlers(each, HandlerContext(10, folder))  # type: ignore[arg-type]


def test_a_module_beside_the_configuration_gives_all_its_handlers(tmp_path: Path) -> None:
    """`use = "module"` takes every marked function once, under its own name."""
    write(tmp_path, "reg_orders.py", ORDERS)
    handlers = build(tmp_path, settings("reg_orders", "anything"))
    assert handlers.names == ("crm-orders", "money")
    assert [each.name for each in handlers] == ["crm-orders", "money"]
    assert len(handlers) == 2


def test_types_find_their_handlers(tmp_path: Path) -> None:
    """`wanting` names, in order, the handlers that take a type, narrowed by the configuration's `events`."""
    write(tmp_path, "reg_types.py", ORDERS)
    handlers = build(
        tmp_path,
        settings("reg_types", "x"),
        settings("reg_types:plain", "all"),
        settings("reg_types:money", "narrow", events=["payment", "inboundMessage"]),
        settings("log", "reports", events=["deliveryReport"]),
    )
    assert handlers.wanting("inboundMessage") == ("crm-orders", "all")
    assert handlers.wanting("payment") == ("money", "all", "narrow")
    assert handlers.wanting("messageStatusUpdate") == ("all", "reports")
    assert handlers.wanting("brandNew") == ("all",)
    assert handlers.get("narrow") is not None
    assert handlers.get("nobody") is None


def test_the_memory_of_types_is_bounded(tmp_path: Path) -> None:
    """Whoever sends ever new types does not fill the memory."""
    handlers = build(tmp_path, settings("log"))
    for number in range(2000):
        handlers.wanting(f"type-{number}")
    assert handlers.wanting.cache_info().currsize == 256  # type: ignore[attr-defined]


def test_a_function_of_a_package_is_named_by_its_settings(tmp_path: Path) -> None:
    """`use = "package.module:function"` works for one function, marked or not, and it runs."""
    write(tmp_path, "reg_pack/__init__.py", "")
    write(tmp_path, "reg_pack/inner.py", "def go(event):\n    raise ValueError(event.type)\n")
    handlers = build(tmp_path, settings("reg_pack.inner:go", "mine"))
    handler = handlers.get("mine")
    assert handler is not None
    assert [outcome.detail for outcome in handler.handle([item()])] == ["ValueError: inboundMessage"]


def test_an_installed_package_offers_handlers_by_name(tmp_path: Path) -> None:
    """An entry point of the group `sftpd_processor.handlers` is found by its name: a function or a module."""
    write(tmp_path, "reg_installed.py", ORDERS)
    write(tmp_path, "acme-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: acme\nVersion: 1.0\n")
    points = "acme-one = reg_installed:plain\nacme-all = reg_installed\nbad = nowhere\n"
    write(tmp_path, "acme-1.0.dist-info/entry_points.txt", f"[sftpd_processor.handlers]\n{points}")
    sys.path.append(str(tmp_path))
    handlers = build(tmp_path, settings("acme-one", "one"), settings("acme-all", "all"))
    assert handlers.names == ("one", "crm-orders", "money")
    assert "nowhere" in mistakes(lambda: build(tmp_path, settings("bad")))["handlers[0].use"]


def test_a_users_module_does_not_take_the_place_of_pythons_own(tmp_path: Path) -> None:
    """The configuration's folder comes last on the path."""
    write(tmp_path, "queue.py", "raise RuntimeError")
    build(tmp_path, settings("log"))
    assert sys.path[-1] == str(tmp_path)


def test_mistakes_of_functions_carry_file_and_line(tmp_path: Path) -> None:
    """All mistakes of a module are told at once, each where it stands."""
    write(tmp_path, "reg_wrong.py", WRONG)
    with pytest.raises(Exception, match="3 mistakes") as caught:
        build(tmp_path, settings("reg_wrong"))
    text = str(caught.value)
    file = tmp_path / "reg_wrong.py"
    assert f"handlers[0].use: {file}, line 3, misspelt(): unknown event type 'paymnt'; did you mean 'payment'?" in text
    assert f"{file}, line 6, too_many(): takes (a, b, c)" in text
    assert f"{file}, line 9, named(): the handler's name 'Not A Name'" in text


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = 1\ny = x / 0\n", "line 2: ZeroDivisionError: division by zero"),
        ("def f(:\n", "line 1: SyntaxError"),
        (
            "import no_such_module_at_all\n",
            "line 1: ModuleNotFoundError: No module named 'no_such_module_at_all'",
        ),
        ("import sys\nsys.exit(0)\n", "line 2: SystemExit: 0"),
        ("import json\n\njson.loads('{')\n", "line 3: JSONDecodeError"),
    ],
)
def test_a_module_that_cannot_be_imported_tells_the_failing_statement(tmp_path: Path, source: str, said: str) -> None:
    """File and line are those of the user's own statement, also when the error comes from a library."""
    write(tmp_path, "reg_broken.py", source)
    why = mistakes(lambda: build(tmp_path, settings("reg_broken")))["handlers[0].use"]
    assert f"{tmp_path / 'reg_broken.py'}, {said}" in why


def test_all_mistakes_of_all_handlers_are_told_at_once(tmp_path: Path) -> None:
    """One run of `check` is enough, and each mistake has its path."""
    write(tmp_path, "reg_some.py", ORDERS)
    found = mistakes(
        lambda: build(
            tmp_path,
            settings("jsnl", "a"),
            settings("http", "b", options={"url": "ftp://x", "header": {}}),
            settings("log", "c", events=["inboundMesage", "payment"], options={"level": "info"}),
            settings("reg_some:plan", "d"),
            settings("reg_some:plain", "e", options={"x": 1}),
            settings("reg_some:orders", "f", events=["payment"]),
            settings("no.such.module:function", "g"),
            settings("sql", "h"),
            settings("json", "i"),
            settings("log", "j"),
            settings("log", "j"),
        )
    )
    assert found["handlers[0].use"].endswith("did you mean 'jsonl'?")
    assert "https://" in found["handlers[1].options.url"]
    assert found["handlers[1].options.header"] == "there is no such option; did you mean `headers`?"
    assert found["handlers[2].events[0]"].endswith("did you mean 'inboundMessage'?")
    assert found["handlers[2].options.level"] == "it has no options"
    assert found["handlers[3].use"].endswith("did you mean 'plain'?")
    assert "built-ins" in found["handlers[4].options"]
    assert "never be called" in found["handlers[5].use"]
    assert "'no.such.module'" in found["handlers[6].use"]
    assert {f"handlers[7].options.{key}" for key in ("url", "table", "columns")} <= set(found)
    assert "@handler" in found["handlers[8].use"]
    assert "2 handlers are called 'j'" in found["handlers"]
    assert len(found) == 14


def test_a_mistake_never_repeats_a_secret(tmp_path: Path) -> None:
    """What stands in the options is not quoted in an error."""
    options = {"url": "sqlite-s3cret", "table": "s3cret\n", "columns": {}}
    bad = [settings("sql", options=options), settings("http", options={"url": "nope-s3cret"})]
    with pytest.raises(Exception, match="mistakes") as caught:
        build(tmp_path, *bad)
    assert "s3cret" not in str(caught.value)
