"""Finding and reading the file, the environment over it, and all mistakes at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from sftpd_processor.config import load
from sftpd_processor.config.load import find_config, load_settings
from sftpd_processor.config.settings import SftpSourceSettings
from sftpd_processor.errors import ConfigurationError
from tests.unit.config_samples import SECRET, directory, problems, sftp, whys, write


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBIO_PASSWORD", SECRET)
    monkeypatch.delenv("SFTPD_PROCESSOR_CONFIG", raising=False)
    monkeypatch.setattr(load, "SYSTEM_CONFIG", tmp_path / "etc.toml")
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def source_of(path: Path) -> SftpSourceSettings:
    source = load_settings(path).sources[0]
    assert isinstance(source, SftpSourceSettings)
    return source


def test_find_config_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """-c goes before the variable, which goes before ./config.toml, which goes before the one in /etc."""
    (tmp_path / "etc.toml").touch()
    assert find_config(None) == tmp_path / "etc.toml"
    Path("config.toml").touch()
    assert find_config(None) == Path("config.toml")
    (tmp_path / "variable.toml").touch()
    monkeypatch.setenv("SFTPD_PROCESSOR_CONFIG", str(tmp_path / "variable.toml"))
    assert find_config(None) == tmp_path / "variable.toml"
    (tmp_path / "explicit.toml").touch()
    assert find_config(tmp_path / "explicit.toml") == tmp_path / "explicit.toml"


def test_find_config_tells_where_it_looked(tmp_path: Path) -> None:
    """Without any configuration the error lists the places, and what to do."""
    with pytest.raises(ConfigurationError) as caught:
        find_config(None)
    assert "config.toml" in str(caught.value)
    assert str(tmp_path / "etc.toml") in str(caught.value)
    assert "config.example.toml" in str(caught.value)


def test_a_named_config_must_be_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A configuration asked for by -c or the variable is never replaced by another one."""
    Path("config.toml").touch()
    with pytest.raises(ConfigurationError, match=r"absent\.toml.*-c"):
        find_config(tmp_path / "absent.toml")
    monkeypatch.setenv("SFTPD_PROCESSOR_CONFIG", str(tmp_path / "gone.toml"))
    with pytest.raises(ConfigurationError, match=r"gone\.toml.*SFTPD_PROCESSOR_CONFIG"):
        find_config(None)


def test_the_variable_of_the_file_is_no_setting(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """$SFTPD_PROCESSOR_CONFIG is not taken for a key."""
    path = write(tmp_path, sftp())
    monkeypatch.setenv("SFTPD_PROCESSOR_CONFIG", str(path))
    assert load_settings(find_config(None)).sources[0].name == "webio"


def test_bad_toml_tells_line_and_column(tmp_path: Path) -> None:
    """A file that is not TOML is told with file, line, column and what is wrong."""
    path = write(tmp_path, '[state]\ndir = "/x"\nport = = 5\n')
    (problem,) = problems(path)
    assert problem.where == f"{path}, line 3, column 8"
    assert "Invalid value" in problem.why


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'a = "\xff"', "UTF-8"),
        (b"a = " + b"[" * 100_000, "nested too deep"),
        (b"a = " + b"9" * 10_000, "cannot be read"),
        (b"a = [", "end of the file"),
        (b"a = 1\na = 2\n", "line 2"),
    ],
)
def test_unreadable_content_is_one_problem(tmp_path: Path, content: bytes, words: str) -> None:
    """Content that cannot be read as TOML at all is one mistake that names the file."""
    path = tmp_path / "config.toml"
    path.write_bytes(content)
    (problem,) = problems(path)
    assert str(path) in problem.where
    assert words in str(problem)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder or nothing in place of the file is a mistake in words."""
    assert "No such file" in problems(tmp_path / "absent.toml")[0].why
    assert "directory" in problems(tmp_path)[0].why


def test_byte_order_mark_and_crlf_are_fine(tmp_path: Path) -> None:
    """A file written by an editor of Windows loads as any other."""
    path = write(tmp_path, "")
    path.write_bytes(b"\xef\xbb\xbf" + sftp().replace("\n", "\r\n").encode())
    assert source_of(path).host == "sftp.example.com"


def test_relative_paths_begin_at_the_configuration(tmp_path: Path) -> None:
    """state.dir is relative to the configuration's folder, not to where the program was started."""
    write(tmp_path, '[state]\ndir = "state"\n' + sftp())
    assert load_settings(Path("../config.toml")).state.dir.resolve() == (tmp_path / "state").resolve()
    assert load_settings(Path("../config.toml")).state.dir.is_absolute()


def test_all_mistakes_come_at_once(tmp_path: Path) -> None:
    """Mistakes of every kind, in every section, are reported together, each at its place."""
    text = '[state]\ndirr = "x"\n[delivery]\nworkers = "many"\n' + sftp(host=None, port="0", password=None)
    text += directory(name='"webio"', folder='"x"') + '[[handlers]]\nuse = "log"\n'
    assert set(whys(write(tmp_path, text))) == {
        "state.dirr",
        "delivery.workers",
        "sources[0].host",
        "sources[0].port",
        "sources[0].password",
        "sources[1].name",
        "sources[1].folder",
        "handlers[0].name",
    }


@pytest.mark.parametrize(
    ("key", "nearest"), [("hots", "host"), ("pasword", "password"), ("poll_second", "poll_seconds")]
)
def test_unknown_key_gets_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    """A key that is not known names the nearest right one."""
    assert whys(write(tmp_path, sftp(**{key: "5"})))[f"sources[0].{key}"] == (f"unknown key; did you mean `{nearest}`?")


