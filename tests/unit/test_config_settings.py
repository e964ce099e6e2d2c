"""What the tree of settings holds, its defaults, and what each key refuses."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from sftpd_processor.config.load import load_settings
from sftpd_processor.config.settings import (
    DirectorySourceSettings,
    Settings,
    SftpSourceSettings,
    StateSettings,
)
from tests.unit.config_samples import FINGERPRINT, KEY, SECRET, directory, problems, sftp, whys, write


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEBIO_PASSWORD", SECRET)


def test_defaults_are_those_of_the_reference(tmp_path: Path) -> None:
    """A configuration with only what is required gets every documented default."""
    settings = load_settings(write(tmp_path, sftp()))
    source = settings.sources[0]
    assert isinstance(source, SftpSourceSettings)
    assert (source.type, source.port, source.in_flight, source.reconnect_max_seconds) == ("sftp", 22, 256, 300)
    timeouts = (source.connect_timeout_seconds, source.operation_timeout_seconds, source.keepalive_seconds)
    assert timeouts == (15, 30, 30)
    assert source.include == ("*.json",)
    assert source.exclude == (".*", "*.tmp", "*.part", "*.filepart")
    assert (source.settle_seconds, source.max_file_bytes) == (10, 1_048_576)
    assert (source.after, source.move_to) == ("move", "processed")
    assert (source.poll_seconds, source.cron) == (30, None)
    assert (source.organisation, source.time_zone, source.unknown_events) == ("default", "UTC", "accept")
    assert (source.partial, source.max_file_events) == ("accept", 10_000)
    assert settings.state.dir == Path("/var/lib/sftpd-processor")
    assert settings.handlers == ()
    assert settings.delivery.model_dump() == {
        "workers": 8,
        "order": "conversation",
        "timeout_seconds": 30,
        "max_attempts": 8,
        "backoff_seconds": 2,
        "backoff_max_seconds": 3600,
        "breaker_failures": 10,
        "breaker_max_seconds": 60,
    }


def test_type_tells_the_kinds_of_source_apart(tmp_path: Path) -> None:
    """A source of type directory gets a local folder, beside one of the default type sftp."""
    first, second = load_settings(write(tmp_path, sftp() + directory())).sources
    assert isinstance(first, SftpSourceSettings)
    assert isinstance(second, DirectorySourceSettings)
    assert second.folder == Path("/srv/incoming")


def test_settings_are_frozen(tmp_path: Path) -> None:
    """No part of the tree can be changed after loading."""
    settings = load_settings(write(tmp_path, sftp()))
    with pytest.raises(ValidationError):
        settings.sources[0].name = "other"  # type: ignore[misc]


def test_at_least_one_source_is_required(tmp_path: Path) -> None:
    """Without a source, or with an empty list of them, the way to write one is shown."""
    assert "[[sources]]" in whys(write(tmp_path, ""))["sources"]
    assert "[[sources]]" in whys(write(tmp_path, "sources = []"))["sources"]


@pytest.mark.parametrize("key", ["name", "host", "username", "folder"])
def test_required_keys(tmp_path: Path, key: str) -> None:
    """A required key that is missing is named, with an example of it."""
    (problem,) = problems(write(tmp_path, sftp(**{key: None})))
    assert problem.where == f"sources[0].{key}"
    assert problem.why == "is required, and missing"
    assert problem.example.startswith(f"{key} = ")


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("name", '"Webio"', "a-z"),
        ("name", '"a/b"', "a-z"),
        ("name", '"live"', "reserved"),
        ("name", '"' + "a" * 64 + '"', "63"),
        ("host", '"sftp://example.com"', "without sftp://"),
        ("host", '"example.com:22"', "port"),
        ("host", '""', "host name"),
        ("host", '"a b; rm"', "host name"),
        ("port", "0", "1 or more"),
        ("port", "65536", "65535 or less"),
        ("port", '"22"', "whole number"),
        ("port", "true", "whole number"),
        ("port", "22.5", "whole number"),
        ("username", '"a\\nb"', "one line"),
        ("username", "5", "text in quotes"),
        ("host_keys", '["MD5:aa:bb"]', "ssh-keyscan -p PORT HOST | ssh-keygen -lf -"),
        ("host_keys", '"SHA256:x"', "list"),
        ("folder", '"/a/../b"', ".. segment"),
        ("move_to", '"../x"', ".. segment"),
        ("move_to", '"."', "other than"),
        ("move_to", '"/webhooks/"', "own folder"),
        ("include", "[]", "at least one pattern"),
        ("include", '["a/*.json"]', "/"),
        ("include", '"*.json"', "list"),
        ("exclude", "[5]", "text in quotes"),
        ("settle_seconds", "-1", "0 or more"),
        ("settle_seconds", "inf", "not infinite"),
        ("settle_seconds", "nan", "not infinite"),
        ("settle_seconds", '"soon"', "number"),
        ("max_file_bytes", "0", "1 or more"),
        ("max_file_bytes", "67108865", "67108864 or less"),
        ("after", '"destroy"', "'move', 'delete' or 'keep'"),
        ("poll_seconds", "0", "more than 0"),
        ("cron", '"every day"', "five crontab fields"),
        ("cron", '"99 * * * *"', "five crontab fields"),
        ("organisation", '"A B"', "a-z"),
        ("unknown_events", '"drop"', "'accept' or 'quarantine'"),
        ("partial", '"drop"', "'accept' or 'reject'"),
        ("max_file_events", "0", "1 or more"),
        ("in_flight", "1025", "1024 or less"),
        ("in_flight", "0", "1 or more"),
        ("connect_timeout_seconds", "0", "more than 0"),
        ("reconnect_max_seconds", "1e300", "or less"),
    ],
)
def test_each_key_refuses_what_is_wrong(tmp_path: Path, key: str, value: str, words: str) -> None:
    """A wrong value gives one problem or more, all of that key, in words and with an example."""
    found = problems(write(tmp_path, sftp(**{key: value})))
    assert found
    assert {problem.where.split("[0]")[1].partition(".")[2].partition("[")[0] for problem in found} == {key}
    assert any(words in problem.why for problem in found), found
    assert all(problem.example.startswith(f"{key} = ") for problem in found)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("host", '"192.0.2.7"'),
        ("host", '"2001:db8::1"'),
        ("host", '"[2001:db8::1]"'),
        ("folder", '"webhooks"'),
        ("move_to", '"/done"'),
        ("settle_seconds", "0"),
        ("poll_seconds", "0.5"),
        ("cron", '"*/5 8-18 * * mon-fri"'),
        ("time_zone", '"Europe/Dublin"'),
        ("max_file_bytes", "67108864"),
    ],
)
def test_right_values_are_taken(tmp_path: Path, key: str, value: str) -> None:
    """Each of these values is right."""
    assert problems(write(tmp_path, sftp(**{key: value}))) == []


@pytest.mark.parametrize(
    ("zone", "nearest"),
    [("Dublin", "Europe/Dublin"), ("Europe/Dubln", "Europe/Dublin"), ("europe/london", "Europe/London")],
)
def test_time_zone_suggests_the_nearest(tmp_path: Path, zone: str, nearest: str) -> None:
    """A time zone that does not exist, or is a city alone, gets the nearest right name."""
    found = whys(write(tmp_path, sftp(time_zone=f'"{zone}"')))
    if not found:  # a file system that does not tell capitals from small letters
        pytest.skip("this machine's time zones ignore case")
    assert f"did you mean `{nearest}`?" in found["sources[0].time_zone"]


@pytest.mark.parametrize("zone", ["Europe", "/etc/passwd", "../../etc/passwd", "", "\\u0000"])
def test_time_zone_refuses_paths(tmp_path: Path, zone: str) -> None:
    """A folder or a path in place of a time zone is a mistake, not a crash."""
    assert "sources[0].time_zone" in whys(write(tmp_path, sftp(time_zone=f'"{zone}"')))


def test_poll_seconds_and_cron_exclude_each_other(tmp_path: Path) -> None:
    """Both ways of saying when to poll are one too many."""
    found = whys(write(tmp_path, sftp(cron='"* * * * *"', poll_seconds="30")))
    assert "together with `poll_seconds`" in found["sources[0].cron"]


def test_a_way_to_log_in_is_required(tmp_path: Path) -> None:
    """Neither a password nor a private key is a mistake; a private key alone is enough."""
    assert "`private_key`" in whys(write(tmp_path, sftp(password=None)))["sources[0].password"]
    key = f'"""{KEY}"""'
    assert problems(write(tmp_path, sftp(password=None, private_key=key))) == []


def test_a_known_server_is_required(tmp_path: Path) -> None:
    """Without host keys and known hosts the error tells how to see the fingerprint; known hosts suffice."""
    found = whys(write(tmp_path, sftp(host_keys=None)))
    assert "ssh-keyscan -p PORT HOST | ssh-keygen -lf -" in found["sources[0].host_keys"]
    (tmp_path / "known").write_text("")
    source = load_settings(write(tmp_path, sftp(host_keys=None, known_hosts='"known"'))).sources[0]
    assert isinstance(source, SftpSourceSettings)
    assert source.known_hosts == tmp_path / "known"


@pytest.mark.parametrize("name", ["absent", "a" * 5000])
def test_known_hosts_must_be_there(tmp_path: Path, name: str) -> None:
    """A file of known hosts that does not exist is told when the configuration is loaded."""
    found = whys(write(tmp_path, sftp(known_hosts=f'"{name}"')))
    assert "there is no file" in found["sources[0].known_hosts"]


@pytest.mark.parametrize("folder", ["incoming", "/srv/../etc", ""])
def test_directory_folder_is_absolute(tmp_path: Path, folder: str) -> None:
    """The folder of a directory source must be an absolute path without ..."""
    assert "sources[0].folder" in whys(write(tmp_path, directory(folder=f'"{folder}"')))


def test_names_are_unique(tmp_path: Path) -> None:
    """Two sources, or two handlers, of one name are a mistake; a source and a handler may share one."""
    handler = '[[handlers]]\nname = "webio"\nuse = "log"\n'
    assert problems(write(tmp_path, sftp() + handler)) == []
    assert set(whys(write(tmp_path, sftp() + directory(name='"webio"') + handler * 2))) == {
        "sources[1].name",
        "handlers[1].name",
    }


def test_handlers(tmp_path: Path) -> None:
    """A handler keeps its events and options; one without events, or of a strange name, is a mistake."""
    good = '[[handlers]]\nname="crm"\nuse="my_pkg.hooks:to_crm"\nevents=["payment"]\noptions={a=[1,{b="x"}]}\n'
    (handler,) = load_settings(write(tmp_path, sftp() + good)).handlers
    assert (handler.use, handler.events) == ("my_pkg.hooks:to_crm", ("payment",))
    assert handler.options == {"a": [1, {"b": "x"}]}
    bad = '[[handlers]]\nname="crm"\nuse="a b"\nevents=[]\noptions=5\n'
    found = whys(write(tmp_path, sftp() + bad))
    assert set(found) == {"handlers[0].use", "handlers[0].events", "handlers[0].options"}


def test_delivery_limits(tmp_path: Path) -> None:
    """Each key of the delivery refuses what cannot work."""
    text = '[delivery]\nworkers=0\norder="random"\ntimeout_seconds=0\nmax_attempts=0\nbackoff_seconds=-1\n'
    assert len(problems(write(tmp_path, sftp() + text))) == 5


def test_sections_that_do_not_exist_are_unknown(tmp_path: Path) -> None:
    """A section that does not exist is an unknown key."""
    assert whys(write(tmp_path, sftp() + "[nonsense]\n"))["nonsense"].startswith("unknown key")


def test_ledger_url_is_a_file_in_the_state_folder(tmp_path: Path) -> None:
    """Without a database the ledger is ledger.db in the state folder, whatever characters its path has."""
    from sqlalchemy import make_url

    folder = tmp_path / "a b?c#d%20e"
    url = make_url(StateSettings(dir=folder).ledger_url())
    assert url.drivername == "sqlite"
    assert url.database == str(folder / "ledger.db")


@pytest.mark.parametrize("url", ["sqlite:////srv/x.db", "postgresql+psycopg://u:p%40ss@db/x"])
def test_ledger_url_is_the_database_given(url: str) -> None:
    """A database URL of the two kinds is handed on as it is."""
    assert StateSettings(database=url).ledger_url() == url


@pytest.mark.parametrize(
    "url", ["mysql://u:hidden@h/x", "postgresql://u:hidden@h/x", "sqlite://", "sqlite:///:memory:", "hidden"]
)
def test_other_databases_are_refused(tmp_path: Path, url: str) -> None:
    """A database of another kind, or one in memory, is refused without showing the URL."""
    found = problems(write(tmp_path, f'[state]\ndatabase = "{url}"\n' + sftp()))
    assert [problem.where for problem in found] == ["state.database"]
    assert "hidden" not in str(found)


def test_loading_imports_no_heavy_library() -> None:
    """Reading settings brings in neither the database, the scheduler nor the SFTP library."""
    code = "import sys, sftpd_processor.config.load; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"sqlalchemy", "apscheduler", "paramiko", "rich", "typer", "httpx2", "pydantic_settings"}
    assert not heavy & set(done.stdout.split())


def test_settings_can_be_made_in_code() -> None:
    """A source can be made without a file, with the same checks."""
    common = {"name": "a", "host": "h", "username": "u", "folder": "/f", "host_keys": (FINGERPRINT,)}
    source = SftpSourceSettings.model_validate({**common, "password": "p"})
    assert source.password is not None
    assert source.password.get_secret_value() == "p"
    assert Settings(sources=(source,)).sources == (source,)
    with pytest.raises(ValidationError):
        SftpSourceSettings.model_validate(common)
