from __future__ import annotations

import re
import runpy
import sys
import tomllib
from pathlib import Path

import pytest

from sftpd_processor.config.settings import HandlerSettings
from sftpd_processor.handlers.api import HandlerContext, Outcome
from sftpd_processor.handlers.registry import BUILT_INS, build_handlers
from tests.handler_items import item

PAGE = Path(__file__).parents[2] / "docs" / "handlers.md"
BLOCK = re.compile(r"^```(\w+) file=(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture
def samples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the page's samples as files, those of one name put together."""
    for _, name, text in BLOCK.findall(PAGE.read_text()):
        with (tmp_path / name).open("a") as file:
            file.write(text)
    monkeypatch.setenv("CRM_TOKEN", "token")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("my_handlers", "once"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return tmp_path


def test_the_python_samples_run(samples: Path) -> None:
    """Each sample of the page is a program that works."""
    names = sorted(path.name for path in samples.glob("*.py"))
    assert names == ["my_handlers.py", "once.py", "test_my_handlers.py"]
    assert all("__name__" in runpy.run_path(str(samples / name)) for name in names)


def test_the_configured_samples_work(samples: Path) -> None:
    """The page's configuration holds every built-in, is valid, and its handlers take an event."""
    tables = tomllib.loads((samples / "config.toml").read_text())["handlers"]
    assert set(BUILT_INS) <= {table["use"] for table in tables}
    settings = [HandlerSettings.model_validate(table) for table in tables]
    handlers = build_handlers(settings, HandlerContext(10, samples))
    assert handlers.names == ("crm", "ledger", "seen", "journal", "import", "forward", "warehouse")
    assert handlers.wanting("inboundMessage") == tuple(name for name in handlers.names if name != "ledger")
    for name in ("crm", "seen", "journal", "import"):
        handler = handlers.get(name)
        assert handler is not None
        handler.open()
        assert handler.handle([item()]) == [Outcome("done")]
        handler.close()
    assert (samples / "key-1.json").read_bytes() == item().body


def test_the_sample_table_fits_the_sample_handler(samples: Path) -> None:
    """The page's `create table` is what its `sql` handler needs."""
    import sqlite3

    statement = re.search(r"^```sql\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    assert statement
    connection = sqlite3.connect(samples / "warehouse.db")
    connection.executescript(statement[1])
    table = next(t for t in tomllib.loads((samples / "config.toml").read_text())["handlers"] if t["use"] == "sql")
    (handler,) = build_handlers([HandlerSettings.model_validate(table)], HandlerContext(10, samples))
    handler.open()
    assert handler.handle([item()]) == [Outcome("done")]
    handler.close()
    assert connection.execute("select customer from messages").fetchall() == [("C-1",)]
    connection.close()


def test_every_option_and_variable_is_on_the_page() -> None:
    """The page names all options, all variables of `command` and all headers of `http`."""
    from importlib import import_module

    from sftpd_processor.handlers import command, http

    text = PAGE.read_text()
    options = [
        name
        for module in BUILT_INS
        for name in import_module(f"sftpd_processor.handlers.{module}").Options.model_fields
    ]
    assert all(f"- `{name}`" in text for name in options)
    names = [*command._metadata(item()), *http._metadata(item())]
    assert all(name.removeprefix("SFTPD_PROCESSOR_") in text for name in names)