def test_unknown_key_lists_those_of_its_own_kind(tmp_path: Path) -> None:
    """A key of the other kind of source is unknown, and is not suggested itself."""
    why = whys(write(tmp_path, directory(username='"u"')))["sources[0].username"]
    assert "unknown key" in why
    assert "username" not in why


@pytest.mark.parametrize("kind", ['"ftp"', "5", "[]"])
def test_unknown_kind_of_source(tmp_path: Path, kind: str) -> None:
    """A type of source that does not exist is one mistake, at `type`."""
    assert whys(write(tmp_path, sftp(type=kind))) == {"sources[0].type": 'must be "sftp" or "directory"'}


@pytest.mark.parametrize("text", ["sources = 5", "sources = [5]", "state = 5\n" + sftp(), "handlers = {}\n" + sftp()])
def test_wrong_shapes_are_told(tmp_path: Path, text: str) -> None:
    """A value where a table or a list is due is told so."""
    (problem,) = problems(write(tmp_path, text))
    assert problem.why in {"must be a table", "must be a list"}


def test_environment_goes_before_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables set keys of tables and of list items; numbers, lists and text each by their own kind."""
    monkeypatch.setenv("SFTPD_PROCESSOR__STATE__DIR", "/elsewhere")
    monkeypatch.setenv("SFTPD_PROCESSOR__DELIVERY__WORKERS", "3")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__PORT", "2222")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__USERNAME", "123")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__INCLUDE", '["a*", "b*"]')
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__EXCLUDE__0", "[x]")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__SETTLE_SECONDS", "0.5")
    path = write(tmp_path, sftp())
    settings, source = load_settings(path), source_of(path)
    assert str(settings.state.dir) == "/elsewhere"
    assert settings.delivery.workers == 3
    assert (source.port, source.username, source.settle_seconds) == (2222, "123", 0.5)
    assert (source.include, source.exclude) == (("a*", "b*"), ("[x]",))
    assert source.host == "sftp.example.com"


def test_environment_alone_can_make_a_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A source and a handler can be added key by key, over an empty file."""
    for key, value in {"NAME": "local", "TYPE": "directory", "FOLDER": "/in"}.items():
        monkeypatch.setenv(f"SFTPD_PROCESSOR__SOURCES__0__{key}", value)
    monkeypatch.setenv("SFTPD_PROCESSOR__HANDLERS", '[{ name = "h", use = "log" }]')
    monkeypatch.setenv("SFTPD_PROCESSOR__HANDLERS__0__OPTIONS__URL", "https://x")
    monkeypatch.setenv("SFTPD_PROCESSOR__HANDLERS__0__OPTIONS__TRIES", "3")
    monkeypatch.setenv("SFTPD_PROCESSOR__HANDLERS__0__OPTIONS__CODE", '"3"')
    settings = load_settings(write(tmp_path, ""))
    assert settings.sources[0].folder == Path("/in")
    assert settings.handlers[0].options == {"url": "https://x", "tries": 3, "code": "3"}


def test_environment_adds_more_than_ten_items_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Items are numbered, not sorted as text: number 10 comes after 9."""
    for number in range(12):
        monkeypatch.setenv(f"SFTPD_PROCESSOR__SOURCES__0__INCLUDE__{number}", f"p{number}")
    assert source_of(write(tmp_path, sftp())).include == tuple(f"p{number}" for number in range(12))


def test_environment_replaces_a_reference_to_a_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another form of reference takes the place of the one in the file; text stays text."""
    (tmp_path / "pw").write_text("from-file")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__PASSWORD__FILE", str(tmp_path / "pw"))
    password = source_of(write(tmp_path, sftp())).password
    assert password is not None
    assert password.get_secret_value() == "from-file"
    monkeypatch.delenv("SFTPD_PROCESSOR__SOURCES__0__PASSWORD__FILE")
    monkeypatch.setenv("SFTPD_PROCESSOR__SOURCES__0__PASSWORD", '{"a": 1}')
    password = source_of(write(tmp_path, sftp())).password
    assert password is not None
    assert password.get_secret_value() == '{"a": 1}'


@pytest.mark.parametrize(
    ("name", "value", "where", "words"),
    [
        ("SOURCES__0__HOTS", "x", "sources[0].hots", "did you mean `host`?"),
        ("SOURCES__0__PORT", "many", "sources[0].port", "whole number"),
        ("SOURCES__0__INCLUDE", "*.json", "sources[0].include", "list"),
        ("SOURCES__7__HOST", "x", "SFTPD_PROCESSOR__SOURCES__7__HOST", "from 0 to 1"),
        ("SOURCES__HOST", "x", "SFTPD_PROCESSOR__SOURCES__HOST", "from 0 to 1"),
        ("SOURCES__0__HOST__X", "x", "SFTPD_PROCESSOR__SOURCES__0__HOST__X", "neither a table nor a list"),
        ("STAT", "x", "stat", "did you mean `state`?"),
    ],
)
def test_mistakes_of_the_environment_name_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, where: str, words: str
) -> None:
    """A mistake that an environment variable made tells which variable it was."""
    monkeypatch.setenv(f"SFTPD_PROCESSOR__{name}", value)
    (problem,) = problems(write(tmp_path, sftp()))
    assert problem.where == where
    assert words in problem.why
    assert f"SFTPD_PROCESSOR__{name}" in str(problem)
